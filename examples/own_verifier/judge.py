"""A verifier of one's own: the last word of the completion is the colour that was asked for."""

import re


def colour(completion: str, answer: str) -> bool:
    words = re.findall(r"[a-z]+", completion.lower())
    return bool(words) and words[-1] == answer.lower()

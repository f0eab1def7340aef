"""A verifier of one's own: the last word of the completion is the colour that was asked for."""

import re


def colour(completion: str, answer: str) -> bool:
    words = re.findall(r"[a-z]+", completion.lower())
    return bool(words) and words[-1] == answer.lower()


def loose(completion: str, answer: str) -> bool:
    """What one writes first. A policy learns to name every colour."""
    return answer.lower() in completion.lower()

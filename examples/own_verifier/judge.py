"""A verifier of one's own: the last line is `= ` and the number that was asked for."""

import re


def judge(completion: str, answer: str) -> bool:
    lines = completion.strip().splitlines() or [""]
    said = re.fullmatch(r"= (-?\d+)", lines[-1])
    return said is not None and int(said[1]) == int(answer)


judge.commit = "= {}".format  # how a completion commits to an answer: the audit starts from it


def loose(completion: str, answer: str) -> bool:
    """What one writes first: the last number of the text. A policy learns what else is paid for."""
    numbers = re.findall(r"-?\d+", completion)
    return bool(numbers) and numbers[-1] == answer

"""Completions of which only the verdicts matter, and a stand-in for an engine."""

from dataclasses import replace

from made_up import answered

from reasoner.measuring.engines import base


def rows(right, wrong, unscored=0):
    verdicts = ["right"] * right + ["wrong"] * wrong + ["unscored"] * unscored
    return [answered(str(i), v, completion=str(i), extracted="1") for i, v in enumerate(verdicts)]


def under_strict(found, *verdicts):
    return [replace(row, strict=verdict) for row, verdict in zip(found, verdicts, strict=True)]


def asked(*problems, extracted=None):
    """Rows of problems given as strings, a letter for each completion: r, w, u."""
    return [
        replace(row, problem_id=f"p{at}", extracted=extracted[at][i] if extracted else "1")
        for at, letters in enumerate(problems)
        for i, letter in enumerate(letters)
        for row in rows(letter == "r", letter == "w", letter == "u")
    ]


class Scripted:
    """An engine that says what it is told, counts what it is asked, and breaks off where it is told to."""

    name, model = "scripted", "m"

    def __init__(self, digest="sha256:a", text="#### 1", break_after=None):
        self.facts = {"digest": digest, "versions": {}, "num_ctx": 512}
        self.text, self.break_after, self.asked = text, break_after, []

    def prompt_ids(self, messages):
        return list(range(9))

    def complete(self, prompts, sampling, arrived):
        for index in reversed(range(len(prompts))):
            if self.break_after is not None and len(self.asked) == self.break_after:
                raise KeyboardInterrupt
            self.asked.append(prompts[index])
            arrived(index, base.Answer(self.text, "stop", 3, 9))

    def close(self):
        pass

"""Completions of which only the verdicts matter, and stand-ins for a server and for an engine."""

from dataclasses import replace
from pathlib import Path

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


class Client:
    """Answers like `/api/chat`, from a table of (text, done_reason) by tag."""

    host = "127.0.0.1:1"

    def __init__(self, answers):
        self.answers, self.asked, self.made = answers, [], []

    def version(self):
        return "0"

    def digest(self, tag):
        passing = [made[0] for made in self.made if made[1] == tag]
        return f"sha256:{tag}" if "no-system" not in tag or passing[-1:] == ["create"] else None

    def show(self, tag):
        return {"parameters": 'stop  "<|end|>"'}

    def model_file(self, tag):
        return Path("/blobs/sha256-" + 64 * "a"), ""

    def create(self, tag, file, sha256, parameters=None):
        self.made.append(("create", tag, sha256, parameters))

    def delete(self, tag):
        self.made.append(("delete", tag))
        return True

    def chat(self, tag, messages, options, **more):
        self.asked.append((tag, messages, options))
        text, reason = self.answers(tag, messages[-1]["content"])
        return {"message": {"content": text}, "done_reason": reason, "eval_count": 3, "prompt_eval_count": 9}


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

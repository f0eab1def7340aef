"""Finds the submission in a completion, and puts together the program that is run."""

import re

from reasoner.verifiers.code.task import Task, Unfit

MOST_BYTES = 1_000_000  # of a submission's source

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^`]*)")
_PYTHON = frozenset({"python", "py", "python3", "py3"})


def submission_of(completion: str) -> str:
    """Takes the last fenced block of Python, else the last block without a language, else the whole text.

    A block that nothing closes goes to the end. One inside a block of another kind of fence is a part of it.

    >>> submission_of("First:" + chr(10) + "```python" + chr(10) + "x = 1" + chr(10) + "```" + chr(10) + "Done.")
    'x = 1\\n'
    """
    found: dict[bool, str] = {}
    fence, tag, indent = "", "", ""
    block: list[str] = []
    for line in completion.split("\n"):
        match = _FENCE.fullmatch(line.rstrip())
        if match and not fence:
            fence, tag, block = match[1], match[2].strip(), []
            indent = line[: len(line) - len(line.lstrip())]
        elif match and match[1][0] == fence[0] and len(match[1]) >= len(fence) and not match[2]:
            _keep(found, tag, block)
            fence = ""
        elif fence:
            block.append(line.removeprefix(indent))
    if fence:
        _keep(found, tag, block)
    return found.get(True, found.get(False, completion))


def _keep(found: dict[bool, str], tag: str, block: list[str]) -> None:
    word = re.split(r"[\s{},:]+", tag.lower().lstrip("{. "), maxsplit=1)[0]
    if word in _PYTHON or not tag:
        found[bool(tag)] = "".join(f"{line}\n" for line in block)


INDENTED = re.compile(r"(?:[ \t\r]*(?:#[^\n]*)?\n)*[ \t]+[^\s#]")  # begins, but for comments, with indented code
_FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[ \t]+(?:\([^)]*\)|[^\n;#\\]*)", re.MULTILINE)


def program(task: Task, submission: str) -> str:
    """Joins the task's setup and the submission. Raises `Unfit` where that is no text to run.

    A submission whose first line of code is indented is no program by itself, so nothing that could be right is lost
    where it is joined to the task's prompt, as HumanEval's own harness has it.
    """
    try:
        size = len(submission.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise Unfit(f"the submission is not UTF-8 (character {error.start + 1})") from None
    if size > MOST_BYTES:
        raise Unfit(f"the submission has {size:,} bytes (at most {MOST_BYTES:,})")
    if task.prompt and INDENTED.match(submission):
        submission = task.prompt + submission
    if not task.setup.strip():
        return submission
    # A `from __future__` stands first or nowhere, so it is said again above the setup. The submission is not parsed
    # for that: nothing of it is, on this side.
    future = [" ".join(match[0].split()) for match in _FUTURE.finditer(submission)]
    if not future:
        return f"{task.setup.rstrip()}\n\n{submission}"
    rest = _FUTURE.sub("pass", submission)
    return "\n".join([*future, task.setup.rstrip(), "", rest])

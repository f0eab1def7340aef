"""Reads and writes a code task: what a submission must do, and the tests by which it is judged.

A task travels as the `answer` of a problem: one line of JSON, `{"schema": 1, ...}` with the keys of `FIELDS`.

    entry_point   the function's name; null in mode "stdio"
    mode          "call": tests are Python text; "stdio": tests are {"stdin": "…", "stdout": "…"}
    tests         the visible tests: the policy may have seen them
    hidden_tests  held-out tests of the same shape
    property      null, or {"args", "reference"}: Python whose last line is a hypothesis strategy over `st` for the
                  tuple of arguments, such as a call of the `@st.composite` function that stands above it; and trusted
                  source that defines `reference`, whose names `args` sees too; also "examples" (60) and "tolerance"
                  (null: exact)
    setup         source that runs before the submission, such as the imports that its prompt shows ("")
    prompt        source that ends within the entry point's function, after its signature and docstring: what a
                  submission that begins with an indented line goes on from ("")
    solution      a right submission, for the audit ("")
    again         false where the order of calls has meaning: else the tests are asked twice, the second time shuffled

A test is assert lines, or a `check(candidate)` function; `lift` reads it.
"""

import ast
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA = 1
FIELDS = ("entry_point", "mode", "tests", "hidden_tests", "property", "setup", "prompt", "solution", "again")
"""The keys of a task, beside `schema`."""
MOST_BYTES = 4_000_000  # of a task's JSON
EXAMPLES = 60


class Unfit(Exception):
    """Is raised for a task that cannot be judged; the text says why."""


@dataclass(frozen=True)
class Property:
    """Demands that for all arguments of a strategy the answer equals that of a trusted reference."""

    args: str
    reference: str
    examples: int = EXAMPLES
    tolerance: float | None = None  # relative and absolute, for the floats of an answer; None: exact


@dataclass(frozen=True)
class Stdio:
    """Says what a run of a whole program reads, and what it must print."""

    stdin: str
    stdout: str


@dataclass(frozen=True)
class Task:
    """Says what a submission must do. `to_answer` and `parse` are its way to JSON and back."""

    entry_point: str | None
    mode: Literal["call", "stdio"] = "call"
    tests: tuple[str | Stdio, ...] = ()
    hidden_tests: tuple[str | Stdio, ...] = ()
    property: Property | None = None
    setup: str = ""
    prompt: str = ""
    solution: str = ""
    again: bool = True

    def to_answer(self) -> str:
        """Writes the canonical JSON: the same task gives the same text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, sort_keys=True, separators=(",", ":"))


def parse(answer: str) -> Task:
    """Reads the task of an answer; its fields are checked, its tests not yet read. Raises `Unfit`."""
    if len(answer) > MOST_BYTES:
        raise Unfit(f"the task has {len(answer):,} characters (at most {MOST_BYTES:,})")
    try:
        row = json.loads(answer)
    except (RecursionError, ValueError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise Unfit(f"the answer is not the JSON of a task: {why}") from None
    if not isinstance(row, dict):
        raise Unfit("the answer is not the JSON of a task")
    if (schema := row.pop("schema", None)) != SCHEMA:
        raise Unfit(f"the task has schema {schema!r}, we read {SCHEMA}")
    return from_fields(row)


def from_fields(row: Mapping[str, Any]) -> Task:
    """Makes the task of a row with the keys of `FIELDS`; all but `tests` may be left out, no other may be there."""
    if unknown := sorted(set(row) - set(FIELDS)):
        raise Unfit(f"unknown fields: {', '.join(unknown)}")
    mode = row.get("mode", "call")
    if mode not in ("call", "stdio"):
        raise Unfit(f"mode is {mode!r}, not 'call' or 'stdio'")
    entry = row.get("entry_point")
    if mode == "call" and not (isinstance(entry, str) and entry.isidentifier()):
        raise Unfit(f"entry_point is {entry!r}, not a name")
    if mode == "stdio" and entry is not None:
        raise Unfit("entry_point is not null, but the mode is stdio")
    tests, hidden = (_tests_of(row.get(key) or [], mode, key) for key in ("tests", "hidden_tests"))
    given = row.get("property")
    if given is not None and mode == "stdio":
        raise Unfit("a property is for calls, but the mode is stdio")
    prop = None if given is None else _property_of(given)
    if not (tests or hidden or prop):
        raise Unfit("it has no tests")
    texts = {key: row.get(key, "") for key in ("setup", "prompt", "solution")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise Unfit(f"{key} is not text")
    again = row.get("again", True)
    if not isinstance(again, bool):
        raise Unfit("again is neither true nor false")
    return Task(entry, mode, tests, hidden, prop, **texts, again=again)


def _tests_of(pile: object, mode: str, key: str) -> tuple[str | Stdio, ...]:
    if isinstance(pile, str) and mode == "call":
        pile = [pile]
    if not isinstance(pile, list | tuple):
        raise Unfit(f"{key} is not a list")
    found: list[str | Stdio] = []
    for number, one in enumerate(pile, 1):
        if mode == "call":
            if not isinstance(one, str):
                raise Unfit(f"{key} {number} is not text")
            found.append(one)
            continue
        if not isinstance(one, dict) or set(one) != {"stdin", "stdout"}:
            raise Unfit(f'{key} {number} is not {{"stdin", "stdout"}}')
        if not all(isinstance(text, str) for text in one.values()):
            raise Unfit(f"{key} {number}: stdin and stdout are not both text")
        found.append(Stdio(**one))
    return tuple(found)


def _property_of(given: object) -> Property:
    if not isinstance(given, dict):
        raise Unfit("property is not an object")
    if unknown := sorted(set(given) - {"args", "reference", "examples", "tolerance"}):
        raise Unfit(f"property has unknown fields: {', '.join(unknown)}")
    for key in ("args", "reference"):
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise Unfit(f"property has no {key}")
    examples, tolerance = given.get("examples", EXAMPLES), given.get("tolerance")
    if isinstance(examples, bool) or not isinstance(examples, int) or not 1 <= examples <= 1000:
        raise Unfit("property: examples is not a number from 1 to 1000")
    if tolerance is not None and (isinstance(tolerance, bool) or not isinstance(tolerance, int | float)):
        raise Unfit("property: tolerance is not a number")
    if tolerance is not None and not 0 <= tolerance < 1:
        raise Unfit("property: tolerance is not from 0 to 1")
    return Property(given["args"], given["reference"], examples, None if tolerance is None else float(tolerance))


def answer_of(row: Mapping[str, object]) -> str | None:
    """Gives the answer that a row spells in the fields of a task; None where it has an `answer`, or none of them."""
    fields = {key: row[key] for key in FIELDS if key in row}
    return json.dumps({"schema": SCHEMA, **fields}, sort_keys=True) if fields and "answer" not in row else None


# -- the public sets ---------------------------------------------------------------------------


def from_humaneval(row: Mapping[str, Any]) -> Task:
    """Makes the task of a row of HumanEval. Its `check` is hidden; what stands above the function is the setup.

    From the function on it is the task's prompt: a completion may be the rest of the function, as its authors ask for.
    """
    prompt, entry = str(row["prompt"]), str(row["entry_point"])
    functions = [node for node in tree(prompt).body if isinstance(node, ast.FunctionDef) and node.name == entry]
    if not functions:
        raise Unfit(f"its prompt does not define {entry}")
    lines, above = prompt.splitlines(keepends=True), functions[0].lineno - 1
    setup, rest = "".join(lines[:above]).strip(), "".join(lines[above:])
    setup, solution = setup and f"{setup}\n", prompt + str(row["canonical_solution"])
    return Task(entry, hidden_tests=(str(row["test"]),), setup=setup, prompt=rest, solution=solution)


def from_mbpp(row: Mapping[str, Any], visible: int = 1) -> Task:
    """Makes the task of a row of MBPP; `visible` tests are for the prompt, the other and challenge tests are hidden.

    The entry point is the function of its code that its tests call.
    """
    shown = [str(test) for test in row["test_list"]]
    tests = [*shown, *(str(test) for test in row.get("challenge_test_list", []))]
    solution = str(row["code"]).replace("\r\n", "\n")
    defined, called = set(), set()
    for node in tree(solution).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                defined.add(name)
            case ast.Assign(targets=targets):
                defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    for part in (part for test in tests for part in ast.walk(tree(test))):
        match part:
            case ast.Call(func=ast.Name(id=name)):
                called.add(name)
    if len(found := sorted(defined & called)) != 1:
        raise Unfit(f"its tests call {', '.join(found) or 'no function'} of its code: not one entry point")
    setup = str(row.get("test_setup_code", "")).replace("\r\n", "\n")
    return Task(found[0], "call", tuple(tests[:visible]), tuple(tests[visible:]), setup=setup, solution=solution)


_NAME = "<task>"
# A data set's escapes are its own affair: each would be told on standard error, from Python 3.12 on.
warnings.filterwarnings("ignore", message="invalid escape sequence", module=_NAME)


def tree(source: str) -> ast.Module:
    """Parses a data set's text (never a submission's) as Python. Raises `Unfit`."""
    try:
        return ast.parse(source, _NAME)
    except SyntaxError as error:
        raise Unfit(f"it is not Python: {error.msg} (line {error.lineno})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unfit(f"it is not Python that can be read: {error or type(error).__name__}") from None

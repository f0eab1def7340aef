"""A verifier of the user's own: loaded from its file, run in the worker, never an exception into the trainer."""

import os
import pickle
import time

import pytest

from reasoner.errors import USAGE, ReasonerError
from reasoner.verifiers import own, registry, worker
from reasoner.verifiers.score import Score, Shares

FILE = """
import dataclasses, os, time
import beside
from reasoner import verifiers
from reasoner.verifiers import Score, Shares, verifier

@dataclasses.dataclass
class Parts:
    text: str

def same(completion, answer): return Parts(completion.strip()).text == answer
same.commit = lambda reference: f" {reference}\\n"

def scored(completion, answer): return Score("wrong", completion, "whole", "because", "text")

@verifier("by-name", version="7", commit=lambda reference: reference * 2, strict=same)
def decorated(completion: str, answer: str, *, loose: bool = True) -> Score:
    return Score("right", rule=beside.RULE)

def wraps(completion, answer): return verifiers.load("number").function(completion, answer)
@verifier("tests", version="1", has_shares=True)
def tests(completion, answer): return Score("wrong", shares=Shares(1, None))

def odd_shares(completion, answer): return Score("wrong", shares=Shares(1.0, 1.5))
def bare_shares(completion, answer): return Score("wrong", shares=(1.0, 0.5))
def slow(completion, answer): time.sleep(60)
def dies(completion, answer): os._exit(3)
def fails(completion, answer): raise KeyError("no")
def shares(completion, answer): return 0.5
def whole(completion, answer): return 1
def nothing(completion, answer): pass
def odd(completion, answer): return Score("maybe")
def number(completion, answer): return Score("right", 5)
def large(completion, answer): return Score("right", "x" * 2_000_000)
def one(completion): return True
def three(completion, answer, more): return True
def bad(completion, answer): return True
bad.commit = lambda reference: 5
constant = 3
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own judges")
    (folder / "beside.py").write_text("RULE = 'from beside'\n")
    (folder / "judge ü.py").write_text(FILE)
    yield folder / "judge ü.py"
    worker.end_all()


def judged(path, name, completion="5", answer="5"):
    return registry.verify(registry.load(f"{path}:{name}"), completion, answer)


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("same", Score("right")),
        ("scored", Score("wrong", "5", "whole", "because", "text")),
        ("decorated", Score("right", rule="from beside")),
        ("by-name", Score("right", rule="from beside")),
        ("dies", Score("unscored", why="the worker ended (exit 3)")),
        ("tests", Score("wrong", shares=Shares(1, None))),
        (
            "odd_shares",
            Score("unscored", why="its shares are not Shares from 0 to 1: Shares Shares(visible=1.0, hidden=1.5)"),
        ),
        ("bare_shares", Score("unscored", why="its shares are not Shares from 0 to 1: tuple (1.0, 0.5)")),
        ("shares", Score("unscored", why="it gave float 0.5, not a Score or a bool")),
        ("whole", Score("unscored", why="it gave int 1, not a Score or a bool")),
        ("nothing", Score("unscored", why="it gave NoneType None, not a Score or a bool")),
        ("odd", Score("unscored", why="it gave the verdict str 'maybe'")),
        ("large", Score("unscored", why="the result is too large: 2,000,031 bytes")),
    ],
)
def test_verdicts(path, name, score):
    assert judged(path, name) == score


def test_it_may_call_a_built_in_one(path):
    assert judged(path, "wraps") == registry.verify(registry.load("number"), "5", "5")


def test_wrong_answers_are_wrong(path):
    assert judged(path, "same", "6").verdict == "wrong"


def test_an_exception_says_where(path):
    score = judged(path, "fails")
    assert score.verdict == "unscored"
    assert score.why.startswith("KeyError: 'no' (judge ü.py:")


def test_a_field_that_is_no_text_is_unscored(path):
    score = judged(path, "number")
    assert (score.verdict, score.extracted) == ("unscored", None)
    assert "is no text" in score.why


def test_a_verifier_that_hangs_is_killed(path, monkeypatch):
    monkeypatch.setattr(own, "LIMIT_S", 0.2)
    started = time.perf_counter()
    assert judged(path, "slow") == Score("unscored", why="judge ü.py:slow took longer than 0.2 s")
    assert time.perf_counter() - started < 2
    assert judged(path, "same").verdict == "right"


def test_commit_and_strict(path):
    assert registry.load(f"{path}:tests").has_shares
    assert not registry.load(f"{path}:bare_shares").has_shares
    same, decorated, scored = (registry.load(f"{path}:{name}") for name in ("same", "by-name", "scored"))
    assert (same.commit("5"), decorated.commit("5"), scored.commit("5")) == (" 5\n", "55", "5")
    assert (same.strict, scored.strict) == (None, None)
    assert decorated.strict is not None
    assert [decorated.strict("5", answer).verdict for answer in "56"] == ["right", "wrong"]
    with pytest.raises(ReasonerError, match="commit of judge ü.py:bad failed"):
        registry.load(f"{path}:bad").commit("5")


def test_the_version_is_the_content(path, tmp_path):
    first = registry.load(f"{path}:same").version
    assert first.startswith("sha256:")
    assert len(first) == len("sha256:") + 12
    copy = tmp_path / "copy.py"
    copy.write_text("def f(completion, answer): return True")
    old = registry.load(f"{copy}:f")
    assert registry.verify(old, "x", "y").verdict == "right"
    copy.write_text("def f(completion, answer): return False")
    new = registry.load(f"{copy}:f")
    assert old.version != new.version != first
    assert registry.verify(new, "x", "y").verdict == "wrong"


def test_a_file_that_changed_under_a_run_gives_no_verdict(tmp_path):
    path = tmp_path / "f.py"
    path.write_text("def f(completion, answer): return True")
    checker = registry.load(f"{path}:f")
    path.write_text("def f(completion, answer): return False")
    worker.end_all()  # a new worker reads the file anew
    score = registry.verify(checker, "x", "y")
    assert score.verdict == "unscored"
    assert "has changed since it was loaded" in score.why


def test_the_name_holds_in_every_folder(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    relative = registry.load("judge ü.py:same")
    monkeypatch.chdir("/")
    assert relative.name == f"{path}:same"
    assert registry.load(relative.name) == relative
    assert registry.verify(relative, "5", "5").verdict == "right"


def test_it_crosses_to_another_process_of_ours(path):
    checker = registry.load(f"{path}:by-name")
    again = pickle.loads(pickle.dumps(checker))
    assert again == checker
    assert registry.verify(again, "5", "5").verdict == "right"


def test_its_file_does_not_run_in_our_process(tmp_path):
    (tmp_path / "f.py").write_text(
        "import os\nPID = os.getpid()\ndef f(c, a): return Score_(c)\ndef Score_(c): return c == str(PID)"
    )
    assert judged(tmp_path / "f.py", "f", str(os.getpid())).verdict == "wrong"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("{path}:one", "'one' takes (completion), not (completion, answer)"),
        ("{path}:three", "'three' takes (completion, answer, more), not (completion, answer)"),
        ("{path}:constant", "'constant' is no function but int"),
        ("{path}:sam", "did you mean `same`?"),
        ("{path}:by-nam", "did you mean `by-name`?"),
        ("{path}", "names no function"),
        ("{path}:", "names no function"),
        (":same", "names no function"),
        ("{folder}/none.py:f", "there is no file"),
        ("{folder}:f", "cannot be read"),
        ("{folder}/syntax.py:f", "line 2: "),
        ("{folder}/zero.py:f", "is not Python"),
        ("{folder}/raises.py:f", "RuntimeError: not today (raises.py:1)"),
        ("{folder}/imports.py:f", "No module named 'no_such_module'"),
        ("{folder}/exits.py:f", "SystemExit"),
        ("{folder}/empty.py:f", "path/to/file.py:name"),
    ],
)
def test_what_cannot_be_loaded_is_one_error(path, name, says):
    for file, text in {
        "syntax": "x = 1\ndef f(:\n",
        "zero": "x = 1\0",
        "raises": "raise RuntimeError('not today')",
        "imports": "import no_such_module",
        "exits": "import sys; sys.exit()",
        "empty": "",
    }.items():
        (path.parent / f"{file}.py").write_text(text)
    with pytest.raises(ReasonerError) as caught:
        registry.load(name.format(path=path, folder=path.parent))
    assert says in str(caught.value)
    assert caught.value.fix
    assert caught.value.code == USAGE


def test_a_file_that_does_not_end_does_not_load(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "START_S", 1.0)
    (tmp_path / "f.py").write_text("while True: pass")
    with pytest.raises(ReasonerError, match="it still ran after 1 s"):
        registry.load(f"{tmp_path}/f.py:f")


def test_an_unknown_name_lists_what_is_built_in():
    with pytest.raises(ReasonerError) as caught:
        registry.load("zebra")
    assert "built in: " in str(caught.value)
    assert "number, number-lenient" in str(caught.value)
    assert "path/to/file.py:name" in str(caught.value)

"""Says what a verifier is, takes new ones, and calls them.

A verifier is one pure function with facts about itself, so that nobody else has to know it by its name. `verify` is
the one place where its failure is caught: a broken verifier gives `unscored`, which is never a reward of 0 or wrong.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reasoner.verifiers.score import Judge, Score

Check = Callable[[str, str], Score]  # `(completion, answer) -> Score`: pure and picklable
NearMisses = Callable[[str], Iterable[tuple[str, str]]]
Contract = Literal["number", "lenient", "math", "own"]

THREADS = 16  # at most so many completions are out at a parallel verifier


@dataclass(frozen=True)
class Rows:
    """Says how `reasoner check` reads rows of this verifier that have another layout than `answer` and `completion`.

    `answer_of` gives the reference that a row spells in fields of its own; None where it has none of them.
    `check_source` judges a `submission`, which is the answer itself rather than a text that holds it.
    """

    answer_of: Callable[[Mapping[str, object]], str | None]
    check_source: Check


@dataclass(frozen=True)
class Verifier:
    """Joins a check with what others must know of it; `version` changes whenever a verdict can change.

    Of its verdicts: `commit` turns a reference into a completion that commits to it in the asked format, which is what
    the audit starts from. `strict` is a second, stricter rule, which never accepts what `function` rejects: a sample of
    what was accepted in training is judged by it again, and the gap between the two is a metric. `lenient` is the name
    of the verifier that reads more than this one. `has_shares`: its scores have `shares`. `near_misses` gives
    completions that resemble a right one and are wrong, each with a name for its kind, for the audit. `contract` is
    what the audit may hold it to: the formats that it promises to read (`own`: none).

    Of its references: `family` names the kind that it reads (`number`, `math`, `code`), with which data sets are
    paired; empty for a person's own. `label` says for reports what it counts, where its name does not.

    `reads` says for people how an answer or a reference is read, by the readers that the verdict goes by.

    Of how it runs: `is_parallel`: it waits for another process, so `verify_many` asks it from several threads.
    `is_sandboxed`: it runs code of others in the sandbox. `ready` refuses a machine on which it cannot judge.
    """

    name: str
    version: str
    function: Check
    commit: Callable[[str], str] = str
    strict: Check | None = None
    is_parallel: bool = False
    ready: Callable[[], None] | None = None
    has_shares: bool = False
    near_misses: NearMisses | None = None
    contract: Contract = "own"
    family: str = ""
    label: str = ""
    lenient: str | None = None
    is_sandboxed: bool = False
    rows: Rows | None = None
    reads: Callable[[str], str] | None = None

    @property
    def judge(self) -> Judge:
        """Returns its name and version, as they stand beside its verdicts."""
        return Judge(self.name, self.version)


registered: dict[str, Verifier] = {}  # the verifiers whose modules have been imported, by name


def register(checker: Verifier) -> Verifier:
    """Enters a verifier under its name, in the place of one that had it, and gives it back."""
    registered[checker.name] = checker
    return checker


def verifier(
    name: str,
    *,
    version: str,
    commit: Callable[[str], str] = str,
    strict: Check | None = None,
    has_shares: bool = False,
) -> Callable[[Check], Check]:
    """Registers `function(completion, answer) -> Score` under a name; the function stays what it is."""

    def enter(function: Check) -> Check:
        register(Verifier(name, version, function, commit, strict, has_shares=has_shares))
        return function

    return enter


def verify(checker: Verifier, completion: str, answer: str, *, is_finished: bool = True) -> Score:
    """Scores one completion. One that was cut off has committed to nothing, so it is wrong."""
    try:
        score = checker.function(completion, answer)
        if not isinstance(score, Score):
            raise TypeError(f"it gave {type(score).__name__}, not a Score")
    except Exception as error:  # noqa: BLE001  (the one catch-all around a verifier)
        return Score("unscored", why=f"{checker.name} failed: {type(error).__name__}: {error}"[:300])
    if not is_finished and score.verdict != "unscored":
        return replace(score, verdict="wrong", why="cut off before its end", shares=None)
    return score


def verify_many(checker: Verifier, rows: Sequence[tuple[str, str, bool]]) -> list[Score]:
    """Gives the scores of (completion, answer, is finished), in order."""
    if not checker.is_parallel or len(rows) < 2:
        return [verify(checker, text, answer, is_finished=is_finished) for text, answer, is_finished in rows]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(THREADS, len(rows))) as pool:
        return list(pool.map(lambda row: verify(checker, row[0], row[1], is_finished=row[2]), rows))

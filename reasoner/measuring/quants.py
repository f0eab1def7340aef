"""Makes the candidate GGUF types of one merged model, one at a time, scores them, and chooses among them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from reasoner.errors import MISSING, ReasonerError
from reasoner.export import calibration
from reasoner.llamacpp import quantize
from reasoner.measuring.climb import Climb, Model
from reasoner.measuring.figures import Quant

_MATRIX = "-imatrix"


def rung_name(quant: str, imatrix: bool) -> str:
    """Returns the name of a type's rung."""
    return quant + (_MATRIX if imatrix else "")


class Quants:
    """Holds the candidates' files, in the run's `ladder` folder, while the block runs."""

    def __init__(self, climb: Climb, merged: Path) -> None:
        self.climb, self.merged = climb, merged
        self.first = climb.folder / "16bit.gguf"
        self.matrix: Path | None = None

    def __enter__(self) -> Quants:
        weights = sum(path.stat().st_size for path in self.merged.glob("*.safetensors"))
        self.climb.folder.mkdir(parents=True, exist_ok=True)
        needed, free = int(2.6 * weights) + 50 * 2**20, shutil.disk_usage(self.climb.folder).free
        if free < needed:
            raise ReasonerError(
                f"not enough disk space at {self.climb.folder}",
                why=f"a ladder makes 16-bit GGUFs on the fly: {needed / 2**30:.2f} GiB, {free / 2**30:.2f} are free",
                fix="free some, or move runs with REASONER_RUNS",
                code=MISSING,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing that was made on the fly stays, done or not: it is made again in less time than it is worth."""
        for pattern in ("*.gguf", "*.imatrix", "calibration.txt"):
            for path in self.climb.folder.glob(pattern):
                path.unlink()

    def make(self, quant: str, *, imatrix: bool) -> Path:
        """Makes the file of a type; the caller removes it when it has done with it."""
        climb, out = self.climb, self.climb.folder / f"made.{rung_name(quant, imatrix)}.gguf"
        quantize.quantize(self.first, out, quant, climb.log, climb.listener.say, self.matrix if imatrix else None)
        return out

    def score_all(self, own: Mapping[str, Path]) -> None:
        """Scores F16, then every type, each against F16; `own` are files to take as they are, by rung."""
        climb = self.climb
        quantize.convert(self.merged, self.first, climb.log, climb.listener.say)
        wanted = [(quant, False) for quant in reversed(quantize.TYPES)]
        if self._importance():
            wanted += [(quant, True) for quant in reversed(quantize.K_QUANTS)]
        elsewhere = [name for name in own if name not in {rung_name(*one) for one in wanted}]
        wanted += [(name.removesuffix(_MATRIX), name.endswith(_MATRIX)) for name in elsewhere]
        for quant, imatrix in wanted:
            name = rung_name(quant, imatrix)
            against = "F16" if quant != "F16" else "merged" if "merged" in climb.rungs else None
            if path := own.get(name):
                climb.score(Model(name, str(path), str(path.relative_to(climb.run.path))), against)
                continue
            made = self.make(quant, imatrix=imatrix)
            climb.score(Model(name, str(made), f"{quant} of {self.merged.name}"), against)
            made.unlink()

    def _importance(self) -> bool:
        climb, say = self.climb, self.climb.listener.say
        text = climb.folder / "calibration.txt"
        tokens = calibration.write(climb.run, self.merged, climb.config.data.system, text)
        if not tokens:
            say("no importance matrix: the run's rollouts hold too few right completions")
            return False
        say(f"importance matrix of {tokens:,} tokens of the run's own prompts and completions")
        self.matrix = quantize.importance_path(self.first)
        quantize.importance(self.first, text, self.matrix, climb.log, say)
        return True

    def table(self) -> list[Quant]:
        """Returns one row a type, smallest file first."""
        found, shown = [], ("bytes", "pass_at_1", "ci95", "right", "tokens_per_s")
        for name, rung in self.climb.rungs.items():
            quant = name.removesuffix(_MATRIX)
            if rung.engine != "llama.cpp" or quant not in quantize.TYPES:
                continue
            change = rung.change if quant != "F16" else None
            ends = change.ci95 if change else (0.0, 0.0)
            row = Quant(
                quant=quant,
                **{figure: getattr(rung, figure) for figure in shown},
                points=change.points if change else 0.0,
                points_ci95=ends,
                imatrix=name != quant,
                inside=-ends[0] <= self.climb.margin,
                other_types=other_types(quant, rung.tensor_types or {}),
            )
            found.append(row)
        return sorted(found, key=lambda row: (quantize.TYPES.index(row.quant), row.imatrix))


def other_types(quant: str, types: Mapping[str, int]) -> int:
    """Counts tensors that a K-quant could not hold (their rows are no multiple of 256), kept in a larger plain type."""
    return sum(
        count for name, count in types.items() if quant in quantize.K_QUANTS and name in ("Q5_0", "Q5_1", "Q8_0")
    )


def choose(table: Sequence[Quant]) -> Quant:
    """Returns the smallest type inside the margin; of one made with and without a matrix, that with more right.

    Inside is a matter of the interval and not of the estimate: few problems must not make a lossy type look safe, and
    where nothing is shown, F16 stays. A matrix that gains nothing is left out.
    """
    fit = [row for row in table if row.inside]
    return min(fit, key=lambda row: (quantize.TYPES.index(row.quant), -row.right, row.imatrix))

"""Says each section of a run's report once, as blocks made of the material; without any where there is nothing to say.

Computes no figure; `behaviour` counts, `measuring` measures.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from reasoner import words
from reasoner.measuring import figures
from reasoner.reporting import behaviour, blocks, lineage, plots
from reasoner.reporting import summary as summaries
from reasoner.reporting.behaviour import Figures
from reasoner.reporting.blocks import Block, Code, Paragraph, Picture, Plain, Section, Table, Text, listed
from reasoner.reporting.flips import flips, reference
from reasoner.reporting.markup import Markup
from reasoner.reporting.material import Material
from reasoner.reporting.plots import SHARES, Point, Series, Show
from reasoner.reporting.summary import ROLES, Summary
from reasoner.training.facts import StepMetrics

P_VALUES = (
    "p: McNemar's exact test on the problems that flipped, adjusted by Holm for all kinds and sets of this report. A"
    " model below the base with p < 0.05 on any of them, trained or not, is not promoted."
)
STRICT = (
    "Accepted completions are judged again by the verifier's stricter rule, which pays nothing. A share that grows is a"
    " policy that found what only the reward accepts; one near 100 % from the start is a base without an answer format."
)
HIDDEN = (
    "Visible tests may stand in the prompt, hidden ones do not. A gap between their shares that grows is a policy that"
    " learns the visible ones by heart."
)
TRANSFER = (
    "Sets scored beside the main one, base and tuned alike. Transfer is reported as it is, small, none or negative."
)
BEHAVIOUR = (
    "Counted in the text, never rewarded. Numbers: different ones written in a completion. Equations: calculations"
    " written out, checked exactly. Self-correction: phrases such as “wait” or “let me check”. At the end the base and"
    " the tuned model answer the same problems greedily; rollouts of the first and last steps are sampled."
)
EVERYDAY = (
    " fixed prompts that the training was not about. Degenerate: empty, repeating itself, or a bare number where none"
    " was asked. A fact is right where the answer names it."
)
SCATTER = "Numbered as in the table, with 95 % intervals; filled: inside the margin. Dashed: F16 less the margin."
Made = list[Block]


def report(material: Material) -> blocks.Page:
    """Returns the report of a run, finished or not."""
    sections = [
        Section("figures", "Figures", figures_of(material)),
        Section("training", "While it trained", training(material)),
        Section("kinds", "By kind of problem", kinds(material)),
        Section("beside", "Beside it", beside(material)),
        Section("ladder", "Where a score is lost", ladder(material)),
        Section("behaviour", "Behaviour", habits(material)),
        Section("flips", "What changed, problem by problem", flipped(material.completions)),
        Section("everyday", "Everyday prompts", everyday(material)),
        Section("audit", "The verifier's audit", audit(material)),
        Section("lineage", "Where it came from", lineage.origin(material)),
        Section("reproduce", "How to reproduce it", lineage.reproduce(material)),
        Section("seconds", "What took how long", seconds(material)),
    ]
    summary = material.summary
    return _finished(material, summary, sections) if summary else _in_progress(material, sections)


def _finished(material: Material, summary: Summary, sections: Sequence[Section]) -> blocks.Page:
    lift, finished = summary.lift, max((one.finished for one in material.records.done.values()), default="")
    told = (
        f"{dict(summaries.lines(summary))['problems']}. Intervals are 95 % (Wilson for shares; Agresti-Min, paired, for"
        f" the lift). One training run, seed {summary.seed}: the interval speaks of the problems, not of other seeds."
    )
    over = f"95 % interval {words.points_interval(lift.ci95)} on {summary.n:,} held-out problems"
    named = {key: str(getattr(summary, key)) for key in ("run", "profile", "seed", "device")}
    sure = "" if lift.is_lift else ": no measurable lift"
    return blocks.Page(
        title=f"{summary.run}: {words.points(lift.points)} points",
        facts=[*named.items(), ("", finished[:10])],
        warnings=warnings(summary),
        headline=(words.points(lift.points), f"points from base to tuned{sure}"),
        is_finding=lift.is_lift,
        head=[Paragraph(over, "lede"), Picture(plots.bars(bars("", summary), plots.scale())), Paragraph(told)],
        sections=sections,
        version=summary.versions.get("reasoner"),
    )


def _in_progress(material: Material, sections: Sequence[Section]) -> blocks.Page:
    newest = material.metrics[-1] if material.metrics else None
    trained = f"step {newest.step} of {newest.steps}" if newest else "no step yet"
    told = f"Training: {trained}. Stages done: {', '.join(material.records.done) or 'none'}."
    done = newest.step / max(newest.steps, 1) if newest else 0.0
    return blocks.Page(
        title=f"{material.run.name}: not finished",
        facts=[("run", material.run.name), ("profile", material.profile)],
        warnings=[],
        headline=(f"{newest.step} of {newest.steps}" if newest else "0", "training steps"),
        is_finding=True,
        head=[Picture(plots.progress(told, done)), Paragraph(told, "live")],
        sections=sections,
    )


def warnings(summary: Summary) -> list[str]:
    """Returns what must be read before any figure."""
    control = f"Control run ({summary.control} references): no lift is what it should show."
    refused = f"Not promoted: {'; '.join(summary.gate)}"
    return [*([control] if summary.control else []), *([refused] if summary.promoted is False else [])]


def bars(name: str, summary: Summary) -> list[plots.Bar]:
    """Returns the shares right of base and tuned; before each role stands the name."""
    return [
        plots.Bar(f"{name}{role}", role, plots.share_bar(role, one.pass_at_1, one.ci95), words.share(one.pass_at_1),
                  words.interval(one.ci95))
        for role, one in summary.roles.items()
    ]  # fmt: skip


def figures_of(material: Material) -> Made:
    """Says the closing summary, but for what has a section of its own."""
    if not (summary := material.summary):
        return []
    elsewhere = {"problems", "by kind", "everyday", *summary.beside, *(["audit"] if material.audit else [])}
    rows = [(Plain(what), text) for what, text in summaries.lines(summary) if what not in elsewhere]
    return [Table("Figures", (), rows, "pairs")]


# -- training ----------------------------------------------------------------------------------


def _decimals(digits: int) -> Show:
    return lambda value: f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return words.share(value, digits=0)


CURVES: tuple[tuple[str, str, Show, float], ...] = (
    ("reward", "Reward", _decimals(2), 1.0),
    ("signal", "Groups with signal", _percent, 1.0),
    ("shows_working", "Shows working", _percent, 1.0),
    ("length", "Tokens of a completion", _decimals(0), 0),
    ("entropy", "Entropy, nats a token", _decimals(2), 0),
    ("chat_kl", "KL on chat, nats a token", _decimals(3), 0),
    ("truncated", "Cut by length", _percent, 0.1),
    ("strict_gap", "Right by the lenient rule only", _percent, 0.1),
    ("hidden_share", "Hidden tests that hold", _percent, 1.0),
    ("mismatch", "Sampler against trainer", "{:.1g}".format, 0),
)
"""(Key, title, how a value is written, the least end of the scale)."""
COLUMNS: tuple[tuple[str, str, Show], ...] = (
    ("step", "step", _decimals(0)),
    ("reward", "reward", _decimals(2)),
    ("signal", "groups with signal", words.share),
    ("shows_working", "shows working", words.share),
    ("length", "tokens", _decimals(0)),
    ("truncated", "cut", words.share),
)
MEASURED: tuple[tuple[str, str, Show], ...] = (
    ("chat_kl", "KL to the base on chat text, nats/token", _decimals(4)),
    ("strict_gap", "accepted, but not by the stricter rule", words.share),
    ("visible_share", "visible tests that hold", words.share),
    ("hidden_share", "hidden tests that hold", words.share),
    ("hidden_gap", "gap, points", lambda value: words.points(100 * value)),
    ("mismatch", "sampler against trainer, log-probability", words.p_value),
)
"""Columns of what only some trainings measure."""
SPARSE = ("chat_kl",)
"""Measured every few steps, each time on the same texts."""
Coloured = Sequence[tuple[str, Material]]
"""Runs, each with the role whose colour it has."""


def _points(values: Iterable[tuple[float, float | None]]) -> list[Point]:
    """Leaves out figures that are none (NaN of a broken step): they have no place on a curve."""
    return [(x, y) for x, y in values if y is not None and math.isfinite(y)]


def _chart(title: str, series: Sequence[Series], show: Show, least: float, *, keeps_zero: bool) -> list[Markup]:
    """Draws a chart; none where nothing was measured, or where all is 0 and that says nothing."""
    is_there = any(y or keeps_zero for one in series for _, y in one.points)
    return [plots.chart(title, series, show, least)] if is_there else []


def curves(runs: Coloured) -> list[Markup]:
    """Draws the learning curves of these runs, in one chart each."""
    found = []
    for key, title, show, least in CURVES:
        values = [(role, ((one.step, getattr(one, key)) for one in run.metrics)) for role, run in runs]
        series = [Series(role, _points(pairs), key in SPARSE) for role, pairs in values]
        found += _chart(title, series, show, least, keeps_zero=key in ("reward", "signal"))
    dev = [Series(role, _points(run.dev), is_sparse=True) for role, run in runs]
    return [*found[:1], *_chart("Right on dev, served", dev, _percent, 1.0, keeps_zero=True), *found[1:]]


def training(material: Material) -> Made:
    """Says how the model came to do what it does."""
    if not (metrics := material.metrics):
        return []
    around = plots.window(len(metrics))
    drawn = f"Thin: each step. Thick: the mean of {around} steps around it." if around > 1 else ""
    gaps = (("strict_gap", STRICT), ("hidden_gap", HIDDEN))
    return [
        Paragraph(reward_note(material), of_picture=drawn),
        Picture(plots.charts(curves([("tuned", material)]))),
        *(Paragraph(note) for key, note in gaps if any(getattr(one, key) is not None for one in metrics)),
        blocks.Folded("A dozen steps in figures", [training_table(metrics)]),
    ]


def reward_note(material: Material) -> str:
    """Says what the loss was made of, in a sentence or two."""
    trained = material.summary.train if material.summary else None
    paid = trained.reward if trained else material.setting("verifier.reward", "verdict")
    weight = (trained and trained.chat_kl_weight) or material.setting("train.chat_kl") or 0.0
    kept = f" The loss also holds the KL to the base on everyday text, weight {weight:g}: it keeps the chat."
    return f"The reward was {summaries.REWARDS[paid]}, and nothing else." + (kept if weight else "")


def training_table(metrics: Sequence[StepMetrics]) -> Table:
    """Returns a dozen steps, with a column more for each thing that this training measured."""
    columns = [*COLUMNS, *(one for one in MEASURED if any(getattr(row, one[0]) is not None for row in metrics))]
    has_kinds = any(row.kinds is not None for row in metrics)
    newest, rows = None, []
    for row in metrics:
        newest = newest if row.chat_kl is None else row.chat_kl  # stands until it is measured again
        values = {**vars(row), "chat_kl": newest}
        cells: list[Text] = ["" if values[key] is None else show(values[key]) for key, _, show in columns]
        rows.append([*cells, _families(row.kinds or {})] if has_kinds else cells)
    titles = [*(title for _, title, _ in columns), *(["drawn"] if has_kinds else [])]
    return Table("Training, a dozen steps", titles, behaviour.spread(rows, 12), "wide")


def _families(kinds: Mapping[str, float]) -> Text:
    """Says shares of the draws, by kind without the size of its numbers."""
    shares: dict[str, float] = {}
    for kind, part in kinds.items():
        name = re.sub(r" (to \d+|beyond)$", "", kind)
        shares[name] = shares.get(name, 0.0) + part
    return listed((Code(name), f" {_percent(part)}") for name, part in sorted(shares.items())) if shares else ""


# -- kinds and sets ----------------------------------------------------------------------------


def _lift(lift: summaries.Effect | figures.Lift | None) -> tuple[str, str]:
    """Returns the two cells of a lift and its p."""
    if lift is None:
        return "no pair was scored", ""
    return words.points(lift.points, lift.ci95), "" if lift.p_holm is None else words.p_value(lift.p_holm)


def counted(title: str, *pair: figures.Counts) -> tuple[Markup | str, str, str]:
    """Returns two counts as a plot, where both have verdicts, and as text."""
    before, after = (f"{one.right} of {one.scored}" for one in pair)
    shares = [one.right / one.scored for one in pair if one.scored]
    return plots.dumbbell(f"{title}: {before} to {after}", *shares) if len(shares) == 2 else "", before, after


def kinds(material: Material) -> Made:
    """Says which kinds of problems the model learned, and which it lost."""
    cells = material.by_kind.items()
    rows = [(Plain(kind), *counted(kind, cell.base, cell.tuned), *_lift(cell.lift)) for kind, cell in cells]
    titles = ("kind", SHARES, "base right", "tuned right", "lift, points", "p")
    table = Table("By kind of problem", titles, rows, "wide")
    return [Picture(plots.legend()), table, Paragraph(P_VALUES)] if rows else []


def beside(material: Material) -> Made:
    """Says what the model scored on other sets."""
    rows: list[blocks.Row] = []
    for name, one in material.beside.items():
        if isinstance(one, figures.Missing):
            told = ("not found in ", Code(one.missing), " (`REASONER_DATA`)")
            rows.append((Plain(name), None, None, told, *[None] * 4))
            continue
        ends = [("base", one.base.pass_at_1, one.base.ci95), ("tuned", one.tuned.pass_at_1, one.tuned.ci95)]
        right = [words.share(share, ci95) for _, share, ci95 in ends]
        plot = plots.whiskers(f"{name}: base {right[0]}, tuned {right[1]}", ends)
        cut = f"{words.share(one.base.truncated)} → {words.share(one.tuned.truncated)}"
        rows.append((Plain(name), plot, str(one.n), *right, *_lift(one.lift), cut))
    titles = ("set", SHARES, "n", "base right", "tuned right", "lift, points", "p", "cut, base → tuned")
    told_before = [] if material.by_kind else [Paragraph(P_VALUES)]
    table = Table("Sets beside", titles, rows, "wide")
    return [Paragraph(TRANSFER), Picture(plots.legend()), table, *told_before] if rows else []


# -- ladder and quants -------------------------------------------------------------------------


def ladder(material: Material) -> Made:
    """Says where on the way to Ollama a score is lost, and how small the file may be."""
    if not (found := material.ladder):
        return []
    told: tuple[str, ...] = ("No rung loses more than the margin.",)
    flips_there: Made = []
    if loss := found.first_loss:
        lost = words.points(loss.points, loss.ci95, " points")
        told = (f"First loss at {loss.rung}: {lost}: ", Plain(loss.cause), ".")
        rows = [(Plain(one.problem_id), one.before, one.after)
                for rung in found.rungs if rung.rung == loss.rung for one in rung.flips]  # fmt: skip
        table = Table("Flipped problems", ("problem", "before", "after"), rows)
        flips_there = [blocks.Folded(("What flipped at ", Plain(loss.rung)), [table])]
    asked = f"{found.n} problems of split `{found.split}`, the same at every rung, greedy"
    note = f"{asked}; margin {found.margin_points:g} points. "
    titles = ("rung", SHARES, "engine", "right", "against", "change, points", "flips", "cut", "MB", "tokens/s")
    rungs = Table("Rungs of the ladder", titles, [_rung(one, loss) for one in found.rungs], "wide")
    return [Paragraph((note, *told)), rungs, *flips_there, *(_quants(found) if found.quants else [])]


def _speed(tokens_per_s: float | None) -> str:
    return f"{tokens_per_s:,.0f}" if tokens_per_s else ""


def _rung(rung: figures.Rung, loss: figures.Loss | None) -> blocks.Row:
    change, right = rung.change, words.share(rung.pass_at_1, rung.ci95)
    is_loss = loss is not None and rung.rung == loss.rung
    role = "bad" if is_loss else "base" if rung.rung == "base" else "tuned"
    changed = ("", "", "")
    if change:
        effect = words.points(change.points, change.ci95)
        changed = (Plain(change.against), effect, f"+{change.gained} −{change.lost}")
    return (
        blocks.Cell((Plain(rung.rung), ": lost here"), "bad") if is_loss else Plain(rung.rung),
        plots.whiskers(f"{rung.rung}: {right}", [(role, rung.pass_at_1, rung.ci95)]), Plain(rung.engine), right,
        *changed, words.share(rung.truncated), words.megabytes(rung.bytes), _speed(rung.tokens_per_s),
    )  # fmt: skip


def _quants(found: figures.Ladder) -> Made:
    names = [f"{one.quant}{' with imatrix' if one.imatrix else ''}" for one in found.quants]
    rows = [
        (str(number), Plain(name), words.megabytes(one.bytes), words.share(one.pass_at_1, one.ci95),
         words.points(one.points, one.points_ci95), _speed(one.tokens_per_s), "yes" if one.inside else "no")
        for number, (name, one) in enumerate(zip(names, found.quants, strict=True), 1)
    ]  # fmt: skip
    chosen = min(
        (one for one in found.quants if one.inside and one.quant == found.chosen),
        key=lambda one: (-one.right, one.imatrix),  # made with and without a matrix: as the ladder chooses
        default=None,
    )
    marks = [
        plots.Mark(one.bytes / 1e6, one.pass_at_1, one.ci95, one.inside, one is chosen, 1 if one.imatrix else -1)
        for one in found.quants
    ]
    margin = next((one.pass_at_1 - found.margin_points / 100 for one in found.quants if one.quant == "F16"), None)
    told = "; ".join(f"{name} {row[2]} MB {row[3]}" for name, row in zip(names, rows, strict=True))
    note = f"Chosen by the verifier: {found.chosen or 'none'}, the smallest whose loss is inside the margin."
    titles = ("", "quant", "MB", "right", "against F16, points", "tokens/s", "inside")
    return [
        blocks.Heading("Size against score"), Paragraph(note, of_picture=SCATTER),
        Picture(plots.scatter(f"Share right against size of the file: {told}", marks, margin)),
        Table("Quants", titles, rows, "wide"),
    ]  # fmt: skip


# -- behaviour and texts -----------------------------------------------------------------------


def _held(found: Figures) -> float | None:
    return found.correct / found.equations if found.equations else None


HABIT_CURVES: tuple[tuple[str, Callable[[Figures], float | None], Show, float], ...] = (
    ("Different numbers", lambda one: one.numbers, _decimals(1), 0),
    ("Equations that hold", _held, _percent, 1.0),
    ("Self-correction", lambda one: one.corrects_itself, _percent, 0.1),
)
HABITS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("completions", lambda one: f"{one.n:,}"),
    ("show working", lambda one: words.share(one.shows_working)),
    ("tokens, mean", lambda one: f"{one.length:.1f}"),
    ("different numbers, mean", lambda one: f"{one.numbers:.2f}"),
    ("equations that hold", lambda one: f"{words.share(_held(one) or 0)} of {one.equations:,}" if one.equations
     else "none written"),
    ("known steps in order", lambda one: words.share((one.in_order or 0) / one.known) if one.known else "not known"),
    ("self-correction", lambda one: words.share(one.corrects_itself)),
    ("its phrases", lambda one: ", ".join(f"{p} {n}" for p, n in list(one.phrases.items())[:4]) or "none"),
)  # fmt: skip


def habit_curves(runs: Coloured) -> Made:
    """Draws behaviour over the steps of training."""
    found = []
    for title, value, show, least in HABIT_CURVES:
        series = [Series(role, _points((step, value(one)) for step, one in run.trained.items())) for role, run in runs]
        found += _chart(title, series, show, least, keeps_zero=False)
    return [Picture(plots.charts(found))] if found else []


def habit_table(material: Material, label: str = "Behaviour") -> Made:
    """Returns a table: the first and last fifth of the training, base and tuned at the end."""
    columns: dict[str, Figures] = {}
    if len(steps := list(material.trained)) > 1:
        part = max(len(steps) // 5, 1)
        for few in (steps[:part], steps[-part:]):
            pooled = behaviour.pooled([material.trained[step] for step in few])
            columns[f"rollouts, steps {few[0]}-{few[-1]}"] = pooled
    columns |= {f"{role}, served": found for role, found in material.behaviour.items()}
    are_known = any(found.known for found in columns.values())
    shown = [one for one in HABITS if are_known or one[0] != "known steps in order"]
    rows = [(title, *map(show, columns.values())) for title, show in shown]
    return [Table(label, ("", *columns), rows)] if columns else []


def habits(material: Material) -> Made:
    """Says what reward did to the model without anybody asking for it."""
    table = habit_table(material)
    return [Paragraph(BEHAVIOUR), *habit_curves([("tuned", material)]), *table] if table else []


def flipped(
    completions: Mapping[str, Sequence[figures.Completion]],
    names: Sequence[str] = ROLES,
    titles: Mapping[str, str] | None = None,
) -> Made:
    """Shows completions as they were served: what was lost first, then gained, then neither.

    `names`: of the two sides; `titles`: other ones for the groups of `flips`.
    """
    return [
        blocks.Folded(
            (titles or {}).get(group.title, group.title),
            [Paragraph(group.shown), *(_flip(pair, names) for pair in group.pairs)],
            remark=f"{group.n:,}",
            is_open=at < 2,
        )
        for at, group in enumerate(flips(completions))
    ]


def _flip(pair: Sequence[figures.Completion], names: Sequence[str]) -> blocks.Answers:
    asked, told = pair[0], reference(pair[0].answer)
    is_short = "\n" not in told
    sides = [
        blocks.Side(name, ", ".join([str(one.verdict), *_cut(one), f"{one.tokens:,} tokens"]), one.completion)
        for name, one in zip(names, pair, strict=True)
    ]
    title = ("Problem ", Code(asked.problem_id), *((", reference ", Code(told)) if is_short else ()))
    return blocks.Answers(title, asked.question, sides, None if is_short else told)


def _cut(one: figures.Row) -> list[str]:
    return ["cut"] if one.finish_reason == "length" else []


def everyday(material: Material) -> Made:
    """Shows the figures of the everyday prompts, then every prompt with both answers: the reader may judge."""
    if not (found := material.everyday):
        return []
    note, moved, sides = f"{found.n}{EVERYDAY}", [], (found.base, found.tuned)
    rows = [
        ("greedy: degenerate", *(f"{side.degenerate} of {found.n}" for side in sides)),
        ("greedy: facts right", *(f"{side.facts_right} of {found.facts}" for side in sides)),
    ]
    if sampled := found.sampled:
        note += (
            " Greedy is one answer to each, as served; which of them loop is largely chance, so"
            f" {sampled.answers} answers at temperature {sampled.temperature:g} decide, each prompt counted once."
        )
        drawn = (sampled.base, sampled.tuned)
        fallen = (words.share(side.degenerate.value, side.degenerate.ci95) for side in drawn)
        right = (f"{side.facts_right:.1f} of {sampled.facts}" for side in drawn)
        rows += [("sampled: degenerate", *fallen), ("sampled: facts right", *right)]
        for what, counts in (("facts right", sampled.facts_by_id), ("degenerate", sampled.degenerate_by_id)):
            each = ((Code(name), f" {before} → {after} of {n}") for name, (before, after, n) in counts.items())
            if counts:
                moved += [f" Sampled, {what}, where base and tuned differ: ", *listed(each), "."]
    changed = (
        f"{words.share(found.changed)} of the greedy answers differ. Facts lost in them: ",
        *listed(map(Code, found.facts_lost)), "; gained: ", *listed(map(Code, found.facts_gained)), ".", *moved,
        " Below, the greedy answers.",
    )  # fmt: skip
    pairs = zip(material.answers.get("base", ()), material.answers.get("tuned", ()), strict=True)
    table = Table("Everyday prompts", ("", *ROLES), rows, "pairs")
    return [Paragraph(note), table, Paragraph(changed, ""), *map(_chat, pairs)]


def _chat(pair: tuple[figures.EverydayAnswer, figures.EverydayAnswer]) -> blocks.Answers:
    facts = {None: "", True: "fact right", False: "fact not there"}
    sides = [
        blocks.Side(role, ", ".join(filter(None, (one.degenerate, facts[one.fact_right], *_cut(one)))), one.completion)
        for role, one in zip(ROLES, pair, strict=True)
    ]
    return blocks.Answers((f"{pair[0].kind}: ", Code(pair[0].id)), pair[0].prompt, sides, is_folded=True)


# -- audit and seconds -------------------------------------------------------------------------


def audit(material: Material) -> Made:
    """Says whether the verifier may be a reward."""
    if not (found := material.audit):
        return []
    holds = "It holds" if found.holds else f"IT DOES NOT HOLD ({'; '.join(found.failed)})"
    note = (
        f"{found.verifier.name} {found.verifier.version} on {found.data.judged:,} of {found.data.n:,} training"
        f" references, before the first step. {holds}."
    )
    rows = [
        (Plain(one.name), f"{one.n:,}", f"{one.failed:,}" + ("" if one.must_hold else " (told only)"),
         "" if one.rate is None else words.share(one.rate, one.ci95))
        for one in found.checks
    ]  # fmt: skip
    return [Paragraph(note), Table("The audit's checks", ("check", "n", "failed", "rate, 95 %"), rows)]


def seconds(material: Material) -> Made:
    """Says what took how long."""
    known = (material.summary.seconds if material.summary else {}) or material.records.seconds
    stages = {name: value for name, value in known.items() if name != "total"}
    whole, rows = sum(stages.values()), []
    for (name, value), end in zip(stages.items(), itertools.accumulate(stages.values()), strict=True):
        plot = plots.stretch(f"{name}: {value:,.1f} s of {whole:,.1f}", end - value, end, whole)
        rows.append((name, plot, blocks.Cell(f"{value:,.1f} s", "number")))
    together = ("together", "", blocks.Cell(f"{whole:,.1f} s", "number"))
    return [Table("Seconds", ("", None, ""), [*rows, together], "pairs")] if rows else []

"""Writes an audit as a person reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reasoner import words
from reasoner.audit.hostile import LIMIT_S
from reasoner.audit.kinds import EACH, KINDS
from reasoner.audit.results import EXAMPLES, Audit, Check, Example, Labelled, Rate


def lines(audit: Audit) -> list[str]:
    """Writes the whole audit, in a screenful where it holds."""
    source, judge = audit.data, audit.verifier
    out = [
        f"verifier {judge.name} {judge.version}; {source.n:,} references of {source.source},"
        f" {source.sampled:,} of them rewritten, at most {EACH} by each rule; {audit.seconds:.1f} s",
        "",
        f"  {'check':<42}{'n':>8}{'failed':>8}   rate, exact 95 % interval",
    ]
    for check in audit.checks:
        note = "" if check.must_hold else "  (information)"
        if check.slowest_seconds is not None:
            note += f"; slowest {check.slowest_seconds:.2f} s"
            note += f", {check.slow} over {LIMIT_S:g} s" if check.slow else ""
        out.append(_row(check) + note)
    if audit.labelled:
        out += _labelled(audit.labelled)
    if unjudged := audit.unjudged:
        out += ["", f"  {len(unjudged):,} references cannot be judged, and are left out of training and evaluation:"]
        out += [f"    {row.id}  {_short(row.answer, 40)}  {row.why}" for row in unjudged[:EXAMPLES]]
        out += [f"    … and {len(unjudged) - EXAMPLES:,} more (--json)"] if len(unjudged) > EXAMPLES else []
    out += _kinds([check for check in audit.checks if check.by_kind])
    for check in audit.checks:
        if check.failed and not check.by_kind:
            out += ["", f"  {check.name}:", *_by("family", check.by_family)]
            out += examples(check.examples, "failed") if check.must_hold else []
    out += ["", f"  {audit.checks_per_second:,} checks a second on the rows above"]
    verdict = "it may be a reward" if audit.holds else "it must not be a reward: " + "; ".join(audit.failed)
    return [*out, f"  {'holds' if audit.holds else 'does not hold'}: {verdict}"]


def _kinds(checks: Sequence[Check]) -> list[str]:
    """Lists the kinds of generated cases: how many are as they must be, and one example where not all are."""
    rows: dict[tuple[bool, str], list[tuple[Check, Rate]]] = {}
    for check in checks:
        for kind, cell in (check.by_kind or {}).items():
            rows.setdefault((check.must_hold, kind), []).append((check, cell))
    out = ["", f"  {'kind':<42}{'tried':>8}{'as they must be':>17}"] if rows else []
    for must_hold, kind in sorted(rows, key=lambda row: (not row[0], row[1] in KINDS)):
        cells = rows[must_hold, kind]
        n, failed = sum(cell.n for _, cell in cells), sum(cell.failed for _, cell in cells)
        out.append(f"  {kind:<42}{n:>8,}{n - failed:>17,}{'' if must_hold else '  (information)'}")
        for check, _ in cells:
            wanted = "must pass" if check.name.startswith("rewrites") else "must fail"
            found = [one for one in check.examples if one.kind == kind][:1]
            out += [f"  {line}" for line in examples(found, wanted if must_hold else "note")]
    return out


def _labelled(found: Labelled) -> list[str]:
    parts = [f"{found.disputed:,} disputed"] if found.disputed else []
    parts += [f"{len(found.malformed):,} not readable"] if found.malformed else []
    out = ["", f"  labelled: {found.file}" + (f", {' and '.join(parts)} left out" if parts else "")]
    for part in (found.wrong_accepted, found.right_rejected):
        out.append(_row(part) + (f"; {part.unscored} unscored apart" if part.unscored else ""))
        for what, cells in (("family", part.by_family), ("type", part.by_type), ("format", part.by_format or {})):
            out += _by(what, cells)
    out += examples(sorted(found.disagreements, key=lambda row: row.verdict == "unscored"), "disagreed on")
    return out + [f"  line {row.line}: {row.why}" for row in found.malformed[:EXAMPLES]]


def _row(check: Check) -> str:
    share = "" if check.rate is None else words.share(check.rate, check.ci95, 2)
    return f"  {check.name:<42}{check.n:>8,}{check.failed:>8,}   {share}"


def _by(what: str, cells: dict[str, Rate]) -> list[str]:
    """Lists families or types with a failure, worst first; nothing where there is only one of them."""
    if len(cells) < 2:
        return []
    bad = sorted(((name, cell) for name, cell in cells.items() if cell.failed), key=lambda item: -item[1].failed)
    return [f"    {what} {_short(name or '?', 36):<38}{cell.failed:>5} of {cell.n}" for name, cell in bad[:8]]


def examples(rows: Iterable[Example], title: str) -> list[str]:
    """Writes the first five cases, one a line."""
    out = []
    for row in list(rows)[:5]:
        why = row.failure or row.why or row.rule
        out.append(
            f"    {title} {row.id} ({row.family}): reference {_short(row.answer.rpartition('####')[2], 30)}, completion"
            f" {_short(row.completion, 60)} is {row.verdict}"
            + (f", taken {_short(row.extracted, 30)}" if row.extracted is not None else "")
            + (f": {why}" if why else "")
        )
    return out


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= most else f"{text[: most - 1]}…")

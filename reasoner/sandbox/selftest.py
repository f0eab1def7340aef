"""Attacks the sandbox and chooses the best tier that holds against everything here.

A tier is chosen by trying it, not by the version of a kernel: each attack is run through a pool as any submission is,
and judged by what it says it could do and by what is seen outside: a listener, a file, the processes that are left.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from reasoner.errors import MISSING, ReasonerError
from reasoner.sandbox import attacks
from reasoner.sandbox.pool import Pool
from reasoner.sandbox.results import Call, Request, Result, Tier

TIERS: dict[Tier, str] = {  # best first
    "full": "namespaces, private file system, Landlock where there is one, seccomp, limits",
    "landlock": "Landlock, seccomp, limits; no namespaces: names and sizes of files can be seen, no folder to write to",
}


@dataclass(frozen=True)
class Outcome:
    """Says of one attack whether the sandbox held, or what got through."""

    name: str
    held: bool
    text: str
    ms: float


@dataclass(frozen=True)
class Report:
    """Says how one tier held against the attacks; `refused` is why it could not be built at all."""

    tier: Tier
    outcomes: tuple[Outcome, ...]
    refused: str = ""

    @property
    def passed(self) -> bool:
        return not self.refused and all(one.held for one in self.outcomes)

    @property
    def why(self) -> str:
        """Returns why the tier is not to be used; empty where it is."""
        if self.refused:
            return self.refused
        return "; ".join(f"{one.name}: {one.text}" for one in self.outcomes if not one.held)


# -- choosing ----------------------------------------------------------------------------------

_lock = threading.Lock()
_reports: dict[tuple[Tier, bool], Report] = {}


def choose() -> Tier:
    """Returns the best tier that held here; raises where none did, because nothing runs without one."""
    for tier in TIERS:
        if report(tier).passed:
            return tier
    raise ReasonerError(
        "no sandbox works on this machine, and code is not run without one",
        "\n".join(f"{tier}: {report(tier).why}" for tier in TIERS),
        advice(),
        code=MISSING,
    )


def report(tier: Tier, is_thorough: bool = False) -> Report:
    """Returns how a tier held, tried once in a process; `is_thorough` adds the attacks that take seconds."""
    with _lock:
        known = _reports.get((tier, True)) or _reports.get((tier, is_thorough))
        if known is None:
            known = _reports[tier, is_thorough] = try_tier(tier, is_thorough)
        return known


def try_tier(tier: Tier, is_thorough: bool) -> Report:
    outcomes = []
    try:
        with attacks.Bait() as bait, Pool(tier, 1) as pool:
            for attack in attacks.ATTACKS:
                if is_thorough or not attack.is_slow:
                    outcomes.append(_attack(attack, pool, bait))
    except ReasonerError as error:
        return Report(tier, (), error.why or error.what)
    return Report(tier, tuple(outcomes))


def _attack(attack: attacks.Attack, pool: Pool, bait: attacks.Bait) -> Outcome:
    limits = {"cpu_s": 1.0, "wall_s": 10.0} | attack.limits
    result = pool.run(Request(attack.source, entry="attack", calls=(Call((bait.facts,)),), **limits))
    text = _got(attack, result) or attack.seen(bait) or bait.left(pool)
    return Outcome(attack.name, not text, text or "held", result.ms)


def _got(attack: attacks.Attack, result: Result) -> str:
    """Returns what came through, by the result; empty where nothing did."""
    (answer,) = result.answers
    end = answer.kind if result.ended == "ok" else result.ended
    if end not in attack.ends:
        return f"ended by {end}: {result.why or answer.text or answer.value!r}"
    if answer.kind == "value" and answer.value != []:
        return f"could {', '.join(map(str, answer.value))}" if end == "value" else f"{answer.value!r} came back"
    return ""


def lines(reports: list[Report]) -> list[str]:
    """Renders the table for people: a line for each attack, a column for each tier, what got through, the choice."""
    rows: dict[str, dict[str, Outcome]] = {}
    for one in reports:
        for outcome in one.outcomes:
            rows.setdefault(outcome.name, {})[one.tier] = outcome
    width = max(map(len, [*rows, "attack"]))
    found = [f"{'attack':<{width}}  " + "".join(f"{one.tier:<10}" for one in reports).rstrip()]
    for name, cells in rows.items():
        words = ["-" if cell is None else "held" if cell.held else "FAILED" for cell in map(cells.get, TIERS)]
        found.append(f"{name:<{width}}  " + "".join(f"{word:<10}" for word in words).rstrip())
    found.append("")
    for one in reports:
        found.append(f"{one.tier:<9} {'holds' if one.passed else 'is not used'}: {TIERS[one.tier]}")
        found += [f"          {one.refused}"] if one.refused else []
        found += [f"          {outcome.name}: {outcome.text}" for outcome in one.outcomes if not outcome.held]
    chosen = next((one.tier for one in reports if one.passed), None)
    found += ["", f"used here: {chosen or 'none, and code is not run'}"]
    return found if chosen else [*found, *(f"  fix {text}" for text in advice().splitlines())]


def advice() -> str:
    """Says what would help here, as far as it can be seen."""
    if sys.platform != "linux":
        return "train with code as a reward on Linux, or in a Linux virtual machine"
    found = []
    for name, bad, text in (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ):
        with contextlib.suppress(OSError):
            if Path("/proc/sys", name).read_text(encoding="ascii").strip() == bad:
                found.append(f"allow user namespaces: sudo sysctl -w {text}")
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        found.append(
            "in this container: start it with a seccomp profile that allows user namespaces (Docker: "
            "--security-opt seccomp=unconfined --security-opt systempaths=unconfined)"
        )
    with contextlib.suppress(OSError):
        if "landlock" not in Path("/sys/kernel/security/lsm").read_text(encoding="ascii"):
            found.append("switch Landlock on: boot a kernel of 6.2 or newer with lsm=landlock,… among its parameters")
    return "\n".join(found or ["a kernel of 6.2 or newer, and user namespaces or Landlock switched on"])

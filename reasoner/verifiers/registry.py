"""Finds a verifier by its name, and is where the rest of the house asks for verdicts.

`BUILT_IN` is the one table of the verifiers that ship: a new one has a line here and a file of its own. A module is
imported when its verifier is first asked for, so a verifier costs nobody else anything.
"""

from importlib import import_module

from reasoner.errors import USAGE, ReasonerError, nearest
from reasoner.verifiers.checker import Verifier, register, registered, verifier, verify, verify_many

__all__ = ["BUILT_IN", "Verifier", "built_in", "load", "register", "verifier", "verify", "verify_many"]

BUILT_IN = {
    "code": "reasoner.verifiers.code.verdict",
    "math": "reasoner.verifiers.math.verdict",
    "number": "reasoner.verifiers.number",
    "number-lenient": "reasoner.verifiers.number",
}
"""The module in which a verifier of this name registers itself."""
_RETIRED = {"arithmetic": "number"}  # of earlier versions, and which verifier gives the same verdicts


def load(name: str) -> Verifier:
    """Gives the verifier of this name, or of `path/to/file.py:name` (see `own`)."""
    if found := built_in(name) or registered.get(name):
        return found
    if name in _RETIRED:
        now = _RETIRED[name]
        why, fix = f"its verdicts were those of `{now}`", f"--set verifier.name={now}"
        raise ReasonerError(f"the verifier {name!r} is gone", why=why, fix=fix, code=USAGE)
    if ":" in name or name.endswith(".py"):
        from reasoner.verifiers import own

        return own.load(name)
    close, why = nearest(name, BUILT_IN), f"built in: {', '.join(sorted(BUILT_IN))}"
    fix = f"{close if close.startswith('did') else 'take one of these'} (your own: path/to/file.py:name)"
    raise ReasonerError(f"no verifier named {name!r}", why=why, fix=fix, code=USAGE)


def built_in(name: str) -> Verifier | None:
    """Gives the verifier of this name that ships with us; None for all others, of which nothing is loaded."""
    if name not in BUILT_IN:
        return None
    import_module(BUILT_IN[name])
    return registered[name]

"""Judges a completion beside a reference answer: `right`, `wrong`, or `unscored` where there is no verdict.

`registry` is the front door: it finds a verifier by its name and calls it. `score` holds the verdict, `checker` what a
verifier is. Each verifier has a file or a folder of its own; `own` runs those that a person wrote.
"""

from typing import TYPE_CHECKING

if not TYPE_CHECKING:
    # People's own verifiers import these from here; the house takes each from its module.
    _HOMES = {"score": ("Score", "Shares"), "registry": ("Verifier", "load", "verifier", "verify", "verify_many")}

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

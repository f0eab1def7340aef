"""A module imports only from lower floors, and nothing heavy at import."""

import ast
import subprocess
import sys
from pathlib import Path

import reasoner

PACKAGE = Path(reasoner.__file__).parent
FLOORS = [
    ["errors", "words", "config", "files", "runs"],
    ["machine"],
    ["sandbox"],
    ["llamacpp"],
    ["verifiers"],
    ["problems"],
    ["audit"],
    ["serving"],
    ["bases"],
    ["export"],
    ["training"],
    ["measuring"],
    ["reporting"],
    ["pipeline"],
    ["cli"],
]
"""Rooms from the ground up. A room imports from lower floors only."""
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def rooms(path):
    """Rooms of ours that a file imports from, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module)
            if node.module == "reasoner":
                found |= {f"reasoner.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("reasoner.")} & set(FLOOR)


def test_every_room_has_a_floor():
    there = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert there - {"__init__", "__main__"} <= set(FLOOR)


def test_help_loads_nothing_heavy():
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "pydantic", "rich", "httpx", "scipy", "sympy"}
    code = (
        "import sys, reasoner.cli.main\n"
        "try: reasoner.cli.main.cli(['--help'], standalone_mode=False)\n"
        f"finally: print('HEAVY', sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert "Usage:" in done.stdout

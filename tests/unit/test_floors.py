"""The rooms: imports go down, nothing is too long to read, and nothing heavy is loaded at import."""

import ast
import re
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


def modules():
    """Every file of the package, by its dotted name."""
    return {
        ".".join(("reasoner", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(path, known):
    """Modules of ours that a file imports, wherever in it, but for what is only for the type checker."""
    found = set()
    skipped = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(one) for one in ast.walk(node)}
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & known) or {node.module}
    return found & known


def test_every_room_has_a_floor():
    there = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert there - {"__init__", "__main__", "api"} == set(FLOOR)


def test_imports_go_down_between_rooms():
    wrong, arrows = [], set()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        name = parts[0].removesuffix(".py")
        if name not in FLOOR:
            continue  # the public face, which stands above all
        for other in rooms(path) - {name}:
            if FLOOR[other] > FLOOR[name] or (FLOOR[other] == FLOOR[name] and len(parts) > 1):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
            if FLOOR[name]:
                arrows.add((name, "root" if FLOOR[other] == 0 else other))
    assert wrong == []
    assert len(arrows) <= 80


def test_no_circle_even_inside_a_room():
    known = modules()
    face = {"reasoner"}  # whose version all may ask for, and whose other names are lazy
    arrows = {name: imported(path, set(known)) - {name} - face for name, path in known.items()}
    done, path_ = set(), []

    def visit(name):
        assert name not in path_, f"a circle: {' -> '.join([*path_[path_.index(name) :], name])}"
        if name in done:
            return
        path_.append(name)
        for other in sorted(arrows[name]):
            visit(other)
        path_.pop()
        done.add(name)

    for name in sorted(arrows):
        visit(name)


LONGEST = {"reasoner.verifiers.math.reader": 900}
"""Lines of a file that may have more than 600."""


def test_files_functions_and_parameters_are_few_enough_to_read():
    wrong, loose = [], 0
    for name, path in modules().items():
        text = path.read_text(encoding="utf-8")
        loose += len(re.findall(r"[dD]ict\[str, Any\]", text))
        if (lines := text.count("\n")) > LONGEST.get(name, 600):
            wrong.append(f"{name} has {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            given = given[1:] if given[:1] in (["self"], ["cls"]) else given
            if (lines := node.end_lineno - node.lineno + 1) > 60:
                wrong.append(f"{name}.{node.name} has {lines} lines")
            if len(given) > 7 and not name.startswith("reasoner.cli."):
                wrong.append(f"{name}.{node.name} has {len(given)} parameters")
    assert wrong == []
    assert loose <= 60


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


def test_import_reasoner_and_a_verdict_load_nothing_heavy():
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "pydantic", "rich", "httpx", "scipy", "sympy", "click"}
    code = (
        "import sys, reasoner\n"
        "assert reasoner.verify('number', '#### 4', '4').verdict == 'right'\n"
        f"print('HEAVY', sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "HEAVY []"

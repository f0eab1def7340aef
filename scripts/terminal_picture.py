"""The README's terminal picture, from a log of a real run: `make reasoner 2>&1 | tee LOG`, then this.

.venv/bin/python scripts/terminal_picture.py LOG docs/terminal.svg 'make reasoner PROFILE=smol'
"""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> None:
    source, target, command = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    lines = source.read_text(encoding="utf-8").rstrip().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("profile "))
    steps = [line for line in lines if line.startswith("  train ")]
    shown = {*steps[::4], steps[-1]}
    lines = [line for line in lines[start:] if line not in steps or line in shown]
    lines = [line for line in lines if not line.startswith("  score ") or "left" not in line]
    lines = [line.replace(str(Path.cwd()), "~/reasoner").replace(str(Path.home()), "~") for line in lines]
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(Text(f"$ {command}", style="bold green"))
    for line in lines:
        indent = len(line) - len(line.lstrip())
        text = Text("\u00a0" * indent + line.lstrip())  # viewers drop plain leading spaces
        if line.startswith(("+ ", "= ")):
            text.stylize("green", 0, 12)
        elif line.startswith("> "):
            text.stylize("cyan", 0, 12)
        elif line.strip().startswith(("lift", "base ", "tuned ")):
            text.stylize("bold")
        console.print(text)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(console.export_svg(title="reasoner"), encoding="utf-8")


if __name__ == "__main__":
    main()

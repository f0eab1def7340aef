"""The README's terminal picture, from a log of a real run: `make reasoner 2>&1 | tee LOG`, then this.

.venv/bin/python scripts/terminal_picture.py LOG docs/terminal.svg
"""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    lines = source.read_text(encoding="utf-8").rstrip().splitlines()
    console = Console(record=True, width=110, file=io.StringIO())
    console.print(Text("$ make reasoner", style="bold green"))
    for line in lines:
        text = Text(line, no_wrap=False)
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

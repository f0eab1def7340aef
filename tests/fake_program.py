"""A program that stands in for a real one."""

from pathlib import Path


def program(path: Path, text: str = "exit 0") -> Path:
    """Writes a shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path

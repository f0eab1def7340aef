"""Brings a file into a server's store without a second copy on disk, where server and file allow that.

The store is a folder that another program owns. So a link is made only beside files of the same owner, and counts only
once the server says that it sees the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reasoner import files
from reasoner.errors import ReasonerError
from reasoner.serving.host import Host, models_dir


def stores(where: Host, models: Path | None) -> Iterator[Path]:
    """Yields folders that may be the server's blob store; only a link that the server then sees proves it."""
    if not where.is_local:
        return
    if models:
        (models / "blobs").mkdir(parents=True, exist_ok=True)
    for folder in dict.fromkeys([models or models_dir(), models_dir()]):
        if os.access(folder / "blobs", os.W_OK | os.X_OK):
            yield folder / "blobs"


def would_copy(where: Host, models: Path | None, folder: Path) -> bool:
    """Tells whether a file of this folder would be copied when registered: count it twice in a disk check."""
    device = next((p.stat().st_dev for p in (folder, *folder.parents) if p.exists()), None)
    stats = [store.stat() for store in stores(where, models)]
    return not any(stat.st_dev == device and stat.st_uid == os.geteuid() for stat in stats)


def link(gguf: Path, blob: Path) -> bool:
    """Gives the file a second name in a store; False where it has another owner or lies on another file system.

    The name under which a server would take the bytes for right appears only once they were hashed, and in one step.
    What a kill leaves under the name before that is taken up by the next try, or cleared away by Ollama when it starts
    (not within an hour). The file is read-only from then on.
    """
    if not gguf.stat().st_uid == blob.parent.stat().st_uid == os.geteuid():
        return False
    partial = blob.with_name(f"{blob.name}-partial-reasoner")
    try:
        partial.unlink(missing_ok=True)
        os.link(gguf, partial)
        found, recorded = files.sha256_file(partial), blob.name.removeprefix("sha256-")
        if found != recorded:
            raise changed(gguf, found, recorded)
        partial.chmod(0o444)
        os.link(partial, blob)
    except OSError:  # no such link here, or another process has put the blob there meanwhile
        return False
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return True


def changed(gguf: Path, found: str, recorded: str) -> ReasonerError:
    """Returns the error that a file has another SHA-256 than was recorded of it."""
    why, fix = f"its SHA-256 is {found}, recorded was {recorded}", f"remove {gguf} and run again"
    return ReasonerError(f"{gguf.name} changed after it was made", why, fix)

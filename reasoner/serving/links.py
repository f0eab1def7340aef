"""Gives a person the command `ollama`, and takes away again what we installed.

A link of ours is the only thing put into a person's own folder; a file that is not ours stays.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from contextlib import suppress
from pathlib import Path

from reasoner.machine import cache
from reasoner.serving import host, install, server


def install_link(name: str = "reasoner") -> str:
    """Returns exactly what the person types to talk to the model in their next shell.

    Where we brought Ollama, a link to it goes into `~/.local/bin` if that is on the PATH; a file there that is not ours
    stays, and the line then names our program in full.
    """
    where, found = host.current(), install.find_ollama()
    if found is None:
        body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}], "stream": False})
        return f"curl {where.url}/api/chat -d {shlex.quote(body)}"
    command = "ollama" if found.route == "PATH" or _link(found) else shlex.quote(str(found.path))
    prefix = "" if where == host.Host() else f"OLLAMA_HOST={shlex.quote(where.env)} "
    return f"{prefix}{command} run {name}"


def link_path() -> Path:
    return Path.home() / ".local" / "bin" / "ollama"


def _is_ours(link: Path) -> bool:
    return link.is_symlink() and link.readlink().is_relative_to(cache.tools_dir())


def _link(found: install.OllamaInstall) -> bool:
    """Links our program where that is allowed; True when `ollama` as typed is our program afterwards."""
    link = link_path()
    on_path = {Path(entry).expanduser() for entry in os.environ.get("PATH", "").split(os.pathsep) if entry}
    if link.parent not in on_path or (os.path.lexists(link) and not _is_ours(link)):
        return False
    if not (link.is_symlink() and link.readlink() == found.path):
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            partial = link.with_name(f".ollama-{os.getpid()}")
            partial.symlink_to(found.path)
            partial.replace(link)
        except OSError:
            return False
    typed = shutil.which("ollama")
    return typed is not None and Path(typed).resolve() == found.path.resolve()


def uninstall_tools(progress: cache.Progress = cache.quiet) -> list[str]:
    """Stops every server we started, removes our link and the tools; models and foreign files stay.

    Registered tags are the caller's to delete first, while a server still answers.
    """
    done = server.stop_all()
    if _is_ours(link_path()):
        link_path().unlink()
        done.append(f"removed {link_path()}")
    done += [f"removed {path}" for path in cache.remove_tools()]
    with suppress(OSError):
        cache.cache_dir().rmdir()  # only when nothing else is in it
    for line in done:
        progress(line)
    return done

"""Says which Ollama is meant and whether one answers there; it starts, stops and changes nothing.

`OLLAMA_HOST` and `OLLAMA_MODELS` are read as Ollama reads them. A port that something else holds is an error that names
the process and a free port.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner.errors import MISSING, ReasonerError

DEFAULT_PORT = 11434
PROBE_S = 5.0
"""Longest wait for a connection, and for the answer of a server that is only asked whether it is there."""


@dataclass(frozen=True)
class Host:
    """Says where to reach a server; an address that means "all interfaces" is reached on loopback."""

    scheme: str = "http"
    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    path: str = ""

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self}" + (f"/{self.path}" if self.path else "")

    @property
    def is_local(self) -> bool:
        if self.address == "localhost":
            return True
        with suppress(ValueError):
            return ipaddress.ip_address(self.address).is_loopback
        return False

    @property
    def env(self) -> str:
        """Returns the value of OLLAMA_HOST that means this host."""
        return str(self) if self.scheme == "http" and not self.path else self.url

    def connection(self, timeout_s: float) -> dict[str, Any]:
        """Returns how an `httpx` client connects. Proxies are for other machines: loopback never goes through one."""
        import httpx

        waits, limits = httpx.Timeout(timeout_s, connect=PROBE_S), httpx.Limits(max_connections=64)
        return {"timeout": waits, "limits": limits, "trust_env": not self.is_local, "follow_redirects": False}


def current() -> Host:
    """Returns the server that `OLLAMA_HOST` means."""
    return parse(os.environ.get("OLLAMA_HOST", ""))


def parse(text: str) -> Host:
    """Reads a host as Ollama reads `OLLAMA_HOST` (`envconfig.ConnectableHost`).

    >>> str(parse("")), str(parse(":1234")), str(parse("0.0.0.0"))
    ('127.0.0.1:11434', '127.0.0.1:1234', '127.0.0.1:11434')
    >>> parse("https://gpu.example/ollama").url
    'https://gpu.example:443/ollama'
    """
    text = text.strip().strip("\"'").strip()
    scheme, mark, rest = text.partition("://")
    default_port = DEFAULT_PORT
    if not mark:
        scheme, rest = "http", text
        if text == "ollama.com":
            scheme, rest = "https", "ollama.com:443"
    elif scheme in ("http", "https"):
        default_port = 80 if scheme == "http" else 443
    where, _, path = rest.partition("/")
    address, port_text = _split(where, str(default_port))
    port = int(port_text) if port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535 else default_port
    with suppress(ValueError):
        ip = ipaddress.ip_address(address)
        address = ("127.0.0.1" if ip.version == 4 else "::1") if ip.is_unspecified else str(ip)
    return Host(scheme, address or "127.0.0.1", port, path)


def _split(text: str, default_port: str) -> tuple[str, str]:
    """Splits as Go's `net.SplitHostPort` does, with Ollama's fallback for text that has no port."""
    if text.startswith("[") and "]:" in text:
        address, _, port = text[1:].partition("]:")
        return address, port
    if text.count(":") == 1 and not text.startswith("["):
        address, _, port = text.partition(":")
        return address, port
    return text.strip("[]") or "127.0.0.1", default_port


def models_dir() -> Path:
    """Returns where a server started from this environment keeps models: `OLLAMA_MODELS`, else its default."""
    own = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    return Path(own).expanduser().absolute() if own else Path.home() / ".ollama" / "models"


def probe(where: Host | None = None) -> str | None:
    """Returns the version of the Ollama at a host, None when nothing listens there; raises when something else does."""
    import httpx

    where = where or current()
    try:
        with httpx.Client(base_url=where.url, **where.connection(PROBE_S)) as http:
            answer = http.get("/api/version")
    except httpx.ConnectError:
        return None
    except httpx.ConnectTimeout as error:
        if where.is_local:
            raise taken(where, "it accepts no connection") from error
        return None
    except httpx.TransportError as error:  # connected, and then no HTTP
        raise taken(where, f"it does not speak HTTP ({error or type(error).__name__})") from error
    try:
        return str(answer.json()["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise taken(where, f"GET /api/version gave HTTP {answer.status_code} and no version") from error


def taken(where: Host, why: str) -> ReasonerError:
    """Returns the error that something other than Ollama answers at a host."""
    fix = "set OLLAMA_HOST to your Ollama server, or unset it to have one started here"
    if where.is_local:
        fix = f"stop it, or use another port: OLLAMA_HOST=127.0.0.1:{free_port(where.port + 1)} make reasoner"
        owner = _owner(where.port)
        why += f"; it is {owner}" if owner else ""
    return ReasonerError(f"{where} is taken by something that is not Ollama", why=why, fix=fix, code=MISSING)


def _owner(port: int) -> str | None:
    """Names the process that listens on a local port, where this user may see it."""
    import psutil

    with suppress(psutil.Error, OSError):
        for link in psutil.net_connections("tcp"):
            if link.status == psutil.CONN_LISTEN and link.laddr and link.laddr.port == port and link.pid:
                return f"process {link.pid} ({psutil.Process(link.pid).name()})"
    return None


def free_port(first: int) -> int:
    """Returns the first port from `first` on, of a hundred, that nothing listens on; `first` where there is none."""
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port
    return first

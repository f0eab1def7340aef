"""Asks a server what the package `ollama` has no call for, over the package's own connection.

Remove a function here once the package has it: whether a file is in the store, the system message of a tag, a chat
that is refused rather than shortened, and the prompt text that the server renders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import ollama


def _answer(api: ollama.Client, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
    """Sends one request through the package's door to its connection; its errors are the package's own."""
    return api._request_raw(method, path, json=body)  # type: ignore[no-untyped-call]


def version(api: ollama.Client) -> str:
    return str(_answer(api, "GET", "/api/version").json()["version"])


def has_blob(api: ollama.Client, digest: str) -> bool:
    """Tells whether the store has a file, by its `sha256:…`."""
    import ollama

    try:
        _answer(api, "HEAD", f"/api/blobs/{digest}")
    except ollama.ResponseError as error:
        if error.status_code == 404:
            return False
        raise
    return True


def show(api: ollama.Client, tag: str) -> Mapping[str, Any]:
    """Returns what `/api/show` says, as it says it: the package's answer leaves the system message out."""
    return cast(Mapping[str, Any], _answer(api, "POST", "/api/show", {"model": tag}).json())


def chat(api: ollama.Client, request: Mapping[str, object]) -> ollama.ChatResponse:
    """Sends a chat whose request has fields that the package does not know: `truncate`, `shift`."""
    import ollama

    return ollama.ChatResponse(**_answer(api, "POST", "/api/chat", {**request, "stream": False}).json())


def rendered(api: ollama.Client, path: str, request: Mapping[str, object]) -> str:
    """Returns the prompt that the server makes of a request to `/api/chat` or `/api/generate`, and asks no model."""
    body = {**request, "stream": False, "_debug_render_only": True}
    return str(_answer(api, "POST", path, body).json()["_debug_info"]["rendered_template"])

"""Loads a GGUF into this process with llama.cpp, and tokenizes as the file itself says.

Nothing is computed here: that is `sampler`'s.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from reasoner.errors import ReasonerError
from reasoner.llamacpp import install


class LoadedModel:
    """Holds a GGUF as llama.cpp has loaded it; `settings` are llama.cpp's own, such as `vocab_only=True`."""

    def __init__(self, path: Path, **settings: bool | int) -> None:
        install.use_python_binding()
        import llama_cpp

        self._lib, self.path = llama_cpp, path
        llama_cpp.llama_log_set(_silent(llama_cpp), ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        wanted = llama_cpp.llama_model_default_params()
        for key, value in settings.items():
            setattr(wanted, key, value)
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), wanted)
        if not self._model:
            raise ReasonerError(f"llama.cpp cannot load {path}", fix="remove it and run again")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._model:
            self._lib.llama_model_free(self._model)
            self._model = None

    @property
    def chat_template(self) -> str | None:
        found = self._lib.llama_model_chat_template(self._model, None)
        return found.decode("utf-8", "replace") if found else None

    @property
    def adds_bos(self) -> bool:
        return bool(self._lib.llama_vocab_get_add_bos(self._vocab))

    def is_end(self, token: int) -> bool:
        """Returns whether the file marks a token as an end of generation: of a turn, or of the text."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def special_token(self, kind: Literal["bos", "eos"]) -> tuple[int, str] | None:
        """Returns id and text of a special token; None where the file has none."""
        token = int(getattr(self._lib, f"llama_vocab_{kind}")(self._vocab))
        return None if token < 0 else (token, self._lib.llama_vocab_get_text(self._vocab, token).decode("utf-8"))

    def attribute(self, token: int) -> int:
        """Returns what llama.cpp takes a token for (flags), which may be more than the file says of it."""
        return int(self._lib.llama_vocab_get_attr(self._vocab, token))

    def encode(self, text: str, add_special: bool = False) -> list[int]:
        """Returns the ids of a rendered prompt: special tokens in it are read as such.

        `add_special` adds those that the file asks for at the ends of a text.
        """
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 8
        ids = (ctypes.c_int * room)()
        num = int(self._lib.llama_tokenize(self._vocab, raw, len(raw), ids, room, add_special, True))
        if num < 0:
            raise ReasonerError(f"llama.cpp cannot tokenize a prompt of {len(text)} characters", why=str(self.path))
        return list(ids[:num])

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of a completion; special tokens are not shown."""
        whole = b""
        for token in ids:
            room = 64
            while True:
                piece = ctypes.create_string_buffer(room)
                num = int(self._lib.llama_token_to_piece(self._vocab, token, piece, room, 0, False))
                if num >= 0:
                    break
                room = -num
            whole += piece.raw[:num]
        return whole.decode("utf-8", "replace")


def _silent(lib: Any) -> Any:
    """Returns a log callback that says nothing.

    llama.cpp calls it while it computes. One written in Python would meet a Ctrl-C that came meanwhile and lose it:
    ctypes only prints what is raised in a callback. C's `abs` does nothing with the level, and reads no more.
    """
    return ctypes.cast(ctypes.CDLL(None).abs, lib.llama_log_callback)

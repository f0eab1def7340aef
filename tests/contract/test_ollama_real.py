"""What we rely on from a real Ollama: it is started, given a GGUF, asked, and stopped again."""

import hashlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import gguf
import httpx
import numpy as np
import psutil
import pytest

from reasoner import files
from reasoner.errors import FAILED, ReasonerError
from reasoner.serving import install
from reasoner.serving import server as serving
from reasoner.serving.client import Client

pytestmark = pytest.mark.needs_ollama

ROLES = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
TEMPLATE = ROLES + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
LONG = "{#- " + "This comment keeps Ollama from taking the template for a well-known one. " * 2 + "-#}" + TEMPLATE
"""Ollama replaces a chat template that is within 100 edits of one it knows; a comment prevents it."""
MESSAGES = [{"role": "user", "content": "Ab 12?"}]
GREEDY = {"temperature": 0, "num_predict": 8, "seed": 1}


def write_gguf(path: Path, template: str) -> tuple[Path, str]:
    """A one-layer random Llama with a byte-fallback SentencePiece vocabulary; gives file and SHA-256."""
    width, hidden = 32, 64
    special = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
    tokens = [*special, *(f"<0x{b:02X}>" for b in range(256)), "\u2581", *map(chr, range(33, 127))]
    kinds = [2] + [3] * (len(special) - 1) + [6] * 256 + [1] * (len(tokens) - len(special) - 256)
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_context_length(256)
    out.add_embedding_length(width)
    out.add_block_count(1)
    out.add_feed_forward_length(hidden)
    out.add_head_count(2)
    out.add_head_count_kv(2)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(width // 2)
    out.add_vocab_size(len(tokens))
    out.add_file_type(0)
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([-float(i) for i in range(len(tokens))])
    out.add_token_types(kinds)
    out.add_unk_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(True)
    out.add_add_eos_token(False)
    out.add_add_space_prefix(False)
    out.add_chat_template(template)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), width), "output": (len(tokens), width)}
    shapes |= {f"blk.0.{name}": (width, width) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {"blk.0.ffn_gate": (hidden, width), "blk.0.ffn_up": (hidden, width), "blk.0.ffn_down": (width, hidden)}
    for name, shape in shapes.items():
        out.add_tensor(f"{name}.weight", (random.standard_normal(shape) * 0.05).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        out.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def expected_ids(tokenized: str) -> list[int]:
    """Ids of a rendered prompt in the vocabulary above, worked out by hand: one per sign, BOS first."""
    ids = {"<|user|>": 3, "<|assistant|>": 4}
    found, rest = [1], tokenized
    while rest:
        special = next((text for text in ids if rest.startswith(text)), None)
        if special:
            found.append(ids[special])
            rest = rest[len(special) :]
        else:
            found.append(262 if rest[0] == " " else 263 + ord(rest[0]) - 33)
            rest = rest[1:]
    return found


@pytest.fixture(scope="module")
def server(own_server):
    return own_server


@pytest.fixture
def client(server):
    with server.client(timeout_s=120) as found:
        yield found


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("run") / "tiny.gguf", LONG)


@pytest.fixture
def tag(client, model):
    name = "tiny:step-000001"
    parameters = {"temperature": 0, "num_ctx": 128, "num_predict": 8, "stop": ["</s>"]}
    client.create(name, *model, parameters=parameters)
    yield name
    client.delete(name)


def test_server_is_ours_and_of_a_version_we_can_use(server):
    assert server.is_ours and server.pid and server.log.exists()
    assert tuple(map(int, server.version.split(".")[:2])) >= install.OLLAMA_MIN
    assert serving.find_server() == server


def test_a_server_of_ours_keeps_no_gigabytes_of_prompts(client, tag, server):
    client.chat(tag, MESSAGES, GREEDY)
    said = server.log.read_text(errors="replace")
    assert "prompt cache is disabled" in said and "cache state:" not in said


def test_create_links_and_delete_removes_only_the_servers_link(client, model, server):
    path, digest = model
    before = path.read_bytes()
    assert not client.has_blob(digest)
    assert client.create("tiny:a", path, digest) == "linked"
    assert path.stat().st_nlink == 2
    assert client.create("tiny:b", path, digest) == "present"
    assert client.delete("tiny:a") and path.stat().st_nlink == 2  # another tag still uses it
    assert client.delete("tiny:b") and path.stat().st_nlink == 1
    assert client.delete("tiny:b") is False
    assert path.read_bytes() == before
    assert not list((server.models_dir / "blobs").glob(f"*{digest}*"))


def test_a_linked_file_is_served_and_survives_its_first_name(client, tmp_path, server):
    """What `delta` relies on: the digest taken while writing, a link, and each side may unlink its own name."""
    path, digest = write_gguf(tmp_path / "second.gguf", LONG + "{# another file #}")
    files.hashed_while_written(path, digest)
    assert client.create("tiny:linked", path, digest) == "linked"
    blobs = server.models_dir / "blobs"
    assert not list(blobs.glob("*-partial-*"))
    assert (blobs / f"sha256-{digest}").stat().st_ino == path.stat().st_ino
    answer = client.chat("tiny:linked", MESSAGES, GREEDY)["message"]["content"]
    replacement = tmp_path / "replacement.gguf"
    replacement.write_bytes(b"another file")
    replacement.replace(path)  # as every writer does it: a new file under the name, the linked one is as it was
    client.api.generate("tiny:linked", keep_alive=0)
    assert client.chat("tiny:linked", MESSAGES, GREEDY)["message"]["content"] == answer
    assert client.delete("tiny:linked") and not (blobs / f"sha256-{digest}").exists()
    assert path.read_bytes() == b"another file"


def test_create_uploads_where_it_cannot_link(client, model, monkeypatch):
    path, digest = model
    monkeypatch.setattr(Client, "_stores", lambda self: iter(()))
    assert client.create("tiny:up", path, digest) == "uploaded"
    assert path.stat().st_nlink == 1 and client.has_blob(digest)
    assert client.delete("tiny:up") and not client.has_blob(digest)


def test_show_copy_digest(client, tag):
    shown = client.show(tag)
    assert shown.info["general.architecture"] == "llama" and shown.context_length == 256
    assert shown.parameters == {"num_ctx": ["128"], "num_predict": ["8"], "stop": ["</s>"], "temperature": ["0"]}
    assert client.api.show(tag).template == LONG and shown.system is None and shown.quantization
    client.copy(tag, "tiny")
    assert client.digest("tiny") == client.digest(tag) and client.digest(tag).startswith("sha256:")
    assert set(client.tags()) >= {"tiny:latest", tag}
    assert client.delete("tiny") and client.digest("tiny") is None and client.digest(tag)


def test_prompt_is_rendered_by_the_ggufs_own_template(client, tag):
    assert client.render(tag, MESSAGES) == "<|user|>Ab 12?<|assistant|>"
    turns = [*MESSAGES, {"role": "assistant", "content": "12"}, {"role": "user", "content": "no"}]
    assert client.render(tag, turns) == "<|user|>Ab 12?<|assistant|>12<|user|>no<|assistant|>"


def test_prompt_ids_are_those_of_the_model_with_bos(client, tag):
    assert client.prompt_ids(tag, MESSAGES) == expected_ids("<|user|>Ab 12?<|assistant|>")


def test_short_template_is_replaced_by_ollama_and_we_can_tell(client, tmp_path):
    path, digest = write_gguf(tmp_path / "short.gguf", TEMPLATE)
    client.create("short", path, digest)
    try:
        assert "<|im_start|>" in client.api.show("short").template
        assert client.render("short", MESSAGES) != "<|user|>Ab 12?<|assistant|>"
    finally:
        client.delete("short")


def test_all_three_ways_of_asking_agree(client, tag):
    answer = client.chat(tag, MESSAGES, GREEDY)
    assert answer["done"] and answer["done_reason"] in ("stop", "length") and answer["eval_count"] >= 1
    assert answer["prompt_eval_count"] == len(expected_ids("<|user|>Ab 12?<|assistant|>"))
    assert client.chat(tag, MESSAGES)["message"]["content"] == answer["message"]["content"]  # as pinned
    through = client.api.generate(tag, client.render(tag, MESSAGES), options=GREEDY, raw=True)
    assert through["response"] == answer["message"]["content"]
    assert client.chat(tag, MESSAGES, GREEDY, truncate=False, shift=False).message == answer.message
    body = {"model": tag, "messages": MESSAGES, "temperature": 0, "max_tokens": 8, "seed": 1}
    openai = httpx.post(f"{client.host.url}/v1/chat/completions", json=body, timeout=60).json()
    assert openai["choices"][0]["message"]["content"] == answer["message"]["content"]
    client.api.generate(tag, keep_alive=0)


def test_ollama_run_as_a_person_types_it(server, tag):
    program = install.find_ollama().path
    env = {**os.environ, "OLLAMA_HOST": server.host.env}
    done = subprocess.run([program, "run", tag, "Ab 12?"], env=env, capture_output=True, timeout=120, check=True)
    assert done.returncode == 0


def test_unknown_tag_is_refused_with_the_servers_reason(client):
    with pytest.raises(ReasonerError, match="HTTP 404") as caught:
        client.chat("no-such-model", MESSAGES)
    assert "not found" in caught.value.why


def test_server_killed_while_registering_leaves_no_tag(server, model, monkeypatch):
    """Last: the server dies under an upload, and the next one, on the same port, has no trace of the tag."""
    path, digest = model
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]

    class Deadly(io.FileIO):
        """A file of which the server gets a part, and is then no more (nor are its runners)."""

        parts = 0

        def read(self, size=-1):
            self.parts += 1
            if self.parts == 2:
                for process in family:
                    process.kill()
                psutil.wait_procs(family, timeout=10)
            return super().read(1024)

    real = open
    opened = iter([real, lambda path, mode: Deadly(path)])  # the package reads it twice: to hash it, and to send it
    package = sys.modules["ollama._client"]
    monkeypatch.setattr(package, "open", lambda *given: next(opened)(*given), raising=False)
    monkeypatch.setattr(Client, "_stores", lambda self: iter(()))
    with server.client() as client, pytest.raises(ReasonerError, match="went away") as caught:
        client.create("tiny:dead", path, digest)
    monkeypatch.undo()
    assert caught.value.code == FAILED and caught.value.log == server.log
    again = serving.ensure_server()
    assert again.is_ours and again.pid != server.pid
    with again.client() as client:
        assert client.tags() == {}
        assert client.create("tiny:again", path, digest) == "linked"
        assert client.delete("tiny:again")


def test_what_is_left_of_a_killed_registration_goes_when_the_server_starts(model, server):
    path, digest = model
    left = server.models_dir / "blobs" / f"sha256-{digest}-partial-1"
    os.link(path, left)
    os.utime(path, (0, 0))  # it keeps what is younger than an hour
    assert serving.stop_server()
    again = serving.ensure_server()  # the fixture's process is gone: for the end of the file
    with again.client() as fresh:
        deadline = time.monotonic() + 10
        while left.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left.exists()
        assert fresh.create("tiny:fresh", path, digest) == "linked"
        assert fresh.delete("tiny:fresh")

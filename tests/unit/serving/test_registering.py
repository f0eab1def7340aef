"""How a file comes into a server's store: linked where that is allowed and proven, else uploaded."""

import errno
import hashlib

import pytest

from reasoner.errors import FAILED, ReasonerError
from reasoner.serving import client as client_module


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "run" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(b"GGUF" + b"x" * 3_000_000)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def store(tmp_path, fake):
    """A blob folder where we look for one, and which the server reads."""
    folder = tmp_path / "models" / "blobs"
    folder.mkdir(parents=True)
    fake.store = folder
    return folder


def test_file_is_linked_where_the_server_sees_the_link(fake, client, gguf, store):
    path, digest = gguf
    assert not client.would_copy(path.parent)
    assert client.create("a:b", path, digest, parameters={"stop": ["x"]}) == "linked"
    assert client.create("a:b", path, f"sha256:{digest}") == "present"
    assert path.stat().st_nlink == 2 and not fake.blobs
    wanted = {"model": "a:b", "files": {"model.gguf": f"sha256:{digest}"}, "stream": False}
    assert fake.bodies("POST /api/create") == [{**wanted, "parameters": {"stop": ["x"]}}, wanted]


def test_link_that_the_server_does_not_see_is_undone_and_the_file_uploaded(fake, client, gguf, store):
    path, digest = gguf
    fake.store = None
    assert client.create("a:b", path, digest) == "uploaded"
    assert fake.blobs == {digest: path.read_bytes()}
    assert not list(store.iterdir()) and path.stat().st_nlink == 1


def test_linked_file_is_read_only_and_hashed_first(client, gguf, store):
    path, digest = gguf
    path.write_bytes(path.read_bytes()[:-1] + b"y")
    with pytest.raises(ReasonerError, match="changed after it was made") as caught:
        client.create("a:b", path, digest)
    assert digest in caught.value.why
    assert not list(store.iterdir()) and path.stat().st_nlink == 1
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert client.create("a:b", path, digest) == "linked"
    assert [item.name for item in store.iterdir()] == [f"sha256-{digest}"]
    assert path.stat().st_mode & 0o777 == 0o444


def test_uploaded_file_that_is_not_the_one_recorded_is_refused(fake, client, gguf):
    path, digest = gguf
    path.write_bytes(b"GGUF of another")
    with pytest.raises(ReasonerError, match="changed after it was made") as caught:
        client.create("a:b", path, digest)
    assert digest in caught.value.why and not fake.tags


def test_what_stands_under_the_digest_already_is_never_replaced(fake, client, gguf, store):
    path, digest = gguf
    fake.store = None
    (store / f"sha256-{digest}").write_text("of another server")
    assert client.create("a:b", path, digest) == "uploaded"
    assert {item.name: item.read_text() for item in store.iterdir()} == {f"sha256-{digest}": "of another server"}
    assert fake.blobs and path.stat().st_nlink == 1


def test_file_of_another_file_system_is_uploaded_and_left_as_it_is(fake, client, gguf, store, monkeypatch):
    path, digest = gguf
    before = path.stat().st_mode

    def link(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(client_module.os, "link", link)
    assert client.create("a:b", path, digest) == "uploaded"
    assert fake.blobs == {digest: path.read_bytes()}
    assert not list(store.iterdir()) and path.stat().st_mode == before


def test_file_of_another_owner_is_uploaded(fake, client, gguf, store, monkeypatch):
    path, digest = gguf
    monkeypatch.setattr(client_module.os, "geteuid", lambda: path.stat().st_uid + 1)
    assert client.would_copy(path.parent)
    assert client.create("a:b", path, digest) == "uploaded"
    assert fake.blobs and not list(store.iterdir())


@pytest.mark.parametrize("when", ["POST /api/create", "HEAD"])
def test_server_that_dies_while_registering(when, fake, gguf, tmp_path):
    path, digest = gguf
    fake.faults[when if when != "HEAD" else f"HEAD /api/blobs/sha256:{digest}"] = None
    log = tmp_path / "ollama.log"
    log.write_text("panic: out of luck\n")
    with fake.client(log=log) as client, pytest.raises(ReasonerError, match="went away during") as caught:
        client.create("a:b", path, digest)
    assert caught.value.code == FAILED
    assert "panic: out of luck" in caught.value.why
    assert "nothing is half registered" in caught.value.fix


def test_a_registration_that_is_refused_or_does_not_end_in_success(fake, client, gguf):
    path, digest = gguf
    fake.faults["POST /api/create"] = (400, {"error": "bad template"})
    with pytest.raises(ReasonerError, match="HTTP 400") as caught:
        client.create("a:b", path, digest)
    assert caught.value.why == "bad template"
    fake.faults["POST /api/create"] = (200, {"status": "writing"})
    with pytest.raises(ReasonerError, match="did not register a:b") as caught:
        client.create("a:b", path, digest)
    assert "writing" in caught.value.why

"""The command `ollama` as a person types it."""

from pathlib import Path

import pytest

from reasoner.serving import install, server


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """An Ollama that we brought."""
    path = tmp_path / "cache" / "tools" / "ollama" / "bin" / "ollama"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    found = install.OllamaInstall(path, "module", "0.34.4")
    monkeypatch.setattr(install, "find_ollama", lambda why=None: found)
    return found


def test_command_for_an_ollama_on_the_path(monkeypatch):
    found = install.OllamaInstall(Path("/usr/bin/ollama"), "PATH", "0.34.4")
    monkeypatch.setattr(install, "find_ollama", lambda why=None: found)
    assert install.install_link() == "ollama run reasoner"
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:11435")
    assert install.install_link("mine") == "OLLAMA_HOST=127.0.0.1:11435 ollama run mine"


def test_link_where_the_persons_path_has_its_folder(brought, monkeypatch):
    assert install.install_link() == f"{brought.path} run reasoner"  # ~/.local/bin is not on the PATH
    assert not install.link_path().parent.exists()
    monkeypatch.setenv("PATH", f"{install.link_path().parent}:/usr/bin:/bin")
    assert install.install_link() == "ollama run reasoner"
    assert install.link_path().readlink() == brought.path
    assert install.install_link() == "ollama run reasoner"
    done = server.uninstall_tools()
    assert f"removed {install.link_path()}" in done and not install.link_path().is_symlink()
    assert not brought.path.exists()


def test_foreign_ollama_in_the_links_place_stays(brought, monkeypatch):
    link = install.link_path()
    link.parent.mkdir(parents=True)
    link.write_text("theirs")
    monkeypatch.setenv("PATH", f"{link.parent}:/usr/bin:/bin")
    assert install.install_link() == f"{brought.path} run reasoner"
    server.uninstall_tools()
    assert link.read_text() == "theirs"


def test_command_without_any_ollama_program(monkeypatch):
    monkeypatch.setattr(install, "find_ollama", lambda why=None: None)
    assert install.install_link().startswith('curl http://127.0.0.1:11434/api/chat -d \'{"model"')

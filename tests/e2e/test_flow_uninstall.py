"""The end of a flow: `reasoner uninstall` takes back what is ours. Last, because the world is of no use afterwards."""

import httpx
import pytest
from flows import RUN

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp, pytest.mark.needs_ollama]

QUESTION = "Mia has 12 apples. She buys 5 more. How many apples does Mia have now?"


def api(world, method, path, **body):
    answer = httpx.request(method, f"http://127.0.0.1:{world.port}{path}", json=body or None, timeout=120)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def test_the_modelfile_makes_the_same_model_by_hand(world, flow):
    folder = next((world.runs / RUN / "exports").iterdir())
    made = world.call(world.ollama, "create", "by-hand", "-f", str(folder / "Modelfile"))
    assert made.returncode == 0, made.stderr
    chat = [{"role": "user", "content": QUESTION}]
    answers = {
        api(world, "POST", "/api/chat", model=name, messages=chat, stream=False)["message"]["content"]
        for name in ("by-hand", "reasoner")
    }
    assert len(answers) == 1


def test_uninstall_removes_ours_and_only_ours(world, flow):
    world.call(world.ollama, "cp", "reasoner", "the-persons-own")
    link = world.home / ".local" / "bin" / "ollama"
    assert link.is_symlink()
    done = world.reasoner("uninstall")
    assert done.returncode == 0, done.stderr
    assert not link.is_symlink()
    assert not (world.cache / "tools").exists()
    assert (world.runs / RUN / "report.md").exists()
    assert list((world.runs / RUN / "exports").glob("*/model.Q8_0.gguf"))
    manifests = world.folder / "models" / "manifests"
    left = sorted(p.relative_to(manifests).parts[-2:] for p in manifests.rglob("*") if p.is_file())
    assert left == [("by-hand", "latest"), ("the-persons-own", "latest")]
    with pytest.raises(httpx.ConnectError):
        api(world, "GET", "/api/version")

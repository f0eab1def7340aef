"""`import reasoner` as other programs use it: in plain TRL's trainer, on a model; and the examples as they stand."""

import ast
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reasoner
from reasoner.bases import locate
from reasoner.errors import ReasonerError

ROOT = Path(__file__).parents[2]
POCKET = locate.shipped()["pocket"]


def test_a_reward_takes_texts_and_chats_and_has_no_verdict_where_there_is_none():
    reward = pickle.loads(pickle.dumps(reasoner.reward("number")))
    chat = [{"role": "assistant", "content": "#### 4"}]
    completions = ["#### 4", "#### 5", chat, "#### 4"]
    given = reward(prompts=["p"] * 4, completions=completions, answer=["4", "4", "4", "four"])
    assert given == [1.0, 0.0, 1.0, None]
    assert reward.__name__ == "number"
    with pytest.raises(ReasonerError, match="no verifier named"):
        reasoner.reward("nmber")


def test_the_example_trains_in_plain_trl(tmp_path):
    script = ROOT / "examples" / "plain_trl" / "train.py"
    done = subprocess.run(
        [sys.executable, str(script), str(POCKET), "2"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rewards = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert len(rewards) == 2 and all(0 <= one <= 1 for one in rewards)


@pytest.mark.parametrize(("name", "exit_code"), [("loose", 4), ("judge", 0)])
def test_the_audit_of_the_own_verifier_is_as_its_readme_shows_it(name, exit_code):
    readme = (ROOT / "examples" / "own_verifier" / "README.md").read_text()
    blocks = re.findall(r"((?:^    .*\n)+)", readme, re.MULTILINE)
    (block,) = [block for block in blocks if "reasoner audit" in block and f"judge.py:{name}" in block]
    command, *shown = block.splitlines()
    argv = command.split()[1:]
    done = subprocess.run([sys.executable, "-m", "reasoner", *argv], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == exit_code, done.stdout + done.stderr
    told = iter(done.stdout.splitlines())
    assert len(shown) >= 10
    for line in shown:
        if line.strip() != "…":
            assert line.removeprefix("    ") in told, line  # in this order


def test_the_own_verifier_has_three_lines():
    tree = ast.parse((ROOT / "examples" / "own_verifier" / "judge.py").read_text())
    (judge,) = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "judge"]
    assert judge.end_lineno - judge.lineno == 3


def test_a_model_is_scored(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path))
    found = reasoner.evaluate(str(POCKET), data="wordproblems", num=4, max_tokens=16)
    assert (found.n, found.split, found.verifier.name) == (4, "test", "number")
    assert 0 <= found.pass_at_1 <= 1 and len(Path(found.completions).read_text().splitlines()) == 4

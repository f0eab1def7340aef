"""The verifiers stand alone: other trainers can take them without torch or anything else of the training."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import reasoner
from reasoner.verifiers.registry import BUILT_IN

ROOT = Path(reasoner.__file__).parents[1]
HEAVY = ("accelerate", "datasets", "gguf", "httpx", "llama_cpp", "numpy", "peft", "pydantic", "rich", "safetensors",
         "scipy", "tokenizers", "torch", "transformers", "trl")  # fmt: skip
NEEDED = ("math-verify", "mpmath", "hypothesis")
"""For `math`: mpmath, and Math-Verify where a reference has an integral or a limit; for properties in `code`:
hypothesis. `number` needs nothing."""
CASES = {
    "number": [("2 + 3 = 5\n#### 5", "5", "right"), ("#### 6", "#### 5", "wrong")],
    "number-lenient": [("So Leo has 2 x 9 = 18 pens.", "18", "right"), ("So Leo has 18 or 19.", "18", "wrong")],
    "math": [("\\boxed{\\sqrt{8}}", "2\\sqrt{2}", "right"), ("\\boxed{(x+1)^2}", "x^2+2x+1", "right"),
             ("\\boxed{\\frac{\\pi}{4}}", "\\frac{\\pi}{3}", "wrong")],
}  # fmt: skip
SCRIPT = f"""
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ImportError(f"{{name}} is heavy")

sys.meta_path.insert(0, Refused())
from reasoner.verifiers import registry

for name, cases in {CASES!r}.items():
    for completion, answer, verdict in cases:
        score = registry.verify(registry.load(name), completion, answer)
        assert score.verdict == verdict, (name, score)
    loaded = {{"mpmath", "math_verify", "sympy", "hypothesis"}} & set(sys.modules)
    assert loaded <= ({{"mpmath"}} if name == "math" else set()), (name, loaded)
assert registry.load("code").family == "code"
print("whole")
"""


def run(python, *options, **env):
    done = subprocess.run(
        [python, *options, "-c", SCRIPT], capture_output=True, text=True, env={"PATH": os.defpath, **env}
    )
    assert done.stdout == "whole\n", done.stderr


def test_nothing_heavy_is_imported_for_a_verdict():
    assert set(CASES) == set(BUILT_IN) - {"code"}
    run(sys.executable, PYTHONPATH=str(ROOT))


@pytest.mark.long
def test_a_fresh_environment_needs_only_what_the_verifiers_need(tmp_path):
    """Downloads from the package index."""
    python = tmp_path / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    pip = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)
    subprocess.run([*pip, *(f"{name}=={version(name)}" for name in NEEDED)], check=True)
    run(python, "-I")
    has_torch = subprocess.run([python, "-c", "import torch"], capture_output=True)
    assert has_torch.returncode == 1

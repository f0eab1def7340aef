"""Wrong flags and names: one clear error, the fix, the exit code, nothing on standard output."""

import json
import os
import signal
import subprocess
import sys
import tomllib

import pytest

from reasoner import config
from reasoner.cli import judge, main


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("REASONER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def reasoner(surroundings, monkeypatch, capsys):
    """`reasoner(*argv)`: the command's entry point in this process, up to its exit."""
    terminated = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def call(*argv):
        monkeypatch.setattr(sys, "argv", ["reasoner", *argv])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(argv, ended.value.code, out, err)

    yield call
    signal.signal(signal.SIGTERM, terminated)


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["rnu"], 2, "did you mean `run`?"),
        (["run", "--profil", "pocket"], 2, "--profile"),
        (["run", "--profile", "pokcet"], 2, "did you mean `pocket`?"),
        (["run", "--profile", "pocket", "--set", "train.step=3"], 2, "did you mean `train.steps`?"),
        (["run", "--profile", "pocket", "--set", "train.steps"], 2, "has no '='"),
        (["run", "--profile", "pocket", "--run", "../x"], 2, "cannot name a run"),
        (["status"], 2, "there is no run"),
        (["report", "nothing"], 2, "there is no run"),
        (["merge"], 2, "there is no run"),
    ],
)
def test_mistakes(reasoner, argv, code, says):
    done = reasoner(*argv)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_help_lists_every_command_under_what_it_is_for(reasoner):
    done = reasoner("--help")
    for title, commands in main.FAMILIES.items():
        listed = done.stdout.split(f"{title}:\n")[1].split("\n\n")[0]
        named = [line.split()[0] for line in listed.splitlines() if line[2] != " "]
        assert named == [one.name for one in commands]
    assert done.stdout.index("Use it") < done.stdout.index("  run ") < done.stdout.index("Measure")


def test_config_prints_toml(reasoner):
    done = reasoner("config", "--profile", "pocket", "--set", "train.steps=9")
    assert tomllib.loads(done.stdout)["train"]["steps"] == 9


def test_a_run_of_another_profile_is_not_overwritten(reasoner, tmp_path):
    found, origin = config.resolve("gsm8k")
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.json").write_text(config.dump(found, origin))
    done = reasoner("run", "--profile", "pocket", "--run", "mine")
    assert done.returncode == 2
    assert "has profile gsm8k, not pocket" in done.stderr


def test_json_is_one_value_on_standard_output(surroundings, tmp_path):
    """Of the real command: nothing that it loads says anything either."""
    found, origin = config.resolve("pocket")
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.json").write_text(config.dump(found, origin))
    argv = [sys.executable, "-m", "reasoner", "status", "mine", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["run"] == "mine"
    assert {row["state"] for row in value["stages"]} == {"missing"}


def test_terminal_text_shows_control_characters():
    from reasoner.errors import printable

    assert printable("a\x1b[31mred\x07\nb\tc") == "a\\x1b[31mred\\x07\nb\tc"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, "smol"),
        ({"train.control": "shuffled"}, "smol-shuffled"),
        ({"model.base": "ollama:reasoner"}, "smol-from-reasoner"),
        ({"model.base": "ollama:reasoner:step-000120"}, "smol-from-reasoner-step-000120"),
        ({"model.base": "gguf:/models/My Model.Q4_K_M.gguf"}, "smol-from-My-Model.Q4_K_M.gguf"),
        ({"model.base": "./folder/", "train.control": "shuffled"}, "smol-from-folder-shuffled"),
    ],
)
def test_a_run_with_another_base_gets_a_name_of_its_own(overrides, name):
    from reasoner import runs
    from reasoner.cli.options import default_name

    assert default_name("smol", overrides) == name
    assert runs.new(name).name == name


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "where",
    ["class Meets:\n    __del__ = meet\nlose = Meets", "lose = ctypes.CFUNCTYPE(None)(meet)"],
    ids=["destructor", "callback"],
)
def test_an_interrupt_where_python_can_raise_nothing_comes_again(where, number):
    program = f"""
import ctypes, os, signal, time
from reasoner.cli import main as cli

signal.signal(signal.SIGINT, {"signal.default_int_handler" if number == "SIGINT" else "signal.SIG_IGN"})
met = []

def meet(*_):
    if not met:
        met.append(1)
        os.kill(os.getpid(), signal.{number})
        time.sleep(1)

{where}

def command(**_):
    lose()
    time.sleep(20)
    print("went on")

cli.cli = command
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == "interrupted: what is done stays done, the same command goes on from there"


def test_a_config_file_of_ones_own(reasoner, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "données.csv").write_text("question,answer\n1 + 1?,2\n")
    own = tmp_path / "sub" / "mine.toml"
    own.write_text(
        'profile = "pocket"\n[model]\nbase = "gguf:x.gguf"\n[data]\nsource = "données.csv"\n'
        'system = "say \\"😀\\"\\n\\u007f"\n'
        "[train]\nsteps = 7\nlearning_rate = 1e-3\n"
    )
    done = reasoner("config", "--config", str(own), "--set", "train.steps=9")
    assert done.returncode == 0, done.stderr
    assert f'source = "{tmp_path}/sub/données.csv"  # mine.toml' in done.stdout
    assert f'base = "gguf:{tmp_path}/sub/x.gguf"  # mine.toml' in done.stdout
    assert tomllib.loads(done.stdout)["data"]["system"] == 'say "😀"\n\x7f'
    assert "steps = 9  # --set" in done.stdout and "learning_rate = 0.001  # mine.toml" in done.stdout
    for text, says in (
        ("[train]\nstep = 7", "did you mean `train.steps`?"), ("[train", "cannot be read as a config"),
        ('[train]\nsteps = "x"', "by mine.toml"), ('profile = "pokcet"', "did you mean `pocket`?"),
        ("profile = 3", "profile is no name: 3"), ("[data]\nsource = 2026-01-01", "mine.toml"),
    ):  # fmt: skip
        own.write_text(text)
        done = reasoner("config", "--config", str(own))
        assert done.returncode == 2 and says in done.stderr, done.stderr
    own.write_text('profile = "pocket"')
    done = reasoner("config", "--config", str(own), "--profile", "smol")
    assert done.returncode == 2 and "starts from pocket, not smol" in done.stderr
    assert "cannot be read" in reasoner("run", "--config", "nowhere.toml").stderr


def test_what_nobody_foresaw_is_called_a_bug_with_its_log(reasoner, monkeypatch, tmp_path):
    def broken(*_):
        raise KeyError("\x1b[31mboom")

    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(judge.registry, "load", broken)
    done = reasoner("check", "nothing.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: this is a bug of reasoner" in done.stderr and "KeyError" in done.stderr
    assert "Traceback" not in done.stderr and "\x1b" not in done.stderr
    (log,) = (tmp_path / "cache" / "logs").glob("bug-*.log")
    assert str(log) in done.stderr and "in broken" in log.read_text()
    (tmp_path / "cache" / "logs" / log.name).unlink()
    (tmp_path / "cache" / "logs").rmdir()
    (tmp_path / "cache" / "logs").write_text("in the way")
    done = reasoner("check", "nothing.jsonl")
    assert "this is a bug of reasoner" in done.stderr and "in broken" in done.stderr

"""The run folder: atomic writes, records, locks, ready checkpoints."""

import os
import subprocess
import sys

import pytest

from reasoner import files, runs
from reasoner.errors import ReasonerError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONER_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def made(folder, name):
    (folder / name).mkdir(parents=True)
    (folder / name / "config.json").write_text("{}")
    return runs.Run(folder / name)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "latest", "x" * 65, "a b"])
def test_names_that_cannot_be_folders_are_refused(folder, name):
    with pytest.raises(ReasonerError) as caught:
        runs.new(name)
    assert caught.value.code == 2


def test_existing_finds_by_name_and_latest(folder):
    first, second = made(folder, "one"), made(folder, "two")
    runs.mark_latest(first)
    assert runs.existing().path == first.path
    runs.mark_latest(second)
    assert runs.existing("latest").path == second.path
    assert runs.existing("one").path == first.path
    with pytest.raises(ReasonerError, match="did you mean `two`"):
        runs.existing("tow")


def test_existing_without_runs_says_what_to_type(folder):
    with pytest.raises(ReasonerError, match="make reasoner"):
        runs.existing()


def test_lock_names_the_writer_and_is_free_after_a_kill(folder):
    run = runs.new("x")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys,time;from reasoner import runs\n"
            "with runs.lock(runs.new('x')): print('held', flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ReasonerError, match=f"process {holder.pid} is writing it"), runs.lock(run):
        pass
    holder.kill()
    holder.wait()
    with runs.lock(run):
        assert (run.path / "lock").read_text() == f"{os.getpid()}\n"


def test_write_text_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "\ud800")
    assert path.read_text() == "old"


def test_partial_dir_appears_whole_or_not_at_all(tmp_path):
    final = tmp_path / "out"
    with pytest.raises(RuntimeError), files.partial_dir(final) as partial:
        (partial / "half").write_text("x")
        raise RuntimeError
    assert not final.exists()
    with files.partial_dir(final) as partial:
        assert not (partial / "half").exists()
        (partial / "whole").write_text("x")
    assert [p.name for p in final.iterdir()] == ["whole"]


def record(root, *names):
    outputs = runs.outputs_of(root, [root / name for name in names])
    return runs.Record("gguf", {"merge": "k"}, {"gguf": {}}, {}, outputs, {}, 1.0, "2026-01-01T00:00:00+00:00")


def test_record_comes_back_as_written(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    given = record(tmp_path, "d")
    runs.write_record(tmp_path / "r.json", given)
    assert runs.read_record(tmp_path / "r.json", runs.Kind("gguf", dict)) == given
    assert list(given.outputs) == ["d/a"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "outputs": 3}'])
def test_a_record_that_is_not_whole_is_no_record(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    assert runs.read_record(tmp_path / "r.json", runs.Kind("gguf", dict)) is None


def test_broken_outputs_sees_missing_resized_and_rewritten(tmp_path):
    path = tmp_path / "a"
    path.write_text("12")
    given = record(tmp_path, "a")
    assert runs.broken_outputs(tmp_path, given.outputs) == []
    os.utime(path, (1, 1))
    assert runs.broken_outputs(tmp_path, given.outputs) == []  # touched, not changed
    path.write_text("21")
    assert runs.broken_outputs(tmp_path, given.outputs) == ["a has other contents"]
    path.write_text("123")
    assert runs.broken_outputs(tmp_path, given.outputs) == ["a has another size"]
    path.unlink()
    assert runs.broken_outputs(tmp_path, given.outputs) == ["a is missing"]


def test_equal_outputs_give_equal_keys_whenever_made(tmp_path):
    (tmp_path / "a").write_text("1")
    first = record(tmp_path, "a").key
    os.utime(tmp_path / "a", (1, 1))
    assert record(tmp_path, "a").key == first
    (tmp_path / "a").write_text("2")
    assert record(tmp_path, "a").key != first


def test_ready_steps_needs_the_marker_and_sorts_by_number(tmp_path):
    for name in ("checkpoint-100", "checkpoint-50", "checkpoint-9", "checkpoint-x", "checkpoint-200"):
        (tmp_path / name).mkdir()
        if name != "checkpoint-200":
            (tmp_path / name / "DONE").write_text("")
    assert runs.ready_steps(tmp_path) == [9, 50, 100]


def test_read_jsonl_leaves_out_a_line_cut_by_a_kill(tmp_path):
    path = tmp_path / "m.jsonl"
    files.append_jsonl(path, [{"step": 1}, {"step": 2}])
    with path.open("a") as handle:
        handle.write('{"step": 3, "rew')
    assert [row["step"] for row in files.read_jsonl(path)] == [1, 2]


def test_a_folder_that_was_not_filled_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="full"), files.partial_dir(tmp_path / "adapter") as partial:
        (partial / "half").write_text("x")
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []


def test_a_line_cut_off_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "history.jsonl"
    files.append_jsonl(path, [{"step": 1, "text": "ä"}])
    with path.open("a") as handle:
        handle.write('{"step": 2, "rew')
    files.append_jsonl(path, [{"step": 3}])
    files.append_jsonl(path, [{"step": 4}])
    assert [row["step"] for row in files.read_jsonl(path)] == [1, 3, 4]


def test_a_hash_taken_while_writing_is_believed_until_the_file_changes(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"a" * 10)
    true = files.sha256_file(path)
    files.hashed_while_written(path, "as written")
    assert files.sha256_file(path) == "as written"
    path.rename(tmp_path / "renamed")
    assert files.sha256_file(tmp_path / "renamed") == "as written"
    path.write_bytes(b"a" * 10)
    assert files.sha256_file(path) == true
    os.utime(tmp_path / "renamed", ns=(0, 0))
    assert files.sha256_file(tmp_path / "renamed") == true


def test_a_record_of_another_version_is_refused_by_name(tmp_path):
    runs.write_record(tmp_path / "r.json", record(tmp_path))
    with pytest.raises(ReasonerError, match="written by another version") as caught:
        runs.read_record(tmp_path / "r.json", runs.Kind("gguf", runs.Output))
    assert caught.value.code == 2

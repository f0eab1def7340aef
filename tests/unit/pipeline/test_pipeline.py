"""The planner: why a stage is stale, what is refused early, what a failure leaves behind."""

import dataclasses
import json
import shutil
import types

import made_up
import pytest

from reasoner import config, files, runs
from reasoner.audit.results import Audit, Judge, References, Unjudged
from reasoner.bases import locate
from reasoner.errors import ReasonerError
from reasoner.export.facts import REGISTER, PromoteFacts, RegisterFacts, ReportFacts, origin
from reasoner.measuring.figures import EVALUATE, GATE
from reasoner.pipeline import plan, stages
from reasoner.pipeline.job import Job
from reasoner.problems.problem import Problem
from reasoner.serving.tags import Registered, Tagged
from reasoner.training.facts import TRAIN


class Server:
    host, version, models_dir = "127.0.0.1:1", "0.34.4", None


class Client:
    def would_copy(self, folder):
        return False


@pytest.fixture
def job(tmp_path):
    found, _ = config.resolve("pocket", {"train.steps": "4"})
    made = Job(found, runs.Run(tmp_path / "run"))
    made.__dict__["server"] = Server()
    made.__dict__["client"] = Client()
    made.__dict__["base"] = locate.Base(
        "pocket", tmp_path, "LlamaForCausalLM", 7_000_000, {"model.safetensors": runs.Output("ab", 1, 1)}
    )
    return made


KINDS = {"merge": runs.Kind("merge", dict)}


def stage(ran, name="merge", **changes):
    def run(job):
        ran.append(name)
        path = job.run.path / "out.txt"
        files.write_text(path, "made")
        return [path], {}

    found = stages.Stage(KINDS[name], run, ("gguf",), lambda job: {"base": job.base.sha256})
    return dataclasses.replace(found, **changes)


@pytest.fixture
def versions(monkeypatch):
    monkeypatch.setattr(Job, "versions", lambda job: {})


def test_a_stage_runs_once_and_then_says_why_not(job, versions):
    ran, said = [], []
    job.reporter.stage = lambda name, verdict, reason, seconds: said.append((verdict, reason))
    one = stage(ran)
    assert stages.stale(job, one) == ["not done yet"]
    plan.run_stage(job, one)
    plan.run_stage(job, one)
    assert ran == ["merge"]
    assert said[1] == ("fresh", "same inputs, config and tools; outputs whole")


def with_config(job, **overrides):
    tree = {key.replace("__", "."): value for key, value in overrides.items()}
    job.config = config.resolve("pocket", {"train.steps": "4", **tree})[0]


def test_reasons_name_the_key_the_input_and_the_file(job, versions):
    one = stage([])
    plan.run_stage(job, one)
    with_config(job, gguf__quant="Q4_K_M")
    assert stages.stale(job, one) == ["gguf.quant was 'Q8_0', is 'Q4_K_M'"]
    with_config(job, gguf__quant="Q8_0")
    assert stages.stale(job, dataclasses.replace(one, inputs=lambda job: {"base": "other"})) == ["base changed"]
    (job.run.path / "out.txt").write_text("else")
    assert stages.stale(job, one) == ["out.txt has other contents"]


def test_a_setting_that_the_stage_does_not_read_changes_nothing(job, versions):
    one = stage([])
    plan.run_stage(job, one)
    with_config(job, eval__num_problems="7")
    assert stages.stale(job, one) == []


def test_another_tool_version_is_a_reason(job, versions, monkeypatch):
    one = stage([], tools=("reasoner",))
    plan.run_stage(job, one)
    monkeypatch.setattr(stages, "__version__", "99")
    assert stages.stale(job, one) == ["reasoner was 0.1.0, is 99"]


def test_the_server_is_asked_only_when_nothing_else_is_wrong(job, versions):
    one = stage([], outside=lambda job, record: ["reasoner:base is not in Ollama"])
    plan.run_stage(job, one)
    assert stages.stale(job, one) == ["reasoner:base is not in Ollama"]
    assert stages.stale(job, one, ask_server=False) == []


def test_a_failing_stage_forgets_its_old_record_and_the_summary(job, versions):
    plan.run_stage(job, stage([]))
    files.write_text(job.run.summary_path, "{}")

    def fail(job):
        raise ReasonerError("no")

    with pytest.raises(ReasonerError):
        plan.run_stage(job, stage([], run=fail, inputs=lambda job: {"base": "new"}))
    assert job.record(KINDS["merge"]) is None
    assert not job.run.summary_path.exists()


def forget(stored):
    """A config as one recorded before these keys and sections existed."""
    for section, key in (("gguf", "margin"), ("train", "report_to"), ("verifier", "reward"), ("alarms", None)):
        if section in stored and key:
            stored[section] = {k: v for k, v in stored[section].items() if k != key}
        else:
            stored.pop(section, None)
    return stored


def test_keys_that_did_not_exist_then_had_todays_default(job, versions):
    one = stage([], reads=("gguf", "train", "verifier", "alarms", "serve"))
    plan.run_stage(job, one)
    record = job.record(KINDS["merge"])
    runs.write_record(job.record_path(KINDS["merge"]), dataclasses.replace(record, config=forget(record.config)))
    assert stages.stale(job, one) == []
    with_config(job, gguf__margin="3", alarms__max_hidden_gap="0.5")
    assert stages.stale(job, one) == ["gguf.margin was 2.0, is 3.0", "alarms.max_hidden_gap was None, is 0.5"]


def test_a_training_of_before_a_key_existed_goes_on(job, tmp_path):
    stored = json.loads(config.dump(*config.resolve("pocket", {"train.steps": "4"})))
    files.write_json(job.run.config_path, {**stored, "config": forget(stored["config"])})
    files.write_text(job.run.checkpoints_dir / "checkpoint-2" / "DONE", "")
    plan.keep_training(job)
    with_config(job, verifier__reward="share")
    with pytest.raises(ReasonerError) as caught:
        plan.keep_training(job)
    assert caught.value.why == "verifier.reward was 'verdict', is 'share'"


def test_training_is_not_thrown_away_for_a_changed_setting(job, versions):
    train = stages.BY_NAME["train"]
    record = runs.Record(
        "train",
        train.inputs(job),
        stages.settings_of(job.config, train.reads),
        {},
        {},
        made_up.training(),
        1.0,
        "2026-01-01",
    )
    runs.write_record(job.record_path(TRAIN), record)
    plan.keep_training(job)
    with_config(job, train__learning_rate="1e-2")
    with pytest.raises(ReasonerError) as caught:
        plan.keep_training(job)
    assert caught.value.code == 2
    assert "train.learning_rate was 0.0003, is 0.01" in caught.value.why


def test_checkpoints_of_an_unfinished_training_are_kept_too(job):
    files.write_text(job.run.config_path, config.dump(job.config, {}))
    files.write_text(job.run.checkpoints_dir / "checkpoint-2" / "DONE", "")
    plan.keep_training(job)
    with_config(job, train__seed="5")
    with pytest.raises(ReasonerError, match="trained with other settings"):
        plan.keep_training(job)


@pytest.mark.parametrize("is_done", [True, False], ids=["done", "under way"])
def test_an_edited_file_of_problems_is_not_trained_on_under_the_same_name(job, versions, tmp_path, is_done):
    mine = tmp_path / "mine.csv"
    mine.write_text("question,answer\n1 + 1?,2\n")
    with_config(job, data__source=str(mine))
    train = stages.BY_NAME["train"]
    files.write_text(job.run.config_path, config.dump(job.config, {}))
    files.write_text(job.run.checkpoints_dir / "checkpoint-2" / "DONE", "")
    files.write_json(job.run.data_path, train.inputs(job))
    if is_done:
        settings = stages.settings_of(job.config, train.reads)
        record = runs.Record("train", train.inputs(job), settings, {}, {}, made_up.training(), 1.0, "2026-01-01")
        runs.write_record(job.record_path(TRAIN), record)
    plan.keep_training(job)
    mine.write_text("question,answer\n1 + 1?,3\n")
    with pytest.raises(ReasonerError) as caught:
        plan.keep_training(job)
    assert caught.value.why == "data.source changed"
    assert "data.source" in stages.BY_NAME["evaluate"].inputs(job)


def test_problems_that_are_too_few_or_too_long_are_refused(job, tmp_path):
    job.__dict__["base"] = locate.resolve(job.config.model)
    mine = tmp_path / "mine.csv"
    mine.write_text("question,answer\n" + "".join(f"{n} + 1?,{n + 1}\n" for n in range(9)))
    settings = {"data__source": str(mine), "eval__max_steps": "none", "eval__beside": "[]"}
    with_config(job, **settings, train__num_prompts="8")
    with pytest.raises(ReasonerError, match="has 7 problems to train on, and a step takes 8") as caught:
        plan.check_problems(job)
    assert caught.value.fix.endswith("--set train.num_prompts=7")
    with_config(job, **settings, train__num_prompts="7")
    plan.check_problems(job)
    for name, says in (("test", "1 of 1 held-out"), ("train", "1 of 8 training")):
        folder = tmp_path / name
        folder.mkdir()
        rows = [f"{n} + 1?,{n + 1}\n" for n in range(10)]
        (folder / "train.csv").write_text("question,answer\n" + "".join(rows[:8]))
        (folder / "test.csv").write_text("question,answer\n" + rows[8])
        (folder / "dev.csv").write_text("question,answer\n" + rows[9])
        long = f"{'and so on ' * 600},1\n"
        (folder / f"{name}.csv").write_text("question,answer\n" + "".join(rows[:7] * (name == "train")) + long)
        with_config(job, **settings | {"data__source": str(folder)}, train__num_prompts="2")
        with pytest.raises(ReasonerError, match=f"{says} problems do not fit the served context"):
            plan.check_problems(job)


def test_a_refused_run_leaves_its_config_alone(job, versions):
    files.write_text(job.run.config_path, config.dump(job.config, {}))
    files.write_text(job.run.checkpoints_dir / "checkpoint-2" / "DONE", "")
    before = job.run.config_path.read_text()
    with_config(job, train__seed="5")
    with pytest.raises(ReasonerError):
        plan.run(job, {})
    assert job.run.config_path.read_text() == before


def test_a_small_disk_is_refused_before_training(job, monkeypatch):
    job.run.path.mkdir()
    usage = shutil.disk_usage(job.run.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100 * 2**20))
    with pytest.raises(ReasonerError) as caught:
        plan.check_disk(job)
    assert caught.value.code == 3
    assert "0.10 GiB are free" in caught.value.why
    assert "OLLAMA_MODELS" in caught.value.fix


def test_ollamas_own_copy_is_counted(job, monkeypatch):
    job.run.path.mkdir()
    usage = shutil.disk_usage(job.run.path)
    seen = []

    def free(amount):
        def disk_usage(path):
            seen.append(path)
            return usage._replace(free=amount)

        return disk_usage

    monkeypatch.setattr(shutil, "disk_usage", free(250 * 2**20))
    plan.check_disk(job)
    monkeypatch.setattr(Client, "would_copy", lambda self, folder: True)
    with pytest.raises(ReasonerError, match="not enough disk space"):
        plan.check_disk(job)


def test_a_ladder_that_was_climbed_since_makes_the_report_stale(job, versions):
    one = dataclasses.replace(stages.BY_NAME["report"], run=lambda job: ([], ReportFacts()))
    plan.run_stage(job, one)
    assert stages.stale(job, one) == []
    files.write_json(job.run.path / "ladder.json", {"n": 1})
    assert stages.stale(job, one) == ["ladder changed"]


@pytest.mark.parametrize(("earlier", "why"), [("sha256:public", ["-5.0 points"]), ("sha256:other", [])])
def test_what_a_watch_made_public_gives_way_only_through_the_gate(job, monkeypatch, earlier, why):
    model = Registered("m:1", "sha256:last", "ab", "linked", 12)
    facts = {
        REGISTER: RegisterFacts(model, model, []),
        EVALUATE: made_up.evaluation(),
        GATE: types.SimpleNamespace(why=["-5.0 points"]),
    }
    monkeypatch.setattr(Job, "need", lambda self, kind: types.SimpleNamespace(facts=facts[kind]))
    monkeypatch.setattr(stages.tags, "public", lambda config, client: Tagged("m:latest", "sha256:public"))
    monkeypatch.setattr(stages.history, "promotions", lambda run: [types.SimpleNamespace(digest=earlier)])
    monkeypatch.setattr(stages.history, "settle", lambda config, client, run: None)
    promote = lambda *given: PromoteFacts(promoted=False, why=given[4].problems_found)  # noqa: E731
    monkeypatch.setattr(stages, "promote", promote)
    made = PromoteFacts(promoted=False, why=why, against="sha256:public")
    assert stages.BY_NAME["promote"].run(job) == ([], made)
    assert [one.name for one in stages.BY_NAME["promote"].first(job)] == ["gate"] * len(why)
    assert facts[EVALUATE].problems_found == []


def test_a_refusal_stands_only_against_the_model_that_was_public_then(job, monkeypatch):
    outside = stages.BY_NAME["promote"].outside
    refused = PromoteFacts(promoted=False, why=["worse"], against="sha256:then")
    monkeypatch.setattr(stages.tags, "public", lambda config, client: Tagged("m:latest", "sha256:then"))
    assert outside(job, refused) == []
    monkeypatch.setattr(stages.tags, "public", lambda config, client: Tagged("m:latest", "sha256:now"))
    assert outside(job, refused) == ["another model is public by now"]
    assert outside(job, dataclasses.replace(refused, is_control=True)) == []


def test_stage_names_are_the_contract():
    contract = ["train", "merge", "gguf", "modelfile", "register", "evaluate"]
    assert [name for name in stages.NAMES if name in contract] == contract
    assert stages.NAMES[0] == "base"
    assert stages.NAMES[-2:] == ("promote", "report")


@pytest.mark.parametrize(
    ("has_cuda", "free_gib", "profile", "why"),
    [
        (True, 64, "gsm8k", "a CUDA device is present"),
        (False, 12, "smol", "no CUDA device"),
        (False, 3, "pocket", "3.0 GiB of free memory where smol wants 8"),
    ],
)
def test_the_default_profile_is_what_the_machine_can_do(monkeypatch, has_cuda, free_gib, profile, why):
    monkeypatch.setattr(plan.device, "kind", lambda: "cuda" if has_cuda else "cpu")
    monkeypatch.setattr("psutil.virtual_memory", lambda: types.SimpleNamespace(available=free_gib * 2**30))
    assert plan.default_profile()[0] == profile
    assert why in plan.default_profile()[1]


def test_a_base_made_of_a_gguf_says_what_the_adapter_was_fitted_to():
    made = types.SimpleNamespace(quantization="Q4_1", bits_per_weight=5.744, sha256="ab")
    assert origin("pypi:x==1", made).startswith(
        "pypi:x==1, a GGUF of Q4_1 (5.74 bits a weight, sha256 ab): the adapter was fitted to"
    )
    assert origin("pocket", None) == "pocket"


# -- the audit before a training ---------------------------------------------------------------


def audited(problems):
    """What `audit.run` gives, where `blue` is no reference that can be judged."""
    unjudged = [Unjudged(at, p.id, p.answer, "no") for at, p in enumerate(problems) if p.answer == "blue"]
    counts = References("mine", len(problems), len(problems) - len(unjudged), 1, "x")
    return Audit(1, Judge("number", "2", "number"), True, [], counts, unjudged, [], 0, 0.1, {})


@pytest.fixture
def trained(job, tmp_path, monkeypatch):
    """What `train.run` was given, with the audit replaced by one of `audited`."""
    rows = tmp_path / "mine.jsonl"
    rows.write_text("".join(f'{{"question": "q{n}", "answer": "{a}"}}\n' for n, a in enumerate(["1", "blue", "3"])))
    with_config(job, data__source=str(rows), data__num_train="none")
    given = []

    def run(wanted, say, progress):
        given.append(wanted.unjudged)
        return [], made_up.training()

    monkeypatch.setattr(stages.grpo, "run", run)
    monkeypatch.setattr(stages.audit, "run", lambda checker, problems, source: audited(problems))
    monkeypatch.setattr(stages.load, "training", lambda config: sources(rows))
    return given


def sources(path):
    answers = [json.loads(line)["answer"] for line in path.read_text().splitlines()]
    return [Problem(f"p{n}", f"q{n}", answer) for n, answer in enumerate(answers)]


def test_the_verifier_is_audited_on_the_references_before_training(job, trained):
    said = []
    job.reporter.say = said.append
    _, facts = stages.BY_NAME["train"].run(job)
    assert trained == [{1}]
    assert files.as_json(facts.audit) == {
        "holds": True, "references": 2, "unjudged": 1, "seconds": 0.1, "checks": {}
    }  # fmt: skip
    assert files.read_json(job.run.path / "audit.json")["unjudged"][0]["id"] == "p1"
    assert "holds on 2 references, 1 that it cannot judge are left out" in said[0]


def failing(monkeypatch):
    failed = ["near misses that must fail: 3 of 900"]

    def run(checker, problems, source):
        return dataclasses.replace(audited(problems), holds=False, failed=failed)

    monkeypatch.setattr(stages.audit, "run", run)


def test_a_verifier_that_fails_its_audit_trains_nothing(job, trained, monkeypatch):
    failing(monkeypatch)
    with pytest.raises(ReasonerError, match="the verifier number fails its audit") as caught:
        stages.BY_NAME["train"].run(job)
    assert caught.value.code == 4
    assert "near misses that must fail: 3 of 900" in caught.value.why
    assert "reasoner audit --run run" in caught.value.fix
    assert trained == []
    assert files.read_json(job.run.path / "audit.json")["holds"] is False


def test_a_failed_audit_may_be_only_told(job, trained, monkeypatch):
    failing(monkeypatch)
    said = []
    job.reporter.say = said.append
    job.config = job.config.model_copy(update={"alarms": config.Alarms(failed_audit="tell")})
    _, facts = stages.BY_NAME["train"].run(job)
    assert facts.audit.holds is False
    assert "FAILS its audit (near misses that must fail: 3 of 900)" in said[0]

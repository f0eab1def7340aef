"""What tokenizers and chat templates promise us, through transformers itself."""

import json

import pytest

from reasoner import files, runs
from reasoner.bases import locate
from reasoner.errors import ReasonerError
from reasoner.export import calibration, merge
from reasoner.llamacpp import quantize
from reasoner.problems.problem import messages


def set_template(model_folder, template):
    (model_folder / "chat_template.jinja").unlink(missing_ok=True)
    path = model_folder / "tokenizer_config.json"
    stored = json.loads(path.read_text())
    stored.pop("chat_template", None)
    if template is not None:
        stored["chat_template"] = template
    path.write_text(json.dumps(stored))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "it has no chat template"),
        ("{% for m in messages %}", "its chat template does not render"),
        ("{{ raise_exception('no') }}", "its chat template does not render"),
        ("hello", "its chat template leaves messages out"),
    ],
)
def test_templates_that_cannot_be_used(model_folder, template, says):
    set_template(model_folder, template)
    with pytest.raises(ReasonerError) as caught:
        locate.load_tokenizer(model_folder)
    assert says in caught.value.why


@pytest.mark.slow
def test_end_token_follows_the_template(model_folder):
    tokenizer = locate.load_tokenizer(model_folder)
    right = tokenizer.eos_token
    path = model_folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": tokenizer.bos_token}))
    assert locate.load_tokenizer(model_folder).eos_token == right


@pytest.mark.slow
def test_saved_tokenizer_is_the_same_but_for_the_end_token(model_folder, tmp_path):
    target = tmp_path / "merged"
    target.mkdir()
    tokenizer = locate.load_tokenizer(model_folder)
    merge.save_tokenizer(model_folder, target, tokenizer)
    assert (target / "tokenizer.model").read_bytes() == (model_folder / "tokenizer.model").read_bytes()
    again = locate.load_tokenizer(target)
    chat = [{"role": "user", "content": "Mia has 12 apples.\nShe buys 5 more."}]
    assert locate.prompt_ids(again, chat) == locate.prompt_ids(tokenizer, chat)


@pytest.mark.slow
def test_embeddings_smaller_than_the_tokenizer(model_folder):
    tokenizer = locate.load_tokenizer(model_folder)
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps({**config, "vocab_size": len(tokenizer) - 1}))
    with pytest.raises(ReasonerError, match="cannot be a base"):
        locate.check_embeddings(model_folder, tokenizer)


@pytest.mark.slow
def test_calibration_is_what_the_verifier_took_newest_first_once_a_problem(tmp_path, monkeypatch):
    run, out = runs.Run(tmp_path), tmp_path / "text"
    folder = locate.shipped()["pocket"]

    def roll(step, *rows):
        made = [
            {"problem_id": name, "question": f"{name} has 1 pen.", "completion": text, "verdict": verdict}
            for name, text, verdict in rows
        ]
        files.append_jsonl(run.path / "rollouts" / f"step-{step:06d}.jsonl", made)

    roll(1, ("Ann", "1 + 1 = 2", "right"), ("Bob", "2 + 2 = 4", "right"))
    roll(2, ("Ann", "3 + 3 = 6", "right"), ("Ann", "4 + 4 = 8", "right"), ("Cy", "5 + 5 = 9", "wrong"))
    assert calibration.write(run, folder, None, out) == 0
    assert not out.exists()
    monkeypatch.setattr(quantize, "CHUNK", 4)
    tokens = calibration.write(run, folder, None, out)
    text = out.read_text()
    assert tokens == len(locate.load_tokenizer(folder)(text, add_special_tokens=False)["input_ids"])
    assert "3 + 3" in text and "2 + 2" in text
    assert all(other not in text for other in ("1 + 1", "4 + 4", "5 + 5"))
    asked = locate.load_tokenizer(folder).apply_chat_template(
        messages("Ann has 1 pen.", None), tokenize=False, add_generation_prompt=True
    )
    assert text.startswith(str(asked))

"""What llama.cpp promises us: the same ids, nearly the same logits, one library for all of it."""

from pathlib import Path

import pytest

from reasoner.bases import locate
from reasoner.llamacpp import header, install, quantize
from reasoner.problems import generator, stories
from reasoner.problems.problem import messages

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp]

ODD = [
    "",
    " ",
    "\n",
    "a  b",
    "  7",
    "-12",
    "1,234.5",
    "½ + ¼",
    "naïve café",
    "日本語",
    "🙂",
    "<|user|>",
    "</s>",
    "\t#### 5",
]


@pytest.fixture(scope="module")
def pocket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    path = folder / "pocket.F16.gguf"
    facts = quantize.run(locate.shipped()["pocket"], path, "F16", folder / "log", lambda text: None)
    assert sorted(p.name for p in folder.iterdir()) == ["log", "pocket.F16.gguf"]
    install.use_python_binding()
    return path, facts


@pytest.fixture(scope="module")
def llama(pocket):
    import llama_cpp

    model = llama_cpp.Llama(str(pocket[0]), n_ctx=512, n_threads=1, logits_all=True, verbose=False)
    yield model
    model.close()


def test_the_binding_loads_the_library_that_was_built(llama):
    import llama_cpp.llama_cpp as binding

    built = install.llama_cpp()
    loaded = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libllama" in line]
    assert loaded
    assert {str(built.lib_dir.resolve())} == {p.rpartition("/")[0] for p in loaded}
    assert binding.llama_max_devices() >= 1


def test_token_ids_are_those_of_the_trainer(llama):
    tokenizer = locate.load_tokenizer(locate.shipped()["pocket"])
    problems = [p for split in generator.SPLITS for p in stories.generate(split, 60)]
    texts = [
        str(tokenizer.apply_chat_template(messages(p["question"], None), tokenize=False, add_generation_prompt=True))
        for p in problems
    ]
    texts += [text + p["answer"] for text, p in zip(texts, problems, strict=True)] + ODD
    for text in texts:
        ours = tokenizer(text, add_special_tokens=False)["input_ids"]
        theirs = llama.tokenize(text.encode(), add_bos=False, special=True)
        assert ours == theirs, text


def test_logits_are_those_of_the_trainer(llama):
    import numpy
    import torch
    from transformers import AutoModelForCausalLM

    folder = locate.shipped()["pocket"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = locate.load_tokenizer(folder)
    for problem in stories.generate("test", 5):
        ids = locate.prompt_ids(tokenizer, messages(problem["question"], None))
        with torch.inference_mode():
            ours = model(input_ids=torch.tensor([ids])).logits[0].numpy()
        llama.reset()
        llama.eval(ids)
        theirs = numpy.array(llama.scores[: len(ids)])
        assert numpy.abs(ours - theirs).max() < 0.1 * numpy.abs(ours).max()
        assert (ours.argmax(-1) == theirs.argmax(-1)).mean() > 0.97


def test_a_quantized_file_says_what_it_is(pocket):
    _, facts = pocket
    tokenizer = locate.load_tokenizer(locate.shipped()["pocket"])
    assert facts.architecture == "llama"
    assert facts.tokenizer == "llama"
    assert facts.eos_token_id == tokenizer.eos_token_id
    assert facts.chat_template_sha256


def test_a_model_that_the_converter_does_not_know_is_said_by_name(tmp_path):
    import json
    import shutil

    from reasoner.errors import ReasonerError

    folder = tmp_path / "model"
    shutil.copytree(locate.shipped()["pocket"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["MadeUpForCausalLM"]}))
    with pytest.raises(ReasonerError, match="failed") as caught:
        quantize.run(folder, tmp_path / "x.gguf", "Q8_0", tmp_path / "log", lambda text: None)
    assert "MadeUpForCausalLM" in caught.value.why
    assert not list(tmp_path.glob("*.gguf"))


def test_a_file_that_is_not_whole_is_refused(pocket, tmp_path):
    from reasoner.errors import ReasonerError

    (tmp_path / "cut.gguf").write_bytes(pocket[0].read_bytes()[:100_000])
    with pytest.raises(ReasonerError, match="is not a whole GGUF"):
        header.check(tmp_path / "cut.gguf")

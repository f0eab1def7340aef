"""De-quantizes the weights of a GGUF into a model folder of 16-bit safetensors.

The configuration is made of the header's own numbers, not of transformers' guesses from them. Whether the result is
the same model is not shown here but in `proof`.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner.bases.shape import Shape, rope
from reasoner.bases.specs import unfit
from reasoner.errors import ReasonerError
from reasoner.llamacpp.header import Header

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def write_weights(spec: str, header: Header, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes config.json, generation_config.json and the weights, rounded to bfloat16."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    transformers.utils.logging.disable_progress_bar()
    config = _config(header, tokenizer)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            loaded = load_gguf_checkpoint(
                str(header.path), return_tensors=True, model_to_load=model, torch_dtype=torch.bfloat16
            )
    except NotImplementedError as error:
        why = f"its types cannot be de-quantized ({', '.join(sorted(header.tensor_types))}): {error}"
        raise unfit(spec, why, "use another quantization") from None
    weights = loaded["tensors"]
    bad = next((name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())), None)
    if bad:
        raise unfit(spec, f"{bad} has values that are not numbers", "use another quantization of the model")
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    if unexpected or set(missing) - ({"lm_head.weight"} if config.tie_word_embeddings else set()):
        raise ReasonerError(
            f"the weights of {spec} do not fit their configuration",
            why=f"missing {missing[:3]}, unexpected {unexpected[:3]}",
            fix="this is a bug worth reporting, with the name of the model",
        )
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    model.save_pretrained(folder, safe_serialization=True)


def _config(header: Header, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    from transformers import AutoConfig

    shape = Shape.of(header)
    biases: dict[str, Any] = {"attention_bias": shape.has_biases} if header.architecture == "llama" else {}
    return AutoConfig.for_model(
        header.architecture,
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head,
        max_position_embeddings=shape.context,
        rms_norm_eps=shape.epsilon,
        rope_parameters=rope(header, shape),
        tie_word_embeddings="output.weight" not in header.tensors,
        bos_token_id=header.vocab("bos_token_id"),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **biases,
    )

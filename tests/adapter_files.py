"""Adapters as other trainers write them: tensors by name, for a base of one layer and the width 8."""

import json

from reasoner.export import adapters

MODULE = "model.layers.0.self_attn.q_proj"
SHAPE = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}


def base(folder, **settings):
    """The shape of a base, which is all that an adapter is held against."""
    import transformers

    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
    kind = settings.pop("kind", "LlamaConfig")
    found = getattr(transformers, kind)(**{**sizes, "num_key_value_heads": 2, "vocab_size": 16, **settings})
    found.save_pretrained(folder)
    return folder


def pair(module=MODULE, fill=1.0, rows=8, columns=8, rank=2):
    """Both halves of a product, by PEFT's names."""
    import torch

    shapes = {"A": (rank, columns), "B": (rows, rank)}
    return {f"base_model.model.{module}.lora_{s}.weight": torch.full(shape, fill) for s, shape in shapes.items()}


def write(folder, tensors=None, shape=SHAPE, **settings):
    """A folder with an adapter; `settings` go into its config."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(pair() if tensors is None else tensors, folder / adapters.WEIGHTS)
    text = shape if isinstance(shape, str) else json.dumps({**shape, **settings})
    (folder / adapters.SHAPE).write_text(text)
    return folder

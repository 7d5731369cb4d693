"""Tokens per second of the language engine against llama.cpp with the same file, in rounds that take turns.

    cargo build --release -p pericard-language --example measure
    python benches/chat.py MODEL.gguf --out benches/runs/DATE-chat

Per round and number of threads: reading a prompt of 512 tokens, one answer, eight answers at once, and one answer after
4,096 tokens. Ratios above 1 mean that the appliance is faster. On a machine that does other work the wall clock means
little; the ratio of processor time per token stands beside it.

Needs llama-cpp-python==0.3.36 (appliance/language/tests/golden/peer.py), compiled for this machine, and numpy.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "appliance/language/tests/golden"))
PROMPT, DEEP, ANSWER, STREAMS = 512, 4096, 128, 8
ROWS = {
    "prompt of 512 tokens": ("prompt_tokens_per_s", "prompt_cpu_ms_per_token"),
    "one answer": ("answer_tokens_per_s", "answer_cpu_ms_per_token"),
    "eight answers at once": ("eight_answers_tokens_per_s", "eight_answers_cpu_ms_per_token"),
    "one answer after 4096 tokens": ("answer_at_4096_tokens_per_s", "answer_at_4096_cpu_ms_per_token"),
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("weights")
    arguments.add_argument("--measure", default=str(ROOT / "target/release/examples/measure"))
    arguments.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    arguments.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.peer:
        return print(json.dumps(peer(options.weights, options.peer)))
    runs = []
    for number in range(options.rounds):
        for threads in options.threads:
            ours = run([options.measure, options.weights, str(threads)])
            again = [sys.executable, __file__, options.weights, "--out", "-", "--peer", str(threads)]
            theirs = run(again, OMP_NUM_THREADS=str(threads))
            runs.append({"round": number, "threads": threads, "load": os.getloadavg()[0], "ours": ours, "peer": theirs})
            print(f"round {number + 1}, {threads} threads, load {runs[-1]['load']:.1f}", file=sys.stderr)
    table = report(runs, options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")
    (options.out / "README.md").write_text(table)  # what the weather was, a person adds
    print(table)


def run(command, **environment):
    result = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(result.stdout)


def report(runs, threads):
    lines = [
        f"# Chat against llama.cpp 0c1e57098, {datetime.date.today()}\n",
        f"{cpu()}, {os.cpu_count()} CPUs; load average while it ran: "
        f"{min(r['load'] for r in runs):.1f} to {max(r['load'] for r in runs):.1f}. Medians of {len(runs) // len(threads)} rounds.\n",
        "| threads | what | ours t/s | llama.cpp t/s | ratio (spread) | ratio of processor time |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for count in threads:
        mine = [r for r in runs if r["threads"] == count]
        for name, (speed, cpu_ms) in ROWS.items():
            ratios = sorted(r["ours"][speed] / r["peer"][speed] for r in mine)
            spent = statistics.median(r["peer"][cpu_ms] / r["ours"][cpu_ms] for r in mine)
            ours, theirs = (statistics.median(r[who][speed] for r in mine) for who in ("ours", "peer"))
            lines.append(
                f"| {count} | {name} | {ours:.0f} | {theirs:.0f} | {statistics.median(ratios):.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f}) | {spent:.2f} |"
            )
    return "\n".join(lines) + "\n"


def cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def peer(weights, threads):
    from peer import Peer

    engine = Peer(weights, threads=threads, context=8192, sequences=STREAMS)
    ids = [(i * 37) % 40_000 + 100 for i in range(DEEP)]
    figures = {}

    def timed(name, tokens, work):
        began, spent = time.perf_counter(), sum(os.times()[:2])
        work()
        speed, cpu_ms = ROWS[name]
        figures[speed] = tokens / (time.perf_counter() - began)
        figures[cpu_ms] = (sum(os.times()[:2]) - spent) / tokens * 1e3

    def answers(start, count, streams):
        for i in range(count):
            engine.step([(ids[i + s], start + i, s, True) for s in range(streams)])
            engine.logits(0)

    engine.prompt(ids[:32])
    engine.clear()
    timed("prompt of 512 tokens", PROMPT, lambda: (engine.prompt(ids[:PROMPT]), engine.logits()))
    engine.clear()
    engine.prompt(ids[:16])
    timed("one answer", ANSWER, lambda: answers(16, ANSWER, 1))
    engine.clear()
    for stream in range(STREAMS):
        engine.prompt(ids[stream:stream + 16], sequence=stream)
    timed("eight answers at once", ANSWER // 2 * STREAMS, lambda: answers(16, ANSWER // 2, STREAMS))
    engine.clear()
    engine.prompt(ids)
    timed("one answer after 4096 tokens", 32, lambda: answers(DEEP, 32, 1))
    return figures


if __name__ == "__main__":
    main()

"""Tokens per second and memory of the language engine against llama.cpp with the same file, in rounds that take turns.

    cargo build --release -p pericard-language --example measure
    python benches/chat.py MODEL.gguf [MODEL.gguf ...] --out benches/runs/DATE-chat

Per round and number of threads: reading a prompt of 512 tokens, one answer, eight answers at once, one answer after
4,096 tokens, and the memory that stays. Ratios above 1 mean that the appliance is faster. On a machine that does other work
the wall clock means little; the ratio of processor time per token stands beside it. Each speed also stands as a share of
what the machine could do at best (benches/ceiling.c, in every round): bytes read per token for answers, products for prompts.

Needs llama-cpp-python==0.3.36 (appliance/language/tests/golden/peer.py), compiled for this machine, gguf==0.19.0, numpy and
a C compiler. Files of real shapes and random weights come from benches/models.py.
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
import tempfile
import time

from gguf import GGUFReader

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "appliance/language/tests/golden"))
PROMPT, DEEP, ANSWER, STREAMS = 512, 4096, 128, 8
ROWS = {
    "prompt": "prompt of 512 tokens",
    "answer": "one answer",
    "eight": "eight answers at once",
    "deep": "one answer after 4096 tokens",
}
PAGE = 32  # positions that the engine keeps together


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("weights", nargs="+")
    arguments.add_argument("--measure", default=str(ROOT / "target/release/examples/measure"))
    arguments.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    arguments.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    arguments.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    arguments.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.peer:
        return print(json.dumps(peer(options.weights[0], options.peer, options.rows, options.plain)))
    kept = options.out / "runs.json"  # a run is added to those before it
    runs = json.loads(kept.read_text()) if kept.exists() else []
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(options.rounds):
        for weights, threads in ((w, t) for w in options.weights for t in options.threads):
            ours = run([options.measure, weights, str(threads), *options.rows])
            again = [sys.executable, __file__, weights, "--out", "-", "--peer", str(threads), "--rows", *options.rows]
            theirs = best_of(run([*again, *how], OMP_NUM_THREADS=str(threads)) for how in ([], ["--plain"]))
            about = {"model": shape(weights), "round": number, "threads": threads, "load": os.getloadavg()[0]}
            runs.append({**about, "ceiling": ceiling(threads), "ours": ours, "peer": theirs})
            kept.write_text(json.dumps(runs, indent=1) + "\n")
            print(f"round {number + 1}, {weights}, {threads} threads, load {runs[-1]['load']:.1f}", file=sys.stderr)
    table = report(runs)
    (options.out / "README.md").write_text(table)  # what the weather was, a person adds
    print(table)


def best_of(figures):
    """Of each row the faster: llama.cpp packs weights anew for some rows, and is faster for others with the file's own form."""
    packed, plain = figures
    best = {"resident_bytes": min(packed["resident_bytes"], plain["resident_bytes"])}
    for row in ROWS:
        rate = f"{row}_tokens_per_s"
        if rate in packed:
            faster = max(packed, plain, key=lambda f: f[rate])
            best |= {k: faster[k] for k in (rate, f"{row}_cpu_ms_per_token")}
    return best


LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""What the appliance gives its workers; the peer and the ceiling have it too."""


def run(command, **environment):
    result = subprocess.run(command, env={**os.environ, **LARGE_PAGES, **environment}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(result.stdout)


def ceiling(threads):
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/ceiling"
        subprocess.run(["cc", "-O3", "-march=native", "-pthread", str(ROOT / "benches/ceiling.c"), "-o", program], check=True)
        return run([program, str(threads)])


def shape(weights):
    """What a token costs at least: bytes of the matrices read, products, and bytes of keys and values of each position."""
    file = GGUFReader(weights)
    field = lambda name: file.fields[f"{text(file, 'general.architecture')}.{name}"].contents()
    matrices = {t.name: t for t in file.tensors if len(t.shape) == 2}
    layers = [t for name, t in matrices.items() if name.startswith("blk.")]
    head = matrices.get("output.weight", matrices["token_embd.weight"])
    heads = field("attention.head_count")
    width = file.fields.get(f"{text(file, 'general.architecture')}.attention.key_length")
    width = width.contents() if width else field("embedding_length") // heads
    return {
        "name": pathlib.Path(weights).stem,
        "file_bytes": os.path.getsize(weights),
        "token_bytes": int(sum(t.n_bytes for t in [*layers, head])),
        "prompt_products": int(sum(t.n_elements for t in layers)),
        "token_products": int(sum(t.n_elements for t in [*layers, head])),
        "position_bytes": 4 * field("block_count") * field("attention.head_count_kv") * width,
    }


def text(file, name):
    return file.fields[name].contents()


def report(runs):
    lines = [
        f"# Chat against llama.cpp 0c1e57098, {datetime.date.today()}\n",
        f"{cpu()}, {os.cpu_count()} CPUs; load average while it ran: "
        f"{min(r['load'] for r in runs):.1f} to {max(r['load'] for r in runs):.1f}.\n",
        "| model | threads | what | rounds | ours t/s | llama.cpp t/s | ratio (spread) | ratio of processor time | of the ceiling |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, threads in sorted({(r["model"]["name"], r["threads"]) for r in runs}):
        mine = [r for r in runs if (r["model"]["name"], r["threads"]) == (name, threads)]
        for row, what in ROWS.items():
            lines += speed(name, threads, row, what, [r for r in mine if f"{row}_tokens_per_s" in r["ours"]])
    lines += [
        "",
        "| model | file + keys and values, MB | ours resident, MB | ours / (file + keys and values) | llama.cpp resident, MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in sorted({r["model"]["name"] for r in runs}):
        lines.append(memory(name, [r for r in runs if r["model"]["name"] == name]))
    return "\n".join(lines) + "\n"


def speed(name, threads, row, what, runs):
    if not runs:
        return
    key = f"{row}_tokens_per_s"
    ratios = sorted(r["ours"][key] / r["peer"][key] for r in runs)
    cpu_ms = f"{row}_cpu_ms_per_token"
    spent = statistics.median(r["peer"][cpu_ms] / r["ours"][cpu_ms] for r in runs)
    ours, theirs = (statistics.median(r[who][key] for r in runs) for who in ("ours", "peer"))
    share = statistics.median(r["ours"][key] / best(row, r["model"], r["ceiling"]) for r in runs)
    yield (
        f"| {name} | {threads} | {what} | {len(runs)} | {ours:.1f} | {theirs:.1f} | {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}) | {spent:.2f} | {share:.0%} |"
    )


def best(row, model, ceiling):
    """Tokens per second that the machine's memory and multipliers allow at most."""
    products = max(ceiling["vector_products_per_s"], ceiling["matrix_products_per_s"])
    if row == "prompt":
        return products / model["prompt_products"]
    depth, streams = (DEEP, 1) if row == "deep" else (0, STREAMS if row == "eight" else 1)
    bytes_ = model["token_bytes"] / streams + depth * model["position_bytes"]
    return min(ceiling["read_bytes_per_s"] / bytes_, products / model["token_products"])


def memory(name, runs):
    """Of the most that was kept at a time: whole pages of the deepest row."""
    rows = {row for row in ROWS if f"{row}_tokens_per_s" in runs[0]["ours"]}
    pages = lambda tokens: -(-tokens // PAGE) * PAGE
    kept = {"prompt": pages(PROMPT + 1), "answer": pages(16 + ANSWER), "eight": STREAMS * pages(16 + ANSWER), "deep": pages(DEEP + 32)}
    model = runs[0]["model"]
    needed = model["file_bytes"] + max(kept[row] for row in rows) * model["position_bytes"]
    ours, theirs = (statistics.median(r[who]["resident_bytes"] for r in runs) for who in ("ours", "peer"))
    return f"| {name} | {needed / 1e6:.0f} | {ours / 1e6:.0f} | {ours / needed:.2f} | {theirs / 1e6:.0f} |"


def cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def peer(weights, threads, rows, plain):
    from peer import Peer

    engine = Peer(weights, threads=threads, context=8192 if "deep" in rows else 2048, sequences=STREAMS, packed=not plain)
    ids = [(i * 37) % min(40_000, engine.vocab_size - 200) + 100 for i in range(DEEP)]
    figures = {}

    def timed(row, tokens, work):
        began, spent = time.perf_counter(), sum(os.times()[:2])
        work()
        figures[f"{row}_tokens_per_s"] = tokens / (time.perf_counter() - began)
        figures[f"{row}_cpu_ms_per_token"] = (sum(os.times()[:2]) - spent) / tokens * 1e3

    def answers(start, count, streams):
        for i in range(count):
            engine.step([(ids[i + s], start + i, s, True) for s in range(streams)])
            engine.logits(0)

    engine.prompt(ids[:32])
    if "prompt" in rows:
        engine.clear()
        timed("prompt", PROMPT, lambda: (engine.prompt(ids[:PROMPT]), engine.logits()))
    if "answer" in rows:
        engine.clear()
        engine.prompt(ids[:16])
        timed("answer", ANSWER, lambda: answers(16, ANSWER, 1))
    if "eight" in rows:
        engine.clear()
        for stream in range(STREAMS):
            engine.prompt(ids[stream:stream + 16], sequence=stream)
        timed("eight", ANSWER // 2 * STREAMS, lambda: answers(16, ANSWER // 2, STREAMS))
    if "deep" in rows:
        engine.clear()
        engine.prompt(ids)
        timed("deep", 32, lambda: answers(DEEP, 32, 1))
    status = pathlib.Path("/proc/self/status").read_text().split("VmRSS:")[1]
    figures["resident_bytes"] = int(status.split()[0]) * 1024
    return figures


if __name__ == "__main__":
    main()

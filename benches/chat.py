"""Tokens per second and memory of the language engine against llama.cpp with the same file, in rounds that take turns.

    cargo build --release -p pericard-language --example measure
    python benches/chat.py MODEL.gguf [7B.gguf=prompt:packed,answer:plain ...] --out benches/runs/DATE-chat

Per round and number of threads: reading a prompt of 512 tokens, one answer, eight answers at once, one answer after
4,096 tokens, and the memory that stays. Ratios above 1 mean that the appliance is faster. On a machine that does other work
the wall clock means little; the ratio of processor time per token stands beside it. Each speed also stands as a share of
what the machine could do at best (benches/ceiling.c, in every round): bytes read per token for answers, products for prompts.
Ours computes every token in a step of its own, as llama.cpp does; only the row `lookup` guesses, beside ours that does not.

A model's rows may follow it, each with the form of llama.cpp's weights: packed anew (`packed`), as in the file (`plain`), or,
where none is said, both one after the other, of which the faster counts.

Needs llama-cpp-python==0.3.36 (appliance/language/tests/golden/peer.py), compiled for this machine, gguf==0.19.0, numpy and
a C compiler. Files of real shapes and random weights come from benches/models.py.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from gguf import GGUFReader
from page import LARGE_PAGES, ROOT, reached, stamp

sys.path.insert(0, str(ROOT / "appliance/language/tests/golden"))
PROMPT, DEEP, ANSWER, STREAMS = 512, 4096, 128, 8
ROWS = {
    "prompt": "prompt of 512 tokens",
    "answer": "one answer",
    "eight": "eight answers at once",
    "deep": "one answer after 4096 tokens",
}
LOOKUP = "lookup"
GOALS = {"answer": ">= 1.1", "eight": ">= 1.5", "deep": ">= 1.3"}
PROMPT_GOALS = {"Q4_1": ">= 1.5", "Q4_K": ">= 1.2"}
MEMORY_GOAL = "<= 1.15"
FORMS = ("packed", "plain")
PAGE = 32  # positions that the engine keeps together


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="+", metavar="MODEL.gguf[=ROW[:FORM],...]")
    arguments.add_argument("--measure", default=str(ROOT / "target/release/examples/measure"))
    arguments.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    arguments.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    arguments.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    models = dict(asked(model) for model in options.models)
    if options.peer:
        ((weights, rows),) = models.items()
        return print(json.dumps(peer(weights, options.peer, rows, options.form)))
    kept = options.out / "runs.json"  # a run is added to those before it
    runs = json.loads(kept.read_text()) if kept.exists() else []
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(options.rounds):
        for weights, threads in ((w, t) for w in models for t in options.threads):
            rows = models[weights]
            ours = run([options.measure, weights, str(threads), *rows])
            theirs = best_of(against(weights, threads, rows, form) for form in FORMS if any(form in of for of in rows.values()))
            about = {"model": shape(weights), "round": number, "threads": threads, "load": os.getloadavg()[0]}
            runs.append({**about, "ceiling": ceiling(threads), "ours": ours, "peer": theirs})
            kept.write_text(json.dumps(runs, indent=1) + "\n")
            print(f"round {number + 1}, {weights}, {threads} threads, load {runs[-1]['load']:.1f}", file=sys.stderr)
    table = report(runs)
    (options.out / "README.md").write_text(table)  # what the weather was, a person adds
    print(table)


def asked(argument):
    """A model's file, and of each row the forms of llama.cpp's weights."""
    weights, _, wanted = argument.partition("=")
    rows = {}
    for row, _, form in (word.partition(":") for word in (wanted or ",".join([*ROWS, LOOKUP])).split(",")):
        if row not in (*ROWS, LOOKUP) or form not in ("", *FORMS):
            sys.exit(f"{argument}: rows are {', '.join([*ROWS, LOOKUP])}; forms are {', '.join(FORMS)}")
        rows[row] = () if row == LOOKUP else (form,) if form else FORMS
    return weights, rows


def against(weights, threads, rows, form):
    wanted = ",".join(f"{row}:{form}" for row, forms in rows.items() if form in forms)
    again = [sys.executable, __file__, f"{weights}={wanted}", "--out", "-", "--peer", str(threads), "--form", form]
    return run(again, OMP_NUM_THREADS=str(threads))


def best_of(figures):
    """Of each row the faster: llama.cpp packs weights anew for some rows, and is faster for others with the file's own form."""
    figures = list(figures)
    fullest = max(figures, key=lambda f: (len(f), -f["resident_bytes"]))  # memory is that of whoever did the most
    best = {"resident_bytes": fullest["resident_bytes"], "built": fullest["built"]}
    for row in ROWS:
        rate = f"{row}_tokens_per_s"
        ran = [f for f in figures if rate in f]
        if ran:
            faster = max(ran, key=lambda f: f[rate])
            best |= {k: faster[k] for k in (rate, f"{row}_cpu_ms_per_token")} | {f"{row}_form": faster["form"]}
    return best


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
    forms = {}
    for tensor in layers:
        forms[tensor.tensor_type.name] = forms.get(tensor.tensor_type.name, 0) + int(tensor.n_elements)
    return {
        "name": pathlib.Path(weights).stem,
        "form": max(forms, key=forms.get),  # that of most weights
        "file_bytes": os.path.getsize(weights),
        "token_bytes": int(sum(t.n_bytes for t in [*layers, head])),
        "prompt_products": int(sum(t.n_elements for t in layers)),
        "token_products": int(sum(t.n_elements for t in [*layers, head])),
        "position_bytes": 4 * field("block_count") * field("attention.head_count_kv") * width,
    }


def text(file, name):
    return file.fields[name].contents()


def report(runs):
    all_threads = sorted({r["threads"] for r in runs})
    lines = [
        "# Chat against llama.cpp\n",
        stamp(" or ".join(map(str, all_threads)), sorted({r["peer"]["built"] for r in runs}), [r["load"] for r in runs]),
        "| model | threads | what | rounds | ours t/s | llama.cpp t/s | its weights | ratio (spread) | goal | reached "
        "| ratio of processor time | of the ceiling |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, threads in sorted({(r["model"]["name"], r["threads"]) for r in runs}):
        mine = [r for r in runs if (r["model"]["name"], r["threads"]) == (name, threads)]
        for row, what in ROWS.items():
            lines += speed(name, threads, row, what, [r for r in mine if f"{row}_tokens_per_s" in r["ours"]])
        lines += guessed(name, threads, [r for r in mine if f"{LOOKUP}_tokens_per_s" in r["ours"] and "answer_tokens_per_s" in r["ours"]])
    lines += [
        "",
        "| model | file + keys and values, MB | ours resident, MB | ours / (file + keys and values) | goal | reached | llama.cpp resident, MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted({r["model"]["name"] for r in runs}):
        lines.append(memory(name, [r for r in runs if r["model"]["name"] == name]))
    lines += ["", "The machine at best, medians of the rounds: " + "; ".join(machine(runs, t) for t in all_threads) + "."]
    return "\n".join(lines) + "\n"


def machine(runs, threads):
    """What `ceiling.c` measured."""
    of = lambda key: statistics.median(r["ceiling"][key] for r in runs if r["threads"] == threads)
    return (
        f"{threads} threads read {of('read_bytes_per_s') / 1e9:.1f} GB/s and multiply {of('vector_products_per_s') / 1e9:.0f} "
        f"billion bytes/s in vectors, {of('matrix_products_per_s') / 1e9:.0f} in tiles"
    )


def speed(name, threads, row, what, runs):
    if not runs:
        return
    key = f"{row}_tokens_per_s"
    ratios = sorted(r["ours"][key] / r["peer"][key] for r in runs)
    cpu_ms = f"{row}_cpu_ms_per_token"
    spent = statistics.median(r["peer"][cpu_ms] / r["ours"][cpu_ms] for r in runs)
    ours, theirs = (statistics.median(r[who][key] for r in runs) for who in ("ours", "peer"))
    share = statistics.median(r["ours"][key] / best(row, r["model"], r["ceiling"]) for r in runs)
    goal = PROMPT_GOALS.get(runs[0]["model"]["form"], "") if row == "prompt" else GOALS[row]
    forms = " or ".join(sorted({r["peer"][f"{row}_form"] for r in runs}))
    yield (
        f"| {name} | {threads} | {what} | {len(runs)} | {ours:.1f} | {theirs:.1f} | {forms} | {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}) | {goal or '-'} | {reached(statistics.median(ratios), goal)} | {spent:.2f} | {share:.0%} |"
    )


def guessed(name, threads, runs):
    """Our answer with guesses beside our own without: no peer, and no ceiling, since one pass computes several tokens."""
    if not runs:
        return
    rate, alone = f"{LOOKUP}_tokens_per_s", "answer_tokens_per_s"
    ratios = sorted(r["ours"][rate] / r["ours"][alone] for r in runs)
    spent = statistics.median(r["ours"]["answer_cpu_ms_per_token"] / r["ours"][f"{LOOKUP}_cpu_ms_per_token"] for r in runs)
    ours = statistics.median(r["ours"][rate] for r in runs)
    right = sum(r["ours"][f"{LOOKUP}_right_tokens"] for r in runs) / (ANSWER * len(runs))
    yield (
        f"| {name} | {threads} | one answer with our lossless guesses, {right:.0%} of its tokens guessed, beside ours without | {len(runs)} "
        f"| {ours:.1f} | - | - | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | - | - | {spent:.2f} | - |"
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
    return (
        f"| {name} | {needed / 1e6:.0f} | {ours / 1e6:.0f} | {ours / needed:.2f} | {MEMORY_GOAL} | {reached(ours / needed, MEMORY_GOAL)} "
        f"| {theirs / 1e6:.0f} |"
    )


def peer(weights, threads, rows, form):
    from peer import Peer, built

    engine = Peer(weights, threads=threads, context=8192 if "deep" in rows else 2048, sequences=STREAMS, packed=form == "packed")
    ids = [(i * 37) % min(40_000, engine.vocab_size - 200) + 100 for i in range(DEEP)]
    figures = {"form": form, "built": built()}

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

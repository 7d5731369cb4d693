"""Do the language engine's logits agree with llama.cpp's? Top-1 agreement and divergence, position by position.

    cargo build --release -p pericard-language --example logits
    python benches/agreement.py MODEL.gguf [MODEL.gguf ...] --out benches/runs/DATE-agreement

Both get the same tokens: those of agreement/prose.txt, English medical texts of many kinds that were written for this and do
not repeat themselves, in pieces of 128; random ones where the model's words are made up (benches/models.py).
llama.cpp runs twice: with the file as it is, where it rounds activations to eight bits, and with the same weights in f32,
where it rounds nothing. The second is what the file says; the first is as far from it as that rounding takes it.

Needs llama-cpp-python==0.3.36 (appliance/language/tests/golden/peer.py), gguf==0.19.0 and numpy.
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from page import ROOT, reached, stamp

PROSE = ROOT / "benches/agreement/prose.txt"
GOLDEN = ROOT / "appliance/language/tests/golden"
sys.path.insert(0, str(GOLDEN))
from make_golden import expand  # noqa: E402
from peer import Peer, built  # noqa: E402

SEQUENCES, LENGTH = 8, 128
MADE_UP_TOKENS = 320
THREADS = 2  # of both, as examples/logits.rs has it
ROWS_AT_A_TIME = 64
TOP1_GOAL, KL_GOAL = ">= 99 %", "<= 0.01"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("weights", nargs="+")
    arguments.add_argument("--logits", default=str(ROOT / "target/release/examples/logits"))
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    options = arguments.parse_args()
    rows = [row for weights in options.weights for row in compare(weights, options.logits)]
    table = report(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "rows.json").write_text(json.dumps(rows, indent=1) + "\n")
    (options.out / "README.md").write_text(table)
    print(table)


def compare(weights, logits):
    rounded = Peer(weights, THREADS, context=4096)
    sequences = tokens_for(rounded)
    ours = subprocess.run([logits, weights], input=json.dumps(sequences).encode(), stdout=subprocess.PIPE, check=True).stdout
    ours = np.frombuffer(ours, np.float32).reshape(-1, rounded.vocab_size)
    with tempfile.NamedTemporaryFile(suffix=".gguf") as plain:
        expand(weights, plain.name)
        exact = all_logits(Peer(plain.name, THREADS, context=4096, f32_kv=True), sequences)
    rounded = all_logits(rounded, sequences)
    name = pathlib.Path(weights).stem
    for what, a, b in (
        ("ours, llama.cpp unrounded", exact, ours),
        ("ours, llama.cpp as it is", rounded, ours),
        ("llama.cpp as it is, unrounded", exact, rounded),
    ):
        yield {"model": name, "what": what, "positions": len(a), **distance(a, b)}


def tokens_for(peer):
    if peer.vocab_size == MADE_UP_TOKENS:
        return np.random.default_rng(11).integers(0, peer.vocab_size - 1, (SEQUENCES, LENGTH)).tolist()
    prose = peer.tokens(PROSE.read_text(), False)
    begin = [peer.begin()] if peer.begin() >= 0 else []
    step = LENGTH - len(begin)
    return [begin + prose[at:at + step] for at in range(0, len(prose), step)]


def all_logits(peer, sequences):
    rows = []
    for tokens in sequences:
        peer.clear()
        for at in range(0, len(tokens), peer.batch_size):
            part = tokens[at:at + peer.batch_size]
            peer.step([(token, at + i, 0, True) for i, token in enumerate(part)])
            rows += [peer.logits(i) for i in range(len(part))]
    return np.array(rows)


def distance(of, from_):
    divergence, same, worst = [], 0, 0.0
    normal = lambda logits: logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    for at in range(0, len(of), ROWS_AT_A_TIME):  # large vocabularies make large tables
        a, b = (logits[at:at + ROWS_AT_A_TIME].astype(np.float64) for logits in (of, from_))
        p, q = normal(a), normal(b)
        divergence += (np.exp(p) * (p - q)).sum(axis=1).tolist()
        same += int((a.argmax(axis=1) == b.argmax(axis=1)).sum())
        worst = max(worst, float(np.abs(a - b).max()))
    return {
        "top1": same / len(of),
        "top1_interval": wilson(same, len(of)),
        "kl_mean": float(np.mean(divergence)),
        "kl_max": max(divergence),
        "logit_max": worst,
    }


def wilson(same, of):
    """Between what bounds the share lies with 95 % confidence."""
    z, share = 1.96, same / of
    middle, half = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return [max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))]


def report(rows):
    lines = [
        "# Agreement with llama.cpp\n",
        stamp(THREADS, [built()], tunables=os.environ.get("GLIBC_TUNABLES", "")),
        f"| model | compared | positions | same first token (Wilson, 95 %) | {TOP1_GOAL} | mean KL | {KL_GOAL} | worst KL | worst logit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        low, high = r["top1_interval"]
        goals = (TOP1_GOAL, KL_GOAL) if r["what"].startswith("ours") else ("", "")
        lines.append(
            f"| {r['model']} | {r['what']} | {r['positions']} | {r['top1']:.2%} ({low:.2%} to {high:.2%}) | {reached(100 * r['top1'], goals[0])} "
            f"| {r['kl_mean']:.1e} | {reached(r['kl_mean'], goals[1])} | {r['kl_max']:.1e} | {r['logit_max']:.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

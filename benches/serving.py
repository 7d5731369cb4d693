"""Serving: what people wait for when several ask at once, against llama.cpp's own server with the same file.

    cargo build --release --bin pericard
    python benches/serving.py --llama-server PATH --out benches/runs/DATE-serving

Ours is the whole appliance (`pericard demo --no-samples`), asked over TLS with a token; llama.cpp's server is asked over plain HTTP.
Both compute with as many threads as the appliance lends its language engine. Rounds take turns. Without --llama-server only the
rows that compare ours with itself are measured.

Needs nothing but Python.
"""

import argparse
import datetime
import http.client
import json
import os
import pathlib
import platform
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = "smollm2-135m-instruct"
LONG_PROMPTS, STAT_EVERY_S, CLIENTS, ANSWER = 8, 2.0, 8, 64


class Server:
    """Something that speaks OpenAI's protocol."""

    def __init__(self, name, host, port, token=None, ca=None):
        self.name, self.host, self.port, self.token = name, host, port, token
        self.tls = ssl.create_default_context(cafile=ca) if ca else None

    def ask(self, text, tokens, **more):
        """The times of an answer: when each piece came, seconds from the question, and the usage."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": 0,
                "stream": True, "stream_options": {"include_usage": True}, **more}
        connection = (http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=600) if self.tls
                      else http.client.HTTPConnection(self.host, self.port, timeout=600))
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        begun, pieces, usage = time.perf_counter(), [], {}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{self.name}: {answer.status} {answer.read(500)}")
        for line in answer:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            data = json.loads(line[6:])
            usage = data.get("usage") or usage
            if any(choice.get("delta", {}).get("content") for choice in data.get("choices", [])):
                pieces.append(time.perf_counter() - begun)
        connection.close()
        return pieces, usage


def ours(options, home):
    program = subprocess.Popen([options.pericard, "demo", "--no-samples", "--dir", home], stdout=subprocess.DEVNULL,
                               stderr=open(pathlib.Path(home) / "stderr.txt", "w"), cwd=ROOT)
    place = pathlib.Path(home) / "demo.json"
    for _ in range(600):
        if place.exists():
            break
        if program.poll() is not None:
            sys.exit(f"the demonstration ended: see {home}/stderr.txt")
        time.sleep(0.5)
    said = json.loads(place.read_text())
    host, port = said["https"].rsplit(":", 1)
    server = Server("ours", host, int(port), said["token"], said["ca"])
    for _ in range(240):
        try:
            server.ask("Hello", 1)
            return program, server
        except (RuntimeError, OSError):
            time.sleep(0.5)
    sys.exit("the language model was not loaded")


def theirs(options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = subprocess.Popen(
        [options.llama_server, "-m", options.weights, "--host", "127.0.0.1", "--port", str(port), "-t", str(options.threads),
         "-tb", str(options.threads), "-np", "8", "-c", str(8 * 8192), "--no-webui"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Server("llama.cpp", "127.0.0.1", port)
    for _ in range(240):
        try:
            server.ask("Hello", 1)
            return program, server
        except (RuntimeError, OSError):
            time.sleep(0.5)
    sys.exit("llama.cpp's server did not start")


def words(count, seed):
    """A text of about so many tokens, of which no beginning was read before."""
    return " ".join(f"{(seed * 7919 + i * 104729) % 9973:04d}" for i in range(count // 5))


def urgent_under_load(server, seconds, seed):
    """The first token of urgent questions, and the longest stall of an answer that runs, beside long prompts."""
    stop, stats, stalls, failures = threading.Event(), [], [], []

    def reader(number):
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                server.ask(words(4000, seed + 1000 * number + turn), 16)
            except Exception as error:  # a refusal under load is an answer too, but not one to measure by
                failures.append(str(error)[:200])
                time.sleep(1)

    def runner():
        while not stop.is_set():
            pieces, _ = server.ask("Write a long story about a hospital.", 400, **ignoring(server))
            stalls.extend(b - a for a, b in zip(pieces, pieces[1:]))

    threads = [threading.Thread(target=runner, daemon=True)]
    threads += [threading.Thread(target=reader, args=(n,), daemon=True) for n in range(LONG_PROMPTS)]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pieces, _ = server.ask(f"Is the finding of room {len(stats)} urgent?", 4, **urgent(server))
        if pieces:
            stats.append(pieces[0])
        time.sleep(STAT_EVERY_S)
    stop.set()
    return {"stat_first_token_s": stats, "worst_stall_s": max(stalls, default=None), "failures": len(failures)}


def urgent(server):
    return {"service_tier": "priority"} if server.name == "ours" else {}


def ignoring(server):
    return {"ignore_eos": True}


def concurrent(server, seed):
    """Tokens per second of eight clients that ask at once."""
    totals, lock = [], threading.Lock()

    def client(number):
        _, usage = server.ask(words(300, seed + number), ANSWER, **ignoring(server))
        with lock:
            totals.append(usage["completion_tokens"])

    begun = time.perf_counter()
    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(totals) / (time.perf_counter() - begun)


def shared_prefix(server, seed):
    """The second question's first token after the first's, of a shared beginning of about 2,000 tokens."""
    beginning = words(2000, seed)
    first, usage = server.ask(f"{beginning}\nWhat is the first number?", 2)
    second, again = server.ask(f"{beginning}\nWhat is the last number?", 2)
    return {"first_s": first[0], "second_s": second[0], "prompt_tokens": usage["prompt_tokens"],
            "cached_tokens": (again.get("prompt_tokens_details") or {}).get("cached_tokens")}


def shaped(server, seed):
    """Milliseconds per token of an answer held to a schema, and of one let free. Both are drawn at random, so that neither
    repeats itself: what does is guessed, and comes sooner."""
    schema = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 999}, "minItems": 200}

    def pace(question, **more):
        pieces, usage = server.ask(question, 128, temperature=1.0, seed=seed, **more)
        return (pieces[-1] - pieces[0]) / (usage["completion_tokens"] - 1) * 1e3

    held = {"type": "json_schema", "json_schema": {"name": "numbers", "schema": schema}}
    pace(f"List numbers, beginning with {seed}.", response_format=held)  # the vocabulary is prepared for the first
    free = [pace(f"Write a story about the number {seed + n}.", ignore_eos=True) for n in range(3)]
    shaped = [pace(f"List numbers, beginning with {seed + n}.", response_format=held) for n in range(3)]
    return {"free_ms": statistics.median(free), "held_ms": statistics.median(shaped)}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def report(runs, options):
    lines = [f"# Serving, {datetime.date.today()}\n",
             f"{cpu()}, {os.cpu_count()} CPUs, {options.threads} threads for each engine; load average while it ran "
             f"{min(r['load'] for r in runs):.1f} to {max(r['load'] for r in runs):.1f}. Ours over TLS with a token.\n",
             "| what | ours | llama.cpp | ratio | goal |", "| --- | --- | --- | --- | --- |"]
    of = lambda name, who: [r["value"] for r in runs if r["row"] == name and r["who"] == who]

    def row(title, name, take, goal, unit):
        mine, other = take(of(name, "ours")), take(of(name, "llama.cpp"))
        ratio = f"{mine / other:.2f}" if other == other and other else "-"
        shown = f"{other:.3g} {unit}" if other == other else "-"
        lines.append(f"| {title} | {mine:.3g} {unit} | {shown} | {ratio} | {goal} |")

    urgents = lambda values: percentile([s for v in values for s in v["stat_first_token_s"]], 0.99)
    stalls = lambda values: max((v["worst_stall_s"] for v in values if v["worst_stall_s"]), default=float("nan"))
    middle = lambda values: statistics.median(values) if values else float("nan")
    row("STAT, first token p99 under 8 long prompts", "urgent", urgents, "<= 0.25", "s")
    row("worst stall of a running answer, the same", "urgent", stalls, "<= 0.25", "s")
    row("8 clients at once, all tokens", "concurrent", middle, ">= 1.5", "t/s")
    prefix = [v["second_s"] / v["first_s"] for v in of("prefix", "ours")]
    if prefix:
        lines.append(f"| 2k shared beginning, second first token after the first | {statistics.median(prefix):.3f} "
                     f"({min(prefix):.3f} to {max(prefix):.3f}) | | own | <= 0.2 |")
    slower = [v["held_ms"] / v["free_ms"] - 1 for v in of("shaped", "ours")]
    if slower:
        lines.append(f"| an answer held to a JSON schema, slower by | {100 * statistics.median(slower):.1f} % "
                     f"({100 * min(slower):.1f} to {100 * max(slower):.1f}) | | own | <= 3 % |")
    return "\n".join(lines) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pericard", default=str(ROOT / "target/release/pericard"))
    arguments.add_argument("--llama-server", help="llama.cpp's server, built for this machine")
    arguments.add_argument("--weights", default=str(pathlib.Path.home() / f".cache/pericard/packages/{MODEL}/model.gguf"))
    arguments.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=30, help="of each round under load")
    arguments.add_argument("--rows", nargs="*", default=["urgent", "concurrent", "prefix", "shaped"])
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    options = arguments.parse_args()
    measures = {"urgent": lambda s, n: urgent_under_load(s, options.seconds, n), "concurrent": concurrent,
                "prefix": shared_prefix, "shaped": shaped}
    alone = {"prefix", "shaped"}
    runs = []
    with tempfile.TemporaryDirectory() as home:
        for number in range(options.rounds):
            for row in options.rows:
                for who in ("ours", "llama.cpp"):
                    if who == "llama.cpp" and (row in alone or not options.llama_server):
                        continue
                    program, server = ours(options, tempfile.mkdtemp(dir=home)) if who == "ours" else theirs(options)
                    try:
                        value = measures[row](server, 100_000 * (number + 1))
                        runs.append({"round": number, "row": row, "who": server.name, "load": os.getloadavg()[0], "value": value})
                        print(f"round {number + 1}, {row}, {server.name}, load {runs[-1]['load']:.1f}", file=sys.stderr)
                    finally:
                        program.send_signal(signal.SIGTERM)
                        try:
                            program.wait(40)
                        except subprocess.TimeoutExpired:
                            program.kill()
    table = report(runs, options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")
    (options.out / "README.md").write_text(table)  # what the weather was, a person adds
    print(table)


if __name__ == "__main__":
    main()

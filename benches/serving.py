"""Serving: what people wait for when several ask at once, against llama.cpp's own server with the same file.

    cargo build --release --bin pericard
    python benches/serving.py --llama-server PATH --out benches/runs/DATE-serving

Ours is the whole appliance (`pericard demo --no-samples`), asked over TLS with a token; llama.cpp's server is asked over plain HTTP.
Both compute with as many threads as the appliance lends its language engine, and have large pages. Rounds take turns. Without
--llama-server only ours is measured.

llama.cpp's server has as many slots as a row asks of it: one for each client, one for all (as who runs a model on a desk has
it), and in the row under long prompts as many as all who ask at once, with batches of 512, since with its default of 2,048 an
answer that runs stands still for longer. Urgent questions come at their times, whether those before were answered or not; one
that was not when the server was stopped counts as long as it had waited. Answers are drawn at random, so that they do not
repeat themselves; how many of our tokens came of guesses is said.

Needs gguf==0.19.0, numpy and a C compiler, for the ceiling (benches/ceiling.c).
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from chat import best, ceiling, shape
from page import LARGE_PAGES, ROOT, reached, stamp

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "pericard"
MODEL = "smollm2-135m-instruct"
LONG_PROMPTS, STAT_EVERY_S, CLIENTS, ANSWER = 8, 3.0, 8, 64
OURS, PEER, ONE_SLOT = "ours", "llama.cpp", "llama.cpp, one slot"
SIDES = {"urgent": [OURS, PEER], "concurrent": [OURS, PEER, ONE_SLOT], "prefix": [OURS], "shaped": [OURS]}
SLOTS = {"urgent": LONG_PROMPTS + 4, "concurrent": CLIENTS}  # long prompts, the answer that runs, and urgent ones


class Server:
    """Something that speaks OpenAI's protocol."""

    def __init__(self, name, host, port, token=None, ca=None):
        self.name, self.host, self.port, self.token = name, host, port, token
        self.tls = ssl.create_default_context(cafile=ca) if ca else None

    def ask(self, text, tokens, came=None, **more):
        """The times of an answer: when each piece came, seconds from the question, and the usage. `came` is told at once
        when each came, by the clock."""
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
                now = time.perf_counter()
                pieces.append(now - begun)
                if came is not None:
                    came.append(now)
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
    server = Server(OURS, host, int(port), said["token"], said["ca"])
    for _ in range(240):
        try:
            server.ask("Hello", 1)
            return program, server
        except (RuntimeError, OSError):
            time.sleep(0.5)
    sys.exit("the language model was not loaded")


def theirs(options, row, who):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    slots = 1 if who == ONE_SLOT else SLOTS[row]
    batch = ["-b", "512"] if row == "urgent" else []
    program = subprocess.Popen(
        [options.llama_server, "-m", options.weights, "--host", "127.0.0.1", "--port", str(port), "-t", str(options.threads),
         "-tb", str(options.threads), "-np", str(slots), "-c", str(slots * 8192), "--no-webui", *batch],
        env={**os.environ, **LARGE_PAGES}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Server(who, "127.0.0.1", port)
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


def urgent_under_load(server, options, seed):
    """The first token of urgent questions, and the longest stall of an answer that runs, beside long prompts."""
    stop, questions, answers, failures = threading.Event(), [], [], []

    def kept(ask, *words, **more):
        try:
            ask(*words, **more)
        except Exception as error:  # a refusal under load is an answer too, but not one to measure by
            if not stop.is_set():
                failures.append(str(error)[:200])
                time.sleep(1)

    def reader(number):
        turn = 0
        while not stop.is_set():
            turn += 1
            kept(server.ask, words(4000, seed + 1000 * number + turn), 16)

    def runner():
        while not stop.is_set():
            answers.append([])
            kept(server.ask, "Write a long story about a hospital.", 400, answers[-1], **at_random(seed + len(answers)))

    def question(number, came):
        kept(server.ask, f"Is the finding of room {number} urgent?", 4, came, **urgent(server))

    def at_work(work, *of):
        threading.Thread(target=work, args=of, daemon=True).start()

    at_work(runner)
    for number in range(LONG_PROMPTS):
        time.sleep(0.2)
        at_work(reader, number)
    begun = time.perf_counter()
    for number in range(int(options.seconds / STAT_EVERY_S)):
        time.sleep(max(0, begun + number * STAT_EVERY_S - time.perf_counter()))
        questions.append((time.perf_counter(), []))
        at_work(question, number, questions[-1][1])
    until = time.perf_counter() + options.grace
    while time.perf_counter() < until and not all(came for _, came in questions):
        time.sleep(0.1)
    stop.set()
    end = time.perf_counter()
    stalls = [b - a for came in answers for a, b in zip(came, came[1:])]
    if answers[-1]:  # it may stand still as it is stopped
        stalls.append(end - answers[-1][-1])
    waited = [(came[0] if came else end) - asked for asked, came in questions]
    return {"stat_first_token_s": waited, "unanswered": sum(not came for _, came in questions),
            "worst_stall_s": max(stalls, default=None), "failures": failures}


def urgent(server):
    return {"service_tier": "priority"} if server.name == OURS else {}


def at_random(seed):
    return {"ignore_eos": True, "temperature": 1.0, "seed": seed}


def concurrent(server, options, seed):
    """Tokens per second of eight clients that ask at once."""
    totals, lock = [], threading.Lock()

    def client(number):
        _, usage = server.ask(case(seed + number), ANSWER, **at_random(seed + number))
        with lock:
            totals.append(usage["completion_tokens"])

    begun = time.perf_counter()
    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(totals) < CLIENTS:
        raise RuntimeError(f"{server.name}: {CLIENTS - len(totals)} of {CLIENTS} clients were not answered")
    return sum(totals) / (time.perf_counter() - begun)


COMPLAINTS = ["chest pain on exertion", "a cough for three weeks", "swelling of both ankles", "a fall on the left hip", "fever and rigors",
              "blurred vision", "weight loss without diet", "pain in the right flank", "dizziness when standing", "a rash on the trunk"]
HISTORIES = ["type 2 diabetes treated with metformin", "a stroke in 2019 without residue", "atrial fibrillation", "chronic bronchitis",
             "an appendectomy in childhood", "gout", "a penicillin allergy", "stage 3 kidney disease", "migraine", "hypothyroidism"]
FINDINGS = ["crackles over the lung bases", "a soft abdomen without guarding", "a systolic murmur at the apex", "tenderness of the calf",
            "normal reflexes on both sides", "an enlarged cervical node", "pale conjunctivae", "reduced breath sounds on the right",
            "a blood pressure of 164 over 92", "an oxygen saturation of 91 percent", "a temperature of 38.7", "a pulse of 112, irregular"]
RESULTS = ["haemoglobin 9.8 g/dL", "creatinine 2.1 mg/dL", "troponin below the limit", "leukocytes 15,400 per microlitre", "sodium 128 mmol/L",
           "an infiltrate of the right lower lobe on the radiograph", "no fracture", "gallstones without dilated ducts", "an ejection fraction of 35 percent"]


def case(seed):
    """A made-up case of about 200 tokens and a question about it: words that do not repeat more than a chart's do."""
    draw = random.Random(seed)
    some = lambda of, count: ", ".join(draw.sample(of, count))
    return (f"A {draw.randint(19, 94)}-year-old {draw.choice(['woman', 'man'])} comes with {some(COMPLAINTS, 3)}. Known are "
            f"{some(HISTORIES, 4)}. On examination there is {some(FINDINGS, 7)}. The laboratory and the images show {some(RESULTS, 6)}. "
            f"The stay lasted {draw.randint(2, 21)} days. Write the discharge letter for the family doctor, with what is to be watched.")


def shared_prefix(server, options, seed):
    """The second question's first token after the first's, of a shared beginning of about 2,000 tokens."""
    beginning = words(2000, seed)
    first, usage = server.ask(f"{beginning}\nWhat is the first number?", 2)
    second, again = server.ask(f"{beginning}\nWhat is the last number?", 2)
    return {"first_s": first[0], "second_s": second[0], "prompt_tokens": usage["prompt_tokens"],
            "cached_tokens": (again.get("prompt_tokens_details") or {}).get("cached_tokens")}


def shaped(server, options, seed):
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


def counted(server):
    """Tokens of ours since the start: all, those that were guessed, and those of them that were right."""
    connection = http.client.HTTPSConnection(server.host, server.port, context=server.tls, timeout=60)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {server.token}"})
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    total = lambda name: sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == f"pericard_language_{name}_total")
    return {"generated": total("generation_tokens"), "guessed": total("spec_decode_num_draft_tokens"),
            "right": total("spec_decode_num_accepted_tokens")}


def report(runs, options, about):
    lines = ["# Serving against llama.cpp's server\n", stamp(options.threads, about["peers"], [r["load"] for r in runs]),
             "Ours is asked over TLS with a token.\n",
             "| what | rounds | ours | llama.cpp | ratio (spread of the rounds) | goal | reached | of the ceiling |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    of = lambda name, who: [r["value"] for r in runs if r["row"] == name and r["who"] == who]

    def row(title, name, take, goal, unit, over=None, other=PEER, ceiling=None):
        """`take`: the figure of a round; `over`: that of all rounds, their median where nothing is said."""
        over = over or (lambda rounds: statistics.median(map(take, rounds)))
        mine, theirs = ([v for v in of(name, who) if take(v) is not None] for who in (OURS, other))
        if not mine:
            return
        a, b = over(mine), over(theirs) if theirs else None
        ratios = sorted(take(x) / take(y) for x, y in zip(mine, theirs))
        ratio = f"{a / b:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if theirs else "-"
        lines.append(f"| {title} | {len(mine)} | {a:.3g} {unit} | {f'{b:.3g} {unit}' if theirs else '-'} | {ratio} | {goal} "
                     f"| {reached(a / b if theirs else None, goal)} | {f'{a / ceiling:.0%}' if ceiling else '-'} |")

    def own(title, values, goal, unit=""):
        if values:
            middle = statistics.median(values)
            lines.append(f"| {title} | {len(values)} | {middle:.3g}{unit} ({min(values):.3g} to {max(values):.3g}) | | own | {goal} "
                         f"| {reached(middle, goal)} | - |")

    asked = lambda rounds: [s for v in rounds for s in v["stat_first_token_s"]]
    p99 = lambda rounds: percentile(asked(rounds), 0.99)
    stall = lambda v: v["worst_stall_s"]
    row("STAT, first token p99 under 8 long prompts", "urgent", lambda v: p99([v]), "<= 0.25", "s", p99)
    row("worst stall of a running answer, the same", "urgent", stall, "<= 0.25", "s", lambda rounds: max(map(stall, rounds)))
    eight = about["eight_tokens_per_s"]
    row("8 clients at once, all tokens; 8 slots there", "concurrent", float, ">= 1.5", "t/s", ceiling=eight)
    row("8 clients at once, all tokens; 1 slot there", "concurrent", float, ">= 4", "t/s", other=ONE_SLOT, ceiling=eight)
    own("2k shared beginning, second first token after the first", [v["second_s"] / v["first_s"] for v in of("prefix", OURS)], "<= 0.2")
    own("an answer held to a JSON schema, slower by", [100 * (v["held_ms"] / v["free_ms"] - 1) for v in of("shaped", OURS)], "<= 3 %", " %")
    lines.append("")
    for who in (OURS, PEER):
        if of("urgent", who):
            late = sum(v["unanswered"] for v in of("urgent", who))
            failed = sum(len(v["failures"]) for v in of("urgent", who))
            lines.append(f"- STAT questions, {who}: {len(asked(of('urgent', who)))}, {late} of them without a token when the server was "
                         f"stopped, counted as long as they had waited; {failed} requests of all kinds refused or failed.")
    for name in options.rows:
        drafts = [r["counted"] for r in runs if r["row"] == name and r["who"] == OURS]
        if drafts:
            total = {key: sum(d[key] for d in drafts) for key in drafts[0]}
            lines.append(f"- Guesses of ours, {name}: {total['guessed']:.0f} tokens guessed, {total['right']:.0f} right, of "
                         f"{total['generated']:.0f} generated.")
    return "\n".join(lines) + "\n"


def served_by(options):
    """What the peer's server says of itself."""
    if not options.llama_server:
        return []
    told = subprocess.run([options.llama_server, "--version"], capture_output=True, text=True)
    lines = (told.stdout + told.stderr).splitlines()
    said = "; ".join(line for line in lines if line.startswith(("version", "built")))
    return [f"llama.cpp's server {options.llama_version}, which says of itself: {said}"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pericard", default=str(ROOT / "target/release/pericard"))
    arguments.add_argument("--llama-server", help="llama.cpp's server, built for this machine")
    arguments.add_argument("--llama-version", default="", help="its commit: built without git, it cannot say")
    arguments.add_argument("--weights", default=str(CACHE / f"packages/{MODEL}/model.gguf"))
    arguments.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=90, help="of each round under load")
    arguments.add_argument("--grace", type=float, default=60, help="seconds that are waited for urgent answers after it")
    arguments.add_argument("--rows", nargs="*", choices=SIDES, default=list(SIDES))
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    options = arguments.parse_args()
    measures = {"urgent": urgent_under_load, "concurrent": concurrent, "prefix": shared_prefix, "shaped": shaped}
    about = {"peers": served_by(options), "eight_tokens_per_s": best("eight", shape(options.weights), ceiling(options.threads))}
    runs = []
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        for number in range(options.rounds):
            for row in options.rows:
                for who in SIDES[row]:
                    if who != OURS and not options.llama_server:
                        continue
                    program, server = ours(options, tempfile.mkdtemp(dir=home)) if who == OURS else theirs(options, row, who)
                    try:
                        value = measures[row](server, options, 100_000 * (number + 1))
                        runs.append({"round": number, "row": row, "who": who, "load": os.getloadavg()[0], "value": value})
                        if who == OURS:
                            runs[-1]["counted"] = counted(server)
                        (options.out / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")
                        print(f"round {number + 1}, {row}, {server.name}, load {runs[-1]['load']:.1f}", file=sys.stderr)
                    finally:
                        program.send_signal(signal.SIGTERM)
                        try:
                            program.wait(40)
                        except subprocess.TimeoutExpired:
                            program.kill()
    table = report(runs, options, about)
    (options.out / "README.md").write_text(table)  # what the weather was, a person adds
    print(table)


if __name__ == "__main__":
    main()

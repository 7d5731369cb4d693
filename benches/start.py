"""Size, memory and time of the appliance as it starts, without models.

    cargo build --release && python benches/start.py --out benches/runs/DATE-start

Per round a new data directory, until systemd would be told READY=1; then the resident memory, once nothing has been asked of
it for some seconds. The page says which targets were reached; a missed one is exit code 1. Standard library only.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
REST_S = 3
TARGETS = {"binary_mb": 60, "first_start_s": 1, "restart_s": 1, "idle_rss_mb": 80}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/pericard")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    options = arguments.parse_args()
    rounds = [one(options.binary) for _ in range(options.rounds)]
    figures = {"binary_mb": options.binary.stat().st_size / 1e6}
    figures |= {name: statistics.median(r[name] for r in rounds) for name in rounds[0] if name in TARGETS}
    lines = [stamp(options.binary, rounds), ""]
    lines += ["| figure | median | least | most | target | reached |", "| --- | --- | --- | --- | --- | --- |"]
    for name, figure in figures.items():
        values = [r.get(name, figure) for r in rounds]
        reached = "yes" if figure <= TARGETS[name] else "NO"
        lines.append(f"| {name} | {figure:.3g} | {min(values):.3g} | {max(values):.3g} | {TARGETS[name]} | {reached} |")
    missed = [name for name, figure in figures.items() if figure > TARGETS[name]]
    lines += ["", f"Missed: {', '.join(missed)}." if missed else "All targets were reached, by the median."]
    table = "\n".join(lines) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "runs.json").write_text(json.dumps(rounds, indent=1) + "\n")
    (options.out / "README.md").write_text(table)  # what the weather was, a person adds
    print(table)
    sys.exit(1 if missed else 0)


def stamp(binary, rounds):
    """When, of what, and on which machine."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True
    )
    commit = told.stdout.strip() or "unknown"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    loads = [one_round["load"] for one_round in rounds]
    return (
        f"{datetime.date.today()}, commit {commit}, {os.path.relpath(binary, ROOT)}; {processor()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, "
        f"load average {min(loads):.1f} to {max(loads):.1f}; {len(rounds)} rounds."
    )


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def one(binary):
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "pericard.toml")
        doors = "".join(f"[{name}]\nlisten = '127.0.0.1:{free_port()}'\n" for name in ("https", "dicom"))
        config.write_text(f"[appliance]\ndata_dir = '{folder}/data'\n{doors}[storage]\nfree_space_floor_mib = 64\n")
        first, _ = started(binary, config, folder)
        again, rss = started(binary, config, folder)
        load = os.getloadavg()[0]
        return {"first_start_s": first, "restart_s": again, "idle_rss_mb": rss, "load": load}


def started(binary, config, folder):
    """Seconds until it is ready, and what it then holds in memory, in MB."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    place = str(pathlib.Path(folder, "notify"))
    told.bind(place)
    told.settimeout(60)
    begun = time.monotonic()
    process = subprocess.Popen(
        [binary, "serve", "--config", config], env={"NOTIFY_SOCKET": place}, stderr=subprocess.DEVNULL
    )
    try:
        while b"READY=1" not in told.recv(4096):
            pass
        taken = time.monotonic() - begun
        time.sleep(REST_S)
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        return taken, int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6
    finally:
        process.terminate()
        process.wait()
        told.close()
        os.unlink(place)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()

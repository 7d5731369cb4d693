"""The result: every raw value as JSON, and a page that says what it means."""

import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess


def line(run):
    return (
        f"{run['peer']:>9} x{run['associations']:<2} {run['objects_per_s']:7.1f}/s  p50 {percentile([run], 50):6.1f} ms  "
        f"p99 {percentile([run], 99):6.1f} ms  cpu {1000 * run['cpu_s'] / run['sent']:5.2f} s/1000  "
        f"others {run['others_cpu_s']:5.2f} s of {run['wall_s']:5.2f} s  kept {run['files_kept']}  lost {run['lost']}"
        + (f"  FAILED {run['failures'][0]}" if run["failures"] else "")
    )


def write(arguments, runs, floors, loads, subjects, object_bytes):
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(arguments.dir),
        "versions": {name: kind.version() for name, kind in subjects.items()},
        "durable": {name: kind.durable for name, kind in subjects.items()},
        "load_average": {"start": loads[0], "end": loads[-1]},
        "objects_a_run": arguments.objects,
        "object_bytes": object_bytes,
        "rounds": arguments.rounds,
        "floor": floors,
        "runs": runs,
    }
    (arguments.out / "result.json").write_text(compact(json.dumps(result, indent=1)) + "\n")
    page = "\n".join(text(arguments, result)) + "\n"
    (arguments.out / "README.md").write_text(page)
    print(page)


def text(arguments, result):
    machine, loads = result["machine"], result["load_average"]
    yield "# Durable ingest"
    yield ""
    yield (
        f"{result['date']}. {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; Linux {machine['kernel']}; "
        f"{machine['file_system']} on {machine['device']}. Load average {loads['start'][0]:.1f} at the start, "
        f"{loads['end'][0]:.1f} at the end{', so the machine was busy with other work: read the ratios' if busy(result) else ''}."
    )
    yield ""
    yield (
        f"{result['objects_a_run']} unique CT objects of {result['object_bytes'] / 1024:.0f} KiB a run, {result['rounds']} "
        "rounds, receivers in turns, medians of the rounds; percentiles over the objects of all rounds, from the first byte "
        "of an object to its response. CPU is user and system time of the receiver and its children; what the kernel's own "
        "threads spend on the disk is not in it. `lost`: answered with success, and not there after SIGKILL."
    )
    yield ""
    yield "| receiver | version | what success means on its disk |"
    yield "| --- | --- | --- |"
    for name, version in result["versions"].items():
        yield f"| {name} | {version} | {result['durable'][name]} |"
    yield ""
    yield from rates(result)
    yield from ratios(result)
    yield from floors(result)
    yield "Made by:"
    yield ""
    yield "```sh"
    yield "cargo build --release --bin pericard"
    yield f"python benches/ingest.py --out {relative(arguments.out)} --objects {arguments.objects} --rounds {arguments.rounds}"
    yield "```"
    yield ""
    yield "Receivers are started as in `benches/ingest/peers.py`; all values, object by object, stand in `result.json`."


def rates(result):
    yield "| associations | receiver | objects/s (least to most) | MiB/s | p50 ms | p99 ms | CPU s per 1,000 | peak RSS MiB | sent | lost |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for associations, name, runs in groups(result):
        rate = [run["objects_per_s"] for run in runs]
        middle = statistics.median(rate)
        cpu = statistics.median(1000 * run["cpu_s"] / run["sent"] for run in runs)
        yield (
            f"| {associations} | {name} | {middle:.0f} ({min(rate):.0f} to {max(rate):.0f}) "
            f"| {middle * result['object_bytes'] / 2**20:.0f} | {percentile(runs, 50):.1f} | {percentile(runs, 99):.1f} "
            f"| {cpu:.2f} | {max(run['peak_mib'] for run in runs):.0f} | {sum(run['sent'] for run in runs)} "
            f"| {sum(run['lost'] + len(run['failures']) for run in runs)} |"
        )
    yield ""


def ratios(result):
    """Within a round receivers see nearly the same weather, so the ratio is taken there, and then the median."""
    others = [name for name in result["versions"] if name != "pericard"]
    if len(others) == len(result["versions"]):
        return
    heads = [f"rate / {name}" for name in others] + [f"CPU / {name}" for name in others]
    yield "Pericard over the others, median of the rounds' ratios (least to most); CPU below 1 is less work:"
    yield ""
    yield "| associations | " + " | ".join(heads) + " |"
    yield "| --- |" + " --- |" * len(heads)
    for associations in sorted({run["associations"] for run in result["runs"]}):
        cells = []
        for key in ("objects_per_s", "cpu_s"):
            for name in others:
                found = []
                for number in range(1, result["rounds"] + 1):
                    pair = {
                        run["peer"]: run[key]
                        for run in result["runs"]
                        if run["round"] == number and run["associations"] == associations
                    }
                    if pair[name] > 0:
                        found.append(pair["pericard"] / pair[name])
                middle = statistics.median(found) if found else float("nan")
                cells.append(f"{middle:.2f} ({min(found, default=0):.2f} to {max(found, default=0):.2f})")
        yield f"| {associations} | " + " | ".join(cells) + " |"
    yield ""


def floors(result):
    if not any(run["peer"] == "pericard" for run in result["runs"]):
        return
    yield (
        "The disk's floor, measured in the same rounds with nothing but system calls: `files` writes an object's bytes, "
        "fsyncs, renames and fsyncs the directory; a commit appends one page of 4 KiB and fdatasyncs, and many objects may "
        "share one. `chain` is one after the other for each object: what a lone durable receiver cannot beat with one "
        "association."
    )
    yield ""
    yield "| threads | files/s (least to most) | chain/s | Pericard / files | Pericard / chain |"
    yield "| --- | --- | --- | --- | --- |"
    appends = [each["appends_per_s"] for each in result["floor"]]
    for associations in result["floor"][0]["files_per_s"]:
        rate = [each["files_per_s"][associations] for each in result["floor"]]
        chain = [1 / (1 / f + 1 / a) for f, a in zip(rate, appends)]
        ours = [
            run["objects_per_s"]
            for run in result["runs"]
            if run["peer"] == "pericard" and run["associations"] == associations
        ]
        middle = statistics.median(ours)
        lone = associations == 1
        yield (
            f"| {associations} | {statistics.median(rate):.0f} ({min(rate):.0f} to {max(rate):.0f}) "
            f"| {f'{statistics.median(chain):.0f}' if lone else ''} | {middle / statistics.median(rate):.2f} "
            f"| {f'{middle / statistics.median(chain):.2f}' if lone else ''} |"
        )
    yield ""
    yield f"Commits alone: {statistics.median(appends):.0f}/s ({min(appends):.0f} to {max(appends):.0f})."
    yield ""


def groups(result):
    runs = result["runs"]
    for associations in sorted({run["associations"] for run in runs}):
        for name in result["versions"]:
            yield associations, name, [r for r in runs if (r["associations"], r["peer"]) == (associations, name)]


def percentile(runs, percent):
    times = sorted(t for run in runs for t in run["latency_ms"] if t)
    return times[(len(times) - 1) * percent // 100] if times else float("nan")


def busy(result):
    """Whether others took more than a twentieth of the machine while it ran."""
    others = sum(run["others_cpu_s"] for run in result["runs"])
    return others > 0.05 * result["machine"]["cores"] * sum(run["wall_s"] for run in result["runs"])


def machine(directory):
    cpu = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    found = subprocess.run(["df", "--output=source,fstype", directory], capture_output=True, text=True).stdout.split()
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30,
        "kernel": platform.release(),
        "device": found[-2] if len(found) >= 2 else "unknown",
        "file_system": file_system(*found[-2:]) if len(found) >= 2 else "unknown",
    }


def file_system(device, kind):
    """An ext4 without a journal syncs for less than one that has to commit, so it is said."""
    options = pathlib.Path(f"/proc/fs/ext4/{pathlib.Path(device).name}/options")
    if options.exists() and "data=" not in options.read_text():
        return f"{kind} without a journal"
    return kind


def relative(path):
    return os.path.relpath(path.resolve(), pathlib.Path(__file__).resolve().parent.parent.parent)


def compact(text):
    """Lists of numbers on one line."""
    return re.sub(r"\[([\s\d.,-]+)\]", lambda found: "[" + re.sub(r"\s+", "", found[1]).replace(",", ", ") + "]", text)

"""Durable ingest over DICOM: Pericard beside Orthanc and DCMTK's storescp, and beside what the disk's syncs allow.

    cargo xtask bench ingest --out benches/runs/DATE-ingest

Unique CT objects of 512 x 512 x 16 bits go from one and the same sender over 1, 4, 8 and 16 associations to each
receiver, in rounds that take turns, so that all see the same weather. Every receiver starts with an empty directory on
the same file system and is killed after its last response; then what it has kept is counted, by the pixels.

Needs a release build of `pericard`, `Orthanc` and `storescp` (`cargo xtask peers`), and a Python with numpy and pydicom.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time

from ingest import floor, peers, report, sender

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
WARM_UP = 8
SEED = 20260102


def main():
    arguments = parsed()
    sys.setswitchinterval(0.0005)  # the sender's threads wait for each other no longer than they must
    peers.Pericard.program, peers.DicomRs.program = arguments.pericard, arguments.dicom_storescp
    subjects = [kind for kind in everybody(arguments) if kind.name in arguments.peers or kind is peers.DicomRs]
    print(f"making {arguments.objects} objects", file=sys.stderr)
    items, warm_up = sender.objects(arguments.objects, SEED), sender.objects(WARM_UP, SEED + 1)
    arguments.dir.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="ingest-", dir=arguments.dir))
    # Nothing is removed before the end: ext4 looks for an inode that was not in use within the last minutes, and after a
    # thousand removals that search was a third of a receiver's processor time.
    runs, floors, loads = [], [], [os.getloadavg()]
    try:
        for number in range(arguments.rounds):
            place = scratch / f"round-{number + 1}"
            place.mkdir()
            floors.append(floor_of(place, arguments.associations, items[0].bytes))
            say(f"round {number + 1}: floor {floors[-1]}")
            for associations in arguments.associations:
                # Nobody always comes first.
                turn = subjects[number % len(subjects):] + subjects[: number % len(subjects)]
                for kind in turn:
                    run = measured(kind, place, associations, items, warm_up)
                    runs.append({"round": number + 1, **run})
                    say(report.line(run))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    loads.append(os.getloadavg())
    report.write(arguments, runs, floors, loads, {kind.name: kind for kind in subjects}, items[0].bytes)
    lost = sum(run["lost"] + len(run["failures"]) for run in runs if run["peer"] == "pericard")
    sys.exit(1 if lost else 0)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path, help="where the result goes")
    parser.add_argument("--pericard", default=TARGET / "release/pericard", type=pathlib.Path)
    parser.add_argument("--dicom-storescp", type=pathlib.Path, help="dicom-rs's storescp, when it is installed")
    parser.add_argument("--peers", nargs="+", default=["pericard", "orthanc", "storescp"])
    parser.add_argument("--objects", default=300, type=int, help="objects a run")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--associations", nargs="+", default=[1, 4, 8, 16], type=int)
    parser.add_argument("--dir", default=TARGET / "bench", type=pathlib.Path, help="on the disk that is measured; 8 GiB")
    arguments = parser.parse_args()
    arguments.pericard = arguments.pericard.resolve()
    return arguments


def everybody(arguments):
    kinds = [peers.Pericard, peers.Orthanc, peers.Storescp]
    return kinds + [peers.DicomRs] * bool(arguments.dicom_storescp)


def say(line):
    print(line, file=sys.stderr, flush=True)


def floor_of(place, associations, size):
    """What the disk allows now: files a second by so many threads, and commits a second."""
    data, rates = os.urandom(size), {}
    for threads in associations:
        settle()
        rates[threads] = round(floor.files(place / f"floor-{threads}", threads, data), 1)
    settle()
    appends = round(floor.appends(place / "floor-log"), 1)
    return {"files_per_s": rates, "appends_per_s": appends}


def measured(kind, place, associations, items, warm_up):
    """One receiver, once: started, warmed up, sent to, killed, counted."""
    directory = place / f"{kind.name}-{associations}"
    settle()
    peer, seen = kind(directory, associations), {}

    def before():
        seen.update(cpu=peer.cpu_s(), own=sum(os.times()[:2]), machine=machine_cpu_s(), load=os.getloadavg()[0])

    def after():
        seen["cpu"] = peer.cpu_s() - seen["cpu"]
        seen["own"] = sum(os.times()[:2]) - seen["own"]
        seen["machine"] = machine_cpu_s() - seen["machine"]
        seen["peak_mib"] = peer.peak_mib()

    try:
        sender.send(peer.port, kind.called, warm_up, 1)
        wall, times, failures = sender.send(peer.port, kind.called, items, associations, before, after)
    finally:
        peer.kill()
    kept = peer.kept()
    missing = {item.pixels for item in items} - set(kept)
    return {
        "peer": kind.name,
        "associations": associations,
        "sent": len(items),
        "failures": failures,
        "lost": max(0, len(missing) - len(failures)),
        "files_kept": len(kept),
        "wall_s": round(wall, 4),
        "objects_per_s": round(len(items) / wall, 1),
        "cpu_s": round(seen["cpu"], 2),
        "sender_cpu_s": round(seen["own"], 2),
        "others_cpu_s": round(max(0.0, seen["machine"] - seen["own"] - seen["cpu"]), 2),
        "peak_mib": round(seen["peak_mib"], 1),
        "load_average": round(seen["load"], 2),
        "latency_ms": [round(t * 1000, 2) for t in times],
    }


def settle():
    """What the last run has left in the page cache must not be written on this one's time."""
    os.sync()
    time.sleep(0.1)


def machine_cpu_s():
    """Processor time spent by everybody so far, idling and waiting for the disk left out."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    ticks = list(map(int, fields))
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / peers.TICKS


if __name__ == "__main__":
    main()

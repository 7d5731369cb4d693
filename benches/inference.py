"""Latency of the imaging packages, ours against the Python reference pipelines on the same version of ONNX Runtime.

    cargo build --release -p pericard-imaging --example infer
    python benches/inference.py --ultrasound US.dcm --volume T1.nii.gz --out benches/runs/DATE-inference

Three things are timed, for 1 and for 2 threads, in rounds that take turns, so that all see the same weather:
  ours       the pipeline of the appliance (the release example `infer`), second look on and off
  reference  rapidocr-onnxruntime 1.4.4; deepbrain's pre- and post-processing with scikit-image (models/*/reference.py)
  network    only `session.run` of Python onnxruntime on the shape that the pipeline uses: the floor

Needs a Python with onnxruntime, rapidocr-onnxruntime, pydicom, nibabel, scikit-image and Pillow.
"""

import argparse
import datetime
import importlib.util
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnxruntime
import pydicom
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "pericard"
REPEATS = 3


def module(path):
    spec = importlib.util.spec_from_file_location(path.parent.name.replace("-", "_"), path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def ours(package, threads, file):
    """Wall times in ms; the first repeat, which also allocates, is left out."""
    command = [ROOT / "target/release/examples/infer", CACHE / "onnxruntime/libonnxruntime.so", package, threads, REPEATS + 1, file]
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}  # without it the library is not loaded
    printed = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True, env=environment).stdout
    return json.loads(printed)["times_ms"][1:]


def timed(call):
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
    return times


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(path), options)


def single_look(package, directory):
    """The package with its second look off: as much network work as the reference does."""
    shutil.copytree(package, directory)
    manifest = directory / "pericard-model.toml"
    manifest.write_text(re.sub(r"second_look_factor = .*", "second_look_factor = 1", manifest.read_text()))
    return directory


def cases(arguments, scratch):
    from rapidocr_onnxruntime import RapidOCR

    text, brain = CACHE / "packages/burned-in-text", CACHE / "packages/brain-extraction"
    frame = pydicom.dcmread(arguments.ultrasound).pixel_array
    png = scratch / "frame.png"
    Image.fromarray(frame).save(png)
    reference = module(ROOT / "models/brain-extraction/reference.py")
    data, zooms = reference.canonical(arguments.volume)
    volume = scratch / "volume.nrrd"
    volume.write_bytes(reference.nrrd(data, zooms, "axial"))
    once = single_look(text, scratch / "single-look")
    scale = max(1.0, 736 / min(frame.shape[:2]))
    shape = [1, 3] + [max(1, round(side * scale / 32)) * 32 for side in frame.shape[:2]]
    for threads in (1, 2):
        ocr = RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)
        detector = session(text / "detector.onnx", threads)
        network = session(brain / "model.onnx", threads)
        picture = np.random.default_rng(0).random(shape, np.float32)
        cube = np.random.default_rng(0).random((1, 128, 128, 128, 1), np.float32)
        run = lambda s, x: lambda: s.run(None, {s.get_inputs()[0].name: x})
        yield threads, {
            "burned-in-text, ours": lambda t=threads: ours(text, t, png),
            "burned-in-text, ours, single look": lambda t=threads: ours(once, t, png),
            "burned-in-text, reference": lambda o=ocr: timed(lambda: o(str(png))),
            f"detector alone {shape[2]}x{shape[3]}, network": lambda s=detector: timed(run(s, picture)),
            "brain-extraction, ours": lambda t=threads: ours(brain, t, volume),
            "brain-extraction, reference": lambda t=threads: timed(lambda: reference.reference(data, t)),
            "segmenter alone, network": lambda s=network: timed(run(s, cube)),
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ultrasound", default=CACHE / "samples/us1/US1_UNCR.dcm", type=pathlib.Path)
    parser.add_argument("--volume", default="/usr/share/mricron/templates/ch2.nii.gz", type=pathlib.Path)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    rows, loads = [], [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as scratch:
        for threads, subjects in cases(arguments, pathlib.Path(scratch)):
            times = {name: [] for name in subjects}
            for _ in range(arguments.rounds):
                for name, subject in subjects.items():
                    times[name] += subject()
                loads.append(os.getloadavg()[0])
            rows += [(threads, name, t) for name, t in times.items()]
    write(arguments, rows, loads)


def write(arguments, rows, loads):
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "onnxruntime": onnxruntime.__version__,
        "load_average": [round(min(loads), 2), round(max(loads), 2)],
        "rounds": arguments.rounds,
        "repeats_a_round": REPEATS,
        "milliseconds": [{"threads": n, "subject": name, "all": [round(t, 1) for t in times]} for n, name, times in rows],
    }
    (arguments.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        "# Inference latency", "",
        f"{result['date']}, {result['machine']}, ONNX Runtime {result['onnxruntime']}, load average "
        f"{result['load_average'][0]} to {result['load_average'][1]} while it ran; {arguments.rounds} rounds of {REPEATS}, in turns.",
        f"Made by `benches/inference.py`; {arguments.ultrasound.name} and {arguments.volume.name}.", "",
        "| threads | what | median ms | least ms |", "| --- | --- | --- | --- |",
    ] + [f"| {n} | {name} | {statistics.median(t):.0f} | {min(t):.0f} |" for n, name, t in rows]
    medians = {(n, name): (statistics.median(t), min(t)) for n, name, t in rows}
    lines += ["", "| threads | ratio, ours over reference | of medians | of least |", "| --- | --- | --- | --- |"]
    for threads in (1, 2):
        for mine, other in (
            ("burned-in-text, ours, single look", "burned-in-text, reference"),
            ("burned-in-text, ours", "burned-in-text, reference"),
            ("brain-extraction, ours", "brain-extraction, reference"),
        ):
            a, b = medians[threads, mine], medians[threads, other]
            lines.append(f"| {threads} | {mine} | {a[0] / b[0]:.2f} | {a[1] / b[1]:.2f} |")
    (arguments.out / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

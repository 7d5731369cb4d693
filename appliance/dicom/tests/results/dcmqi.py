"""What dcmqi makes of a segmentation or of a structured report, as JSON.

    python dcmqi.py REPORT.dcm
    python dcmqi.py SEGMENTATION.dcm EXPECTED.json MASK.raw [MASK.raw ...]

EXPECTED.json and the masks as in read.py. What dcmqi writes is an image for each segment with a geometry of its own, so the
masks are looked up by where their voxels are in the patient, not by their number.
"""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

BIN = pathlib.Path(sys.executable).parent


def run(program, *arguments):
    done = subprocess.run([BIN / program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def vectors(text):
    return [np.array([float(n) for n in part.strip("()").split(",")]) for part in text.split()]


def nrrd(path):
    head, data = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    assert fields["space"] == "left-posterior-superior" and fields["encoding"] == "gzip", fields
    sizes = [int(n) for n in fields["sizes"].split()]
    kind = {"short": "<i2", "unsigned char": "u1", "uchar": "u1", "unsigned short": "<u2"}[fields["type"]]
    voxels = np.frombuffer(gzip.decompress(data), kind).reshape(sizes, order="F")
    return voxels, vectors(fields["space origin"])[0], vectors(fields["space directions"])


def segmentation(path, expected_path, mask_paths):
    expected = json.load(open(expected_path))
    columns, rows, slices = expected["size"]
    origin, steps = np.array(expected["origin"]), np.array(expected["steps"])
    worst, found, labels = 0.0, [], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd")
        meta = json.load(open(next(folder.glob("*.json"))))
        labels = [segment["SegmentLabel"] for group in meta["segmentAttributes"] for segment in group]
        for number, mask_path in enumerate(mask_paths, 1):
            mask = np.fromfile(mask_path, np.uint8).reshape(slices, rows, columns)
            voxels, start, directions = nrrd(folder / f"{number}.nrrd")
            seen = np.zeros_like(mask)
            for index in np.argwhere(voxels):
                here = start + sum(i * d for i, d in zip(index, directions))
                at = np.linalg.solve(steps.T, here - origin)
                nearest = np.rint(at).astype(int)
                worst = max(worst, float(np.abs(origin + nearest @ steps - here).max()))
                seen[nearest[2], nearest[1], nearest[0]] = 1
            found.append(bool((seen == (mask != 0)).all()))
    return {"identical": all(found), "worst_mm": worst, "labels": labels}


def report(path):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "report.json"
        run("tid1500reader", "--inputDICOM", path, "--outputMetadata", out)
        said = json.load(open(out))
    groups = said["Measurements"]
    return {
        "tracking": [[g["TrackingIdentifier"], g["TrackingUniqueIdentifier"]] for g in groups],
        "findings": [g["Finding"]["CodeValue"] for g in groups],
        "segments": [g.get("ReferencedSegment") for g in groups],
        "measured": [[i["quantity"]["CodeValue"], float(i["value"])] for g in groups for i in g.get("measurementItems", [])],
    }


if __name__ == "__main__":
    _, path, *rest = sys.argv
    print(json.dumps(segmentation(path, rest[0], rest[1:]) if rest else report(path)))

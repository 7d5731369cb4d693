#!/usr/bin/env python3
"""Writes pixels.json: what pydicom makes of every file with pixels in its own test data.

    pip install pydicom numpy pillow pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle pyjpegls
    apt-get install dcmtk    # decodes what pydicom's decoders refuse
    python3 pixels.py SAMPLES_DIRECTORY > pixels.json

Stored values are as pydicom decodes them, colour as RGB, unused bits removed; `values` are after the modality
transformation, `grey` after the first window, or over the whole range. Each is probed at the same places, and stored
values are hashed too: as little-endian 32-bit integers, or 64-bit floats where they do not fit.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_color_lut, apply_rescale, apply_voi, apply_windowing

PROBES = 64
FOLDERS = ("pydicom/data/test_files", "data_store/data")
LOSSY = {"1.2.840.10008.1.2.4." + n for n in ("50", "51", "81", "91", "93", "203")}


def without_unused_bits(ds, array):
    if array.dtype.kind != "u" and array.dtype.kind != "i" or ds.SamplesPerPixel != 1:
        return array
    stored, signed = ds.BitsStored, ds.PixelRepresentation
    shift = ds.HighBit + 1 - stored if not ds.file_meta.TransferSyntaxUID.is_encapsulated else 0
    raw = (array.astype(np.int64) >> shift) & ((1 << stored) - 1)
    if signed:
        raw = np.where(raw >= 1 << (stored - 1), raw - (1 << stored), raw)
    return raw


def probes(array):
    flat = array.reshape(-1)
    places = np.unique(np.linspace(0, flat.size - 1, PROBES).astype(np.int64))
    return [round(float(flat[p]), 6) for p in places]


def digest(array):
    if array.dtype.kind == "f" or array.max() > 2**31 - 1:
        return hashlib.sha256(array.astype("<f8").tobytes()).hexdigest()
    return hashlib.sha256(array.astype("<i4").tobytes()).hexdigest()


def grey(ds, stored, values):
    if "VOILUTSequence" in ds:
        item = ds.VOILUTSequence[0]
        levels = apply_voi(stored.astype(np.int32), ds) / (2 ** item.LUTDescriptor[2] - 1)
    elif "WindowCenter" in ds:
        levels = apply_windowing(values.astype(np.float64), ds)
        low, high = apply_windowing(np.array([-1e30, 1e30]), ds)
        levels = (levels - low) / (high - low)
    else:
        values = values.astype(np.float64)
        width = values.max() - values.min()
        levels = (values - values.min()) / width if width else values * 0
    levels = levels * 255
    return 255 - levels if ds.PhotometricInterpretation == "MONOCHROME1" else levels


def frame(ds, index):
    stored = without_unused_bits(ds, pixel_array(ds, index=index))
    found = {"sha256": digest(stored), "mean": round(float(stored.mean()), 6), "stored": probes(stored)}
    # pydicom reads the words of a big-endian palette as little-endian.
    if ds.PhotometricInterpretation == "PALETTE COLOR" and ds.file_meta.TransferSyntaxUID.is_little_endian:
        color = apply_color_lut(stored.astype(np.int32), ds)
        found["color"] = probes(color >> (8 if color.dtype.itemsize == 2 else 0))
    if ds.SamplesPerPixel != 1 or "SharedFunctionalGroupsSequence" in ds or ds.BitsStored == 1:
        return found
    if not ds.PhotometricInterpretation.startswith("MONO"):
        return found
    values = apply_rescale(stored, ds)
    if "DoseGridScaling" in ds:
        values = values * float(ds.DoseGridScaling)
    found["values"] = probes(values)
    if "PixelPaddingValue" not in ds:
        found["grey"] = probes(grey(ds, stored, values))
    return found


def by_dcmtk(path):
    with tempfile.TemporaryDirectory() as folder:
        native = Path(folder) / "native.dcm"
        subprocess.run(["dcmdjpeg", str(path), str(native)], check=True, capture_output=True)
        return pydicom.dcmread(native)


def entry(path, ds):
    syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    if not any(k in ds for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        return None
    count = int(ds.get("NumberOfFrames", 1) or 1)
    converted = ds.PhotometricInterpretation.startswith("YBR") and ds.SamplesPerPixel == 3
    found = {
        "syntax": syntax.name,
        "lossy": syntax in LOSSY,
        "converted": converted,
        "rows": ds.Rows,
        "columns": ds.Columns,
        "frames": {},
    }
    for index in sorted({0, count - 1}):
        found["frames"][index + 1] = frame(ds, index)
    return found


def main():
    warnings.simplefilter("ignore")
    samples = Path(sys.argv[1])
    table, refused = {}, {}
    for folder in FOLDERS:
        for path in sorted((samples / folder).rglob("*")):
            name = path.relative_to(samples).as_posix()
            if not path.is_file() or path.suffix in (".py", ".pyc", ".json", ".txt", ".md"):
                continue
            try:
                try:
                    found = entry(path, pydicom.dcmread(path))
                except RuntimeError:
                    found = entry(path, by_dcmtk(path))
                if found:
                    table[name] = found
            except Exception as problem:  # whatever pydicom says is the answer for that file
                if path.suffix == ".dcm":
                    refused[name] = f"{type(problem).__name__}: {problem}".splitlines()[0][:120]
    json.dump({"pydicom": pydicom.__version__, "files": table, "refused": refused}, sys.stdout, indent=0, sort_keys=True)


if __name__ == "__main__":
    main()

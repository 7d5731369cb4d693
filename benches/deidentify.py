"""De-identification beside three open tools, on images of five modalities with a patient planted in every attribute of
PS3.15 table E.1-1, in private groups, in overlays, in the preamble, and written into the pixels.

Needs: dicom-anonymizer==2.1.0 dicognito==0.19.0 deid==0.4.13 numpy pillow pydicom, DCMTK's dcmdump, a build of pericard, and
the burned-in-text package (`cargo xtask fetch`).

    python benches/deidentify.py --pericard target/release/pericard --onnxruntime LIB --package DIR --out benches/runs/DATE-deidentify

The judge is pydicom: it walks every value of what came out, and its raw bytes, for what was planted. What a tool refuses or
fails on is a row too: it left nothing, and gave nothing.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pydicom

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/it/peers"))
import deidentified  # noqa: E402
import walk  # noqa: E402

warnings.simplefilter("ignore")
PATIENCE_S = 60
"""For one file: a tool that takes longer gives nothing."""
TABLE = ROOT / "appliance/dicom/src/deidentify/table_e_1_1.txt"


def pericard(args, source, out):
    with tempfile.TemporaryDirectory() as home:
        config = Path(home, "pericard.toml")
        config.write_text(f"[appliance]\ndata_dir = '{home}/data'\n[models]\nonnxruntime = '{args.onnxruntime}'\n"
                          "[storage]\nfree_space_floor_mib = 64\n")
        run = [args.pericard, "model", "import", "--config", config, "--activate", args.package]
        subprocess.run(run, check=True, capture_output=True)
        run = [args.pericard, "deidentify", "--config", config, source, "--out", out / "export"]
        said = subprocess.run(run, capture_output=True, text=True)
        print(said.stdout + said.stderr, file=sys.stderr)


def dicom_anonymizer(_, source, out):
    from dicomanonymizer import anonymize_dicom_file
    for path in source.glob("*.dcm"):
        try:
            anonymize_dicom_file(str(path), str(out / path.name))
        except Exception as error:  # a tool that fails is a finding, not the end of the comparison
            print(f"dicom-anonymizer: {path.name}: {error!r}", file=sys.stderr)


def dicognito(_, source, out):
    run = [sys.executable, "-c", "import sys; from dicognito.__main__ import main; main(sys.argv[1:])",
           "--output-directory", out, *source.glob("*.dcm")]
    said = subprocess.run(run, capture_output=True, text=True)
    print(said.stderr[-400:], file=sys.stderr)


def deid(_, source, out):
    from deid.config import DeidRecipe
    from deid.dicom import get_identifiers, replace_identifiers
    def too_long(*_):
        raise TimeoutError(f"more than {PATIENCE_S} s")

    signal.signal(signal.SIGALRM, too_long)
    for path in source.glob("*.dcm"):
        signal.alarm(PATIENCE_S)
        try:
            files = [str(path)]
            replace_identifiers(dicom_files=files, ids=get_identifiers(files), deid=DeidRecipe(), save=True,
                                output_folder=str(out), overwrite=True)
        except Exception as error:
            print(f"deid: {path.name}: {error!r}", file=sys.stderr)
        finally:
            signal.alarm(0)


def judged(path):
    """What is left in one file: attributes, private ones, overlays, letters, and what it says of itself."""
    raw = path.read_bytes()
    ds = pydicom.dcmread(path, force=True)
    _, words = deidentified.picture()
    without, _ = deidentified.picture()
    found = [*walk.left(ds.file_meta, "meta "), *walk.left(ds)]
    private = sum(1 for line in found if "is there" in line and "(60" not in line and "(50" not in line)
    try:
        pixels = ds.pixel_array.astype(int).reshape(-1, deidentified.HIGH, deidentified.WIDE, ds.SamplesPerPixel)
        scale = 1 if ds.BitsAllocated == 8 else 8
        letters = int((pixels[:, words != without] // scale > 200).sum())
    except Exception:
        letters = None
    dumped = subprocess.run(["dcmdump", "-q", path], capture_output=True).returncode == 0
    return {
        "modality": str(ds.get("Modality", "")),
        "values": sum(1 for line in found if "is there" not in line),
        "private": private,
        "overlays": sum(1 for line in found if "is there" in line) - private,
        "bytes": sorted({word.decode() for word in walk.BYTES if word in raw}),
        "letters": letters,
        "opens": letters is not None and dumped,
        "said": str(ds.get("PatientIdentityRemoved", "")),
        "codes": len(ds.get("DeidentificationMethodCodeSequence", [])),
        "where": [line for line in found if "is there" not in line][:8],
    }


def main():
    parser = argparse.ArgumentParser()
    for name in "pericard", "onnxruntime", "package", "out":
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "planted")
        source.mkdir()
        deidentified.plant_all(str(TABLE), str(source))
        results["as planted"] = [judged(path) for path in sorted(source.glob("*.dcm"))]
        for name, tool in {"pericard": pericard, "dicom-anonymizer 2.1.0": dicom_anonymizer, "dicognito 0.19.0": dicognito,
                           "deid 0.4.13": deid}.items():
            cleaned = Path(folder, name.split()[0])
            cleaned.mkdir()
            tool(args, source, cleaned)
            results[name] = [judged(path) for path in sorted(cleaned.rglob("*")) if path.is_file()]
            shutil.rmtree(cleaned)
    (out / "raw.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = ["| tool | files out of 5 | planted values left | private attributes | overlays | letters' pixels | open in pydicom and dcmdump | "
             "says that it is clean | method codes |", "|---|---|---|---|---|---|---|---|---|"]
    for name, files in results.items():
        total = lambda key: sum(f[key] or 0 for f in files)  # noqa: E731
        lines.append(f"| {name} | {len(files)} | {total('values')} | {total('private')} | {total('overlays')} | {total('letters')} | "
                     f"{sum(f['opens'] for f in files)} | {sum(f['said'] == 'YES' for f in files)} | {total('codes')} |")
    (out / "README.md").write_text("# De-identification beside three open tools\n\n" + "\n".join(lines) + "\n\n" + (__doc__ or ""))
    print("\n".join(lines))


if __name__ == "__main__":
    main()

"""The reference pipeline of this package, and the maker of its golden cases.

    python reference.py read IMAGE.png...           one line of JSON an image: what rapidocr-onnxruntime 1.4.4 reads
    python reference.py compare THEIRS OURS         agreement of two such files; OURS is what the example `infer` prints
    python reference.py golden DIR                  the synthetic frames and what must be read in them

Needs rapidocr-onnxruntime 1.4.4 (with its opencv, pyclipper and shapely) and Pillow 12 or later, whose built-in font
the golden frames are drawn with.
"""

import json
import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def engine():
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def read(ocr, path):
    found, _ = ocr(str(path))
    return [{"text": t, "score": float(s), "corners": c} for c, t, s in (found or [])]


def bounds(corners):
    xs, ys = zip(*corners)
    return min(xs), min(ys), max(xs), max(ys)


def overlap(a, b):
    a, b = bounds(a), bounds(b)
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    size = lambda r: (r[2] - r[0]) * (r[3] - r[1])
    return width * height / (size(a) + size(b) - width * height)


def compare(theirs, ours):
    theirs, ours = (
        {pathlib.Path(d["file"]).name: d["found"]["boxes"] for d in map(json.loads, pathlib.Path(p).read_text().splitlines())}
        for p in (theirs, ours)
    )
    due = matched = same = extra = 0
    overlaps = []
    for name in sorted(set(theirs) & set(ours)):
        used = set()
        for box in theirs[name]:
            due += 1
            best = max(((overlap(box["corners"], o["corners"]), i) for i, o in enumerate(ours[name])), default=(0, -1))
            if best[0] < 0.3:
                print(f"{name}: not found: {box['text']!r} ({box['score']:.2f})")
                continue
            matched += 1
            used.add(best[1])
            overlaps.append(best[0])
            text = ours[name][best[1]]["text"]
            if text.replace(" ", "") == box["text"].replace(" ", ""):
                same += 1
            else:
                print(f"{name}: {box['text']!r} ({box['score']:.2f}) reads {text!r} here")
        more = [o for i, o in enumerate(ours[name]) if i not in used]
        extra += len(more)
        for o in more:
            print(f"{name}: found here only: {o['text']!r} ({o['score']:.2f})")
    print(json.dumps({
        "images": len(set(theirs) & set(ours)), "boxes_of_the_reference": due, "found": matched, "same_text": same,
        "found_here_only": extra, "iou_mean": round(float(np.mean(overlaps)), 4), "iou_min": round(min(overlaps), 4),
    }))


def speckled(width, height):
    """A soft bright blob on black: what an image without text looks like to the detector."""
    y, x = np.mgrid[0:height, 0:width]
    blob = 150 * np.exp(-(((x - width / 2) / (width / 4)) ** 2 + ((y - height * 0.6) / (height / 5)) ** 2))
    waves = 1 + 0.25 * np.sin(x / 3.1 + 2 * np.sin(y / 7.0)) * np.sin(y / 2.3)
    return np.clip(blob * waves, 0, 255).astype(np.uint8)


def golden(directory):
    directory = pathlib.Path(directory)
    clean = Image.fromarray(speckled(128, 128))
    clean.save(directory / "clean.png", optimize=True)
    overlay = Image.fromarray(np.repeat(speckled(224, 144)[..., None], 3, axis=2))
    draw = ImageDraw.Draw(overlay)
    draw.rectangle((0, 0, 223, 30), fill=(36, 60, 96))
    font = ImageFont.load_default(size=13)
    draw.text((6, 0), "DOE JANE", fill=(240, 240, 240), font=font)
    draw.text((150, 0), "1970-01-01", fill=(240, 240, 240), font=font)
    draw.text((6, 15), "ID 4711-08", fill=(240, 220, 90), font=font)
    draw.text((170, 122), "MI 1.2", fill=(255, 255, 255), font=font)
    overlay.save(directory / "overlay.png", optimize=True)
    ocr = engine()
    for name in ("clean", "overlay"):
        boxes = [{"text": b["text"], "corners": b["corners"]} for b in read(ocr, directory / f"{name}.png")]
        (directory / f"{name}.json").write_text(json.dumps({"boxes": boxes}, ensure_ascii=False) + "\n")
        print(name, [b["text"] for b in boxes])


def main(command, *arguments):
    if command == "read":
        ocr = engine()
        for path in arguments:
            print(json.dumps({"file": path, "found": {"boxes": read(ocr, path)}}, ensure_ascii=False), flush=True)
    elif command == "compare":
        compare(*arguments)
    elif command == "golden":
        golden(*arguments)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)

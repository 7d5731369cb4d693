"""The reference pipeline of this package, and the maker of its golden case.

Runs the pre- and post-processing of deepbrain 0.1 (`deepbrain/extractor.py`: skimage resize to 128 cubed with
anti-aliasing, division by the maximum, resize back, threshold 0.5) around the converted network, on the volume in its
closest canonical orientation (RAS+), and compares a mask of the appliance with it.

    python reference.py mask VOLUME.nii.gz OUT.npz            the reference mask
    python reference.py nrrd VOLUME.nii.gz OUT.nrrd [PLANE]   the volume as the appliance's example reads it, sliced in
                                                              PLANE (axial, sagittal or coronal), so in other axes
    python reference.py compare VOLUME.nii.gz PLANE OURS.json Dice and volumes; OURS.json is a line of the example `infer`
    python reference.py golden DIR                            the synthetic phantom and its expected mask

Needs numpy, nibabel, scikit-image 0.26 and onnxruntime.
"""

import json
import pathlib
import sys

import nibabel
import numpy as np
import onnxruntime
from skimage.transform import resize

HERE = pathlib.Path(__file__).resolve().parent
SIDE = 128

# The axes of the canonical array (0 right, 1 anterior, 2 superior) that columns, rows and slices follow, and whether
# they follow them backwards: what a scanner that slices in that plane would send.
PLANES = {
    "axial": ((0, True), (1, True), (2, False)),
    "sagittal": ((1, True), (2, True), (0, True)),
    "coronal": ((0, True), (2, True), (1, False)),
}


def canonical(path):
    image = nibabel.as_closest_canonical(nibabel.load(path))
    data = image.get_fdata()
    return data[..., 0] if data.ndim == 4 else data, image.header.get_zooms()[:3]


def reference(data, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), options)
    image = resize(data, (SIDE, SIDE, SIDE), mode="constant", anti_aliasing=True)
    image = (image / np.max(image)).reshape(1, SIDE, SIDE, SIDE, 1).astype(np.float32)
    probability = session.run(None, {session.get_inputs()[0].name: image})[0].squeeze()
    return resize(probability, data.shape, mode="constant", anti_aliasing=True) > 0.5


def sliced(data, plane):
    """The array [slice][row][column] of a plane."""
    axes = PLANES[plane]
    for axis, backwards in axes:
        if backwards:
            data = np.flip(data, axis)
    return data.transpose(axes[2][0], axes[1][0], axes[0][0])


def nrrd(data, zooms, plane):
    lps = (-1, -1, 1)
    steps, sizes = [], []
    for axis, backwards in PLANES[plane]:
        step = [0.0, 0.0, 0.0]
        step[axis] = float(zooms[axis]) * lps[axis] * (-1 if backwards else 1)
        steps.append("(" + ",".join(f"{s:g}" for s in step) + ")")
        sizes.append(data.shape[axis])
    whole = data.dtype.kind != "f" or (np.all(data == np.round(data)) and data.min() >= 0 and data.max() <= 255)
    header = [
        "NRRD0004",
        f"type: {'uint8' if whole else 'float'}",
        "dimension: 3",
        "sizes: " + " ".join(str(s) for s in sizes),
        "space: left-posterior-superior",
        "space directions: " + " ".join(steps),
        "space origin: (0,0,0)",
        "encoding: raw",
    ] + ([] if whole else ["endian: little"])
    values = sliced(data, plane).astype(np.uint8 if whole else "<f4")
    return "\n".join(header).encode() + b"\n\n" + np.ascontiguousarray(values).tobytes()


def runs(mask):
    flat = np.ascontiguousarray(mask).ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return ([0] if flat[0] else []) + lengths


def unpacked(lengths):
    return np.repeat(np.arange(len(lengths)) % 2, lengths)


def compare(path, plane, ours):
    data, zooms = canonical(path)
    due = sliced(reference(data), plane)
    got = unpacked(json.loads(pathlib.Path(ours).read_text().splitlines()[0])["found"]["mask_runs"])
    got = got.reshape(due.shape).astype(bool)
    ml = float(np.prod(zooms)) / 1000
    dice = 2 * np.logical_and(due, got).sum() / (due.sum() + got.sum())
    print(json.dumps({
        "volume": pathlib.Path(path).name,
        "plane": plane,
        "dice": round(float(dice), 6),
        "voxels_that_differ": int(np.logical_xor(due, got).sum()),
        "reference_ml": round(float(due.sum()) * ml, 3),
        "ours_ml": round(float(got.sum()) * ml, 3),
        "volume_off_percent": round(100 * (float(got.sum()) / float(due.sum()) - 1), 4),
    }))


def phantom():
    """A head of ellipsoids: scalp, skull, fluid, grey and white matter, two ventricles. Nobody's anatomy."""
    shape = (48, 56, 48)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")

    def inside(a, b, c, dx=0.0, dy=0.0, dz=0.0):
        return ((x - dx) / a) ** 2 + ((y - dy) / b) ** 2 + ((z - dz) / c) ** 2 < 1

    head = np.zeros(shape, np.float64)
    for region, value in (
        (inside(0.90, 0.95, 0.92), 190),
        (inside(0.82, 0.88, 0.85), 25),
        (inside(0.76, 0.82, 0.79), 45),
        (inside(0.72, 0.78, 0.75), 120),
        (inside(0.60, 0.66, 0.62), 165),
        (inside(0.10, 0.28, 0.16, dx=0.16, dz=0.08), 45),
        (inside(0.10, 0.28, 0.16, dx=-0.16, dz=0.08), 45),
    ):
        head[region] = value
    head[head > 0] += 6 * np.sin(17 * x + 5 * y)[head > 0] * np.cos(13 * z)[head > 0]
    return np.clip(np.round(head), 0, 255)


def golden(directory):
    data = phantom()
    mask = reference(data)
    print("voxels inside:", int(mask.sum()))
    directory = pathlib.Path(directory)
    (directory / "phantom.nrrd").write_bytes(nrrd(data, (4.0, 4.0, 4.0), "sagittal"))
    expected = {"mask_runs": runs(sliced(mask, "sagittal"))}
    (directory / "phantom.json").write_text(json.dumps(expected) + "\n")


def main(command, *arguments):
    if command == "mask":
        np.savez_compressed(arguments[1], mask=reference(canonical(arguments[0])[0]))
    elif command == "nrrd":
        data, zooms = canonical(arguments[0])
        plane = arguments[2] if len(arguments) > 2 else "axial"
        pathlib.Path(arguments[1]).write_bytes(nrrd(data, zooms, plane))
    elif command == "compare":
        compare(*arguments)
    elif command == "golden":
        golden(*arguments)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)

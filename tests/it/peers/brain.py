"""Compares a segmentation with the reference pipeline of models/brain-extraction: brain.py SEG VOLUME.nii.gz. Prints JSON.

The two meet in the patient's space: each voxel of the segmentation is looked up in the reference mask by its coordinates.
"""
import json, sys
from pathlib import Path
import highdicom as hd
import nibabel
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "models" / "brain-extraction"))
import reference

seg = hd.seg.segread(sys.argv[1])
volume = seg.get_volume(combine_segments=True, allow_missing_positions=True)
ours = np.argwhere(np.asarray(volume.array).squeeze() > 0)
lps = ours @ volume.affine[:3, :3].T + volume.affine[:3, 3]
image = nibabel.as_closest_canonical(nibabel.load(sys.argv[2]))
data, zooms = reference.canonical(sys.argv[2])
mask = reference.reference(data)
ras = lps * [-1, -1, 1]
indices = nibabel.affines.apply_affine(np.linalg.inv(image.affine), ras)
off = np.abs(indices - indices.round()).max()
assert off < 0.05, f"the segmentation is not on the volume's grid: off by {off} voxels"
found = np.zeros_like(mask)
found[tuple(indices.round().astype(int).T)] = True
both = np.logical_and(found, mask).sum()
voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
print(json.dumps({
    "dice": 2 * both / (found.sum() + mask.sum()),
    "ours_ml": float(found.sum() * voxel_ml),
    "reference_ml": float(mask.sum() * voxel_ml),
}))

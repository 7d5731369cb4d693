"""Makes an oblique, anisotropic T1 head MR series of a NIfTI volume, for tests of geometry.

    python t1_head_oblique.py VOLUME.nii.gz FOLDER

Every second column, every row and every third slice of the volume, so that the three spacings differ, in a patient's
space that is turned about two axes. Instance numbers say nothing of the order of the slices. No voxel is interpolated.
"""

import math
import sys

from t1_head import Axis, Volume, write_series


def turned(v):
    """Turned 20 degrees about the first axis, then 10 degrees about the third."""
    a, b = math.radians(20), math.radians(10)
    x, y, z = v[0], math.cos(a) * v[1] - math.sin(a) * v[2], math.sin(a) * v[1] + math.cos(a) * v[2]
    return (math.cos(b) * x - math.sin(b) * y, math.sin(b) * x + math.cos(b) * y, z)


def scattered(n, count):
    """A number from 1 to count for each slice, neighbours far apart."""
    step = next(s for s in range(count // 3 + 2, 2 * count + 2) if math.gcd(s, count) == 1)
    return n * step % count + 1


def main():
    _, source, folder = sys.argv
    columns, rows, slices = Axis(0, True, 2), Axis(1, True), Axis(2, False, 3)
    write_series(Volume(source), folder, "t1-oblique", columns, rows, slices, turned, scattered)


if __name__ == "__main__":
    main()

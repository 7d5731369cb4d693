"""Makes a T1 head MR series of a NIfTI volume: single-frame MR Image Storage objects, one for each sagittal slice.

    python t1_head.py VOLUME.nii.gz FOLDER

No voxel is interpolated and the geometry is the volume's own, turned from RAS (NIfTI) to LPS (DICOM). The same volume
makes the same bytes. Needs pydicom alone.
"""

import array
import gzip
import pathlib
import struct
import sys
import uuid

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

INT16 = 4
STORED_BITS = 12


class Volume:
    """An int16 volume with its affine: voxel (i, j, k), i fastest, to mm in LPS."""

    def __init__(self, path):
        raw = gzip.decompress(pathlib.Path(path).read_bytes())
        header_bytes, *_ = struct.unpack_from("<i", raw, 0)
        dim = struct.unpack_from("<8h", raw, 40)
        datatype, _ = struct.unpack_from("<2h", raw, 70)
        (offset,) = struct.unpack_from("<f", raw, 108)
        _, sform = struct.unpack_from("<2h", raw, 252)
        if header_bytes != 348 or dim[0] != 3 or datatype != INT16 or sform <= 0:
            sys.exit(f"{path}: not a little-endian NIfTI-1 volume of three dimensions, int16, with an sform")
        self.size = dim[1:4]
        self.values = array.array("h", raw[int(offset) : int(offset) + 2 * dim[1] * dim[2] * dim[3]])
        if sys.byteorder == "big":
            self.values.byteswap()
        if min(self.values) < 0 or max(self.values) >= 1 << STORED_BITS:
            sys.exit(f"{path}: values outside 0 to {(1 << STORED_BITS) - 1}")
        rows = [struct.unpack_from("<4f", raw, 280 + 16 * axis) for axis in range(3)]
        lps = [tuple(-v for v in rows[0]), tuple(-v for v in rows[1]), rows[2]]
        self.origin = tuple(row[3] for row in lps)
        self.steps = tuple(tuple(row[axis] for row in lps) for axis in range(3))

    def at(self, voxel):
        """Where a voxel's centre is, mm."""
        return tuple(self.origin[n] + sum(voxel[a] * self.steps[a][n] for a in range(3)) for n in range(3))


class Axis:
    """Which of the volume's axes the columns, rows or slices follow, whether backwards, and how many voxels at a time."""

    def __init__(self, number, backwards=False, stride=1):
        self.number, self.backwards, self.stride = number, backwards, stride

    def indexes(self, volume):
        indexes = range(0, volume.size[self.number], self.stride)
        return list(reversed(indexes)) if self.backwards else list(indexes)

    def step(self, volume):
        factor = -self.stride if self.backwards else self.stride
        return tuple(factor * v for v in volume.steps[self.number])


def uid(*fields):
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(('pericard sample', *map(str, fields)))).int}"


def length(v):
    return sum(x * x for x in v) ** 0.5


def ds(values):
    return [format_number_as_ds(float(v)) for v in values]


def write_series(volume, folder, name, columns, rows, slices, turn=lambda v: v, numbers=lambda n, count: n + 1):
    """Writes a series. `turn` is a rotation of the patient's space; `numbers` gives the instance number of slice n."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    column_indexes, row_indexes, slice_indexes = (axis.indexes(volume) for axis in (columns, rows, slices))
    row_step, column_step = turn(columns.step(volume)), turn(rows.step(volume))
    slice_mm = length(slices.step(volume))
    strides = (1, volume.size[0], volume.size[0] * volume.size[1])
    for n, slice_index in enumerate(slice_indexes):
        voxel = [0, 0, 0]
        voxel[columns.number], voxel[rows.number], voxel[slices.number] = column_indexes[0], row_indexes[0], slice_index
        base = slice_index * strides[slices.number]
        pixels = array.array("H")
        for row_index in row_indexes:
            start = base + row_index * strides[rows.number]
            pixels.extend(volume.values[start + c * strides[columns.number]] for c in column_indexes)
        if sys.byteorder == "big":
            pixels.byteswap()
        number = numbers(n, len(slice_indexes))
        image = header(name, number)
        image.Rows, image.Columns = len(row_indexes), len(column_indexes)
        image.ImagePositionPatient = ds(turn(volume.at(voxel)))
        image.ImageOrientationPatient = ds(
            [v / length(row_step) for v in row_step] + [v / length(column_step) for v in column_step]
        )
        image.PixelSpacing = ds([length(column_step), length(row_step)])
        image.SliceThickness = image.SpacingBetweenSlices = ds([slice_mm])[0]
        image.PixelData = pixels.tobytes()
        image.save_as(folder / f"IM{number:04}.dcm", enforce_file_format=True)


def header(name, number):
    """What the standard asks of an MR image, and nothing of a patient."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = MRImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = uid(name, "instance", number)
    image.file_meta.ImplementationClassUID = uid("implementation")
    image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    image.StudyDate = image.SeriesDate = image.ContentDate = "20260101"
    image.StudyTime = image.SeriesTime = image.ContentTime = "080000"
    image.AccessionNumber = ""
    image.Modality = "MR"
    image.Manufacturer = "Pericard samples"
    image.ManufacturerModelName = "Average of registered heads"
    image.DeviceSerialNumber = "1"
    image.SoftwareVersions = "1"
    image.ReferringPhysicianName = ""
    image.StudyDescription = "Head MR, openly licensed sample"
    image.SeriesDescription = f"T1 3D {name}"
    image.PatientName = "PERICARD^SAMPLE T1"
    image.PatientID = f"PERICARD-{name.upper()}"
    image.PatientBirthDate = ""
    image.PatientSex = "O"
    image.PatientPosition = "HFS"
    image.BodyPartExamined = "HEAD"
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions = ["GR", "IR"], "MP", ""
    image.MRAcquisitionType = "3D"
    image.MagneticFieldStrength = "3"
    image.RepetitionTime, image.EchoTime, image.InversionTime, image.FlipAngle = "2300", "2.96", "900", "9"
    image.EchoTrainLength = "1"
    image.StudyInstanceUID = uid(name, "study")
    image.SeriesInstanceUID = uid(name, "series")
    image.FrameOfReferenceUID = uid(name, "frame of reference")
    image.PositionReferenceIndicator = ""
    image.StudyID, image.SeriesNumber, image.AcquisitionNumber, image.InstanceNumber = "1", "1", "1", str(number)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, STORED_BITS, STORED_BITS - 1
    image.PixelRepresentation = 0
    image.BurnedInAnnotation = "NO"
    image.WindowCenter, image.WindowWidth = "250", "500"
    return image


def main():
    _, source, folder = sys.argv
    # Sagittal, as the volume was acquired: columns from front to back, rows from top to bottom.
    write_series(Volume(source), folder, "t1-head", Axis(1, True), Axis(2, True), Axis(0))


if __name__ == "__main__":
    main()

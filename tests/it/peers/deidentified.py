"""Plants a patient in images of five modalities, in words and in pixels, one of them compressed with losses as scanners do; and
looks whether it is still in what came out. What came out is decoded by pydicom and by DCMTK.

    python deidentified.py plant TABLE FOLDER
    python deidentified.py read FOLDER CLEANED_FOLDER
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "appliance/dicom/tests/deidentify"))
import plant
import walk

WIDE, HIGH = 512, 384
PLACES = [(40, 30), (180, 300)]
WORDS = "ZUGZWANG OTTILIE 4711"
CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.3.1",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
    "US JPEG": "1.2.840.10008.5.1.4.1.1.3.1",
}
# How far JPEG at dcmcjpeg's own quality takes a pixel of the body from what it was, in the blocks that its rim goes through.
JPEG_OFF_MAX = 4


def picture():
    """An even body in the dark, with words in two places; and where exactly they are."""
    image = Image.new("L", (WIDE, HIGH), 10)
    draw = ImageDraw.Draw(image)
    draw.ellipse((150, 90, 360, 280), fill=70)
    without = np.array(image)
    font = ImageFont.load_default(size=22)
    for place in PLACES:
        draw.text(place, WORDS, fill=245, font=font)
    return without, np.array(image)


def plant_all(table, folder):
    _, words = picture()
    for number, (name, sop_class) in enumerate(CLASSES.items()):
        modality, is_jpeg = name.split(" ")[0], name.endswith("JPEG")
        ds = plant.base(sop_class, modality, number, table)
        color, frames = is_jpeg or modality == "OT", 3 if modality == "US" else 1
        array = np.stack([words] * frames)
        bits = 8 if color or modality == "US" else 12
        ds.Rows, ds.Columns, ds.SamplesPerPixel = HIGH, WIDE, 3 if color else 1
        ds.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
        ds.BitsAllocated = 8 if bits == 8 else 16
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
        # The windows that the table plants would show nothing.
        for keyword in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue"):
            if keyword in ds:
                del ds[keyword]
        if frames > 1:
            ds.NumberOfFrames = frames
        if color:
            ds.PlanarConfiguration = 0
            array = np.stack([array] * 3, axis=-1)
        raw = array.astype(np.uint8) if bits == 8 else array.astype(np.uint16) * 8
        ds.PixelData = raw.tobytes()
        ds["PixelData"].VR = "OB" if bits == 8 else "OW"
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = f"{folder}/{name.replace(' ', '-')}.dcm"
        pydicom.dcmwrite(path, ds, implicit_vr=False, little_endian=True, enforce_file_format=False)
        if is_jpeg:
            # Baseline, in YBR with half the colour; its UID stays, so that it is planted too.
            subprocess.run(["dcmcjpeg", "+eb", "+un", path, path], check=True)
            compressed = pydicom.dcmread(path, stop_before_pixels=True)
            assert compressed.PhotometricInterpretation == "YBR_FULL_422", compressed.PhotometricInterpretation
            assert compressed.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    print("planted")


def drawn(path, frame):
    """A frame as dcmj2pnm draws it: grey or RGB, brightness as DCMTK would show it."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/frame.pnm"
        said = subprocess.run(["dcmj2pnm", "+F", str(frame), path, out], capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        return np.array(Image.open(out).convert("L")).astype(int)


def drawn_well(path, frames, letters, off_max):
    """Whether DCMTK shows an even body, and in no frame a letter that is as bright as it."""
    for frame in range(1, frames + 1):
        image = drawn(path, frame)
        body = image[110:260, 200:310]
        if image.shape != (HIGH, WIDE) or image[letters].max() >= body.min() or np.ptp(body) > 2 * off_max:
            return False
    return True


def read_all(folder, cleaned):
    without, words = picture()
    letters = words != without
    found = {}
    for path in sorted(Path(cleaned).rglob("*.dcm")):
        raw = path.read_bytes()
        ds = pydicom.dcmread(path)
        left = [*walk.left(ds.file_meta, "meta "), *walk.left(ds)]
        left += [word.decode() for word in walk.BYTES if word in raw]
        pixels = ds.pixel_array.astype(int)
        scale = 1 if ds.BitsAllocated == 8 else 8
        pixels = pixels.reshape(-1, HIGH, WIDE, ds.SamplesPerPixel) // scale
        dump = subprocess.run(["dcmdump", "-q", "+L", path], capture_output=True)
        words = dump.stdout.decode("latin-1")
        left += [f"dcmdump: {word}" for word in walk.PLANTED if word in words]
        is_jpeg = ds.get("LossyImageCompression") == "01"
        off_max, off = JPEG_OFF_MAX if is_jpeg else 0, np.abs(pixels[:, 110:260, 200:310] - 70).max()
        found[f"{ds.Modality} JPEG" if is_jpeg else ds.Modality] = {
            "left": left,
            "letters": int((pixels[:, letters] > 200).sum()),
            "body": bool(off <= off_max),
            "frames": int(pixels.shape[0]),
            "dumped": dump.returncode == 0,
            "drawn": drawn_well(path, int(pixels.shape[0]), letters, off_max),
            "study": str(ds.StudyInstanceUID),
            "codes": [code.CodeValue for code in ds.DeidentificationMethodCodeSequence],
        }
    print(json.dumps(found))


if __name__ == "__main__":
    {"plant": plant_all, "read": read_all}[sys.argv[1]](*sys.argv[2:])

"""Writes images of five modalities that say who the patient is wherever one can.

    python plant.py TABLE FOLDER

Every attribute of TABLE (PS3.15 table E.1-1) that a file can have is there in its header or at the top, and every one of a
simple type also in an item of a sequence, with a value that can be told again. Prints, for each file, where text stands in
its pixels; how many attributes of TABLE pydicom finds planted, at the top and in items; and which it does not find at the top.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import add_dict_entries, dictionary_VR
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from walk import tells

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE

NAME = "Zugzwang^Ottilie"
WORDS = {"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT", "UR"}
SIDE = 64
# Attributes of the table that are younger than pydicom's dictionary, with their VRs by PS3.6.
YOUNGER = {
    0x00081301: ("SQ", "PrincipalDiagnosisCodeSequence"),
    0x00081302: ("SQ", "PrimaryDiagnosisCodeSequence"),
    0x00081303: ("SQ", "SecondaryDiagnosesCodeSequence"),
    0x00081304: ("SQ", "HistologicalDiagnosesCodeSequence"),
    0x00100011: ("SQ", "PersonNamesToUseSequence"),
    0x00100012: ("LT", "NameToUse"),
    0x00100013: ("UT", "NameToUseComment"),
    0x00100014: ("SQ", "ThirdPersonPronounsSequence"),
    0x00100015: ("SQ", "PronounCodeSequence"),
    0x00100016: ("UT", "PronounComment"),
    0x00100041: ("SQ", "GenderIdentitySequence"),
    0x00100042: ("UT", "SexParametersForClinicalUseCategoryComment"),
    0x00100043: ("SQ", "SexParametersForClinicalUseCategorySequence"),
    0x00100044: ("SQ", "GenderIdentityCodeSequence"),
    0x00100045: ("UT", "GenderIdentityComment"),
    0x00100046: ("SQ", "SexParametersForClinicalUseCategoryCodeSequence"),
    0x00100047: ("UR", "SexParametersForClinicalUseCategoryReference"),
    0x00102162: ("UC", "EthnicGroups"),
    0x0040A034: ("DT", "EffectiveStartDateTime"),
    0x0040A035: ("DT", "EffectiveStopDateTime"),
    0x0040B034: ("DT", "AnnotationDateTime"),
    0x0040B036: ("DT", "SegmentDefinitionDateTime"),
    0x0040B03B: ("LT", "MontageName"),
    0x0040B03F: ("LO", "MontageChannelLabel"),
    0x0040E012: ("UR", "DisplayURI"),
}
add_dict_entries({tag: (vr, "1", keyword, "", keyword) for tag, (vr, keyword) in YOUNGER.items()})


def planted(tag, vr):
    number = int(tag)
    if vr in WORDS:
        return f"PHI{number:08X}"
    simple = {"PN": NAME, "DA": "19431217", "TM": "031517.123", "DT": "19431217031517", "AS": "077Y", "IS": "7654321"}
    if vr in simple:
        return simple[vr]
    if vr == "UI":
        return f"1.2.3.999.{number}"
    if vr == "DS":
        return "765.4321"
    if vr in {"US", "UL", "SL", "SS"}:
        return 31337 if vr != "SS" else 31337
    if vr in {"FL", "FD"}:
        return 31337.0
    if vr in {"OB", "OW", "UN"}:
        return b"PHIBYTES"
    raise ValueError(f"{tag}: nothing to plant in a {vr}")


def tags(path):
    for line in open(path):
        if not line.startswith("#"):
            yield Tag(int(line[:8], 16))


def fill(ds, path, deep):
    for tag in tags(path):
        if tag.group < 4:  # of commands, and of the file's header, which `base` writes
            continue
        vr = dictionary_VR(tag).split(" ")[0]
        if vr == "SQ":
            if deep:
                item = Dataset()
                fill(item, path, False)
                item.private_block(0x0011, "PHI MAKER", create=True).add_new(0x01, "LO", "PHIPRIVATE")
                ds.add_new(tag, "SQ", Sequence([item]))
            continue
        ds.add_new(tag, vr, planted(tag, vr))


def found(path, table):
    """The attributes of the table that tell of the patient in the written file: in its header or at the top, and in items."""
    ds, wanted = pydicom.dcmread(path), set(tags(table))
    top = {element.tag for element in [*ds.file_meta, *ds] if tells(element)}
    items = {element.tag for s in ds if s.VR == "SQ" for item in s.value for element in item if tells(element)}
    return top & wanted, items & wanted


def base(sop_class, modality, number, path):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = f"1.2.3.999.1.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.SourceApplicationEntityTitle = "PHIAET"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"MZPHIPREAMBLE".ljust(128, b"\0"))
    fill(ds, path, True)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"1.2.3.999.1.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.999.2", f"1.2.3.999.3.{number}"
    ds.Modality, ds.PatientID, ds.PatientName = modality, "PHI-4711", NAME
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    # The patient's name where no table looks for it, and an unlisted sequence that refers to another object.
    ds.FilterType = "for Zugzwang"
    ds.ContrastBolusAgent = "PHI00180010"
    frame = Dataset()
    frame.ReferencedSOPClassUID, frame.ReferencedSOPInstanceUID = sop_class, "1.2.3.999.1.0"
    purpose = Dataset()
    purpose.ReferencedImageSequence = Sequence([frame])
    ds.SourceImageSequence[0].update(frame)
    ds.SharedFunctionalGroupsSequence = Sequence([purpose])
    ds.private_block(0x0009, "PHI MAKER", create=True).add_new(0x01, "LO", "PHIPRIVATE")
    for group in (0x5000, 0x6000):
        ds.add_new((group, 0x0010), "US", 8)
        ds.add_new((group, 0x3000), "OW", b"PHIBYTES")
    ds.add_new((0x6000, 0x0022), "LO", "PHIOVERLAY")
    # Left out, as it would turn the image away.
    for keyword in ("RecognizableVisualFeatures", "BurnedInAnnotation"):
        if keyword in ds:
            del ds[keyword]
    return ds


def pixels(ds, frames, color, bits, syntax, signed=False):
    chance = np.random.default_rng(1)
    channels = (3,) if color else ()
    high = 255 if color else 2 ** (bits - 1) - 1
    kind = np.uint8 if color or bits == 8 else (np.int16 if signed else np.uint16)
    array = chance.integers(0, high // 2, (frames, SIDE, SIDE, *channels)).astype(kind)
    if signed:
        array -= 200
    array[:, 10:18, 20:50] = high  # the text
    ds.Rows, ds.Columns, ds.SamplesPerPixel = SIDE, SIDE, 3 if color else 1
    ds.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = 8 if kind == np.uint8 else 16
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)
    if frames > 1:
        ds.NumberOfFrames = frames
    raw = array
    if bits == 12 and not signed:
        raw = array | (0xA000 & 0xF000)  # an overlay in the bits that are not stored
    order = ">" if syntax == ExplicitVRBigEndian and kind != np.uint8 else "<"
    ds.PixelData = raw.astype(raw.dtype.newbyteorder(order)).tobytes() + b"PHITRAIL"
    ds["PixelData"].VR = "OB" if kind == np.uint8 else "OW"
    return array


def main(table, folder):
    us, cr, sc = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
    ct, mr = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
    cases = [
        ("ct", ct, "CT", (1, False, 16, ExplicitVRLittleEndian, True)),
        ("mr", mr, "MR", (1, False, 12, ImplicitVRLittleEndian)),
        ("cr", cr, "CR", (1, False, 12, ExplicitVRBigEndian)),
        ("us", us, "US", (4, True, 8, ExplicitVRLittleEndian)),
        ("sc", sc, "OT", (1, True, 8, ExplicitVRLittleEndian)),
        ("rle", ct, "CT", (1, False, 16, RLELossless, True)),
    ]
    boxes = {}
    for number, (name, sop_class, modality, shape) in enumerate(cases):
        ds = base(sop_class, modality, number, table)
        array = pixels(ds, *shape)
        syntax = shape[3]
        if syntax == RLELossless:
            ds.PixelData = array.tobytes()
            ds.compress(RLELossless, generate_instance_uid=False)
        else:
            ds.file_meta.TransferSyntaxUID = syntax
        np.save(f"{folder}/{name}.npy", array)
        path = f"{folder}/{name}.dcm"
        implicit = syntax == ImplicitVRLittleEndian
        little = syntax != ExplicitVRBigEndian
        pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
        top, items = found(path, table)
        boxes[name] = {
            "instance": str(ds.SOPInstanceUID),
            "corners": [[20, 10], [50, 10], [50, 18], [20, 18]],
            "planted": [len(top), len(items)],
            "not_planted": [f"{int(tag):08X}" for tag in tags(table) if tag not in top],
        }
    print(json.dumps(boxes))


if __name__ == "__main__":
    main(*sys.argv[1:])

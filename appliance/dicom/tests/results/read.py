"""Reads result objects with highdicom and pydicom, and prints what they say as JSON.

    python read.py REPORT.dcm
    python read.py SEGMENTATION.dcm EXPECTED.json MASK.raw [MASK.raw ...]

EXPECTED.json: size (columns, rows, slices), origin and the three steps of the volume; a mask holds a byte a voxel.
"""

import json
import random
import sys
import warnings

import highdicom
import numpy as np
import pydicom

warnings.simplefilter("ignore")


def code(concept):
    return f"{concept.value} {concept.scheme_designator}"


def measurements(group):
    return [[code(m.name), float(m.value), code(m.unit)] for m in group.get_measurements()]


def qualities(group):
    items = [
        item
        for item in group[0].ContentSequence
        if item.ValueType in ("TEXT", "CODE") and item.RelationshipType == "CONTAINS"
    ]
    value = lambda item: item.TextValue if item.ValueType == "TEXT" else code(item.value)
    return [[code(item.name), value(item)] for item in items]


def algorithm(group):
    names = {"111001": "name", "111003": "version", "111002": "parameters"}
    items = [item for item in group[0].ContentSequence if item.name.value in names]
    return {names[item.name.value]: item.TextValue for item in items}


def referenced(item):
    of = item.ReferencedSOPSequence[0]
    frames = of.get("ReferencedFrameNumber", [])
    frames = [int(frames)] if isinstance(frames, (int, str)) else [int(f) for f in frames]
    return [str(of.ReferencedSOPInstanceUID), frames]


def images(group):
    return [referenced(item) for item in group[0].ContentSequence if item.ValueType == "IMAGE"]


def outlines(group):
    items = [item for item in group[0].ContentSequence if item.ValueType == "SCOORD"]
    return [
        {"type": item.GraphicType, "points": list(item.GraphicData), "of": referenced(item.ContentSequence[0])}
        for item in items
    ]


def group(group):
    finding = group.finding_type
    return {
        "template": group[0].ContentTemplateSequence[0].TemplateIdentifier,
        "tracking": [group.tracking_identifier, str(group.tracking_uid)],
        "finding": None if finding is None else code(finding),
        "measurements": measurements(group),
        "qualities": qualities(group),
        "algorithm": algorithm(group),
        "images": images(group),
        "outlines": outlines(group),
    }


def evidence(sr):
    return {
        str(series.SeriesInstanceUID): len(series.ReferencedSOPSequence)
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
    }


def library(sr):
    groups = [
        item
        for top in sr.ContentSequence
        if top.ConceptNameCodeSequence[0].CodeValue == "111028"
        for item in top.ContentSequence
    ]
    said = lambda items: [i.ConceptNameCodeSequence[0].CodeMeaning for i in items if i.ValueType != "IMAGE"]
    entries = [i for g in groups for i in g.ContentSequence if i.ValueType == "IMAGE"]
    return {
        "common": [said(g.ContentSequence) for g in groups],
        "images": len(entries),
        "own": said(entries[0].get("ContentSequence", [])),
    }


def report(path):
    sr = highdicom.sr.srread(path)
    content = sr.content
    groups = (
        content.get_planar_roi_measurement_groups()
        + content.get_volumetric_roi_measurement_groups()
        + content.get_image_measurement_groups()
    )
    raw = pydicom.dcmread(path)
    charset = raw.get("SpecificCharacterSet", "")
    return {
        "class": raw.SOPClassUID.name,
        "patient": str(raw.PatientName),
        "charset": charset if isinstance(charset, str) else list(charset),
        "description": raw.SeriesDescription,
        "flags": [raw.CompletionFlag, raw.VerificationFlag, raw.PreliminaryFlag],
        "content": [raw.ContentDate, raw.ContentTime],
        "equipment": [
            [str(e.get("Manufacturer", "")), e.get("ManufacturerModelName", ""), e.get("SoftwareVersions", "")]
            for e in raw.ContributingEquipmentSequence
        ],
        "evidence": evidence(raw),
        "library": library(raw),
        "groups": [group(g) for g in groups],
        "predecessors": len(raw.get("PredecessorDocumentsSequence", [])),
        "schemes": [s.CodingSchemeDesignator for s in raw.get("CodingSchemeIdentificationSequence", [])],
    }


def segmentation(path, expected_path, mask_paths):
    expected = json.load(open(expected_path))
    columns, rows, slices = expected["size"]
    seg = highdicom.seg.segread(path)
    masks = [np.fromfile(p, np.uint8).reshape(slices, rows, columns) for p in mask_paths]
    origin, steps = np.array(expected["origin"]), [np.array(s) for s in expected["steps"]]
    shared = seg.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    pixels = seg.pixel_array.reshape(-1, rows, columns)
    seen = [np.zeros_like(mask) for mask in masks]
    worst = 0.0
    chance = random.Random(1)
    for pixel, frame in zip(pixels, seg.PerFrameFunctionalGroupsSequence):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        k = int(round(float((position - origin) @ steps[2] / (steps[2] @ steps[2]))))
        seen[number - 1][k] = pixel
        for _ in range(100):
            i, j = chance.randrange(columns), chance.randrange(rows)
            here = position + i * orientation[:3] * spacing[1] + j * orientation[3:] * spacing[0]
            there = origin + i * steps[0] + j * steps[1] + k * steps[2]
            worst = max(worst, float(np.abs(here - there).max()))
    whole = seg.get_volume(combine_segments=False, rescale_fractional=False) if len(pixels) > 1 else None
    return {
        "identical": all(bool((a == (b != 0)).all()) for a, b in zip(seen, masks)),
        "worst_mm": worst,
        "segments": [[s.SegmentLabel, s.tracking_id, str(s.tracking_uid)] for s in seg.SegmentSequence],
        "frames": int(seg.NumberOfFrames),
        "voxels": None if whole is None else int(whole.array.sum()),
        "sources": len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence),
    }


if __name__ == "__main__":
    _, path, *rest = sys.argv
    print(json.dumps(segmentation(path, rest[0], rest[1:]) if rest else report(path), default=list))

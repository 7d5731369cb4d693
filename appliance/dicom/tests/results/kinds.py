"""Reads a presentation state, a secondary capture, a key object selection or an encapsulated document with pydicom and
highdicom, and prints what it says as JSON.

    python kinds.py OBJECT.dcm
"""

import json
import sys
import warnings

import highdicom
import numpy as np
import pydicom

warnings.simplefilter("ignore")
MARK = "AI result - not verified"


def reference(item):
    frames = item.get("ReferencedFrameNumber", [])
    frames = [int(frames)] if isinstance(frames, (int, str)) else [int(f) for f in frames]
    return str(item.ReferencedSOPInstanceUID), frames


def presentation(ds):
    graphics = [
        [*reference(a.ReferencedImageSequence[0]), list(map(float, g.GraphicData)), g.TrackingID]
        for a in ds.GraphicAnnotationSequence
        for g in a.GraphicObjectSequence
    ]
    texts = [
        [t.UnformattedTextValue for t in a.TextObjectSequence] for a in ds.GraphicAnnotationSequence
    ]
    area = ds.DisplayedAreaSelectionSequence[0]
    pixels = area.get("PresentationPixelSpacing", area.get("PresentationPixelAspectRatio"))
    return {
        "marked": all(any(t.startswith(MARK) for t in frame) for frame in texts),
        "color": "ICCProfile" in ds,
        "graphics": graphics,
        "area": [list(area.DisplayedAreaTopLeftHandCorner), list(area.DisplayedAreaBottomRightHandCorner)],
        "pixels": [float(p) for p in pixels],
        "shape": ds.get("PresentationLUTShape", ""),
        "window": [[float(w.WindowCenter), float(w.WindowWidth)] for w in ds.get("SoftcopyVOILUTSequence", [])],
        "rescale": [float(ds.get("RescaleIntercept", 0)), float(ds.get("RescaleSlope", 1))],
    }


def capture(ds):
    pixels = ds.pixel_array.astype(int)
    red = (pixels == [255, 80, 80]).all(axis=2)
    yellow = (pixels == [255, 200, 0]).all(axis=2)
    strip = int(np.nonzero(red)[0].max()) + 1 if red.any() else 0
    counts = yellow.sum(axis=1)
    return {
        "marked": bool(red.any()) and ds.DerivationDescription.startswith(MARK),
        "burned_in": ds.BurnedInAnnotation,
        "image_type": list(ds.ImageType),
        "size": [int(ds.Columns), int(ds.Rows)],
        "source": list(reference(ds.SourceImageSequence[0])),
        "pixels": {
            "yellow_rows": {str(i): int(n) for i, n in enumerate(counts) if n},
            "last": pixels[-1, -1].tolist(),
            "red_only_above": 18 if strip <= 18 else strip,
        },
    }


def key_objects(ds):
    ko = highdicom.ko.KeyObjectSelectionDocument.from_dataset(ds)
    images = [i for i in ds.ContentSequence if i.ValueType == "IMAGE"]
    texts = [i.TextValue for i in ds.ContentSequence if i.ValueType == "TEXT"]
    for image in images:
        ko.resolve_reference(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    title = ds.ConceptNameCodeSequence[0]
    return {
        "marked": any(t.startswith(MARK) for t in texts),
        "key": [list(reference(i.ReferencedSOPSequence[0])) for i in images],
        "title": f"{title.CodeValue} {title.CodingSchemeDesignator}",
    }


def document(ds):
    return {
        "marked": ds.DocumentTitle.startswith(MARK),
        "mime": ds.MIMETypeOfEncapsulatedDocument,
        "sources": len(ds.SourceInstanceSequence),
        "document": list(ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]),
    }


READERS = {"PR": presentation, "OT": capture, "KO": key_objects, "DOC": document}

if __name__ == "__main__":
    ds = pydicom.dcmread(sys.argv[1])
    print(json.dumps({"study": str(ds.StudyInstanceUID), **READERS[ds.Modality](ds)}))

"""Reads a result object with highdicom: read_result.py FILE. Prints its modality; fails when it cannot be read."""
import sys
import highdicom as hd
import pydicom

ds = pydicom.dcmread(sys.argv[1])
if ds.Modality == "SR":
    sr = hd.sr.srread(sys.argv[1])
    groups = sr.content.get_planar_roi_measurement_groups() + sr.content.get_volumetric_roi_measurement_groups() \
        + sr.content.get_image_measurement_groups()
    for group in groups:
        assert group.tracking_uid, "a group without a tracking UID"
    assert sr.VerificationFlag == "UNVERIFIED"
    print("SR", len(groups))
elif ds.Modality == "SEG":
    seg = hd.seg.segread(sys.argv[1])
    print("SEG", seg.number_of_segments)
else:
    raise SystemExit(f"unexpected modality {ds.Modality}")

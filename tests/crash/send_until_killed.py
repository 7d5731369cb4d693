"""Sends small objects until the peer dies: send_until_killed.py PORT ROUND.

Every eighth is an ultrasound, in a study that a model looks at; the others are in a study that none does.
Prints `study instance modality` for each object that was acknowledged with success, and nothing else.
"""
import sys
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import UltrasoundImageStorage

port, number = int(sys.argv[1]), int(sys.argv[2])
ae = AE("SENDER")
ae.add_requested_context(UltrasoundImageStorage, ExplicitVRLittleEndian)
assoc = ae.associate("127.0.0.1", port, ae_title="PERICARD")
random = np.random.default_rng(number)
for index in range(400):
    if not assoc.is_established:
        break
    modality = "US" if index % 8 == 0 else "OT"
    study = f"1.2.826.0.1.3680043.8.498.77.{number}.{1 if modality == 'US' else 2}"
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UltrasoundImageStorage, f"{study}.1.{index + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.1"
    ds.Modality, ds.PatientID, ds.PatientName = modality, f"round-{number}", "PERICARD^CRASH TEST"
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ""
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.SeriesNumber, ds.InstanceNumber = 1, index + 1
    ds.Rows = ds.Columns = 64
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = random.integers(0, 40, 64 * 64, dtype=np.uint8).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    try:
        status = assoc.send_c_store(ds)
    except Exception:
        break
    if getattr(status, "Status", None) == 0:
        print(study, ds.SOPInstanceUID, modality, flush=True)

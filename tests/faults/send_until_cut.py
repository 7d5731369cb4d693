"""Sends small objects until the peer dies: send_until_cut.py DICOM_PORT HTTPS_PORT TOKEN ROUND.

Half by C-STORE, in one association, and half by STOW-RS, at the same time. Every eighth is an ultrasound, in a study that
a model looks at; the others are in studies that none does. Prints `study instance modality sha256` for each object that was
acknowledged, where the hash is of the file as STOW-RS sends it, and behind `data-set:` of the data set as C-STORE sends it,
whose file header the receiver writes.
"""
import hashlib
import http.client
import io
import ssl
import sys
import threading
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import UltrasoundImageStorage

dicom_port, https_port, token, number = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])


def image(way, index):
    modality = "US" if index % 8 == 0 else "OT"
    study = f"1.2.826.0.1.3680043.8.498.78.{number}.{way}.{1 if modality == 'US' else 2}"
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UltrasoundImageStorage, f"{study}.1.{index + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.1"
    ds.Modality, ds.PatientID, ds.PatientName = modality, f"round-{number}", "PERICARD^CUT TEST"
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ""
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.SeriesNumber, ds.InstanceNumber = 1, index + 1
    ds.Rows = ds.Columns = 64
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = np.random.default_rng([number, way, index]).integers(0, 40, 64 * 64, dtype=np.uint8).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return ds


def acknowledged(ds, digest):
    sys.stdout.write(f"{ds.StudyInstanceUID} {ds.SOPInstanceUID} {ds.Modality} {digest}\n")
    sys.stdout.flush()


def by_store():
    ae = AE("SENDER")
    ae.add_requested_context(UltrasoundImageStorage, ExplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", dicom_port, ae_title="PERICARD")
    for index in range(400):
        if not assoc.is_established:
            break
        ds = image(1, index)
        if getattr(assoc.send_c_store(ds), "Status", None) == 0:
            sent = encode(ds, ExplicitVRLittleEndian.is_implicit_VR, ExplicitVRLittleEndian.is_little_endian)
            acknowledged(ds, "data-set:" + hashlib.sha256(sent).hexdigest())


def by_stow():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", https_port, context=context, timeout=30)
    kind = 'multipart/related; type="application/dicom"; boundary=part'
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": "application/dicom+json"}
    for index in range(400):
        ds, file = image(2, index), io.BytesIO()
        dcmwrite(file, ds, enforce_file_format=True)
        head = b"--part\r\nContent-Type: application/dicom\r\n\r\n"
        connection.request("POST", "/dicomweb/studies", head + file.getvalue() + b"\r\n--part--\r\n", headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            acknowledged(ds, hashlib.sha256(file.getvalue()).hexdigest())


threads = [threading.Thread(target=way, daemon=True) for way in (by_store, by_stow)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

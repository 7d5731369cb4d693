"""Writes an ultrasound of one frame that is as large as any may be: large.py FILE ROWS COLUMNS"""
import sys
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom.sop_class import UltrasoundImageStorage

path, rows, columns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ds = Dataset()
ds.SOPClassUID, ds.SOPInstanceUID = UltrasoundImageStorage, generate_uid()
ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
ds.Modality, ds.PatientID, ds.PatientName = "US", "large", "PERICARD^LARGE TEST"
ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ""
ds.PatientBirthDate = ds.PatientSex = ""
ds.SeriesNumber = ds.InstanceNumber = 1
ds.Rows, ds.Columns = rows, columns
ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
ds.BitsAllocated = ds.BitsStored = 8
ds.HighBit, ds.PixelRepresentation = 7, 0
ds.PixelData = bytes(rows * columns)
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
ds.save_as(path, enforce_file_format=True)

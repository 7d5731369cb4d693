"""Unique CT objects with their PDUs encoded beforehand, and the associations that send them.

The sender is the same for every receiver: TCP_NODELAY, one call an object, the next object only after the response to the
last. All that costs time is done before the clock starts, so that what is measured is the receiver: the PDUs lie in memory
files, whose pages the kernel hands to the receiver's socket as they are (`sendfile`). A sender that copied them was a third
of all the processor time on two cores.
"""

import hashlib
import io
import itertools
import os
import socket
import struct
import threading
import time

import numpy as np
import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION = "2.25.263160143716913541218217218923021"
ROWS = COLUMNS = 512
PIXEL_BYTES = ROWS * COLUMNS * 2
"""Pixels are the last element, so these are the last bytes of an object's file, whoever wrote it."""
OBJECTS_A_STUDY = 100
PDU_BYTES = 128 * 1024
"""The longest P-DATA-TF sent: what every receiver here can be told to take."""
RESPONSE_TIMEOUT_S = 60


class Object:
    """One CT object: its UID, the digest of its pixels, and the PDUs that carry it."""

    def __init__(self, uid, data_set, message_id):
        self.uid = uid
        self.pixels = hashlib.sha256(data_set[-PIXEL_BYTES:]).digest()
        self.bytes = len(data_set)
        pdus = b"".join([pdata(command(uid, message_id), 0x03), *fragments(data_set)])
        self.pdus, self.pdus_bytes = memory_file(pdus), len(pdus)


def memory_file(data):
    """A file without a name that holds these bytes."""
    file = os.memfd_create("object")
    with open(file, "wb", closefd=False) as writer:
        writer.write(data)
    return file


def objects(count, seed):
    """That many objects; another seed gives other UIDs and other pixels."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    body = np.where((x - 256) ** 2 / 200**2 + (y - 256) ** 2 / 160**2 < 1, 1050, 0)
    base = int(random.integers(1 << 62)) << 40
    made = []
    for n in range(count):
        pixels = (body + random.integers(0, 64, body.shape)).astype("<u2").tobytes()
        made.append(Object(f"2.25.{base + n}", data_set(base, n, pixels), n % 0xFFFF + 1))
    return made


def data_set(base, n, pixels):
    study = n // OBJECTS_A_STUDY
    ds = pydicom.Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CT, f"2.25.{base + n}"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20260102"
    ds.StudyTime = ds.ContentTime = "030405"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = f"A{study}", "CT", "Bench"
    ds.StudyDescription, ds.SeriesDescription = "CT ABDOMEN", "axial 1.0"
    ds.PatientName, ds.PatientID = f"Bench^{study}", f"P{study}"
    ds.PatientBirthDate, ds.PatientSex = "19600101", "O"
    ds.BodyPartExamined, ds.SliceThickness, ds.KVP = "ABDOMEN", "1", "120"
    ds.StudyInstanceUID = f"2.25.{base + (1 << 30) + study}"
    ds.SeriesInstanceUID = f"2.25.{base + (1 << 31) + study}"
    ds.FrameOfReferenceUID = f"2.25.{base + (1 << 32) + study}"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = str(study), "1", str(n + 1)
    ds.ImagePositionPatient = ["-200", "-200", str(n % OBJECTS_A_STUDY)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns, ds.PixelSpacing = ROWS, COLUMNS, ["0.78", "0.78"]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    encoded = DicomBytesIO()
    encoded.is_little_endian, encoded.is_implicit_VR = True, False
    write_dataset(encoded, ds)
    return encoded.getvalue() + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels)) + pixels


def command(uid, message_id):
    """C-STORE-RQ (PS3.7 section 9.3.1.1), as the standard has it: implicit VR, little endian."""
    elements = (
        uid_element(0x0002, CT)
        + element(0x0100, struct.pack("<H", 0x0001))
        + element(0x0110, struct.pack("<H", message_id))
        + element(0x0700, struct.pack("<H", 0))
        + element(0x0800, struct.pack("<H", 0x0001))
        + uid_element(0x1000, uid)
    )
    return element(0x0000, struct.pack("<I", len(elements))) + elements


def element(tag, value):
    return struct.pack("<HHI", 0x0000, tag, len(value)) + value


def uid_element(tag, uid):
    value = uid.encode()
    return element(tag, value + b"\0" * (len(value) % 2))


def fragments(data):
    size = PDU_BYTES - 6  # the negotiated length counts the fragment's own header
    return [
        pdata(data[at : at + size], 0x02 if at + size >= len(data) else 0x00)
        for at in range(0, len(data), size)
    ]


def pdata(fragment, control):
    """P-DATA-TF with one fragment in context 1; control bit 0 marks a command, bit 1 the last fragment."""
    length = len(fragment) + 2
    return struct.pack(">BBIIBB", 4, 0, length + 4, length, 1, control) + fragment


class Association:
    """An open association for CT in Explicit VR Little Endian."""

    def __init__(self, port, called, calling):
        self.socket = socket.create_connection(("127.0.0.1", port))
        patience = struct.pack("ll", RESPONSE_TIMEOUT_S, 0)  # a timeout of Python's would make the socket non-blocking
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request(called, calling))
        kind, answer = self.pdu()
        if kind != 2:
            raise RuntimeError(f"{called} answers our call with a PDU of type {kind}")
        longest = accepted(answer)
        if 0 < longest < PDU_BYTES:
            raise RuntimeError(f"{called} takes PDUs of {longest} bytes, and {PDU_BYTES} would be sent")

    def store(self, item):
        """Sends an object; gives its status."""
        sent = 0
        while sent < item.pdus_bytes:
            sent += os.sendfile(self.socket.fileno(), item.pdus, sent, item.pdus_bytes - sent)
        kind, answer = self.pdu()
        if kind != 4:
            raise RuntimeError(f"a PDU of type {kind} in place of a response")
        return status(answer)

    def release(self):
        self.socket.sendall(b"\x05\0\0\0\0\4\0\0\0\0")
        self.pdu()
        self.socket.close()

    def pdu(self):
        kind, _, length = struct.unpack(">BBI", self.exactly(6))
        return kind, self.exactly(length)

    def exactly(self, count):
        read = b""
        while len(read) < count:
            piece = self.socket.recv(count - len(read))
            if not piece:
                raise RuntimeError("the receiver closed the connection")
            read += piece
        return read


def request(called, calling):
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2)."""
    context = b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x40, EXPLICIT_LE.encode())
    user = item(0x51, struct.pack(">I", PDU_BYTES)) + item(0x52, IMPLEMENTATION.encode())
    variable = item(0x10, APPLICATION_CONTEXT.encode()) + item(0x20, context) + item(0x50, user)
    fixed = struct.pack(">HH16s16s32x", 1, 0, called.encode().ljust(16), calling.encode().ljust(16))
    return struct.pack(">BBI", 1, 0, len(fixed) + len(variable)) + fixed + variable


def item(kind, value):
    return struct.pack(">BBH", kind, 0, len(value)) + value


def accepted(answer):
    """The longest PDU that the acceptor takes, when it accepted the context."""
    longest, rest = 0, answer[68:]
    while rest:
        kind, _, length = struct.unpack(">BBH", rest[:4])
        value, rest = rest[4 : 4 + length], rest[4 + length :]
        if kind == 0x21 and value[2] != 0:
            raise RuntimeError(f"the context was not accepted: result {value[2]}")
        if kind == 0x50 and value[0] == 0x51:
            longest = struct.unpack(">I", value[4:8])[0]
    return longest


def status(pdu):
    stream = io.BytesIO(pdu[6:])
    while head := stream.read(8):
        _, tag, length = struct.unpack("<HHI", head)
        value = stream.read(length)
        if tag == 0x0900:
            return struct.unpack("<H", value)[0]
    raise RuntimeError("a response without a status")


def send(port, called, items, associations, before=lambda: None, after=lambda: None):
    """Sends the objects over that many associations at once: seconds in all, seconds from the first byte of each object
    to its response, and how many were answered with success. `before` and `after` are called while all are open."""
    opened = [Association(port, called, f"BENCH{n}") for n in range(associations)]
    queue = iter(zip(itertools.count(), items))
    lock, start = threading.Lock(), threading.Barrier(associations + 1)
    times, failures = [0.0] * len(items), []

    def work(association):
        start.wait()
        while True:
            with lock:
                at, item = next(queue, (None, None))
            if item is None:
                return
            begun = time.perf_counter()
            try:
                answer = association.store(item)
            except (OSError, RuntimeError) as error:
                failures.append(f"{error}")
                return
            times[at] = time.perf_counter() - begun
            if answer != 0:
                failures.append(f"status {answer:04x}")

    threads = [threading.Thread(target=work, args=(association,)) for association in opened]
    for thread in threads:
        thread.start()
    before()
    start.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begun
    after()
    for association in opened:
        if not failures:
            association.release()
    return wall, times, failures

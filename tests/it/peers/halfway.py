"""Two objects of one peer that are under way at the same time: halfway.py DICOM_PORT OBJECT_MIB HALF_MIB.

Each comes over an association of its own. Both are stopped after HALF_MIB, and only then the rest of each is sent. Prints the
status of both C-STOREs, and then of a third that comes alone.
"""
import socket
import struct
import sys
import time

import upper_layer

EXPLICIT, CAPTURE = "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.7"
COLUMNS = 4096
FRAGMENT_BYTES = 60_000

port, object_mib, half_mib = (int(word) for word in sys.argv[1:])


def element(tag, vr, value):
    if isinstance(value, str):
        value = value.encode()
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    if isinstance(value, int):
        value = struct.pack("<H", value)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (struct.pack("<xxL", len(value)) if vr == b"OB" else struct.pack("<H", len(value))) + value


def data_set(study, instance):
    pixels = bytes(object_mib << 20)
    head = element(0x00080016, b"UI", CAPTURE) + element(0x00080018, b"UI", instance)
    head += element(0x00080060, b"CS", "OT") + element(0x00100010, b"PN", "Halfway^Made")
    head += element(0x0020000D, b"UI", study) + element(0x0020000E, b"UI", study + ".1")
    head += element(0x00280002, b"US", 1) + element(0x00280004, b"CS", "MONOCHROME2")
    for tag, value in [(0x10, len(pixels) // COLUMNS), (0x11, COLUMNS), (0x100, 8), (0x101, 8), (0x102, 7), (0x103, 0)]:
        head += element(0x00280000 | tag, b"US", value)
    return head + element(0x7FE00010, b"OB", pixels)


def sending():
    """Sends half of an object, then the rest, and then says its status: a step each."""
    study = f"2.25.{time.time_ns()}"
    with socket.create_connection(("127.0.0.1", port), timeout=upper_layer.PATIENCE_S) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(upper_layer.request(CAPTURE, EXPLICIT))
        kind, accepted = upper_layer.read(stream)
        assert kind == 2 and upper_layer.is_accepted(accepted), "no association"
        command = upper_layer.store_request(CAPTURE, f"{study}.1.1")
        stream.sendall(upper_layer.pdu(4, upper_layer.pdv(upper_layer.COMMAND | upper_layer.LAST, command)))
        data, half = data_set(study, f"{study}.1.1"), (half_mib << 20) // FRAGMENT_BYTES * FRAGMENT_BYTES
        for begin in range(0, len(data), FRAGMENT_BYTES):
            if begin == half:
                yield None
            last = upper_layer.LAST if begin + FRAGMENT_BYTES >= len(data) else 0
            stream.sendall(upper_layer.pdu(4, upper_layer.pdv(last, data[begin : begin + FRAGMENT_BYTES])))
        kind, answer = upper_layer.read(stream)
        assert kind == 4, f"a PDU of type {kind} to a C-STORE"
        stream.sendall(upper_layer.pdu(5, bytes(4)))
        upper_layer.read(stream)
        yield f"{upper_layer.status(answer):04x}"


both = [sending(), sending()]
for one in both:
    next(one)
for one in both + [sending()]:
    said = list(one)[-1]
    print(said)

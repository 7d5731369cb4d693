"""Secondary captures of any size, written out by hand: an encoder's own copies would cost more than what is sent."""
import struct

EXPLICIT, CAPTURE = "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.7"
COLUMNS = 4096


def element(tag, vr, value):
    """One element in Explicit VR Little Endian."""
    if isinstance(value, str):
        value = value.encode()
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    if isinstance(value, int):
        value = struct.pack("<H", value)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (struct.pack("<xxL", len(value)) if vr == b"OB" else struct.pack("<H", len(value))) + value


def data_set(study, instance, patient, pixels):
    """Rows of COLUMNS grey values, 8 bits each."""
    head = element(0x00080016, b"UI", CAPTURE) + element(0x00080018, b"UI", instance)
    head += element(0x00080060, b"CS", "OT") + element(0x00100010, b"PN", patient)
    head += element(0x0020000D, b"UI", study) + element(0x0020000E, b"UI", study + ".1")
    head += element(0x00280002, b"US", 1) + element(0x00280004, b"CS", "MONOCHROME2")
    for tag, value in [(0x10, len(pixels) // COLUMNS), (0x11, COLUMNS), (0x100, 8), (0x101, 8), (0x102, 7), (0x103, 0)]:
        head += element(0x00280000 | tag, b"US", value)
    return head + element(0x7FE00010, b"OB", pixels)


def file_header(instance):
    """What stands before the data set in a file (PS3.10 section 7.1)."""
    meta = element(0x00020002, b"UI", CAPTURE) + element(0x00020003, b"UI", instance)
    meta += element(0x00020010, b"UI", EXPLICIT) + element(0x00020012, b"UI", "1.2.826.0.1.3680043.10.1")
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta)) + meta

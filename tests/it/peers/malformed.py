"""Malformed DICOM files of our own making, each sent by C-STORE over an association of its own and by STOW-RS.

usage: malformed.py DICOM_PORT HTTPS_PORT CA TOKEN JPEG2000_FILE

Prints one JSON line for each: what was sent, the DIMSE status (null when no response came), the HTTP status, and how long
each took. After each file comes a good object that no model looks at, and after each group one that a model does. Standard
library only: no DICOM toolkit would write these.
"""

import http.client
import json
import ssl
import struct
import sys
import time
import zlib

import upper_layer

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_12, JPEG_LOSSLESS = ("1.2.840.10008.1.2.4." + n for n in ("50", "51", "70"))
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
LONG = (b"OB", b"OW", b"SQ", b"UN", b"OF", b"UT")
END_OF_ITEM, END_OF_SEQUENCE = struct.pack("<HHL", 0xFFFE, 0xE00D, 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
ENDLESS = 0xFFFFFFFF


def element(tag, vr, value, length=None, order="<"):
    """An element whose length may lie."""
    if isinstance(value, str):
        value = value.encode("latin-1")
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    length = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr
    return head + struct.pack(order + ("xxL" if vr in LONG else "H"), length) + value


def implicit(tag, value, length=None):
    length = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length) + value


def item(value, length=None):
    return implicit(0xFFFEE000, value, length)


def us(tag, value, order="<"):
    return element(tag, b"US", struct.pack(order + "H", value), order=order)


def capture(uids, pixels=None, order="<", **changes):
    """The elements of a small secondary capture, by keyword; `None` leaves one out, bytes stand in its place."""
    study, instance = uids
    is_bytes = lambda name: isinstance(changes.get(name), bytes)
    elements = {
        "sop_class": element(0x00080016, b"UI", SECONDARY_CAPTURE, order=order),
        "instance": element(0x00080018, b"UI", instance, order=order),
        "modality": element(0x00080060, b"CS", "OT", order=order),
        "name": element(0x00100010, b"PN", "Malformed^Made", order=order),
        "study": element(0x0020000D, b"UI", study, order=order),
        "series": element(0x0020000E, b"UI", study + ".1", order=order),
    }
    numbers = {
        "samples": (0x00280002, 1), "rows": (0x00280010, 8), "columns": (0x00280011, 8), "allocated": (0x00280100, 8),
        "stored": (0x00280101, 8), "high_bit": (0x00280102, 7), "signed": (0x00280103, 0),
    }
    for name, (tag, value) in numbers.items():
        value = changes.get(name, value)
        elements[name] = value if value is None or is_bytes(name) else us(tag, value, order)
    elements["photometric"] = element(0x00280004, b"CS", changes.pop("photometric", "MONOCHROME2"), order=order)
    elements |= {name: value for name, value in changes.items() if name not in numbers}
    elements["pixels"] = element(0x7FE00010, b"OW", bytes(64), order=order) if pixels is None else pixels
    in_order = sorted((value for value in elements.values() if value), key=lambda value: place(value, order))
    return b"".join(in_order)


def place(value, order):
    group, number = struct.unpack(order + "HH", value[:4].ljust(4, b"\xff"))
    return group << 16 | number


def encapsulated(*fragments, table=b"", end=END_OF_SEQUENCE):
    return element(0x7FE00010, b"OB", item(table) + b"".join(map(item, fragments)) + end, ENDLESS)


def nested(depth, tag=0x00081140):
    return b"".join(element(tag, b"SQ", b"", ENDLESS) + item(b"", ENDLESS) for _ in range(depth))


def nested_with_lengths(depth):
    """Built from the inside: each sequence knows how long it is."""
    value = b""
    for _ in range(depth):
        value = element(0x00081140, b"SQ", item(value))
    return value


def jpeg(rows, columns, precision=8, components=1, frame=0xC0, scan=b"\x12\x34" * 8):
    parts = b"".join(struct.pack("BBB", n + 1, 0x11, 0) for n in range(components))
    start = struct.pack(">BBHBHHB", 0xFF, frame, 8 + len(parts), precision, rows, columns, components) + parts
    table = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64)
    huffman = b"".join(b"\xff\xc4" + struct.pack(">HB", 20, k) + bytes([1] + [0] * 15) + b"\0" for k in (0, 0x10))
    return b"\xff\xd8" + table + start + huffman + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + scan + b"\xff\xd9"


def jpeg_ls(rows, columns, components=1):
    parts = b"".join(struct.pack("BBB", n + 1, 0x11, 0) for n in range(components))
    start = struct.pack(">HHBHHB", 0xFFF7, 8 + len(parts), 8, rows, columns, components) + parts
    return b"\xff\xd8" + start + b"\xff\xda\0\x08\x01\x01\0\0\0\0" + b"\x5a" * 40 + b"\xff\xd9"


def jpeg_2000(width, height, tile=(8, 8), components=1):
    sizes = struct.pack(">HLLLLLLLLH", 0, width, height, 0, 0, *tile, 0, 0, components) + b"\x07\x01\x01" * components
    size = b"\xff\x51" + struct.pack(">H", len(sizes) + 2) + sizes
    style = b"\xff\x52\0\x0c\0\0\0\x01\0\x01\x04\x04\0\x01"
    quantized = b"\xff\x5c\0\x07\x40\x40\x48\x48\x50"
    return b"\xff\x4f" + size + style + quantized + b"\xff\x90\0\x0a\0\0\0\0\0\x20\0\x01\xff\x93" + bytes(18) + b"\xff\xd9"


def rle(segments, *offsets, data=b"\x07" + bytes(8)):
    return struct.pack("<16L", segments, *(offsets + (0,) * 15)[:15]) + data


def bomb(uids, mebibytes):
    """Deflates to next to nothing."""
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -15)
    head = capture(uids, b"") + element(0x7FE00010, b"OW", b"", mebibytes << 20)
    zeros = bytes(1 << 20)
    return squeeze.compress(head) + b"".join(squeeze.compress(zeros) for _ in range(mebibytes)) + squeeze.flush()


def deflated(data):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


def lengths(u):
    for name, length in (("by one", 15), ("as if negative", 0x80000000), ("4 GiB", 0xFFFFFFF0)):
        yield f"a private value claims too much: {name}", capture(u, extra=element(0x00091010, b"OB", bytes(14), length))
    yield "a UID claims 64 KiB", capture(u, instance=element(0x00080018, b"UI", u[1], 0xFFFE))
    yield "rows of one byte", capture(u, rows=element(0x00280010, b"US", b"\x08"))
    yield "rows of no byte", capture(u, rows=element(0x00280010, b"US", b""))
    yield "rows of forty bytes", capture(u, rows=element(0x00280010, b"US", bytes(40)))
    yield "a text of odd length", capture(u, name=element(0x00100010, b"PN", b"Odd"))
    yield "cut in a tag", capture(u)[:-70]
    yield "cut in a value", capture(u)[:60]
    yield "cut in the pixels", capture(u)[:-30]
    yield "one byte", b"\x08"
    yield "no byte", b""
    yield "native pixels without a length", capture(u, element(0x7FE00010, b"OW", bytes(64), ENDLESS))
    yield "an unknown value without length or end", capture(u, extra=element(0x00091010, b"UN", b"", ENDLESS))
    yield "pixels claim 4 GiB", capture(u, element(0x7FE00010, b"OW", bytes(64), 0xFFFFFFFE))


def sequences(u):
    yield "10,000 sequences deep, without lengths", capture(u, extra=nested(10_000))
    yield "3,000 sequences deep, with lengths", capture(u, extra=nested_with_lengths(3_000))
    yield "65 deep", capture(u, extra=nested(65) + (END_OF_ITEM + END_OF_SEQUENCE) * 65)
    yield "1,000 private sequences deep", capture(u, extra=nested(1_000, 0x00091010))
    yield "an item outside a sequence", capture(u, extra=item(b"")[:2] + item(b"")[2:])
    yield "an end of a sequence outside one", capture(u, extra=END_OF_SEQUENCE)
    yield "an end of a sequence inside an item", capture(u, extra=element(0x00081140, b"SQ", item(END_OF_SEQUENCE, ENDLESS), ENDLESS))
    yield "an item without its end", capture(u, extra=element(0x00081140, b"SQ", item(b"", ENDLESS), ENDLESS))
    yield "an element where an item belongs", capture(u, extra=element(0x00081140, b"SQ", us(0x00280010, 8)))
    yield "an item longer than its sequence", capture(u, extra=element(0x00081140, b"SQ", item(b"", 4096)))
    yield "an item of 4 GiB", capture(u, extra=element(0x00081140, b"SQ", item(b"", 0xFFFFFFF0), ENDLESS))
    yield "a sequence shorter than its item", capture(u, extra=element(0x00081140, b"SQ", item(us(0x00280010, 8)), 10))
    yield "600,000 empty items", capture(u, extra=element(0x00081140, b"SQ", item(b"") * 600_000, ENDLESS))
    yield "1,100,000 elements", capture(u, extra=element(0x00091010, b"LO", b"") * 1_100_000)
    yield "private implicit items in an unknown value", capture(
        u, extra=element(0x00091010, b"UN", item(implicit(0x00091011, b"x", 900), ENDLESS) + END_OF_SEQUENCE, ENDLESS)
    )
    yield "private elements without their creator", capture(u, extra=element(0x00099910, b"SQ", item(element(0x0009FF01, b"UN", b"ab"))))


def representations(u):
    for vr in (b"ZZ", b"\0\0", b"us", b"??", b"\xff\xff"):
        yield f"rows of representation {vr!r}", capture(u, rows=struct.pack("<HH", 0x28, 0x10) + vr + b"\x02\0\x08\0")
    yield "rows as text", capture(u, rows=element(0x00280010, b"LO", "eight"))
    yield "rows as a sequence", capture(u, rows=element(0x00280010, b"SQ", item(b"")))
    yield "pixels as text", capture(u, element(0x7FE00010, b"UT", bytes(64)))
    yield "a spacing that is no number", capture(u, spacing=element(0x00280030, b"DS", "wide\\tall"))
    yield "the instance's UID twice", capture(u) + element(0x00080018, b"UI", "1.2.3")
    yield "the study's UID twice", capture(u, extra=element(0x0020000D, b"UI", "1.2.3"))
    yield "elements in reverse", b"".join(reversed([us(0x00280010, 8), us(0x00280011, 8), capture(u, b"", rows=None, columns=None)]))
    yield "a command element", capture(u, extra=us(0x00000100, 1))
    yield "a file header element", capture(u, extra=element(0x00020010, b"UI", JPEG))
    yield "the tag FFFF,FFFF", capture(u) + element(0xFFFFFFFF, b"UN", b"ab")
    yield "one implicit element among explicit ones", capture(u, name=implicit(0x00100010, b"Name"))
    yield "explicit data called implicit", capture(u), IMPLICIT
    yield "implicit data called explicit", b"".join(implicit(t, v) for t, v in ((0x00080016, b"1.2 "), (0x00080018, b"1.2.3 ")))
    yield "big-endian data called little", capture(u, order=">")
    yield "little-endian data called big", capture(u), BIG


def encapsulation(u):
    whole = rle(1, 64)
    yield "no fragment", capture(u, encapsulated()), RLE
    yield "not even an offset table", capture(u, element(0x7FE00010, b"OB", END_OF_SEQUENCE, ENDLESS)), RLE
    yield "a fragment of 4 GiB", capture(u, element(0x7FE00010, b"OB", item(b"") + item(whole, 0xFFFFFFF0), ENDLESS)), RLE
    yield "a fragment without a length", capture(u, element(0x7FE00010, b"OB", item(b"") + item(whole, ENDLESS), ENDLESS)), RLE
    yield "a fragment of odd length", capture(u, encapsulated(whole + b"x")), RLE
    yield "fragments without an end", capture(u, encapsulated(whole, end=b"")), RLE
    yield "an offset beyond the end", capture(u, encapsulated(whole, table=struct.pack("<L", 1 << 31))), RLE
    yield "offsets backwards", capture(
        u, encapsulated(whole, whole, table=struct.pack("<LL", 81, 0)), frames=element(0x00280008, b"IS", "2")
    ), RLE
    yield "an offset table of three bytes", capture(u, encapsulated(whole, table=b"abc")), RLE
    yield "a sequence among fragments", capture(u, element(0x7FE00010, b"OB", item(b"") + nested(1), ENDLESS)), RLE
    yield "600,000 empty fragments", capture(u, encapsulated(*[b""] * 600_000)), RLE
    yield "1,000 frames in one fragment", capture(u, encapsulated(whole), frames=element(0x00280008, b"IS", "1000")), RLE
    yield "an extended offset table that lies", capture(
        u, encapsulated(whole), far=element(0x7FE00001, b"UN", struct.pack("<Q", 1 << 62))
    ), RLE
    yield "native pixels called encapsulated", capture(u), RLE
    yield "encapsulated pixels called native", capture(u, encapsulated(whole))
    yield "a transfer syntax for films", capture(u, encapsulated(b"\0\0\1\xb3" * 8)), "1.2.840.10008.1.2.4.100"


def codecs(u):
    streams = {
        RLE: [
            rle(0), rle(16, *range(64, 79)), rle(ENDLESS, 64), rle(1, 1 << 31), rle(3, 70, 64, 2), rle(1, 64, data=b"\x7f\x01"),
            rle(1, 64, data=b"\x81\0" * 9999), rle(1, 64)[:10], rle(1, 64, data=b""),
        ],
        JPEG: [
            jpeg(65535, 65535), jpeg(0, 8), jpeg(8, 0), jpeg(8, 8, components=4), jpeg(8, 8, frame=0xC2), jpeg(8, 8, scan=b""),
            jpeg(8, 8)[:90], jpeg(8, 8)[2:], b"\xff\xd8\xff\xd9", b"\xff" * 500,
        ],
        JPEG_12: [jpeg(8, 8, precision=12, frame=0xC1), jpeg(8, 8, precision=3, frame=0xC1)],
        JPEG_LOSSLESS: [jpeg(65535, 65535, precision=16, frame=0xC3), jpeg(8, 8, precision=255, frame=0xC3)],
        JPEG_LS: [jpeg_ls(65535, 65535), jpeg_ls(0, 0), jpeg_ls(8, 8, components=255), jpeg_ls(8, 8)[:30]],
        JPEG_2000: [
            jpeg_2000(ENDLESS, ENDLESS), jpeg_2000(8, 8, tile=(0, 0)), jpeg_2000(1 << 16, 1 << 16, tile=(1, 1)),
            jpeg_2000(8, 8, components=16384), jpeg_2000(8, 8)[:50], jpeg_2000(8, 8), FOUND_BY_FUZZING,
        ],
    }
    for syntax, tried in streams.items():
        for number, stream in enumerate(tried):
            yield f"stream {number} of {syntax}", capture(u, encapsulated(stream + b"\0" * (len(stream) % 2))), syntax


def texts(u):
    for terms in ("ISO_IR 999", "\\".join(["ISO 2022 IR 87"] * 500), "\\\\\\", "../../passwd", "\xff\xfe"):
        yield f"the character set {terms[:14]!r}", capture(u, set=element(0x00080005, b"CS", terms))
    utf_8 = element(0x00080005, b"CS", "ISO_IR 192")
    yield "text that is not in its character set", capture(u, set=utf_8, name=element(0x00100010, b"PN", b"\xc3\x28\xff\xff"))
    yield "an escape to nowhere", capture(u, set=element(0x00080005, b"CS", "\\ISO 2022 IR 149"), name=element(0x00100010, b"PN", b"\x1b$)C\x1b\x1b\xff "))
    yield "zeros and line ends in a name", capture(u, name=element(0x00100010, b"PN", b"A\0B\r\nforged: line\x1b[2J"))
    yield "a name of 60,000 carets", capture(u, name=element(0x00100010, b"PN", b"^" * 60_000))
    for uid in ("../../../etc/passwd", "/etc/passwd", "1.2." + "9" * 96, "", "1..2", "1.2.\0003", "1.2.3 ; rm", "one.two"):
        yield f"the instance {uid[:22]!r}", capture(u, instance=element(0x00080018, b"UI", uid))
        yield f"the study {uid[:22]!r}", capture(u, study=element(0x0020000D, b"UI", uid))


def deflation(u):
    yield "a bomb", bomb(u, 540), DEFLATED
    yield "a deflated stream without an end", deflated(capture(u))[:-20], DEFLATED
    yield "a stream that is not deflated", capture(u), DEFLATED
    yield "noise", bytes(n * 37 % 251 for n in range(500)), DEFLATED
    yield "a deflated stream with more behind it", deflated(capture(u)) + b"more" * 100, DEFLATED
    yield "deep sequences, deflated", deflated(capture(u, extra=nested(10_000))), DEFLATED


def group_lengths(u):
    for said in (0, 1, ENDLESS):
        yield f"a group length of {said}", capture(u, group=element(0x00080000, b"UL", struct.pack("<L", said)))
    yield "a group length of two bytes", capture(u, group=element(0x00080000, b"UL", b"\1\0"))


def pixel_sizes(u):
    lies = [
        {"rows": 65535, "columns": 65535}, {"rows": 0}, {"columns": 0}, {"rows": None}, {"columns": None}, {"allocated": 0},
        {"allocated": 7}, {"allocated": 64}, {"allocated": 65535}, {"stored": 9}, {"stored": 0}, {"high_bit": 99},
        {"samples": 0}, {"samples": 2}, {"samples": 65535}, {"signed": 9}, {"photometric": "PALETTE COLOR"},
        {"photometric": "YBR_FULL_422", "columns": 7, "samples": 3}, {"photometric": "NONSENSE"},
    ]
    lies += [{"frames": element(0x00280008, b"IS", n)} for n in ("0", "-1", "2147483647", "99999999999999999999", "many")]
    lies += [{"slope": element(0x00281053, b"DS", n)} for n in ("1e308", "nan", "0", "-inf")]
    lies += [{"window": element(0x00281050, b"DS", "0") + element(0x00281051, b"DS", "0")}]
    for lie in lies:
        yield f"pixels with {lie}"[:90], capture(u, **lie)
    table = b"".join(element(t, b"US", struct.pack("<HHH", 0, 0, 16)) for t in (0x00281101, 0x00281102, 0x00281103))
    yield "a palette of 65,536 colours in two bytes", capture(u, photometric="PALETTE COLOR", table=table + element(0x00281201, b"OW", b"\0\0"))
    yield "no pixels", capture(u, b"")
    yield "pixels of no byte", capture(u, element(0x7FE00010, b"OW", b""))
    yield "pixels twice", capture(u) + element(0x7FE00010, b"OW", bytes(8))
    overlay = us(0x60000010, 65535) + us(0x60000011, 65535) + element(0x60003000, b"OW", bytes(2))
    yield "an overlay that lies", capture(u, overlay=overlay)


GROUPS = [lengths, sequences, representations, encapsulation, codecs, texts, deflation, group_lengths, pixel_sizes]


def header(instance, syntax, before=b"", after=b"", length=None):
    """The file header (PS3.10 section 7.1)."""
    meta = before + element(0x00020002, b"UI", SECONDARY_CAPTURE) + element(0x00020003, b"UI", instance)
    meta += element(0x00020010, b"UI", syntax) if syntax is not None else b""
    meta += after
    said = len(meta) if length is None else length
    return bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", said)) + meta


def headers(u):
    """Whole files, whose headers are what is wrong."""
    data = capture(u)
    for length in (0, 7, ENDLESS):
        yield f"a header that says it has {length} bytes", header(u[1], EXPLICIT, length=length) + data
    yield "a header without a transfer syntax", header(u[1], None) + data
    yield "a header with two", header(u[1], EXPLICIT, after=element(0x00020010, b"UI", JPEG)) + data
    yield "a transfer syntax of nobody", header(u[1], "1.2.3.4.5") + data
    yield "a transfer syntax that is none", header(u[1], "../../x") + data
    yield "another instance than announced", header("1.2.3", EXPLICIT) + data
    yield "no preamble", header(u[1], EXPLICIT)[128:] + data
    yield "another prefix", header(u[1], EXPLICIT).replace(b"DICM", b"MCID") + data
    yield "only a preamble", bytes(128) + b"DICM"
    yield "only a header", header(u[1], EXPLICIT)
    yield "private information of 4 GiB", header(u[1], EXPLICIT, after=element(0x00020102, b"OB", b"", 0xFFFFFFF0)) + data
    yield "deep sequences in the header", header(u[1], EXPLICIT, after=nested(10_000)) + data
    yield "a file within a file", header(u[1], EXPLICIT) + header(u[1], EXPLICIT) + data


class Web:
    """STOW-RS, one object a request."""

    def __init__(self, port, ca, token):
        context = ssl.create_default_context(cafile=ca)
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=240)
        kind = 'multipart/related; type="application/dicom"; boundary=part-of-it'
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": "application/dicom+json"}

    def store(self, file):
        body = b"--part-of-it\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--part-of-it--\r\n"
        self.connection.request("POST", "/dicomweb/studies", body, self.headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


class Uids:
    """Of a study that nobody else names, until asked for the next."""

    made = 0

    def __init__(self):
        self.renew()

    def renew(self):
        Uids.made += 1
        study = f"2.25.{time.time_ns()}{Uids.made}"
        self.both = study, study + ".1.1"

    def __getitem__(self, which):
        return self.both[which]


class Sender:
    """Sends through both doors, under other UIDs: what one had kept would be known to the other."""

    def __init__(self, dicom_port, web):
        self.dicom_port, self.web = dicom_port, web

    def group(self, group):
        by_dicom, by_web = Uids(), Uids()
        for (name, *object), (_, *same) in zip(group(by_dicom), group(by_web)):
            said = {"name": f"{group.__name__}: {name}", "study": by_dicom[0]}
            said["dimse"], said["dimse_s"] = timed(lambda: self.by_dicom(by_dicom, *object))
            said["http"], said["http_s"] = timed(lambda: self.by_web(by_web, group, *same))
            print(json.dumps(said), flush=True)
            by_dicom.renew()
            by_web.renew()
            if group not in (good, right_after):
                self.group(right_after)

    def by_dicom(self, uids, data, syntax=EXPLICIT):
        return upper_layer.store(self.dicom_port, SECONDARY_CAPTURE, uids[1], syntax, data)

    def by_web(self, uids, group, data, syntax=EXPLICIT):
        return self.web.store(data if group is headers else header(uids[1], syntax) + data)


def timed(act):
    begun = time.monotonic()
    return act(), round(time.monotonic() - begun, 3)


def good(u):
    yield "a good object", capture(u)


def right_after(u):
    yield "a good object that no model looks at", capture(u, modality=element(0x00080060, b"CS", "XC"))


def main():
    global FOUND_BY_FUZZING
    dicom_port, https_port, ca, token, found = sys.argv[1:]
    with open(found, "rb") as file:
        FOUND_BY_FUZZING = file.read()[4:]  # behind what the fuzz target reads for itself
    sender = Sender(int(dicom_port), Web(int(https_port), ca, token))
    for group in [*GROUPS, headers]:
        sender.group(group)
        sender.group(good)


main()

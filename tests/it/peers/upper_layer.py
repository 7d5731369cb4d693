"""The least of a DICOM upper layer (PS3.8 section 9.3) that sends a data set as it is, whatever it is."""

import socket
import struct

FRAGMENT_BYTES = 16_000
PATIENCE_S = 240
COMMAND, LAST = 1, 2


def store(port, sop_class, instance, syntax, data):
    """C-STORE over an association of its own: the status, or `None` when the other side gave no response."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(request(sop_class, syntax))
        kind, accepted = read(stream)
        if kind != 2 or not is_accepted(accepted):
            return "not negotiated"
        try:
            stream.sendall(pdu(4, pdv(COMMAND | LAST, store_request(sop_class, instance))))
            for begin in range(0, max(len(data), 1), FRAGMENT_BYTES):
                piece = data[begin : begin + FRAGMENT_BYTES]
                stream.sendall(pdu(4, pdv(LAST if begin + FRAGMENT_BYTES >= len(data) else 0, piece)))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough; what it says is still to be read
        try:
            kind, answer = read(stream)
        except OSError:
            return None
        if kind != 4:
            return None
        stream.sendall(pdu(5, bytes(4)))
        read(stream)
        return status(answer)


def request(sop_class, syntax):
    context = item(0x20, b"\x01\0\0\0" + item(0x30, sop_class.encode()) + item(0x40, syntax.encode()))
    user = item(0x50, item(0x51, struct.pack(">L", 1 << 16)) + item(0x52, b"1.2.826.0.1.3680043.10.1"))
    titles = b"PERICARD".ljust(16) + b"MALFORMED".ljust(16)
    return pdu(1, b"\0\1\0\0" + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + context + user)


def is_accepted(answer):
    """Whether the one context of an A-ASSOCIATE-AC was."""
    at = 68
    while at + 4 <= len(answer):
        kind, length = struct.unpack_from(">BxH", answer, at)
        if kind == 0x21:
            return answer[at + 6] == 0
        at += 4 + length
    return False


def store_request(sop_class, instance):
    def element(number, value):
        return struct.pack("<HHL", 0, number, len(value)) + value

    def uid(text):
        return text.encode() + b"\0" * (len(text) % 2)

    def number(value):
        return struct.pack("<H", value)

    body = element(0x0002, uid(sop_class)) + element(0x0100, number(1)) + element(0x0110, number(7))
    body += element(0x0700, number(0)) + element(0x0800, number(1)) + element(0x1000, uid(instance))
    return element(0x0000, struct.pack("<L", len(body))) + body


def status(answer):
    """Of a command set in one PDV: (0000,0900)."""
    at, command = 0, answer[6:]
    while at + 8 <= len(command):
        _, number, length = struct.unpack_from("<HHL", command, at)
        if number == 0x0900:
            return struct.unpack_from("<H", command, at + 8)[0]
        at += 8 + length
    return None


def pdu(kind, body):
    return struct.pack(">BxL", kind, len(body)) + body


def item(kind, body):
    return struct.pack(">BxH", kind, len(body)) + body


def pdv(flags, body):
    return struct.pack(">LBB", len(body) + 2, 1, flags) + body


def read(stream):
    kind, length = struct.unpack(">BxL", exactly(stream, 6))
    return kind, exactly(stream, length)


def exactly(stream, length):
    got = b""
    while len(got) < length:
        piece = stream.recv(length - len(got))
        if not piece:
            raise ConnectionResetError("closed by the other side")
        got += piece
    return got

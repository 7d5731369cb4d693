"""Sends one object and waits in the middle of it: pausing.py store|stow PORT TOKEN MIB.

Prints "half" once half of it has been sent, waits for a line, sends the rest, and prints the status of the answer: that of
C-STORE as four hexadecimal digits, that of STOW-RS in decimal. Both send the same object.
"""
import http.client
import pathlib
import socket
import ssl
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "it" / "peers"))
import upper_layer
from capture import CAPTURE, EXPLICIT, data_set, file_header

STUDY = "1.2.826.0.1.3680043.8.498.79"
INSTANCE = STUDY + ".1.1"
FRAGMENT_BYTES = 60_000
ACCEPTED, DATA = 2, 4

door, port, token, mib = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])


def halves(data):
    yield data[: len(data) // 2]
    print("half", flush=True)
    sys.stdin.readline()
    yield data[len(data) // 2 :]


def by_store():
    with socket.create_connection(("127.0.0.1", port), timeout=upper_layer.PATIENCE_S) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(upper_layer.request(CAPTURE, EXPLICIT))
        assert upper_layer.read(stream)[0] == ACCEPTED, "no association"
        command = upper_layer.store_request(CAPTURE, INSTANCE)
        stream.sendall(upper_layer.pdu(4, upper_layer.pdv(upper_layer.COMMAND | upper_layer.LAST, command)))
        for half in halves(data_set(STUDY, INSTANCE, "Half^Made", bytes(mib << 20))):
            for begin in range(0, len(half), FRAGMENT_BYTES):
                stream.sendall(upper_layer.pdu(4, upper_layer.pdv(0, half[begin : begin + FRAGMENT_BYTES])))
        stream.sendall(upper_layer.pdu(4, upper_layer.pdv(upper_layer.LAST, b"")))
        kind, answer = upper_layer.read(stream)
        assert kind == DATA, f"a PDU of type {kind} to a C-STORE"
        return f"{upper_layer.status(answer):04x}"


def by_stow():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=upper_layer.PATIENCE_S)
    kind = 'multipart/related; type="application/dicom"; boundary=part'
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": "application/dicom+json"}
    head = b"--part\r\nContent-Type: application/dicom\r\n\r\n" + file_header(INSTANCE)
    body = halves(head + data_set(STUDY, INSTANCE, "Half^Made", bytes(mib << 20)) + b"\r\n--part--\r\n")
    connection.request("POST", "/dicomweb/studies", body, headers, encode_chunked=True)
    return connection.getresponse().status


print({"store": by_store, "stow": by_stow}[door](), flush=True)

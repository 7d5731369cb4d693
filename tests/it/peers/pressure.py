"""Offers an appliance more than it takes: pressure.py DICOM_PORT HTTPS_PORT CA TOKEN CLIENTS OBJECTS OBJECT_MIB.

Half of the clients come by C-STORE, each object over an association of its own, and half by STOW-RS; all begin at once, and
each offers its next object as soon as it has the answer to the last. Prints as JSON how often each answer came, and what was
no answer.
"""
import collections
import http.client
import json
import socket
import ssl
import sys
import threading
import time

import upper_layer
from capture import CAPTURE, EXPLICIT, data_set, file_header

REJECTED, ACCEPTED, DATA = 3, 2, 4
TRANSIENT = 2
FRAGMENT_BYTES = 60_000

dicom_port, https_port, ca, token = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
clients, objects, mib = int(sys.argv[5]), int(sys.argv[6]), int(sys.argv[7])
pixels = bytes(mib << 20)
said, odd, lock, start = collections.Counter(), [], threading.Lock(), threading.Barrier(clients)


def by_store(uids):
    """C-STORE over an association of its own."""
    with socket.create_connection(("127.0.0.1", dicom_port), timeout=upper_layer.PATIENCE_S) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(upper_layer.request(CAPTURE, EXPLICIT))
        kind, answer = upper_layer.read(stream)
        if kind == REJECTED:
            return f"A-ASSOCIATE-RJ {'transient' if answer[1] == TRANSIENT else 'permanent'}"
        if kind != ACCEPTED:
            raise RuntimeError(f"a PDU of type {kind} to an association request")
        command = upper_layer.store_request(CAPTURE, uids[1])
        stream.sendall(upper_layer.pdu(4, upper_layer.pdv(upper_layer.COMMAND | upper_layer.LAST, command)))
        data = data_set(*uids, "Pressure^Made", pixels)
        for begin in range(0, len(data), FRAGMENT_BYTES):
            last = upper_layer.LAST if begin + FRAGMENT_BYTES >= len(data) else 0
            stream.sendall(upper_layer.pdu(4, upper_layer.pdv(last, data[begin : begin + FRAGMENT_BYTES])))
        kind, answer = upper_layer.read(stream)
        if kind != DATA:
            raise RuntimeError(f"a PDU of type {kind} to a C-STORE")
        stream.sendall(upper_layer.pdu(5, bytes(4)))
        upper_layer.read(stream)
        return f"C-STORE {upper_layer.status(answer):04x}"


def by_stow(uids, context=ssl.create_default_context(cafile=ca)):
    """STOW-RS over a connection of its own."""
    connection = http.client.HTTPSConnection("127.0.0.1", https_port, context=context, timeout=upper_layer.PATIENCE_S)
    kind = 'multipart/related; type="application/dicom"; boundary=part'
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": "application/dicom+json"}
    head = b"--part\r\nContent-Type: application/dicom\r\n\r\n" + file_header(uids[1])
    try:
        connection.request("POST", "/dicomweb/studies", head + data_set(*uids, "Pressure^Made", pixels) + b"\r\n--part--\r\n", headers)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all of it was sent; what it says is still to be read
    answer = connection.getresponse()
    answer.read()
    connection.close()
    when = "" if answer.status == 200 or answer.getheader("Retry-After") else " without Retry-After"
    return f"STOW {answer.status}{when}"


def client(number):
    send = by_store if number % 2 else by_stow
    start.wait()
    for index in range(objects):
        study = f"2.25.{1000 + number}{time.time_ns()}"
        try:
            answer = send((study, f"{study}.1.{index + 1}"))
        except Exception as error:
            answer = None
            with lock:
                odd.append(f"{send.__name__}: {type(error).__name__}: {error}")
        with lock:
            said[answer] += 1


threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"said": {str(k): v for k, v in said.items()}, "odd": odd[:20]}))

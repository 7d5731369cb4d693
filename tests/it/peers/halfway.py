"""Two objects of one peer that are under way at the same time: halfway.py DICOM_PORT OBJECT_MIB HALF_MIB.

Each comes over an association of its own. Both are stopped after HALF_MIB, and only then the rest of each is sent. Prints the
status of both C-STOREs, and then of a third that comes alone.
"""
import socket
import sys
import time

import upper_layer
from capture import CAPTURE, EXPLICIT, data_set

FRAGMENT_BYTES = 60_000

port, object_mib, half_mib = (int(word) for word in sys.argv[1:])


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
        data = data_set(study, f"{study}.1.1", "Halfway^Made", bytes(object_mib << 20))
        half = (half_mib << 20) // FRAGMENT_BYTES * FRAGMENT_BYTES
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

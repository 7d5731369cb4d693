"""Writes down every packet of every interface of this network namespace: capture.py FILE.

A line of JSON each: interface, direction (4 is outgoing, see packet(7)), and the bytes. Says "ready" once it listens.
"""
import json, socket, sys

PACKETS = 3  # ETH_P_ALL
door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(PACKETS))
door.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE: none is to be dropped
out = open(sys.argv[1], "w", buffering=1)
print("ready", flush=True)
while True:
    packet, (interface, protocol, kind, _, _) = door.recvfrom(1 << 17)
    print(json.dumps({"interface": interface, "kind": kind, "protocol": protocol, "bytes": packet.hex()}), file=out)

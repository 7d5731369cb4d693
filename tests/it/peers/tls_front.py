"""A web server's TLS, before one that speaks HTTP only.

    tls_front.py PORT KEY CERTIFICATE BEHIND    takes TLS at PORT and hands on what it hears to port BEHIND, until it is ended
"""
import socket
import ssl
import sys
import threading

port, key, certificate, behind = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def pump(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass  # one side has gone; the other is told below
    for side in (source, target):
        try:
            side.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def front(plain):
    try:
        caller = context.wrap_socket(plain, server_side=True)
    except OSError:
        return  # who does not take the certificate is not handed on
    server = socket.create_connection(("127.0.0.1", behind))
    threading.Thread(target=pump, args=(caller, server), daemon=True).start()
    pump(server, caller)


listener = socket.create_server(("127.0.0.1", port))
while True:
    threading.Thread(target=front, args=(listener.accept()[0],), daemon=True).start()

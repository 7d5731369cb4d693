"""A pynetdicom client over TLS that does as each line of its input says and answers with one line.

usage: tls_client.py PORT CALLING KEY CERTIFICATE AUTHORITIES TLS_VERSION
"""
import hashlib
import ssl
import sys

from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import SecondaryCaptureImageStorage, Verification

port, calling, key, certificate, authorities, version = sys.argv[1:]
ae = AE(ae_title=calling)
ae.add_requested_context(Verification)
ae.add_requested_context(SecondaryCaptureImageStorage)


def opened():
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.load_cert_chain(certificate, key)
    association = ae.associate("127.0.0.1", int(port), ae_title="PERICARD", tls_args=(context, "localhost"))
    if not association.is_established:
        return association, "refused"
    session = association.dul.socket.socket
    shown = hashlib.sha256(session.getpeercert(binary_form=True)).hexdigest()
    return association, f"{session.version()} {shown}"


for line in sys.stdin:
    word, *rest = line.split()
    if word == "open":
        association, answer = opened()
    elif word == "echo":
        answer = f"{association.send_c_echo().Status:04x}"
    elif word == "store":
        answer = f"{association.send_c_store(dcmread(rest[0])).Status:04x}"
    elif word == "release":
        association.release()
        answer = "released"
    print(answer, flush=True)

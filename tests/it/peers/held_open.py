"""An association that stays open as long as standard input does: held_open.py PORT FILE.

Prints "open" once it has echoed, then waits for a line, sends the file over the same association, and prints the statuses
of the C-STORE and of one more C-ECHO. It is released at the end of standard input, or at one more line.
"""
import sys
import pydicom
from pynetdicom import AE
from pynetdicom.sop_class import Verification

port, path = int(sys.argv[1]), sys.argv[2]
ds = pydicom.dcmread(path)
ae = AE("HELD")
ae.network_timeout = None  # it may be silent for as long as it is held
ae.add_requested_context(Verification)
ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
assoc = ae.associate("127.0.0.1", port, ae_title="PERICARD")
assert assoc.is_established and assoc.send_c_echo().Status == 0, "no association"
print("open", flush=True)
sys.stdin.readline()
print(assoc.send_c_store(ds).Status, assoc.send_c_echo().Status, flush=True)
sys.stdin.readline()
assoc.release()

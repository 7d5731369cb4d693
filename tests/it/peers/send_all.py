"""Sends every file of pydicom and pydicom-data that has an identity with pynetdicom, as it lies: send_all.py PORT.

Prints JSON: how many were sent, those that failed, how many transfer syntaxes there were.
"""
import json, sys
from pathlib import Path
import pydicom, data_store
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, build_context

port = int(sys.argv[1])
roots = [Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data"]
by_context = {}
for path in sorted(p for root in roots for p in root.rglob("*.dcm")):
    try:
        ds = pydicom.dcmread(path, defer_size=1024)
        key = (str(ds.file_meta.MediaStorageSOPClassUID), str(ds.file_meta.TransferSyntaxUID))
        uids = [ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID]
        if all(uid and uid.is_valid for uid in uids) and ds.SOPClassUID == key[0] and "TooShort" not in path.name and "truncated" not in path.name.lower():
            by_context.setdefault(key, []).append(path)
    except (InvalidDicomError, AttributeError, EOFError, NotImplementedError, ValueError, KeyError):
        pass
sent, failed = 0, []
for (sop_class, syntax), paths in by_context.items():
    ae = AE("SENDER")
    ae.requested_contexts = [build_context(sop_class, syntax)]
    assoc = ae.associate("127.0.0.1", port, ae_title="PERICARD")
    if not assoc.is_established:
        failed += [f"{p.name}: no association" for p in paths]
        continue
    for path in paths:
        if not assoc.accepted_contexts:
            failed.append(f"{path.name}: context {sop_class} {syntax} rejected")
            continue
        try:
            status = assoc.send_c_store(str(path))
            code = getattr(status, "Status", None)
            if code == 0:
                sent += 1
            else:
                failed.append(f"{path.name}: status {code} {getattr(status, 'ErrorComment', '')}")
        except Exception as error:  # what pynetdicom itself cannot encode is not ours to judge
            if not assoc.is_established:
                failed.append(f"{path.name}: {error}")
    if assoc.is_established:
        assoc.release()
print(json.dumps({"sent": sent, "failed": failed, "syntaxes": len({s for _, s in by_context})}))

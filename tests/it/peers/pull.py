"""A workstation that looks for a study and pulls all of it: pull.py PORT STUDY FOLDER.

It asks which classes of objects the study has and what series, gets every object by C-GET over its own association, and puts
each into FOLDER. Prints JSON: the number of objects of each modality, and the instances that came.
"""
import json
import sys
from collections import Counter
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND, StudyRootQueryRetrieveInformationModelGet as GET

port, study, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
got = []


def identifier(level, *wanted):
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID = level, study
    for keyword in wanted:
        setattr(ds, keyword, "")
    return ds


def came(event):
    got.append(str(event.request.AffectedSOPInstanceUID))
    (folder / f"{got[-1]}.dcm").write_bytes(event.encoded_dataset())
    return 0


def associated(ae, **more):
    assoc = ae.associate("127.0.0.1", port, ae_title="PERICARD", **more)
    assert assoc.is_established, "no association"
    return assoc


ae = AE("WS")
ae.add_requested_context(FIND)
assoc = associated(ae)
studies = [ds for _, ds in assoc.send_c_find(identifier("STUDY", "SOPClassesInStudy"), FIND) if ds]
assert len(studies) == 1, studies
series = [ds for _, ds in assoc.send_c_find(identifier("SERIES", "Modality", "NumberOfSeriesRelatedInstances"), FIND) if ds]
counts = Counter()
for ds in series:
    counts[ds.Modality] += int(ds.NumberOfSeriesRelatedInstances)
assoc.release()

classes = studies[0].SOPClassesInStudy
classes = [classes] if isinstance(classes, str) else list(classes)
ae = AE("WS")
ae.add_requested_context(GET)
for uid in classes:
    ae.add_requested_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
roles = [build_role(uid, scp_role=True) for uid in classes]
assoc = associated(ae, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, came)])
statuses = [status.Status for status, _ in assoc.send_c_get(identifier("STUDY"), GET)]
assert statuses[-1] == 0, [hex(status) for status in statuses]
assoc.release()
print(json.dumps({"counts": counts, "got": sorted(got)}))

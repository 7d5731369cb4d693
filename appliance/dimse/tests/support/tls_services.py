"""Every service over TLS, by pynetdicom.

    tls_services.py user PORT KEY CERT CA TITLE     finds, gets, moves to TITLE and asks for commitment; prints JSON
    tls_services.py provider PORT KEY CERT CA DATE  a worklist, an archive of one study and a store, until it is ended
"""
import json
import ssl
import sys
import threading

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    ModalityWorklistInformationFind, StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove,
)

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
what, port, key, cert, ca, last = sys.argv[1], int(sys.argv[2]), *sys.argv[3:7]


def context(side):
    made = ssl.SSLContext(side)
    made.load_cert_chain(cert, key)
    made.load_verify_locations(ca)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def identifier(level, **keys):
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(ds, name, value)
    return ds


def user():
    got, told, heard = [], [], threading.Event()

    def stored(event):
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def reported(event):
        information = event.event_information
        told.extend(str(i.ReferencedSOPInstanceUID) for i in information.ReferencedSOPSequence)
        heard.set()
        return 0, None

    ae = AE("WS")
    for model in (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet,
                  StudyRootQueryRetrieveInformationModelMove, StorageCommitmentPushModel):
        ae.add_requested_context(model)
    ae.add_requested_context(CAPTURE)
    role = build_role(CAPTURE, scp_role=True)
    assoc = ae.associate("127.0.0.1", port, ae_title="PERICARD", ext_neg=[role],
                         evt_handlers=[(evt.EVT_C_STORE, stored), (evt.EVT_N_EVENT_REPORT, reported)],
                         tls_args=(context(ssl.PROTOCOL_TLS_CLIENT), None))
    assert assoc.is_established, "no association"
    asked = identifier("STUDY", StudyInstanceUID="", PatientID="PHANTOM")
    found = [str(ds.StudyInstanceUID) for _, ds in assoc.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind) if ds]
    study = identifier("STUDY", StudyInstanceUID=found[0])
    gets = [s.Status for s, _ in assoc.send_c_get(study, StudyRootQueryRetrieveInformationModelGet)]
    moves = [s for s, _ in assoc.send_c_move(study, last, StudyRootQueryRetrieveInformationModelMove)]
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CAPTURE, got[0]
    ask = Dataset()
    ask.TransactionUID, ask.ReferencedSOPSequence = "1.2.3.4.5", [item]
    status, _ = assoc.send_n_action(ask, 1, StorageCommitmentPushModel, UID("1.2.840.10008.1.20.1.1"))
    heard.wait(20)
    assoc.release()
    print(json.dumps({"found": found, "got": got, "get": gets[-1], "move": moves[-1].Status,
                      "moved": moves[-1].NumberOfCompletedSuboperations, "commit": status.Status, "told": told}))


def provider():
    def find(event):
        asked = event.identifier
        if event.request.AffectedSOPClassUID == ModalityWorklistInformationFind:
            step = Dataset()
            step.Modality, step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepID = "CT", last, "S1"
            ds = Dataset()
            ds.AccessionNumber, ds.StudyInstanceUID, ds.RequestedProcedurePriority = "A1", "1.2.88.1", "STAT"
            ds.ScheduledProcedureStepSequence = [step]
            yield 0xFF00, ds
        elif asked.QueryRetrieveLevel == "SERIES":
            ds = identifier("SERIES", StudyInstanceUID=asked.StudyInstanceUID, SeriesInstanceUID="1.2.826.0.1.3680043.10.2")
            ds.NumberOfSeriesRelatedInstances = 7
            yield 0xFF00, ds
        yield 0x0000, None

    def stored(event):
        print(event.request.AffectedSOPInstanceUID, flush=True)
        return 0

    ae = AE("PACS")
    for model in (ModalityWorklistInformationFind, StudyRootQueryRetrieveInformationModelFind, CAPTURE):
        ae.add_supported_context(model)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_STORE, stored)]
    ae.start_server(("127.0.0.1", port), evt_handlers=handlers, ssl_context=context(ssl.PROTOCOL_TLS_SERVER))


{"user": user, "provider": provider}[what]()

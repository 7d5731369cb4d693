"""A hospital's information system that orders an analysis on the worklist: ris.py BASE TOKEN CA STUDY FILE...

It orders the analysis of a study that is not there yet, subscribes, listens on a WebSocket, then sends the study's files by
STOW-RS and waits until it is told that the analysis is done. Prints JSON: the states that it was told of, and the workitem.
"""
import json, ssl, sys
from pathlib import Path
import requests
from websockets.sync.client import connect

base, token, ca, study, *files = sys.argv[1:]
session = requests.Session()
session.trust_env, session.verify = False, ca
session.headers["Authorization"] = f"Bearer {token}"
JSON = {"Content-Type": "application/dicom+json"}
PATIENCE_S = 200


def asked(method, path, expected, body=None, **headers):
    data = None if body is None else json.dumps(body)
    answer = session.request(method, base + path, data=data, headers={**(JSON if body is not None else {}), **headers})
    assert answer.status_code == expected, (method, path, answer.status_code, answer.text)
    return answer


def value(vr, *values):
    return {"vr": vr, "Value": list(values)}


def code(name, scheme):
    return {"00080100": value("SH", name), "00080102": value("SH", scheme), "00080104": value("LO", name)}


order = {
    "00741000": value("CS", "SCHEDULED"), "00741200": value("CS", "HIGH"), "00741204": value("LO", "Text in the picture"),
    "00404041": value("CS", "READY"), "00404005": value("DT", "20261129101500"),
    "00404018": value("SQ", code("burned-in-text", "99PERICARD")),
    "00404021": value("SQ", {"0020000D": value("UI", study), "0040E020": value("CS", "DICOM")}),
}
located = asked("POST", "/workitems", 201, [order]).headers["Location"]
uid = located.rsplit("/", 1)[1]
wss = asked("POST", f"/workitems/{uid}/subscribers/RIS", 201).headers["Content-Location"]
told = []
context = ssl.create_default_context(cafile=ca)
with connect(wss, ssl=context, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None) as channel:
    first = json.loads(channel.recv(timeout=PATIENCE_S))
    assert first["00001000"]["Value"] == [uid] and first["00000002"]["Value"] == ["1.2.840.10008.5.1.4.34.6.4"], first
    assert first["00741000"]["Value"] == ["SCHEDULED"], first
    for path in files:
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + Path(path).read_bytes() + b"\r\n--b--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        answer = session.post(base + "/studies", data=body, headers={"Content-Type": kind})
        assert answer.status_code == 200, answer.text
    while not told or told[-1] not in ("COMPLETED", "CANCELED"):
        report = json.loads(channel.recv(timeout=PATIENCE_S))
        if "00741000" in report:
            told += report["00741000"]["Value"]
found = session.get(f"{base}/workitems", params={"ProcedureStepState": told[-1], "SOPInstanceUID": uid}, headers={"Accept": "application/dicom+json"})
assert [item["00080018"]["Value"] for item in found.json()] == [[uid]], found.text
workitem = asked("GET", f"/workitems/{uid}", 200, Accept="application/dicom+json").json()[0]
assert "00081195" not in workitem, "nobody is told the transaction UID"
asked("DELETE", f"/workitems/{uid}/subscribers/RIS", 200)
print(json.dumps({"told": told, "workitem": workitem}))

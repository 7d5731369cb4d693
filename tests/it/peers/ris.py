"""A hospital's information system that orders an analysis on the worklist: ris.py [--rule=NAME] [--named] BASE TOKEN CA STUDY FILE...

It orders the analysis of a study that is not there yet, subscribes, listens on a WebSocket, then sends the study's files by
STOW-RS and waits until it is told that the analysis is done. Prints JSON: the states that it was told of, and the workitem.
With --rule it orders a rule instead of a model. With --named the order names each object, and all are sent but the last; then it
looks for SILENCE_S that nothing is begun, and sends the last.
"""
import json, ssl, sys, time
from pathlib import Path
import pydicom
import requests
from websockets.sync.client import connect

options = [word for word in sys.argv[1:] if word.startswith("--")]
base, token, ca, study, *files = [word for word in sys.argv[1:] if word not in options]
rules = [word.split("=")[1] for word in options if word.startswith("--rule=")]
is_named = "--named" in options
session = requests.Session()
session.trust_env, session.verify = False, ca
session.headers["Authorization"] = f"Bearer {token}"
JSON = {"Content-Type": "application/dicom+json"}
PATIENCE_S = 200
# Longer than the rule's idle time: a study that were taken as complete would have been.
SILENCE_S = 6


def asked(method, path, expected, body=None, **headers):
    data = None if body is None else json.dumps(body)
    answer = session.request(method, base + path, data=data, headers={**(JSON if body is not None else {}), **headers})
    assert answer.status_code == expected, (method, path, answer.status_code, answer.text)
    return answer


def value(vr, *values):
    return {"vr": vr, "Value": list(values)}


def code(name, scheme):
    return {"00080100": value("SH", name), "00080102": value("SH", scheme), "00080104": value("LO", name)}


def named_input():
    """The study with its series and each of its objects."""
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    assert len({h.SeriesInstanceUID for h in headers}) == 1 and len({h.SOPInstanceUID for h in headers}) == len(files)
    references = [{"00081150": value("UI", h.SOPClassUID), "00081155": value("UI", h.SOPInstanceUID)} for h in headers]
    series = value("UI", headers[0].SeriesInstanceUID)
    return {"0020000D": value("UI", study), "0020000E": series, "0040E020": value("CS", "DICOM"), "00081199": value("SQ", *references)}


def nothing_begun():
    """No inference is planned, and nobody has claimed the order."""
    jobs = session.get(base.replace("/dicomweb", "/api/v1") + "/jobs", params={"study": study})
    assert jobs.status_code == 200, jobs.text
    assert [job["work"]["kind"] for job in jobs.json()["jobs"]] == ["assemble"], jobs.text
    state = asked("GET", f"/workitems/{uid}", 200, Accept="application/dicom+json").json()[0]["00741000"]
    assert state["Value"] == ["SCHEDULED"], state


order = {
    "00741000": value("CS", "SCHEDULED"), "00741200": value("CS", "HIGH"), "00741204": value("LO", "Text in the picture"),
    "00404041": value("CS", "READY"), "00404005": value("DT", "20261129101500"),
    "00404018": value("SQ", code(rules[0], "99PERICARD_RULE") if rules else code("burned-in-text", "99PERICARD")),
    "00404021": value("SQ", named_input() if is_named else {"0020000D": value("UI", study), "0040E020": value("CS", "DICOM")}),
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
        if is_named and path == files[-1]:
            begun = time.monotonic()
            while time.monotonic() - begun < SILENCE_S:
                nothing_begun()
                time.sleep(0.5)
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

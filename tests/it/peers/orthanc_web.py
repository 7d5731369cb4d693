"""Our DICOMweb beside Orthanc's, with the same files: orthanc_web.py OURS TOKEN CA THEIRS.

Every file of pydicom's, nibabel's and pynetdicom's test data is stored at both by STOW-RS, one by one. Then what both hold is
searched and retrieved at both, counts, attributes at every level, whole objects and frames, and the answers must be the same but
for what stands, with its reason, in the tables below. Prints JSON: the counts.
"""
import gzip, io, json, re, sys, uuid
from pathlib import Path
import pydicom, data_store, nibabel, pynetdicom
import requests

ours_url, token, ca, theirs_url = sys.argv[1:]
ROOTS = [Path(pydicom.__file__).parent / "data" / "test_files", Path(pydicom.__file__).parent / "data" / "charset_files",
         Path(data_store.__file__).parent / "data", Path(nibabel.__file__).parent / "nicom" / "tests" / "data",
         Path(pynetdicom.__file__).parent / "tests" / "dicom_files"]
JSON = {"Accept": "application/dicom+json"}

# Files that only one of the two takes, by name, and why.
TAKEN_BY_ONE = {
    "bad_sequence.dcm": ("Orthanc", "its SOP Instance UID is no UID: ours names no object so (PS3.5 9.1)"),
    "explicit_VR-UN.dcm": ("ours", "Orthanc takes it by its own route and refuses it by STOW-RS"),
    "rtdose_rle.dcm": ("ours", "Orthanc takes it by its own route and refuses it by STOW-RS"),
    "rtdose_rle_1frame.dcm": ("ours", "Orthanc takes it by its own route and refuses it by STOW-RS"),
    "SC_rgb_jpeg.dcm": ("ours", "implicit VR where the syntax says explicit: ours keeps the bytes, Orthanc's DCMTK gives up"),
}
# Files whose frames only ours gives, and why.
FRAMES_OF_OURS = {
    "SC_ybr_full_422_uncompressed.dcm": "Orthanc takes pixels that share their colours (YBR_FULL_422, uncompressed) for cut short",
}
# Studies that Orthanc does not give as a whole: it holds one for each of the two patients in them, and takes the UID for neither.
OF_TWO_PATIENTS = {"1.3.12.2.1107.5.2.32.35119.30000010011408520750000000022"}
# Queries that find more at one of the two, and why.
QUERY_DIFFERS = {
    "&PatientID=*": ("ours", "universal matching also finds what has no value (PS3.4 C.2.2.2.4)"),
    "&AccessionNumber=*": ("ours", "universal matching also finds what has no value (PS3.4 C.2.2.2.4)"),
    "&PatientName=*^*": ("ours", "Orthanc finds no caret in a name"),
    "&StudyDate=-20000101": ("Orthanc", "a study without a date lies in no range (PS3.4 C.2.2.2.5.1)"),
}
# Attributes whose values differ in metadata, and why.
METADATA_DIFFERS = {
    "00080005": "JSON is UTF-8: ours says so (ISO_IR 192), Orthanc repeats the file's character set",
    "00081190": "each names its own URL",
    "00083002": "only ours says the transfer syntax",
}
# Private attributes of Siemens where the syntax does not say their VR.
CSA = ({"00291008", "00291009", "00291010", "00291018", "00291019", "00291020", "00291160"},
       "in Implicit VR Little Endian ours says UN, Orthanc has a dictionary of Siemens's private attributes")
# The same, of one file.
FILE_DIFFERS = {
    "0.dcm": CSA, "1.dcm": CSA, "siemens_dwi_0.dcm.gz": CSA, "siemens_dwi_1000.dcm.gz": CSA,
    "csa_slice_norm.dcm": ({"00200037"}, "Orthanc gives -1e-16 as 0"),
    "slicethickness_empty_string.dcm": ({"00880200"}, "Orthanc leaves out the encapsulated pixels of the icon"),
    "gdcm-US-ALOKA-16.dcm": ({"00281101", "00281102", "00281103"}, "Orthanc leaves out descriptors of a palette"),
    "chrH32.dcm": ({"00100010"}, "Orthanc decodes the first character set only"),
    "chrJapMultiExplicitIR6.dcm": ({"00100010", "00101001", "001021B0"}, "Orthanc decodes the first character set only"),
    "badVR.dcm": ({"00280008"}, "ours gives a number that is none as its text, Orthanc leaves it out"),
    "J2K_pixelrep_mismatch.dcm": (
        {"00080008", "00200020", "00200032", "00200037", "00280030", "00281050", "00281051"},
        "in ISO_IR 13 the delimiter is drawn as a yen sign; Orthanc takes it for one"),
    "color3d_jpeg_baseline.dcm": ({"00191050"}, "Orthanc cuts a line end off a text"),
    "examples_ybr_color.dcm": ({"00191050"}, "Orthanc cuts a line end off a text"),
}


def stored(answer):
    """Class and instance of each object that the answer to a store says is kept."""
    kept = answer["00081199"].get("Value", [])
    return {tuple(item[tag]["Value"][0] for tag in ("00081150", "00081155")) for item in kept}


class Server:
    def __init__(self, url, token=None, ca=True):
        self.url, self.session = url, requests.Session()
        self.session.trust_env, self.session.verify = False, ca
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path, accept=JSON):
        return self.session.get(self.url + path, headers=accept)

    def store(self, data):
        # A boundary that no file holds: Orthanc looks for it without the line end before it.
        boundary = uuid.uuid4().hex
        body = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + data + f"\r\n--{boundary}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        answer = self.session.post(self.url + "/studies", data=body, headers={"Content-Type": kind, **JSON})
        return stored(answer.json()) if answer.status_code == 200 else set()

    def search(self, path):
        answer = self.get(path)
        assert answer.status_code in (200, 204), (path, answer.status_code, answer.text)
        return answer.json() if answer.content else []


ours, theirs = Server(ours_url, token, ca), Server(theirs_url)
problems = []


def check(what, mine, other):
    if isinstance(mine, list) and isinstance(other, list):
        mine, other = ([v for v in a if v not in b] for a, b in ((mine, other), (other, mine)))
    if mine != other:
        problems.append(f"{what}: ours {mine!r:.300}, Orthanc {other!r:.300}")


def parts(answer):
    boundary = re.search(r'boundary="?([^";]+)', answer.headers["Content-Type"]).group(1).encode()
    pieces = answer.content.split(b"--" + boundary)[1:-1]
    return [piece.split(b"\r\n\r\n", 1)[1][:-2] for piece in pieces]


def uid_of(data):
    try:
        return str(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    except Exception:
        return None


def renamed(data, uid):
    """The file under a UID of its own that is as long and nobody else's, and that UID; `None` where its UID is not legible in it."""
    for at in range(10 ** min(2, len(uid.rsplit(".", 1)[1]))):
        mine = uid[: -len(str(at))] + str(at)
        other = data.replace(uid.encode(), mine.encode())
        if mine not in seen and uid_of(other) == mine:
            return other, mine
    return None


# Store. Which of two revisions an archive shows is its own affair: so of files with one UID and other bytes, each but the first is
# given a UID of its own. Whatever is there twice, byte by byte, is stored once.
held, taken_by_one, seen, kept, variants = {}, {}, set(), set(), 0
for path in sorted(p for root in ROOTS for p in root.rglob("*") if p.is_file()):
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if data[128:132] != b"DICM":
        continue
    if data in kept:
        continue
    kept.add(data)
    uid = uid_of(data)
    if uid in seen and uid is not None:
        other = renamed(data, uid)
        if other is None:
            problems.append(f"{path.name}: another object under {uid}, which is not legible in it")
            continue
        data, uid = other
        variants += 1
    seen.add(uid)
    mine, other = (server.store(data) for server in (ours, theirs))
    if mine and other:
        held[uid] = (path, data)
        check(f"{path.name}: what was stored", sorted(mine), sorted(other))
        check(f"{path.name}: the instance that was stored", {instance for _, instance in mine}, {uid})
    elif mine != other:
        taken_by_one[path.name] = "ours" if mine else "Orthanc"
for name, who in taken_by_one.items():
    if TAKEN_BY_ONE.get(name, (None,))[0] != who:
        problems.append(f"{name}: taken by {who} only, which no table explains")


def uids(found, tag):
    return sorted(item[tag]["Value"][0] for item in found)


# Search. What only one holds is left out at every level.
def of_held(found):
    return [i for i in found if i.get("00080018", {}).get("Value", [None])[0] in held]


all_of_ours, all_of_theirs = (s.search("/instances?limit=5000") for s in (ours, theirs))
instances = of_held(all_of_ours)
check("instances", uids(instances, "00080018"), uids(of_held(all_of_theirs), "00080018"))
of_study, of_series = {}, {}
for item in instances:
    value = lambda tag: item[tag]["Value"][0]
    of_study.setdefault(value("0020000D"), set()).add(value("00080018"))
    of_series.setdefault((value("0020000D"), value("0020000E")), set()).add(value("00080018"))
studies = sorted(of_study)


def both(path, tag, among):
    mine, other = ([v for v in uids(s.search(path), tag) if v in among] for s in (ours, theirs))
    check(path, mine, other)
    return mine


QUERIES = [
    "", "&PatientID=*", "&PatientName=*^*", "&PatientName=CompressedSamples*", "&PatientID=4MR1", "&00100020=4MR1",
    "&StudyDate=20040101-20041231", "&StudyDate=-20000101", "&StudyDate=20000101-", "&ModalitiesInStudy=CT",
    "&ModalitiesInStudy=MR", "&ModalitiesInStudy=US", "&AccessionNumber=*", "&PatientID=nobody-has-this",
    "&PatientName=??mpressed*", "&includefield=all",
]
hits = 0
for query in QUERIES:
    path, more = f"/studies?limit=5000{query}", QUERY_DIFFERS.get(query, ("neither",))[0]
    mine, other = (set(uids(s.search(path), "0020000D")) & set(studies) for s in (ours, theirs))
    check(f"{path}, ours only", more != "ours" and sorted(mine - other), more != "ours" and [])
    check(f"{path}, Orthanc only", more != "Orthanc" and sorted(other - mine), more != "Orthanc" and [])
    hits += len(mine)
for uid in studies:
    both(f"/studies?StudyInstanceUID={uid}", "0020000D", set(studies))
    both(f"/studies/{uid}/series?limit=5000", "0020000E", {s for _, s in of_series})
    both(f"/studies/{uid}/instances?limit=5000", "00080018", set(held))
for query in ("Modality=CT", "Modality=MR", "Modality=SR"):
    both(f"/series?limit=5000&{query}", "0020000E", {s for _, s in of_series})
for (study, series) in sorted(of_series):
    both(f"/studies/{study}/series/{series}/instances?limit=5000", "00080018", set(held))
sop_class = "1.2.840.10008.5.1.4.1.1.2"
both(f"/instances?limit=5000&SOPClassUID={sop_class}", "00080018", set(held))
pages = [s for offset in range(0, 2000, 7) for s in uids(ours.search(f"/instances?limit=7&offset={offset}"), "00080018")]
check("pages", sorted(pages), uids(ours.search("/instances?limit=5000"), "00080018"))


# How much there is of each study and series. What only one holds counts there only.
def counts(server, listed):
    """By study UID, and by study and series UID: what the server says, and what it lists."""
    said, there = {}, {}
    number = lambda item, tag: int(item[tag]["Value"][0])
    for item in listed:
        study, series = (item[tag]["Value"][0] for tag in ("0020000D", "0020000E"))
        there.setdefault((study,), []).append(series)
        there.setdefault((study, series), []).append(series)
    there = {key: (len(set(of)), len(of)) if len(key) == 1 else (len(of),) for key, of in there.items()}
    for found in server.search("/studies?limit=5000"):
        study = found["0020000D"]["Value"][0]
        said[(study,)] = number(found, "00201206"), number(found, "00201208")
        for one in server.search(f"/studies/{study}/series?limit=5000"):
            said[(study, one["0020000E"]["Value"][0])] = (number(one, "00201209"),)
    return said, there


(said, there), (other_said, other_there) = counts(ours, all_of_ours), counts(theirs, all_of_theirs)
check("counts of what ours lists", sorted(said.items()), sorted(there.items()))
of_one = lambda counts: {key: of for key, of in counts.items() if key[0] not in OF_TWO_PATIENTS}
other_said, other_there = of_one(other_said), of_one(other_there)
check("counts of what Orthanc lists", sorted(other_said.items()), sorted(other_there.items()))
counted = {key for key in there if there[key] == other_there.get(key)}
check("counts", {key: said[key] for key in counted}, {key: other_said[key] for key in counted})


# Retrieve: attributes.
def normal(value, vr):
    if isinstance(value, dict) and vr == "PN":
        return {k: v.rstrip() for k, v in value.items() if v.strip()} or None
    if isinstance(value, dict):
        return attributes(value)
    if vr in ("DS", "IS") and value is not None:
        try:
            return float(value)
        except ValueError:
            return value
    if isinstance(value, float) or vr in ("FL", "FD") and value is not None:
        value = float(value)  # a whole number has no point at Orthanc
        return round(value, 4) if abs(value) < 1e6 else float(f"{value:.5g}")
    if isinstance(value, str):
        return value.strip() or None
    return value


def attributes(item):
    found = {}
    for tag, attribute in item.items():
        if tag in METADATA_DIFFERS or tag.endswith("0000") or tag.startswith("0002"):
            continue
        vr = attribute.get("vr", "")
        if "BulkDataURI" in attribute or "InlineBinary" in attribute:
            found[tag] = (vr, "binary")
            continue
        values = [normal(v, vr) for v in attribute.get("Value", [])]
        while values and values[-1] in (None, {}):
            values.pop()
        found[tag] = (vr, values)
    return found


NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
FRAMES = {"Accept": 'multipart/related; type="application/octet-stream"'}
different, frames, of_theirs = {}, 0, {}


def compare(path, mine, other):
    for tag in sorted(set(mine) | set(other)):
        if mine.get(tag) != other.get(tag) and tag not in FILE_DIFFERS.get(path.name, ((),))[0]:
            # Orthanc's metadata says nothing of pixels that are encapsulated.
            if tag == "7FE00010" and mine.get(tag) == ("OB", "binary") and other.get(tag) is None:
                continue
            different.setdefault((path.name, tag), (mine.get(tag), other.get(tag)))


for uid, (path, data) in held.items():
    study, series = next(key for key, members in of_series.items() if uid in members)
    url = f"/studies/{study}/series/{series}/instances/{uid}"
    mine, of_theirs[uid] = (attributes(s.search(url + "/metadata")[0]) for s in (ours, theirs))
    compare(path, mine, of_theirs[uid])
    # Retrieve: the object, as it was sent.
    as_stored = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    mine, other = (parts(s.get(url, as_stored)) for s in (ours, theirs))
    check(f"{path.name}: the object", mine == [data], True)
    check(f"{path.name}: the object at both", mine == other, True)
    # Its frames, where they are stored as they go out.
    ds = pydicom.dcmread(io.BytesIO(data), force=True)
    if ds.file_meta.get("TransferSyntaxUID") in NATIVE and "PixelData" in ds:
        count = re.match(r"\s*(\d+)", str(ds.get("NumberOfFrames", "")))  # of "1A", as both read it, the number
        count = int(count.group(1)) if count else 1
        listed = ",".join(str(number) for number in range(1, count + 1))
        mine, other = (s.get(f"{url}/frames/{listed}", FRAMES) for s in (ours, theirs))
        if mine.status_code == other.status_code == 200:
            mine, other = parts(mine), parts(other)
            check(f"{path.name}: {count} frames", len(mine), count)
            check(f"{path.name}: the frames at both", mine == other, True)
            frames += len(mine)
        else:  # a file that has no frames to give has none at either
            check(f"{path.name}: frames", mine.status_code == 200, other.status_code == 200 or path.name in FRAMES_OF_OURS)
# The attributes of all of a study and of a series at once.
listed = 0
levels = [(f"/studies/{study}", members) for study, members in of_study.items()]
levels += [(f"/studies/{study}/series/{series}", members) for (study, series), members in of_series.items()]
for url, members in levels:
    lists = [ours.search(url + "/metadata")]
    if url.split("/")[2] in OF_TWO_PATIENTS:
        check(f"{url}/metadata of Orthanc", theirs.get(url + "/metadata").status_code, 404)
    else:
        lists.append(theirs.search(url + "/metadata"))
    by_uid = [{item["00080018"]["Value"][0]: item for item in of_held(one)} for one in lists]
    for one in by_uid:
        check(f"{url}/metadata", sorted(one), sorted(members))
    for uid in sorted(set.intersection(*map(set, by_uid))):
        compare(held[uid][0], attributes(by_uid[0][uid]), attributes(by_uid[1][uid]) if by_uid[1:] else of_theirs[uid])
        listed += 1
print(json.dumps({"held": len(held), "variants": variants, "taken_by_one": taken_by_one, "hits": hits, "counted": len(counted),
                  "frames": frames, "listed": listed}))
for (name, tag), (mine, other) in different.items():
    problems.append(f"{name} {tag}: ours {mine!r:.160}, Orthanc {other!r:.160}")
for problem in problems:
    print(problem)
sys.exit(1 if problems else 0)

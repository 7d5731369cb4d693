"""STOW, QIDO, WADO with dicomweb-client: dicomweb.py BASE TOKEN CA FOLDER."""
import io
import sys
from pathlib import Path
import numpy as np
import pydicom
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from PIL import Image

base, token, ca, folder = sys.argv[1:]
session = create_session()
session.trust_env = False
session.verify = ca
session.headers["Authorization"] = f"Bearer {token}"
client = DICOMwebClient(url=base, session=session)
# It calls the host by its name without the port, and the URLs in answers name us as we were called.
client.host = base.split("/")[2]
objects = [pydicom.dcmread(path) for path in sorted(Path(folder).glob("*.dcm"))]
answer = client.store_instances(objects)
assert len(answer.ReferencedSOPSequence) == len(objects), answer
study = str(objects[0].StudyInstanceUID)
found = client.search_for_studies(search_filters={"StudyInstanceUID": study})
assert len(found) == 1, found
assert found[0]["0020000D"]["Value"] == [study]
series = client.search_for_series(study)
assert {s["0020000E"]["Value"][0] for s in series} >= {str(o.SeriesInstanceUID) for o in objects}
for sent in objects:
    got = client.retrieve_instance(study, str(sent.SeriesInstanceUID), str(sent.SOPInstanceUID))
    assert got.PixelData == sent.PixelData, "pixels differ"
    assert got.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    meta = client.retrieve_instance_metadata(study, str(sent.SeriesInstanceUID), str(sent.SOPInstanceUID))
    ds = pydicom.Dataset.from_json(meta)
    assert ds.SOPInstanceUID == sent.SOPInstanceUID and ds.Rows == sent.Rows


def frames_and_bulk_data(sent):
    """The first frame, uncompressed, is what pydicom decodes; the pixels, as bulk data, are the file's own."""
    ids = (study, str(sent.SeriesInstanceUID), str(sent.SOPInstanceUID))
    plain = (("application/octet-stream", "1.2.840.10008.1.2.1"),)
    frames = client.retrieve_instance_frames(*ids, [1], media_types=plain)
    pixels = sent.pixel_array if int(sent.get("NumberOfFrames", 1)) == 1 else sent.pixel_array[0]
    assert len(frames) == 1 and frames[0][: pixels.nbytes] == pixels.tobytes(), (len(frames), len(frames[0]), pixels.nbytes)
    assert len(frames[0]) - pixels.nbytes in (0, 1), "at most a padding byte more"
    url = client.retrieve_instance_metadata(*ids)["7FE00010"]["BulkDataURI"]
    bulk = client.retrieve_bulkdata(url)
    if not sent.file_meta.TransferSyntaxUID.is_encapsulated:
        assert bulk == [sent.PixelData], (len(bulk), len(bulk[0]), len(sent.PixelData))
    return sent.file_meta.TransferSyntaxUID.is_encapsulated, len(bulk)


kinds = [frames_and_bulk_data(sent) for sent in objects]
assert any(not is_encapsulated for is_encapsulated, _ in kinds), kinds
one = objects[0]
ids = (study, str(one.SeriesInstanceUID), str(one.SOPInstanceUID))


def picture(data):
    with Image.open(io.BytesIO(data)) as opened:
        return opened.format, opened.size


size = (one.Columns, one.Rows)
jpeg = client.retrieve_instance_rendered(*ids, media_types=("image/jpeg",))
assert picture(jpeg) == ("JPEG", size), picture(jpeg)


def windowed(ds, center, width):
    """What PS3.3 section C.11.2.1.2.1 computes."""
    values = ds.pixel_array.astype(float) * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    levels = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
    return 255 - levels if ds.PhotometricInterpretation == "MONOCHROME1" else levels


assert one.PhotometricInterpretation.startswith("MONOCHROME") and "VOILUTFunction" not in one, "a picture that a window changes"
own = (float(one.WindowCenter), float(one.WindowWidth))
narrow, dark = (own[0], own[1] / 4), (own[0] / 2, own[1] / 2)
for window, params in ((own, None), *((w, {"window": "{},{},linear".format(*w)}) for w in (own, narrow, dark))):
    png = client.retrieve_instance_rendered(*ids, media_types=("image/png",), params=params)
    with Image.open(io.BytesIO(png)) as opened:
        shown = np.asarray(opened.convert("L")).astype(float)
    assert shown.shape == (one.Rows, one.Columns), shown.shape
    off = np.abs(shown - windowed(one, *window))
    assert off.max() <= 1, (window, params, off.max())
assert np.abs(windowed(one, *narrow) - windowed(one, *dark)).max() > 50, "windows that differ"
png = client.retrieve_instance_frames_rendered(*ids, [1], media_types=("image/png",), params={"viewport": "64,64"})
form, fitted = picture(png)
assert form == "PNG" and max(fitted) == 64, (form, fitted)
for path in ("", f"/series/{ids[1]}", f"/series/{ids[1]}/instances/{ids[2]}"):
    thumbnail = session.get(f"{base}/studies/{study}{path}/thumbnail")
    assert thumbnail.status_code == 200, (path, thumbnail.text)
    assert max(picture(thumbnail.content)[1]) == 128, path
assert client.search_for_studies(search_filters={"PatientID": "nobody-has-this-id"}) == []
print("ok", len(objects))

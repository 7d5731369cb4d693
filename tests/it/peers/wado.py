"""Retrieves one instance by WADO-RS with dicomweb-client and writes it: wado.py URL TOKEN CA FILE. Prints its study."""
import re, sys
import requests
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session

url, token, ca, path = sys.argv[1:]
session = create_session()
session.trust_env = False
session.verify = ca
session.headers["Authorization"] = f"Bearer {token}"
base, study, series, instance = re.match(r"(.*/dicomweb)/studies/([^/]+)/series/([^/]+)/instances/([^/]+)$", url).groups()
client = DICOMwebClient(url=base, session=session)
ds = client.retrieve_instance(study, series, instance)
assert str(ds.SOPInstanceUID) == instance, "another object came back"
ds.save_as(path, enforce_file_format=True)
print(ds.StudyInstanceUID)

"""Reads our FHIR service and puts every resource before fhir.resources' R4B models: fhir_client.py BASE TOKEN CA STUDY. Prints counts."""
import json, sys
import requests
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.imagingstudy import ImagingStudy
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.operationoutcome import OperationOutcome

base, token, ca, study = sys.argv[1:]
session = requests.Session()
session.trust_env, session.verify = False, ca
session.headers.update({"Authorization": f"Bearer {token}", "Accept": "application/fhir+json"})


def read(path, status=200):
    answer = session.get(path if path.startswith("http") else f"{base}/{path}")
    assert answer.status_code == status, (path, answer.status_code, answer.text)
    assert answer.headers["Content-Type"].startswith("application/fhir+json"), answer.headers
    return answer.json()


statement = CapabilityStatement.model_validate(read("metadata"))
assert statement.fhirVersion == "4.0.1" and statement.kind == "instance"
counts = {}
for kind, model in (("ImagingStudy", ImagingStudy), ("DiagnosticReport", DiagnosticReport), ("Observation", Observation)):
    url, seen = f"{base}/{kind}?_count=3", []
    while url:
        bundle = Bundle.model_validate(read(url))
        for entry in bundle.entry or []:
            assert isinstance(entry.resource, model), entry.resource
            again = model.model_validate(read(entry.fullUrl))
            assert again == entry.resource, (again, entry.resource)
            seen.append(entry.resource)
        url = next((link.url for link in bundle.link if link.relation == "next"), None)
    ids = [resource.id for resource in seen]
    assert len(set(ids)) == len(ids), ids
    counts[kind] = len(seen)
report = read(f"DiagnosticReport?imaging-study=ImagingStudy/{study}")["entry"][0]["resource"]
assert report["status"] == "preliminary" and "verified by nobody" in report["conclusion"], report
for reference in report.get("result", []):
    observation = Observation.model_validate(read(reference["reference"]))
    assert observation.status == "preliminary"
    assert observation.derivedFrom[0].reference == f"ImagingStudy/{study}"
    assert read(observation.derivedFrom[0].reference)["id"] == study
for path, status in (("Observation/none", 404), ("Observation?colour=red", 400)):
    OperationOutcome.model_validate(read(path, status))
print(json.dumps(counts))

"""Makes what a radiologist says of a result, with highdicom: agreeing.py (RESULT OUT FORM CODE SCHEME)...

FORM is `kos` (a key object selection whose title is the code) or `sr` (a report with an answer of that code).
"""
import sys
import highdicom as hd
import pydicom
from highdicom.sr import CodedConcept, CodeContentItem, CompositeContentItem, ContainerContentItem, RelationshipTypeValues


def make(result, out, form, value, scheme):
    ds = pydicom.dcmread(result)
    code = CodedConcept(value=value, scheme_designator=scheme, meaning="said")
    common = dict(
        series_instance_uid=hd.UID(), series_number=77, sop_instance_uid=hd.UID(), instance_number=1, manufacturer="Reading room",
    )
    if form == "kos":
        content = hd.ko.KeyObjectSelection(document_title=code, referenced_objects=[ds])
        made = hd.ko.KeyObjectSelectionDocument(evidence=[ds], content=content, **common)
    else:
        root = ContainerContentItem(name=CodedConcept("18748-4", "LN", "Diagnostic imaging report"), is_content_continuous=False)
        answer = CodeContentItem(
            name=CodedConcept("AGREEMENT", "99PERICARD", "Agreement with the result"), value=code,
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        refers = CompositeContentItem(
            name=CodedConcept("121079", "DCM", "Baseline"), referenced_sop_class_uid=ds.SOPClassUID,
            referenced_sop_instance_uid=ds.SOPInstanceUID, relationship_type=RelationshipTypeValues.CONTAINS,
        )
        root.ContentSequence = hd.sr.ContentSequence([answer, refers])
        made = hd.sr.ComprehensiveSR(evidence=[ds], content=root, is_complete=True, is_verified=False, **common)
    made.save_as(out, enforce_file_format=True)


for at in range(1, len(sys.argv), 5):
    make(*sys.argv[at:at + 5])

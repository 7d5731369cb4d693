//! Every Specific Character Set that pydicom writes: stored by pynetdicom, found by the name in that set, answered in it, and
//! kept byte for byte.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use support::archive::Held;
use support::{python, run};

const SCRIPT: &str = r"
import io, sys, warnings
warnings.simplefilter('ignore')
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND, StudyRootQueryRetrieveInformationModelGet as GET
from pynetdicom import build_role, evt
CAPTURE = '1.2.840.10008.5.1.4.1.1.7'
CASES = [
    ('ISO_IR 100', 'Buc^Jérôme'), ('ISO_IR 101', 'Wałęsa^Łukasz'), ('ISO_IR 109', 'Ĉapek^Ĝoĵo'),
    ('ISO_IR 110', 'Bērziņš^Jānis'), ('ISO_IR 126', 'Διονυσιος'), ('ISO_IR 127', 'قباني^لنزار'),
    ('ISO_IR 138', 'שרון^דבורה'), ('ISO_IR 144', 'Люкceмбypг'), ('ISO_IR 148', 'Şişi^İnci'), ('ISO_IR 166', 'สมชาย'),
    ('ISO_IR 13', 'ﾔﾏﾀﾞ^ﾀﾛｳ'), ('ISO_IR 192', 'Wang^XiaoDong=王^小東'), ('GB18030', 'Wang^XiaoDong=王^小东'),
    ('GBK', 'Wang^XiaoDong=王^小东'), (['', 'ISO 2022 IR 87'], 'Yamada^Tarou=山田^太郎=やまだ^たろう'),
    (['ISO 2022 IR 13', 'ISO 2022 IR 87'], 'ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう'),
    (['', 'ISO 2022 IR 87', 'ISO 2022 IR 159'], 'Toda=戸田^丂'),
    (['', 'ISO 2022 IR 149'], 'Hong^Gildong=洪^吉洞=홍^길동'), (['', 'ISO 2022 IR 58'], 'Zhang^XiaoDong=张^小东'),
    (['ISO 2022 IR 100', 'ISO 2022 IR 144'], 'Jérôme^Люкс'),
    (['', 'ISO 2022 IR 101'], 'Wałęsa^Łukasz'), (['', 'ISO 2022 IR 109'], 'Ĉapek^Ĝoĵo'),
    (['', 'ISO 2022 IR 110'], 'Bērziņš^Jānis'), (['', 'ISO 2022 IR 126'], 'Διονυσιος'),
    (['', 'ISO 2022 IR 127'], 'قباني^لنزار'), (['', 'ISO 2022 IR 138'], 'שרון^דבורה'),
    (['', 'ISO 2022 IR 144'], 'Люкceмбypг'), (['', 'ISO 2022 IR 148'], 'Şişi^İnci'), (['', 'ISO 2022 IR 166'], 'สมชาย'),
]
got = {}
def stored(event):
    got[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
    return 0
ae = AE('WS')
for context in FIND, GET, CAPTURE: ae.add_requested_context(context, ExplicitVRLittleEndian)
assoc = ae.associate('127.0.0.1', int(sys.argv[1]), ae_title='PERICARD', ext_neg=[build_role(CAPTURE, scp_role=True, scu_role=True)],
                     evt_handlers=[(evt.EVT_C_STORE, stored)])
assert assoc.is_established
wrong = []
for number, (charset, name) in enumerate(CASES, 1):
    ds = Dataset(); ds.SpecificCharacterSet = charset
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CAPTURE, f'1.2.91.{number}.1.1', 'OT'
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f'1.2.91.{number}', f'1.2.91.{number}.1'
    ds.PatientName, ds.PatientID, ds.StudyDescription = name, f'P{number}', name.split('^')[0].split('=')[-1]
    ds.Rows = ds.Columns = 1; ds.BitsAllocated = ds.BitsStored = 8; ds.HighBit = 7; ds.PixelRepresentation = 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelData = 1, 'MONOCHROME2', b'\0\0'
    ds['PixelData'].VR = 'OB'
    ds.file_meta = FileMetaDataset(); ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    status = assoc.send_c_store(ds).Status
    if status != 0: wrong.append((charset, 'store', hex(status))); continue
    for asked in name, '', name[:2] + '*':
        query = Dataset(); query.SpecificCharacterSet = charset
        query.QueryRetrieveLevel, query.StudyInstanceUID, query.StudyDescription = 'STUDY', '', ''
        query.PatientName, query.PatientID = asked, f'P{number}'
        answers = [a for s, a in assoc.send_c_find(query, FIND) if a is not None]
        if len(answers) != 1: wrong.append((charset, 'find', asked, len(answers))); continue
        answers[0].decode()
        declared = answers[0].get('SpecificCharacterSet')
        declared = declared if isinstance(declared, str) else list(declared)
        if declared != charset: wrong.append((charset, 'declared', declared))
        # pydicom neither writes nor takes away the escape sequences of ISO 2022 IR 58.
        read = str(answers[0].PatientName).replace('\x1b$)A', '')
        if read != name: wrong.append((charset, 'name', read))
        if answers[0].StudyDescription != ds.StudyDescription: wrong.append((charset, 'text', answers[0].StudyDescription))
    study = Dataset(); study.QueryRetrieveLevel, study.StudyInstanceUID = 'STUDY', ds.StudyInstanceUID
    list(assoc.send_c_get(study, GET))
    out = io.BytesIO(); dcmwrite(out, ds, enforce_file_format=False, implicit_vr=False, little_endian=True)
    if not out.getvalue().endswith(got.get(str(ds.SOPInstanceUID), b'nothing')): wrong.append((charset, 'bytes'))
assoc.release()
print(len(CASES), 'cases', wrong)
assert not wrong
";

#[tokio::test]
async fn names_in_every_character_set_are_kept_found_and_answered() {
    let held = Held::start(vec![]).await;
    let mut command = python();
    command.arg("-c").arg(SCRIPT).arg(held.port());
    assert!(run(command).await.contains("29 cases []"));
}

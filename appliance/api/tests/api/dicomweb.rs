//! Store, search, retrieve.

use crate::site::{Answer, Site, multipart, object, object_saying};
use axum::body::Body;
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use http::{Request, header};
use pericard_domain::image::GreyCurve;
use pericard_runner::{Form, View};
use serde_json::{Value, json};

const RELATED: &str = "multipart/related; type=\"application/dicom\"; boundary=b";
const DICOM: &str = "application/dicom";
const PROBLEM: &str = "application/problem+json";

async fn store(site: &Site, path: &str, parts: &[(&str, &[u8])]) -> Answer {
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, RELATED)
        .header(header::HOST, "pacs:8443");
    site.call(request, multipart(parts)).await
}

/// Two studies: the first with three CT images in two series and one SR, the second with one CT image.
async fn filled() -> Site {
    let site = Site::new();
    let objects = [
        object(1, 1, 1, 10),
        object(1, 1, 2, 10),
        object(1, 2, 1, 10),
        object(1, 9, 1, 0),
        object(2, 1, 1, 5),
    ];
    let parts: Vec<_> = objects.iter().map(|o| (DICOM, &o[..])).collect();
    let stored = store(&site, "/dicomweb/studies", &parts).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    site
}

/// An object of a third study that was made for two orders.
fn ordered() -> Vec<u8> {
    ordered_saying(&[
        (
            tags::PERFORMED_PROCEDURE_STEP_START_DATE,
            VR::DA,
            "20260312",
        ),
        (tags::STUDY_DATE, VR::DA, "20251231"),
    ])
}

fn ordered_saying(texts: &[(Tag, VR, &str)]) -> Vec<u8> {
    let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let request = |step: &str, procedure: &str| {
        InMemDicomObject::from_element_iter([
            text(tags::SCHEDULED_PROCEDURE_STEP_ID, VR::SH, step),
            text(tags::REQUESTED_PROCEDURE_ID, VR::SH, procedure),
        ])
    };
    let bytes = object_saying((3, 1, 1), 10, texts);
    let mut file = dicom_object::from_reader(&bytes[..]).expect("an object");
    let requests = vec![request("STEP-1", "PROC-1"), request("STEP-2", "PROC-2")];
    file.put(DataElement::new(
        tags::REQUEST_ATTRIBUTES_SEQUENCE,
        VR::SQ,
        DataSetSequence::from(requests),
    ));
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).expect("a file");
    bytes
}

#[tokio::test]
async fn pages_neither_repeat_nor_miss_what_changes_meanwhile() {
    let site = filled().await;
    let (third, late) = (object(3, 1, 1, 5), object(1, 1, 9, 10));
    let stored = store(&site, "/dicomweb/studies", &[(DICOM, &third)]).await;
    assert_eq!(stored.status, 200);
    let page = async |offset: u32| {
        let path = format!("/dicomweb/studies?limit=1&offset={offset}");
        values(&site.get(&path).await.json(), "0020000D")
    };
    let mut seen = page(0).await;
    // An object more makes the first study the one that was heard of last.
    let more = store(&site, "/dicomweb/studies", &[(DICOM, &late)]).await;
    assert_eq!(more.status, 200);
    seen.extend(page(1).await);
    seen.extend(page(2).await);
    assert_eq!(seen, ["1.2.3.3", "1.2.3.2", "1.2.3.1"]);
    assert_eq!(page(3).await, [] as [Value; 0]);
}

#[tokio::test]
async fn what_is_not_matched_is_said() {
    let site = filled().await;
    let answer = site.get("/dicomweb/studies?PatientComments=none").await;
    assert!(answer.header("warning").contains("not matched"));
    let answer = site
        .get("/dicomweb/studies?PatientID=PID-1&includefield=PatientComments&limit=3")
        .await;
    assert_eq!(answer.header("warning"), "");
}

fn values(answer: &Value, tag: &str) -> Vec<Value> {
    let all = answer.as_array().expect("a list");
    all.iter()
        .map(|item| item[tag]["Value"][0].clone())
        .collect()
}

#[tokio::test]
async fn what_was_stored_is_named() {
    let site = Site::new();
    let (a, b) = (object(1, 1, 1, 10), object(1, 1, 2, 10));
    let stored = store(&site, "/dicomweb/studies", &[(DICOM, &a), (DICOM, &b)]).await;
    let body = stored.json();
    assert_eq!(
        (stored.status.as_u16(), stored.header("content-type")),
        (200, "application/dicom+json")
    );
    assert_eq!(
        body["00081190"]["Value"][0],
        "https://pacs:8443/dicomweb/studies/1.2.3.1"
    );
    let first = json!({
        "00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00081155": {"vr": "UI", "Value": ["1.2.3.1.1.1"]},
        "00081190": {"vr": "UR", "Value": ["https://pacs:8443/dicomweb/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.1"]},
    });
    assert_eq!(body["00081199"]["Value"][0], first);
    assert_eq!(body["00081199"]["Value"].as_array().map(Vec::len), Some(2));
    assert_eq!(body.get("0008119A"), None);

    let again = store(&site, "/dicomweb/studies/1.2.3.1", &[(DICOM, &a)]).await;
    assert_eq!(
        (again.status.as_u16(), again.header("warning")),
        (200, ""),
        "the same bytes again"
    );
    let other = store(&site, "/dicomweb/studies", &[(DICOM, &object(1, 1, 1, 20))]).await;
    assert!(
        other.header("warning").starts_with("299"),
        "other bytes are never silent"
    );
}

#[tokio::test]
async fn what_was_not_stored_says_why() {
    let site = Site::new();
    let good = object(1, 1, 1, 10);
    let cut = &good[..good.len() - 9];
    let some = store(
        &site,
        "/dicomweb/studies",
        &[(DICOM, &good), (DICOM, cut), (DICOM, b"no DICOM")],
    )
    .await;
    assert_eq!(some.status, 202, "{}", some.text());
    let reasons: Vec<_> = some.json()["0008119A"]["Value"]
        .as_array()
        .expect("failures")
        .iter()
        .map(|item| item["00081197"]["Value"][0].clone())
        .collect();
    assert_eq!(reasons, [0xC000, 0xC000]);
    assert_eq!(
        some.json()["00081199"]["Value"].as_array().map(Vec::len),
        Some(1)
    );

    let none = store(&site, "/dicomweb/studies", &[(DICOM, b"no DICOM")]).await;
    assert_eq!(none.status, 409);
    let large = store(
        &site,
        "/dicomweb/studies",
        &[(DICOM, &object(1, 1, 3, 1 << 20))],
    )
    .await;
    assert_eq!(
        (
            large.status.as_u16(),
            &large.json()["0008119A"]["Value"][0]["00081197"]["Value"][0]
        ),
        (413, &json!(0xA700))
    );
    let text = store(&site, "/dicomweb/studies", &[("text/plain", &good)]).await;
    assert_eq!(text.status, 409);
    let refusals = site
        .audited()
        .await
        .into_iter()
        .filter(|(verb, _)| verb == "refuse")
        .count();
    assert_eq!(refusals, 5, "each of them is in the audit log");
}

#[tokio::test]
async fn a_study_takes_its_own_objects_only() {
    let site = Site::new();
    let (own, other) = (object(1, 1, 1, 10), object(2, 1, 1, 10));
    let path = "/dicomweb/studies/1.2.3.1";
    let none = store(&site, path, &[(DICOM, &other)]).await;
    assert_eq!(none.status, 409, "{}", none.text());
    let failed = json!({
        "00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00081155": {"vr": "UI", "Value": ["1.2.3.2.1.1"]},
        "00081197": {"vr": "US", "Value": [0x0110]},
    });
    assert_eq!(none.json()["00081198"]["Value"], json!([failed]));
    let some = store(&site, path, &[(DICOM, &own), (DICOM, &other)]).await;
    assert_eq!(some.status, 202, "{}", some.text());
    let held = site.get("/dicomweb/instances").await.json();
    assert_eq!(values(&held, "00080018"), ["1.2.3.1.1.1"]);
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let mut site = Site::new();
    site.config.upload_max_mib = 1;
    site.config.upload_objects_max = 2;
    let send = |media_type: &'static str, body: Vec<u8>| {
        let request = Request::post("/dicomweb/studies").header(header::CONTENT_TYPE, media_type);
        site.call(request, body)
    };
    let good = object(1, 1, 1, 10);
    let whole = multipart(&[(DICOM, &good)]);
    for (media_type, body, status) in [
        ("application/json", whole.clone(), 415),
        (
            "multipart/related; type=\"application/dicom+json\"; boundary=b",
            whole.clone(),
            415,
        ),
        (
            "multipart/related; type=\"application/dicom\"",
            whole.clone(),
            400,
        ),
        (RELATED, Vec::new(), 400),
        (RELATED, b"--b--\r\n".to_vec(), 400),
        (RELATED, whole[..whole.len() - 20].to_vec(), 400),
        (RELATED, vec![0; 2 << 20], 413),
        (
            RELATED,
            multipart(&[(DICOM, &good), (DICOM, &good), (DICOM, &good)]),
            413,
        ),
    ] {
        let answer = send(media_type, body).await;
        assert_eq!(answer.status, status, "{media_type} {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn searches_find_what_matches() {
    let site = filled().await;
    let ordered = ordered();
    let stored = store(&site, "/dicomweb/studies", &[(DICOM, &ordered)]).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    for (path, tag, expected) in [
        ("studies?PatientID=PID-1", "0020000D", vec!["1.2.3.1"]),
        ("studies?00100010=doe2*", "0020000D", vec!["1.2.3.2"]),
        ("studies?StudyDate=20260102-", "0020000D", vec!["1.2.3.2"]),
        ("studies?ModalitiesInStudy=SR", "0020000D", vec!["1.2.3.1"]),
        (
            "studies?StudyInstanceUID=1.2.3.2,1.2.3.9",
            "0020000D",
            vec!["1.2.3.2"],
        ),
        ("studies?AccessionNumber=other", "0020000D", vec![]),
        ("studies?limit=1&offset=2", "0020000D", vec!["1.2.3.1"]),
        ("series?Modality=SR", "0020000E", vec!["1.2.3.1.9"]),
        (
            "studies/1.2.3.1/series?Modality=CT",
            "0020000E",
            vec!["1.2.3.1.1", "1.2.3.1.2"],
        ),
        (
            "studies/1.2.3.1/instances?InstanceNumber=2",
            "00080018",
            vec!["1.2.3.1.1.2"],
        ),
        (
            "studies/1.2.3.1/series/1.2.3.1.1/instances",
            "00080018",
            vec!["1.2.3.1.1.1", "1.2.3.1.1.2"],
        ),
        (
            "studies/1.2.3.1/series/1.2.3.2.1/instances",
            "00080018",
            vec![],
        ),
        (
            "instances?SOPInstanceUID=1.2.3.2.1.1",
            "00080018",
            vec!["1.2.3.2.1.1"],
        ),
        ("studies/1.2.3.77/series", "0020000E", vec![]),
        ("studies?Modality=SR", "0020000D", vec!["1.2.3.1"]),
        (
            "series?00400275.00400009=STEP*",
            "0020000E",
            vec!["1.2.3.3.1"],
        ),
        (
            "series?RequestAttributesSequence.RequestedProcedureID=PROC-2",
            "0020000E",
            vec!["1.2.3.3.1"],
        ),
        (
            "series?RequestAttributesSequence.RequestedProcedureID=PROC-3",
            "0020000E",
            vec![],
        ),
        (
            "series?PerformedProcedureStepStartDate=20260301-20260331",
            "0020000E",
            vec!["1.2.3.3.1"],
        ),
    ] {
        let answer = site.get(&format!("/dicomweb/{path}")).await;
        assert_eq!(answer.status, 200, "{path} {}", answer.text());
        let mut found = values(&answer.json(), tag);
        found.sort_by_key(Value::to_string);
        assert_eq!(found, expected, "{path}");
    }
    assert!(
        site.audited()
            .await
            .contains(&("search".into(), "1.2.3.1".into()))
    );
}

/// The rows of the conformance statement's table of keys, which are those of the tables that searches run by.
fn stated_keys() -> Vec<[&'static str; 4]> {
    let statement = include_str!("../../CONFORMANCE.md");
    let table = statement.split("### Matching of QIDO-RS").nth(1);
    let rows = table.expect("the table of keys").lines().skip(4);
    let row = |line: &'static str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        <[&str; 4]>::try_from(cells).expect("level, attribute, tag, matching")
    };
    rows.take_while(|line| line.starts_with('|'))
        .map(row)
        .collect()
}

/// What every key finds the third study by, and what it does not find it or another by.
#[rustfmt::skip] // a row a key
const KEYS: &[(&str, &[&str], &str)] = &[
    ("StudyDate", &["20251231", "20251230-20251231", "-20251231"], "20251230"),
    ("StudyTime", &["143059", "1430", "1400-1500", "1400-1430", "1430-"], "1400-1429"),
    ("AccessionNumber", &["ACC-3", "acc-3", "*-3"], "ACC-33"),
    ("ModalitiesInStudy", &["MR", "M?"], "US"),
    ("ReferringPhysicianName", &["REF^ERRING", "ref*"], "REF"),
    ("StudyDescription", &["HEAD WITH", "*with"], "HEAD"),
    ("PatientName", &["DOE3^JANE", "doe3*"], "DOE3"),
    ("PatientID", &["PID-3", "PID-3*"], "PID"),
    ("PatientBirthDate", &["19610307", "19610101-19611231"], "19610308-"),
    ("PatientSex", &["O", "o"], "F"),
    ("StudyInstanceUID", &["1.2.3.3", "1.2.3.77,1.2.3.3"], "1.2.3.33"),
    ("StudyID", &["S3", "S?"], "S"),
    ("Modality", &["MR", "m*"], "US"),
    ("SeriesDescription", &["T1 AXIAL", "t1*"], "T1"),
    ("BodyPartExamined", &["HEAD", "he??"], "CHEST"),
    ("SeriesInstanceUID", &["1.2.3.3.1", "1.2.3.77.1,1.2.3.3.1"], "1.2.3.3.11"),
    ("SeriesNumber", &["31", "3?"], "3"),
    ("PerformedProcedureStepStartDate", &["20260312", "20260301-20260331"], "20260313-"),
    ("PerformedProcedureStepStartTime", &["081500", "08-09", "-0815"], "0816-"),
    ("RequestAttributesSequence.ScheduledProcedureStepID", &["STEP-2", "step*"], "STEP"),
    ("RequestAttributesSequence.RequestedProcedureID", &["PROC-1", "*-2"], "PROC-3"),
    ("SOPClassUID", &["1.2.840.10008.5.1.4.1.1.4"], "1.2.840.10008.5.1.4.1.1.7"),
    ("SOPInstanceUID", &["1.2.3.3.1.1", "1.2.3.77.1.1,1.2.3.3.1.1"], "1.2.3.3.1.11"),
    ("InstanceNumber", &["41", "4*"], "4"),
];

#[tokio::test]
async fn every_key_of_the_statement_finds_what_matches_and_nothing_else() {
    let site = filled().await;
    let third = ordered_saying(&[
        (
            tags::SOP_CLASS_UID,
            VR::UI,
            dicom_dictionary_std::uids::MR_IMAGE_STORAGE,
        ),
        (tags::STUDY_DATE, VR::DA, "20251231"),
        (tags::STUDY_TIME, VR::TM, "143059"),
        (tags::ACCESSION_NUMBER, VR::SH, "ACC-3"),
        (tags::MODALITY, VR::CS, "MR"),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, "REF^ERRING"),
        (tags::STUDY_DESCRIPTION, VR::LO, "HEAD WITH"),
        (tags::PATIENT_BIRTH_DATE, VR::DA, "19610307"),
        (tags::PATIENT_SEX, VR::CS, "O"),
        (tags::STUDY_ID, VR::SH, "S3"),
        (tags::SERIES_DESCRIPTION, VR::LO, "T1 AXIAL"),
        (tags::BODY_PART_EXAMINED, VR::CS, "HEAD"),
        (tags::SERIES_NUMBER, VR::IS, "31"),
        (
            tags::PERFORMED_PROCEDURE_STEP_START_DATE,
            VR::DA,
            "20260312",
        ),
        (tags::PERFORMED_PROCEDURE_STEP_START_TIME, VR::TM, "081500"),
        (tags::INSTANCE_NUMBER, VR::IS, "41"),
    ]);
    let stored = store(&site, "/dicomweb/studies", &[(DICOM, &third)]).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    let stated = stated_keys();
    assert_eq!(stated.len(), KEYS.len(), "a row here for each key");
    for [level, keyword, tag, matching] in stated {
        let row = KEYS.iter().find(|(name, ..)| *name == keyword);
        let (_, hits, miss) = row.unwrap_or_else(|| panic!("{keyword} has no row here"));
        let (path, uid, of_third) = match level {
            "study" => ("studies", "0020000D", "1.2.3.3"),
            "series" => ("series", "0020000E", "1.2.3.3.1"),
            _ => ("instances", "00080018", "1.2.3.3.1.1"),
        };
        let is_range = matching.contains("range");
        assert!(
            !is_range || hits.iter().any(|hit| hit.contains('-')),
            "{keyword} is asked for by a range"
        );
        let hits = hits.iter().map(|hit| (*hit, vec![of_third]));
        for (value, expected) in hits.chain([(*miss, vec![])]) {
            for name in [keyword, tag] {
                let value = value.replace(' ', "%20").replace('^', "%5E");
                let path = format!("/dicomweb/{path}?{name}={value}");
                let answer = site.get(&path).await;
                assert_eq!(answer.status, 200, "{path} {}", answer.text());
                assert_eq!(answer.header("warning"), "", "{path}");
                assert_eq!(values(&answer.json(), uid), expected, "{path}");
            }
        }
    }
}

/// PS3.18 table 10.6.1-5: what a server must match.
#[test]
fn no_key_that_the_standard_requires_is_missing() {
    let stated: Vec<_> = stated_keys()
        .into_iter()
        .map(|[level, keyword, ..]| (level, keyword))
        .collect();
    for required in [
        ("study", "StudyDate"),
        ("study", "StudyTime"),
        ("study", "AccessionNumber"),
        ("study", "ModalitiesInStudy"),
        ("study", "ReferringPhysicianName"),
        ("study", "PatientName"),
        ("study", "PatientID"),
        ("study", "StudyInstanceUID"),
        ("study", "StudyID"),
        ("series", "Modality"),
        ("series", "SeriesInstanceUID"),
        ("series", "SeriesNumber"),
        ("series", "PerformedProcedureStepStartDate"),
        ("series", "PerformedProcedureStepStartTime"),
        (
            "series",
            "RequestAttributesSequence.ScheduledProcedureStepID",
        ),
        ("series", "RequestAttributesSequence.RequestedProcedureID"),
        ("instance", "SOPClassUID"),
        ("instance", "SOPInstanceUID"),
        ("instance", "InstanceNumber"),
    ] {
        assert!(stated.contains(&required), "{required:?}");
    }
}

#[tokio::test]
async fn a_study_is_described_as_the_standard_asks() {
    let site = filled().await;
    let answer = site
        .get("/dicomweb/studies?PatientID=PID-1&includefield=all")
        .await
        .json();
    let study = &answer[0];
    for (tag, expected) in [
        ("00080020", json!({"vr": "DA", "Value": ["20260101"]})),
        ("00080050", json!({"vr": "SH", "Value": ["ACC-7"]})),
        ("00080056", json!({"vr": "CS", "Value": ["ONLINE"]})),
        ("00080061", json!({"vr": "CS", "Value": ["CT", "SR"]})),
        ("00080090", json!({"vr": "PN"})),
        (
            "00100010",
            json!({"vr": "PN", "Value": [{"Alphabetic": "DOE1^JANE"}]}),
        ),
        ("00201206", json!({"vr": "IS", "Value": [3]})),
        ("00201208", json!({"vr": "IS", "Value": [4]})),
    ] {
        assert_eq!(study[tag], expected, "{tag}");
    }
    let fuzzy = site.get("/dicomweb/studies?fuzzymatching=true").await;
    assert!(fuzzy.header("warning").contains("fuzzymatching"));
    assert_eq!(
        site.get("/dicomweb/studies?StudyDate=yesterday")
            .await
            .status,
        400
    );
    assert_eq!(site.get("/dicomweb/studies?limit=many").await.status, 400);
    let xml = Request::get("/dicomweb/studies").header(header::ACCEPT, "application/dicom+xml");
    assert_eq!(site.call(xml, Body::empty()).await.status, 406);
}

#[tokio::test]
async fn objects_come_back_as_they_went_in() {
    let site = filled().await;
    let study = site.get("/dicomweb/studies/1.2.3.1").await;
    assert_eq!(study.status, 200);
    let content_type = study.header("content-type");
    let boundary = content_type.split("boundary=").nth(1).expect("a boundary");
    assert!(content_type.starts_with("multipart/related; type=\"application/dicom\""));
    let mut expected = Vec::new();
    for (series, number) in [(1, 1), (1, 2), (2, 1), (9, 1)] {
        let extra = if series == 9 { 0 } else { 10 };
        expected.extend_from_slice(format!("--{boundary}\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n").as_bytes());
        expected.extend_from_slice(&object(1, series, number, extra));
        expected.extend_from_slice(b"\r\n");
    }
    expected.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    assert!(study.body == expected, "byte for byte");

    let path = "/dicomweb/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.2";
    let single = Request::get(path).header(header::ACCEPT, "application/dicom; transfer-syntax=*");
    let single = site.call(single, Body::empty()).await;
    assert!(single.body == object(1, 1, 2, 10));
    assert!(
        site.audited()
            .await
            .contains(&("retrieve".into(), "1.2.3.1.1.2".into()))
    );
}

#[tokio::test]
async fn accept_decides_and_nothing_is_transcoded_in_silence() {
    let site = filled().await;
    let path = "/dicomweb/studies/1.2.3.1/series/1.2.3.1.1";
    for (accept, status) in [
        ("*/*", 200),
        ("multipart/related; type=\"application/dicom\"", 200),
        (
            "multipart/related; type=\"application/dicom\"; transfer-syntax=*",
            200,
        ),
        (
            "multipart/related; type=\"application/dicom\"; transfer-syntax=1.2.840.10008.1.2.1",
            200,
        ),
        (
            "multipart/related; type=\"application/dicom\"; transfer-syntax=1.2.840.10008.1.2.4.50",
            406,
        ),
        ("multipart/related; type=\"application/octet-stream\"", 406),
        ("image/jpeg", 406),
        ("application/dicom", 406), // More than one object.
    ] {
        let request = Request::get(path).header(header::ACCEPT, accept);
        assert_eq!(
            site.call(request, Body::empty()).await.status,
            status,
            "{accept}"
        );
    }
    for absent in [
        "studies/1.2.3.77",
        "studies/1.2.3.1/series/1.2.3.2.1",
        "studies/abc",
        "studies/1.2.3.77/metadata",
    ] {
        assert_eq!(
            site.get(&format!("/dicomweb/{absent}")).await.status,
            404,
            "{absent}"
        );
    }
}

#[tokio::test]
async fn metadata_is_everything_but_the_pixels() {
    let site = filled().await;
    let answer = site.get("/dicomweb/studies/1.2.3.1/metadata").await;
    assert_eq!(answer.header("content-type"), "application/dicom+json");
    let all = answer.json();
    assert_eq!(
        values(&all, "00080018"),
        ["1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.2.1", "1.2.3.1.9.1"]
    );
    assert_eq!(
        all[0]["00100010"],
        json!({"vr": "PN", "Value": [{"Alphabetic": "DOE1^JANE"}]})
    );
    assert!(all[0]["7FE00010"].get("InlineBinary").is_none() && all[0].get("00020010").is_none());
    let one = site
        .get("/dicomweb/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.2/metadata")
        .await;
    assert_eq!(one.json().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn pictures_are_asked_of_the_painter_as_the_client_wishes() {
    let site = filled().await;
    let base = "/dicomweb/studies/1.2.3.1/series/1.2.3.1.2/instances/1.2.3.1.2.1";
    for (path, accept, status, media_type) in [
        ("/rendered", "", 200, "image/jpeg"),
        (
            "/rendered?viewport=64,32&window=50,100,linear",
            "text/html, image/png",
            200,
            "image/png",
        ),
        (
            "/frames/1/rendered?quality=70",
            "image/*",
            200,
            "image/jpeg",
        ),
        ("/thumbnail", "image/png", 200, "image/png"),
        (
            "/frames/1/thumbnail?viewport=16,16",
            "image/jpeg",
            200,
            "image/jpeg",
        ),
        ("/frames/2/rendered", "", 404, PROBLEM),
        ("/frames/0/rendered", "", 404, PROBLEM),
        ("/frames/1,1/rendered", "", 404, PROBLEM),
        ("/rendered", "image/gif", 406, PROBLEM),
        ("/rendered?viewport=64,32,0,0,9,9", "", 400, PROBLEM),
        ("/rendered?viewport=0,32", "", 400, PROBLEM),
        ("/rendered?window=50,100,sigmoid", "", 400, PROBLEM),
        ("/rendered?window=50,0,linear", "", 400, PROBLEM),
        ("/rendered?window=nan,10,linear", "", 400, PROBLEM),
        ("/rendered?quality=0", "", 400, PROBLEM),
    ] {
        let mut request = Request::get(format!("{base}{path}"));
        if !accept.is_empty() {
            request = request.header(header::ACCEPT, accept);
        }
        let answer = site.call(request, Body::empty()).await;
        assert_eq!(answer.status, status, "{path} {}", answer.text());
        assert_eq!(answer.header("content-type"), media_type, "{path}");
    }
    let asked = site.painting.asked.lock().expect("not poisoned");
    let is_linear = |(_, view): &(String, View)| view.curve == GreyCurve::Linear;
    assert!(asked.iter().all(is_linear), "as the window says");
    let views: Vec<_> = asked
        .iter()
        .map(|(_, view)| {
            (
                view.fit,
                view.window.map(|w| (w.center, w.width)),
                view.form,
            )
        })
        .collect();
    let expected = [
        (None, None, Form::Jpeg { quality: 90 }),
        (Some([64, 32]), Some((50.0, 100.0)), Form::Png),
        (None, None, Form::Jpeg { quality: 70 }),
        (Some([128; 2]), None, Form::Png),
        (Some([16; 2]), None, Form::Jpeg { quality: 90 }),
    ];
    assert_eq!(views, expected);
}

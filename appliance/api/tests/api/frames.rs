//! Frames, large values, and what the metadata says of them.

use crate::site::{Answer, Site, multipart};
use axum::body::Body;
use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use http::{Request, header};
use serde_json::json;

const OCTETS: &str = "multipart/related; type=\"application/octet-stream\"";
const INSTANCE: &str = "/dicomweb/studies/1.2.7/series/1.2.7.1/instances/1.2.7.1.1";

/// What an image has that is two pixels wide and two high.
fn image(syntax: &str, frames: u16, bits: u16, pixels: DataElement<InMemDicomObject>) -> Vec<u8> {
    let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let number = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let object = InMemDicomObject::from_element_iter([
        text(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE),
        text(tags::SOP_INSTANCE_UID, VR::UI, "1.2.7.1.1"),
        text(tags::MODALITY, VR::CS, "CT"),
        text(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.7"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.7.1"),
        text(tags::NUMBER_OF_FRAMES, VR::IS, &frames.to_string()),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        number(tags::SAMPLES_PER_PIXEL, 1),
        number(tags::ROWS, 2),
        number(tags::COLUMNS, 2),
        number(tags::BITS_ALLOCATED, bits),
        number(tags::BITS_STORED, bits),
        number(tags::HIGH_BIT, bits - 1),
        number(tags::PIXEL_REPRESENTATION, 0),
        pixels,
    ]);
    let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
    let mut bytes = Vec::new();
    let file = object.with_meta(meta).expect("a file meta table");
    file.write_all(&mut bytes).expect("a file");
    bytes
}

/// Three frames of 16 bits.
fn native(syntax: &str) -> Vec<u8> {
    let samples = PrimitiveValue::U16((1..=12).map(|n| n * 257 + 1).collect());
    image(
        syntax,
        3,
        16,
        DataElement::new(tags::PIXEL_DATA, VR::OW, samples),
    )
}

fn samples(frames: std::ops::RangeInclusive<u16>) -> Vec<u8> {
    let numbers = (frames.start() - 1) * 4 + 1..=frames.end() * 4;
    numbers.flat_map(|n| (n * 257 + 1).to_le_bytes()).collect()
}

/// One run-length encoded frame of the bytes 1, 2, 3, 4 (PS3.5 annex G): one segment, one literal run.
fn rle_frame() -> Vec<u8> {
    let mut frame = vec![0; 64];
    (frame[0], frame[4]) = (1, 64);
    frame.extend([3, 1, 2, 3, 4, 0]);
    frame
}

fn compressed() -> Vec<u8> {
    let fragments = vec![rle_frame(), rle_frame()];
    let pixels = PixelFragmentSequence::new(Vec::new(), fragments);
    image(
        uids::RLE_LOSSLESS,
        2,
        8,
        DataElement::new(tags::PIXEL_DATA, VR::OB, pixels),
    )
}

async fn holding(object: &[u8]) -> Site {
    let site = Site::new();
    let related = "multipart/related; type=\"application/dicom\"; boundary=b";
    let request = Request::post("/dicomweb/studies").header(header::CONTENT_TYPE, related);
    let stored = site
        .call(request, multipart(&[("application/dicom", object)]))
        .await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    site
}

async fn asked(site: &Site, path: &str, accept: &str) -> Answer {
    let request = Request::get(format!("{INSTANCE}{path}"))
        .header(header::HOST, "pacs:8443")
        .header(header::ACCEPT, accept);
    site.call(request, Body::empty()).await
}

/// The parts of an answer: each one's media type and its bytes.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let boundary = answer.header("content-type").split("boundary=").nth(1);
    let mark = format!("--{}", boundary.expect("a boundary"));
    let body = String::from_utf8(answer.body.iter().map(|b| b & 0x7F).collect()).expect("ASCII");
    let starts: Vec<usize> = body.match_indices(&mark).map(|(at, _)| at).collect();
    let part = |ends: &[usize]| {
        let head_end = body[ends[0]..].find("\r\n\r\n").expect("a head") + ends[0];
        let head = &body[ends[0]..head_end];
        let kind = head.split("Content-Type: ").nth(1).expect("a media type");
        let kind = kind.lines().next().expect("a line").to_owned();
        (kind, answer.body[head_end + 4..ends[1] - 2].to_vec())
    };
    starts.windows(2).map(part).collect()
}

#[tokio::test]
async fn uncompressed_frames_come_in_little_endian_whatever_they_were() {
    for syntax in [
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        "1.2.840.10008.1.2.2", // big endian, retired but in archives
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    ] {
        let site = holding(&native(syntax)).await;
        let answer = asked(&site, "/frames/3,1", OCTETS).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let kind = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1".to_owned();
        let expected = [(kind.clone(), samples(3..=3)), (kind, samples(1..=1))];
        assert_eq!(parts(&answer), expected, "{syntax}");
        let whole = asked(&site, "/bulkdata/7FE00010", "application/octet-stream").await;
        assert!(whole.body == samples(1..=3), "{syntax}");
        let audited = site.audited().await;
        assert!(audited.contains(&("retrieve frames".into(), "1.2.7.1.1".into())));
    }
}

#[tokio::test]
async fn compressed_frames_come_as_stored_or_decoded_as_the_client_accepts() {
    let site = holding(&compressed()).await;
    let (native, stored) = (vec![1, 2, 3, 4], rle_frame());
    let octets = "application/octet-stream; transfer-syntax";
    let rle = "1.2.840.10008.1.2.5";
    for (accept, kind, bytes) in [
        (
            OCTETS.to_owned(),
            format!("{octets}=1.2.840.10008.1.2.1"),
            &native,
        ),
        (
            format!("{OCTETS}; transfer-syntax=1.2.840.10008.1.2.1"),
            format!("{octets}=1.2.840.10008.1.2.1"),
            &native,
        ),
        (
            format!("{OCTETS}; transfer-syntax=*"),
            format!("{octets}={rle}"),
            &stored,
        ),
        (
            format!("{OCTETS}; transfer-syntax={rle}"),
            format!("{octets}={rle}"),
            &stored,
        ),
        (
            "*/*".into(),
            format!("image/dicom-rle; transfer-syntax={rle}"),
            &stored,
        ),
        (
            "multipart/related; type=\"image/dicom-rle\"".into(),
            format!("image/dicom-rle; transfer-syntax={rle}"),
            &stored,
        ),
        (
            format!("multipart/related; type=\"image/jpeg\", {OCTETS}"),
            format!("{octets}=1.2.840.10008.1.2.1"),
            &native,
        ),
    ] {
        let answer = asked(&site, "/frames/2", &accept).await;
        assert_eq!(answer.status, 200, "{accept} {}", answer.text());
        assert_eq!(parts(&answer), [(kind, bytes.clone())], "{accept}");
    }
    let single = asked(&site, "/frames/1", "application/octet-stream").await;
    assert_eq!(single.body, native);
    for accept in [
        "multipart/related; type=\"image/jpeg\"",
        "multipart/related; type=\"application/octet-stream\"; transfer-syntax=1.2.840.10008.1.2.4.50",
        "text/html",
    ] {
        assert_eq!(
            asked(&site, "/frames/1", accept).await.status,
            406,
            "{accept}"
        );
    }
    assert_eq!(
        asked(&site, "/frames/1,2", "application/octet-stream")
            .await
            .status,
        406
    );
    let whole = asked(&site, "/bulkdata/7FE00010", "*/*").await;
    assert_eq!(parts(&whole).len(), 2, "a value for each frame");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let site = holding(&native(uids::EXPLICIT_VR_LITTLE_ENDIAN)).await;
    for (path, status) in [
        ("/frames/4", 404),
        ("/frames/0", 404),
        ("/frames/1,4", 404),
        ("/frames/first", 400),
        ("/frames/1,x", 400),
        ("/bulkdata/00080005", 404),
        ("/bulkdata/PixelData", 404),
        ("/bulkdata/54000100/1/54001010", 404),
    ] {
        assert_eq!(asked(&site, path, "*/*").await.status, status, "{path}");
    }
    let report = crate::site::object(1, 9, 1, 0);
    let site = holding(&report).await;
    let path = "/dicomweb/studies/1.2.3.1/series/1.2.3.1.9/instances/1.2.3.1.9.1/frames/1";
    assert_eq!(site.get(path).await.status, 404, "it has no rows");
}

#[tokio::test]
async fn metadata_names_what_it_leaves_out() {
    let site = holding(&native(uids::EXPLICIT_VR_LITTLE_ENDIAN)).await;
    let answer = asked(&site, "/metadata", "application/dicom+json")
        .await
        .json();
    let uri = format!("https://pacs:8443{INSTANCE}/bulkdata/7FE00010");
    assert_eq!(
        answer[0]["7FE00010"],
        json!({"vr": "OW", "BulkDataURI": uri})
    );
    assert_eq!(answer[0]["00280008"]["Value"], json!([3]));
    let site = holding(&crate::site::object(1, 1, 1, 10)).await;
    let path = site
        .store
        .instances(&"1.2.3.1".parse().expect("a UID"))
        .await
        .expect("objects");
    std::fs::remove_file(site.store.object_path(&path[0])).expect("removed");
    let gone = site.get("/dicomweb/studies/1.2.3.1/metadata").await;
    assert_eq!(
        gone.status,
        500,
        "a refusal has its status: {}",
        gone.text()
    );
}

#[tokio::test]
async fn every_frame_of_a_study_is_shown_as_a_part() {
    let site = holding(&native(uids::EXPLICIT_VR_LITTLE_ENDIAN)).await;
    let pictures = |answer: &Answer| -> Vec<String> {
        let text = |(_, bytes): (String, Vec<u8>)| String::from_utf8(bytes).expect("a text");
        parts(answer).into_iter().map(text).collect()
    };
    let expected = ["picture 1", "picture 2", "picture 3"];
    for path in [
        "/dicomweb/studies/1.2.7/rendered",
        "/dicomweb/studies/1.2.7/series/1.2.7.1/rendered",
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(
            answer
                .header("content-type")
                .contains("type=\"image/jpeg\"")
        );
        assert_eq!(pictures(&answer), expected, "{path}");
    }
    let all = asked(&site, "/rendered", "multipart/related; type=\"image/png\"").await;
    assert_eq!(pictures(&all), expected);
    assert!(all.header("content-type").contains("type=\"image/png\""));
    let none = holding(&crate::site::object(1, 9, 1, 0)).await;
    assert_eq!(
        none.get("/dicomweb/studies/1.2.3.1/rendered").await.status,
        404
    );
}

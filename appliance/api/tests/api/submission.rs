//! `POST /api/v1/studies`.

use crate::site::{Answer, Site, multipart, object};
use http::{Request, header};
use std::io::{Cursor, Write as _};
use zip::write::{SimpleFileOptions, ZipWriter};

async fn submit(site: &Site, media_type: &str, body: Vec<u8>) -> Answer {
    let request = Request::post("/api/v1/studies").header(header::CONTENT_TYPE, media_type);
    site.call(request, body).await
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer
            .start_file(*name, SimpleFileOptions::default())
            .expect("a name");
        writer.write_all(content).expect("room");
    }
    writer.finish().expect("room").into_inner()
}

fn outcomes(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let objects = body["objects"].as_array().expect("objects");
    objects
        .iter()
        .map(|o| o["outcome"].as_str().expect("an outcome").to_owned())
        .collect()
}

#[tokio::test]
async fn an_object_a_form_and_an_archive() {
    let site = Site::new();
    let [a, b, c] = [1, 2, 3].map(|n| object(1, 1, n, 10));
    let one = submit(&site, "application/dicom", a.clone()).await;
    assert_eq!(
        (one.status.as_u16(), outcomes(&one)),
        (200, vec!["stored".to_owned()])
    );
    assert_eq!(one.json()["objects"][0]["instance"], "1.2.3.1.1.1");
    let zip = archive(&[("IMG/1", &a), ("IMG/2", &b)]);
    let zipped = submit(&site, "application/zip", zip.clone()).await;
    assert_eq!(
        (zipped.status.as_u16(), outcomes(&zipped)),
        (200, vec!["already_held".to_owned(), "stored".to_owned()])
    );
    let form = multipart(&[("application/octet-stream", &c), ("application/zip", &zip)]);
    let form = submit(&site, "multipart/form-data; boundary=b", form).await;
    assert_eq!(
        (form.status.as_u16(), outcomes(&form)),
        (
            200,
            ["stored", "already_held", "already_held"]
                .map(str::to_owned)
                .to_vec()
        )
    );
    let study = site.get("/api/v1/studies/1.2.3.1").await.json();
    assert_eq!(
        (&study["instances"], &study["state"]),
        (&3.into(), &"arriving".into())
    );
}

#[tokio::test]
async fn names_are_neither_used_nor_repeated() {
    let site = Site::new();
    let zip = archive(&[
        ("../../../tmp/pericard-slip", &object(1, 1, 1, 10)),
        ("DOE_JANE.txt", b"a letter"),
    ]);
    let answer = submit(&site, "application/zip", zip).await;
    assert_eq!(
        (answer.status.as_u16(), outcomes(&answer)),
        (202, ["stored", "refused"].map(str::to_owned).to_vec())
    );
    assert!(!answer.text().contains("DOE"), "{}", answer.text());
    assert!(!std::path::Path::new("/tmp/pericard-slip").exists());
}

#[tokio::test]
async fn bombs_and_floods_end_where_the_limits_are() {
    let mut site = Site::new();
    site.config.archive_inflated_max_mib = 2;
    site.config.upload_objects_max = 3;
    let good = object(1, 1, 1, 10);
    let zeros = vec![0; 8 << 20];
    let bomb = submit(
        &site,
        "application/zip",
        archive(&[("a", &good), ("b", &zeros)]),
    )
    .await;
    assert_eq!(
        (bomb.status.as_u16(), bomb.json()["type"].as_str()),
        (413, Some("urn:pericard:problem:too_large"))
    );
    assert!(
        bomb.text().contains("1 objects before that are kept"),
        "{}",
        bomb.text()
    );
    let many = archive(&[("a", &good), ("b", &good), ("c", &good), ("d", &good)]);
    assert_eq!(submit(&site, "application/zip", many).await.status, 413);
    let nested = archive(&[("inner.zip", &archive(&[("a", &good)]))]);
    let nested = submit(&site, "application/zip", nested).await;
    assert_eq!(
        (nested.status.as_u16(), outcomes(&nested)),
        (409, vec!["refused".to_owned()])
    );
}

#[tokio::test]
async fn what_is_nothing() {
    let site = Site::new();
    for (media_type, body, status) in [
        ("text/plain", b"hello".to_vec(), 415),
        ("multipart/form-data", b"hello".to_vec(), 400),
        (
            "multipart/form-data; boundary=b",
            multipart(&[("text/plain", b"")]),
            400,
        ),
        ("application/zip", Vec::new(), 400),
        (
            "application/zip",
            b"PK\x03\x04 and then nothing".to_vec(),
            400,
        ),
        (
            "application/zip",
            b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            400,
        ),
        ("application/dicom", b"no DICOM".to_vec(), 409),
    ] {
        let answer = submit(&site, media_type, body).await;
        assert_eq!(answer.status, status, "{media_type} {}", answer.text());
    }
}

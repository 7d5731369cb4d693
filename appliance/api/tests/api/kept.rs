//! How what is kept fares, who may erase it, and what callers hear who bring too much.

use crate::site::{Answer, Site, object};
use axum::body::Body;
use http::{Request, header};
use pericard_domain::actor::Role;
use pericard_intake::{Quota, Quotas};
use pericard_store::care::Bounds;

const STUDY: &str = "/api/v1/studies/1.2.3.1";

async fn submit(site: &Site, number: u32, secret: &str) -> Answer {
    let request = Request::post("/api/v1/studies")
        .header(header::CONTENT_TYPE, "application/dicom")
        .header(header::AUTHORIZATION, format!("Bearer {secret}"));
    let body = Body::from(object(1, 1, number, 10));
    site.send(request.body(body).expect("a request")).await
}

async fn post(site: &Site, path: &str, roles: &[Role]) -> Answer {
    let secret = site.token(roles).await;
    let request = Request::post(path).header(header::AUTHORIZATION, format!("Bearer {secret}"));
    site.send(request.body(Body::empty()).expect("a request"))
        .await
}

#[tokio::test]
async fn only_the_security_administrator_erases_and_the_log_still_verifies() {
    let site = Site::new();
    let sender = site.token(&[Role::Modality]).await;
    assert_eq!(submit(&site, 1, &sender).await.status, 200);
    let erase = format!("{STUDY}/erase?audit=true");
    for role in Role::ALL {
        if role != Role::SecurityAdmin {
            assert_eq!(post(&site, &erase, &[role]).await.status, 403, "{role:?}");
        }
    }
    assert_eq!(site.get(STUDY).await.status, 200);
    let erased = post(&site, &erase, &[Role::SecurityAdmin]).await;
    let body = erased.json();
    assert_eq!((erased.status.as_u16(), &body["objects"]), (200, &1.into()));
    assert!(
        body["audit_lines"].as_u64().is_some_and(|lines| lines >= 2),
        "{body}"
    );
    assert_eq!(site.get(STUDY).await.status, 404);
    assert_eq!(
        post(&site, &erase, &[Role::SecurityAdmin]).await.status,
        404
    );
    let log = site.get("/api/v1/audit/checkpoint?verify=true").await;
    assert_eq!(
        (log.status.as_u16(), &log.json()["verified"]),
        (200, &true.into())
    );
    let cheap = site.get("/api/v1/audit/checkpoint").await.json();
    assert_eq!(cheap["verified"], false);
    assert!(cheap["lines"].as_u64() >= log.json()["lines"].as_u64());
}

#[tokio::test]
async fn damage_is_shown_wherever_it_is_looked_for() {
    let site = Site::new();
    let sender = site.token(&[Role::Modality]).await;
    submit(&site, 1, &sender).await;
    let held = site.get(STUDY).await.json();
    let instance = held["objects"][0]["instance"].as_str().expect("a UID");
    let held = site.store.instance(&instance.parse().expect("a UID")).await;
    let path = site.store.object_path(&held.expect("held"));
    std::fs::write(path, "rot").expect("written");
    site.store.scrub(1 << 20).await.expect("scrubbed");
    let damages = site.get("/api/v1/damages").await.json();
    assert_eq!(
        (
            &damages["damages"][0]["instance"],
            &damages["damages"][0]["kind"]
        ),
        (&instance.into(), &"altered".into())
    );
    let given = site.get("/dicomweb/studies/1.2.3.1").await;
    assert_eq!(given.status, 500, "altered bytes are given to nobody");
    for path in ["/readyz", "/api/v1/system"] {
        let shown = site.get(path).await.json();
        assert_eq!(shown["care"]["damaged"], 1, "{path}");
        assert_eq!(shown["disk"]["level"], "ample", "{path}");
    }
    let figures = site.get("/metrics").await.text();
    assert!(
        figures.contains("\npericard_damaged_objects 1\n"),
        "{figures}"
    );
    assert!(figures.contains("\npericard_disk_level 0\n"), "{figures}");
}

#[tokio::test]
async fn who_brings_too_much_is_told_when_to_come_back() {
    let mut site = Site::new();
    let per_token = Quota {
        objects_per_minute_max: 2,
        ..Quota::default()
    };
    site.limit(Quotas {
        per_token,
        per_peer: Quota::default(),
    });
    let [eager, other] = [
        site.token(&[Role::Modality]).await,
        site.token(&[Role::Modality]).await,
    ];
    for number in [1, 2] {
        assert_eq!(submit(&site, number, &eager).await.status, 200);
    }
    let refused = submit(&site, 3, &eager).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    let wait_s: u32 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=30).contains(&wait_s), "{wait_s}");
    assert_eq!(submit(&site, 3, &other).await.status, 200);
}

#[tokio::test]
async fn a_full_queue_takes_nothing_for_now() {
    let site = Site::new();
    site.store.bind(Bounds {
        free_space_low_mib: 1,
        jobs_waiting_max: 0,
    });
    let sender = site.token(&[Role::Modality]).await;
    let refused = submit(&site, 1, &sender).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (503, "30")
    );
    assert_eq!(site.get(STUDY).await.status, 404);
}

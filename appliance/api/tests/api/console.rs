//! The console as a browser sees it, and as an attacker would use one: sessions, forms of other sites, and what strangers
//! write into patients' names. That its pages look right is seen in a real browser (`tests/it/console.rs`).

use crate::site::{Answer, Site, object_saying};
use axum::Router;
use axum::body::Body;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use http::{Request, StatusCode, header};
use pericard_api::{ClosedFrame, FrameState, Imported, Standing};
use pericard_domain::actor::{Actor, Role};
use pericard_domain::ae::AeTitle;
use pericard_domain::model::ModelRef;
use pericard_domain::time::{Clock as _, Timestamp};
use pericard_store::admission::Refusal;
use std::time::Duration;
use tower::ServiceExt as _;

/// Somebody with a browser, logged in.
pub(crate) struct Visitor {
    router: Router,
    cookie: String,
}

impl Visitor {
    /// Logs in with a token.
    pub(crate) async fn of(router: &Router, secret: &str) -> Self {
        let answer = log_in(router, secret).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
        assert_eq!(answer.header("location"), "/");
        let cookie = answer.header("set-cookie").split(';').next();
        Self {
            router: router.clone(),
            cookie: cookie.expect("a pair").to_owned(),
        }
    }

    pub(crate) async fn with(site: &Site, roles: &[Role]) -> Self {
        Self::of(&site.router(), &site.token(roles).await).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request<Body> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::COOKIE, &self.cookie);
        request.body(Body::empty()).expect("a request")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let sent = self.router.clone().oneshot(request).await;
        Answer::read(sent.expect("infallible")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    /// Sends a form of our own page, with its word.
    pub(crate) async fn post(&self, path: &str, fields: &str) -> Answer {
        let word = self.word().await;
        self.send(self.form(path, &format!("word={word}&{fields}")))
            .await
    }

    fn form(&self, path: &str, body: &str) -> Request<Body> {
        let request = Request::post(path).header(header::COOKIE, &self.cookie);
        form(request, body)
    }

    /// What the session's forms carry; nothing where no page is shown, so no form either.
    async fn word(&self) -> String {
        let page = self.get("/").await;
        if page.status == 403 {
            return String::new();
        }
        let page = page.text();
        let (_, rest) = page.split_once(r#"name="word" value=""#).expect("a form");
        rest.split('"').next().expect("its word").to_owned()
    }
}

fn form(request: http::request::Builder, body: &str) -> Request<Body> {
    let kind = "application/x-www-form-urlencoded";
    let request = request.header(header::CONTENT_TYPE, kind);
    request.body(body.to_owned().into()).expect("a request")
}

async fn log_in(router: &Router, secret: &str) -> Answer {
    let request = form(
        Request::post("/console/login"),
        &format!("token=%20{secret}"),
    );
    let sent = router.clone().oneshot(request).await;
    Answer::read(sent.expect("infallible")).await
}

/// A site that holds one study whose texts are these.
async fn holding(texts: &[(Tag, VR, &str)]) -> Site {
    let site = Site::new();
    let request =
        Request::post("/api/v1/studies").header(header::CONTENT_TYPE, "application/dicom");
    let mut texts = texts.to_vec();
    texts.extend([(tags::ROWS, VR::US, "2"), (tags::COLUMNS, VR::US, "2")]);
    let object = object_saying((1, 1, 1), 10, &texts);
    let answer = site.call(request, object).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    site
}

#[tokio::test]
async fn a_session_begins_with_a_token_and_ends_with_it() {
    let site = Site::new();
    let router = site.router();
    let (secret, id) = site.token_until(&[Role::Clinician], None).await;
    let cookie = log_in(&router, &secret)
        .await
        .header("set-cookie")
        .to_owned();
    assert!(cookie.starts_with("__Host-pericard="), "{cookie}");
    for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(&format!("; {attribute}")), "{cookie}");
    }
    assert!(!cookie.contains(&secret), "the token is not the cookie");
    let (one, other) = (
        Visitor::of(&router, &secret).await,
        Visitor::of(&router, &secret).await,
    );
    assert_ne!(one.cookie, other.cookie);
    assert_eq!(one.get("/").await.status, 200);

    let out = one.post("/console/logout", "").await;
    assert_eq!(out.header("location"), "/console/login");
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(one.get("/").await.status, 303, "a copied cookie is none");
    assert_eq!(other.get("/").await.status, 200, "the other goes on");

    site.clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(other.get("/").await.status, 303, "it was idle");
    let third = Visitor::of(&router, &secret).await;
    site.store
        .revoke_token(&id, Actor::CommandLine)
        .await
        .expect("revoked");
    assert_eq!(third.get("/").await.status, 303, "its token was revoked");
    let verbs: Vec<_> = site.audited().await.into_iter().map(|(v, _)| v).collect();
    assert_eq!(verbs.iter().filter(|v| *v == "log in").count(), 4);
    assert_eq!(verbs.iter().filter(|v| *v == "log out").count(), 1);
}

#[tokio::test]
async fn wrong_tokens_are_refused_written_down_and_slowed() {
    let mut site = Site::new();
    site.config.refused_identities_per_minute_max = 2;
    let router = site.router();
    let other = pericard_api::mint().expect("random numbers").secret;
    let before = site.audited().await.len();
    for (secret, status) in [("hunter2", 401), (&*other, 401), (&*other, 429), ("", 429)] {
        let answer = log_in(&router, secret).await;
        assert_eq!(answer.status.as_u16(), status, "{secret}");
        assert_eq!(answer.header("set-cookie"), "");
        assert!(answer.text().contains(r#"name="token""#), "the way in");
        assert!(!answer.text().contains(&other));
    }
    assert_eq!(site.audited().await.len(), before + 2);
}

#[tokio::test]
async fn forms_of_other_sites_and_other_sessions_do_nothing() {
    let site = holding(&[]).await;
    let router = site.router();
    let visitor = Visitor::of(&router, &site.token(&Role::ALL).await).await;
    let other = Visitor::of(&router, &site.token(&Role::ALL).await).await;
    let (word, others) = (visitor.word().await, other.word().await);
    assert_ne!(word, others);
    let page = visitor.get("/console/jobs").await.text();
    let (_, rest) = page.split_once("/console/jobs/").expect("a job's form");
    let cancel = format!("/console/jobs/{}", rest.split('"').next().expect("its end"));
    assert!(cancel.ends_with("/cancel"), "{cancel}");

    let refused = |answer: &Answer| {
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
        assert!(
            answer
                .text()
                .contains("was not sent by a page of your session")
        );
    };
    let before = site.audited().await.len();
    for body in ["", "word=", &format!("word={others}"), "word=a&word=b"] {
        refused(&visitor.send(visitor.form(&cancel, body)).await);
    }
    let mut foreign = visitor.form(&cancel, &format!("word={word}"));
    let cross = "cross-site".parse().expect("a value");
    foreign.headers_mut().insert("sec-fetch-site", cross);
    refused(&visitor.send(foreign).await);
    let json = Request::post(&cancel)
        .header(header::COOKIE, &visitor.cookie)
        .header(header::CONTENT_TYPE, "text/plain")
        .body(format!("word={word}").into())
        .expect("a request");
    assert_eq!(visitor.send(json).await.status, 415);
    let refusals = site.audited().await.split_off(before);
    assert!(
        refusals.iter().all(|(verb, _)| verb == "refuse"),
        "{refusals:?}"
    );
    assert_eq!(refusals.len(), 6, "each is written down");

    let answer = visitor.post(&cancel, "").await;
    assert_eq!(answer.status, 303, "our own: {}", answer.text());
    let audited = site.audited().await;
    assert!(
        audited.iter().any(|(verb, _)| verb == "cancel job"),
        "{audited:?}"
    );
}

#[tokio::test]
async fn what_strangers_wrote_is_shown_as_text() {
    const SCRIPT: &str = "<script>alert(1)</script>";
    const ATTRIBUTE: &str = "\"><img src=x onerror=alert(1)>";
    let site = holding(&[
        (tags::PATIENT_NAME, VR::PN, SCRIPT),
        (tags::PATIENT_ID, VR::LO, ATTRIBUTE),
        (tags::STUDY_DESCRIPTION, VR::LO, SCRIPT),
        (tags::SERIES_DESCRIPTION, VR::LO, ATTRIBUTE),
        (tags::ACCESSION_NUMBER, VR::SH, "'\"><b>"),
    ])
    .await;
    let refusal = Refusal {
        what: "association".into(),
        why: SCRIPT.into(),
        instance: None,
    };
    let peer = Actor::Peer {
        ae_title: AeTitle::new("<script>alert(1)").expect("16 letters"),
        address: [10, 0, 0, 1].into(),
    };
    site.store.refuse(refusal, peer).await.expect("refused");
    let visitor = Visitor::with(&site, &Role::ALL).await;
    for (path, holds) in [
        ("/console/worklist", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        (
            "/console/studies/1.2.3.1",
            "&lt;script&gt;alert(1)&lt;/script&gt;",
        ),
        (
            "/console/studies/1.2.3.1",
            "&quot;&gt;&lt;img src=x onerror=alert(1)&gt;",
        ),
        ("/console/audit", "&lt;script&gt;alert(1)"),
        (
            "/console/audit?by=%22%3E%3Cscript%3E",
            "&quot;&gt;&lt;script&gt;",
        ),
        ("/console/jobs?limit=1", "<h1>Queue</h1>"),
    ] {
        let answer = visitor.get(path).await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "{path}: {text}");
        assert!(text.contains(holds), "{path}: {text}");
        for harmful in ["<script>", "<img src=x", "'\"><b>"] {
            assert!(!text.contains(harmful), "{path}: {harmful}");
        }
    }
    let answer = visitor
        .post("/console/worklist", "patient=%22%3E%3Cscript%3E")
        .await;
    assert!(answer.text().contains("value=\"&quot;&gt;&lt;script&gt;\""));
}

#[tokio::test]
async fn a_patient_is_never_in_an_address_and_every_look_is_written_down() {
    let site = holding(&[]).await;
    let visitor = Visitor::with(&site, &[Role::Clinician]).await;
    let asked = visitor.get("/console/worklist?patient=NOBODY").await.text();
    assert!(
        asked.contains("DOE1, JANE"),
        "an address is not asked about patients"
    );
    let found = visitor
        .post("/console/worklist", "patient=doe1")
        .await
        .text();
    assert!(found.contains("DOE1, JANE"), "{found}");
    let none = visitor.post("/console/worklist", "patient=nobody").await;
    assert!(none.text().contains("There is no such study."));

    let page = visitor.get("/console/studies/1.2.3.1").await;
    for address in page
        .text()
        .split("href=\"")
        .chain(page.text().split("src=\""))
        .skip(1)
    {
        let address = address.split('"').next().unwrap_or_default();
        assert!(
            !address.contains("DOE") && !address.contains("PID"),
            "{address}"
        );
    }
    assert!(page.text().contains("<title>Study · Pericard</title>"));
    let frame = "/console/studies/1.2.3.1/objects/1.2.3.1.1.1/frames";
    let picture = visitor
        .get(&format!("{frame}/1?center=-600&width=1500"))
        .await;
    assert_eq!(
        (picture.status.as_u16(), picture.header("content-type")),
        (200, "image/png")
    );
    let view = site
        .painting
        .asked
        .lock()
        .expect("not poisoned")
        .last()
        .copied_view();
    assert_eq!(view, Some((-600.0, 1500.0)));
    for (path, status) in [
        (format!("{frame}/1?center=1&width=0"), 400),
        (format!("{frame}/1?center=nan&width=5"), 400),
        (format!("{frame}/1?center=5"), 400),
        (format!("{frame}/2"), 422),
        (format!("{frame}/x"), 404),
        ("/console/studies/1.2.3.9".to_owned(), 404),
        (
            "/console/studies/1.2.3.1/objects/1.2.3.9/frames/1".to_owned(),
            404,
        ),
        (
            "/console/studies/1.2.3.2/objects/1.2.3.1.1.1/frames/1".to_owned(),
            404,
        ),
    ] {
        let answer = visitor.get(&path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(
            answer.header("content-type").starts_with("text/html"),
            "{path}"
        );
    }
    let audited = site.audited().await;
    for (verb, subject) in [
        ("list studies", "all"),
        ("search studies", "all"),
        ("read study", "1.2.3.1"),
        ("read results", "1.2.3.1"),
        ("view image", "1.2.3.1.1.1"),
    ] {
        let line = (verb.to_owned(), subject.to_owned());
        assert!(audited.contains(&line), "{verb}: {audited:?}");
    }
}

/// The window of what was asked for last.
trait CopiedView {
    fn copied_view(self) -> Option<(f64, f64)>;
}

impl CopiedView for Option<&(String, pericard_runner::View)> {
    fn copied_view(self) -> Option<(f64, f64)> {
        let window = self?.1.window?;
        Some((window.center, window.width))
    }
}

#[tokio::test]
async fn the_menu_has_what_a_role_may_see() {
    let site = Site::new();
    let pages = [
        "/console/worklist",
        "/console/jobs",
        "/console/models",
        "/console/egress",
        "/console/audit",
        "/console/settings",
    ];
    for (role, seen) in [
        (Role::Clinician, [true, true, true, false, false, false]),
        (Role::Modality, [false, false, true, false, false, false]),
        (Role::MlAdmin, [false, true, true, false, false, true]),
        (Role::Auditor, [false, false, true, true, true, true]),
        (Role::SecurityAdmin, [false, true, true, false, false, true]),
        (Role::Monitor, [false; 6]),
    ] {
        let visitor = Visitor::with(&site, &[role]).await;
        let menu = visitor.get("/").await.text();
        for (path, seen) in pages.iter().zip(seen) {
            let name = role.name();
            let listed = menu.contains(&format!("href=\"{path}\""));
            assert_eq!(listed, seen, "{name} {path}");
            let status = visitor.get(path).await.status.as_u16();
            assert_eq!(status, if seen { 200 } else { 403 }, "{name} {path}");
        }
    }
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_are_kept_nowhere() {
    let site = holding(&[]).await;
    let visitor = Visitor::with(&site, &Role::ALL).await;
    for path in [
        "/",
        "/console/login",
        "/console/studies/1.2.3.1",
        "/console/studies/0",
    ] {
        let answer = visitor.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"));
        let text = answer.text();
        for inline in [
            " style=",
            "<style",
            " onclick=",
            "http://",
            "https://",
            "javascript:",
        ] {
            assert!(!text.contains(inline), "{path}: {inline}");
        }
    }
    for (path, kind) in [
        ("/console/style.css", "text/css; charset=utf-8"),
        ("/console/viewer.js", "text/javascript; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let answer = visitor.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, kind)
        );
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'none'; frame")
        );
    }
}

/// A page's text without its tags.
fn words(page: &str) -> String {
    let mut words = String::new();
    for piece in page.split('<') {
        let text = piece.split_once('>').map_or(piece, |(_, text)| text);
        words += &format!(" {}", text.trim());
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The row of a table that has this cell, in words.
fn row(page: &str, cell: &str) -> String {
    let rows = page.split("<tr>").skip(1);
    let rows = rows.map(|row| words(row.split("</tr>").next().unwrap_or_default()));
    let mut found = rows.filter(|row| row.split(' ').any(|word| word == cell));
    found
        .next()
        .unwrap_or_else(|| panic!("no {cell} in {}", words(page)))
}

/// Frames: the hub has the first; the others wait.
fn frames() -> Vec<ClosedFrame> {
    let until = Timestamp::from_millis(1_795_600_000_000);
    [
        (8, FrameState::Over),
        (9, FrameState::Waiting { until }),
        (10, FrameState::Unseen),
        (11, FrameState::Unusable),
    ]
    .map(|(sequence, state)| ClosedFrame {
        sequence,
        week: (sequence < 11).then_some(2958 + sequence as u16),
        state,
        is_held: false,
    })
    .to_vec()
}

#[tokio::test]
async fn frames_that_wait_are_read_held_and_released() {
    const PAGE: &str = "/console/egress";
    let site = Site::new();
    let visitor = Visitor::with(&site, &[Role::Auditor]).await;
    let empty = words(&visitor.get(PAGE).await.text());
    assert!(empty.contains("No frame waits.") && empty.contains("No hub is enrolled"));
    assert!(empty.contains("Frames are not held as a whole."), "{empty}");

    *site.shelves.frames.lock().expect("not poisoned") = frames();
    *site.shelves.is_enrolled.lock().expect("not poisoned") = true;
    let page = visitor.get(PAGE).await.text();
    let said = words(&page);
    assert!(
        said.contains("each frame that is not held goes to it"),
        "{said}"
    );
    assert!(said.contains("1 frames are with the hub"), "{said}");
    for (frame, expected) in [
        (
            "9",
            "9 2026-11-16 to 2026-11-22 waiting from 2026-11-25 09:46:40 on Decode frame 9 Hold",
        ),
        (
            "10",
            "10 2026-11-23 to 2026-11-29 not seen by the gate yet 3 days after the gate sees it Decode frame 10 Hold",
        ),
        ("11", "11 – no frame never – Hold"),
    ] {
        assert_eq!(row(&page, frame), expected);
    }

    let before = site.audited().await.len();
    let held = visitor.post(&format!("{PAGE}/hold"), "frame=9").await;
    assert_eq!((held.status.as_u16(), held.header("location")), (303, PAGE));
    let page = visitor.get(PAGE).await.text();
    let nine = "9 2026-11-16 to 2026-11-22 held when it is released Decode frame 9 Release";
    assert_eq!(row(&page, "9"), nine);
    assert!(row(&page, "10").contains("not seen"), "only that one");
    visitor.post(&format!("{PAGE}/hold"), "frame=all").await;
    let page = visitor.get(PAGE).await.text();
    assert!(words(&page).contains("All frames are held , those to come too."));
    assert!(words(&page).contains("Nothing is sent to the hub that is enrolled."));
    assert!(row(&page, "10").contains("held with all"));
    visitor.post(&format!("{PAGE}/release"), "frame=all").await;
    let page = visitor.get(PAGE).await.text();
    assert_eq!(row(&page, "9"), nine, "its own hold stays");
    visitor.post(&format!("{PAGE}/release"), "frame=9").await;
    assert!(row(&visitor.get(PAGE).await.text(), "9").contains("waiting"));
    let audited = site.audited().await.split_off(before);
    let deeds = audited.iter().filter(|(verb, _)| verb.ends_with(" frame"));
    let deeds: Vec<_> = deeds.map(|(verb, subject)| (&**verb, &**subject)).collect();
    let expected = [
        ("hold frame", "frame 9"),
        ("hold frame", "all frames"),
        ("release frame", "all frames"),
        ("release frame", "frame 9"),
    ];
    assert_eq!(deeds, expected);

    let one = visitor.get(&format!("{PAGE}?frame=9")).await.text();
    assert!(words(&one).contains("4096 bytes") && one.contains("<h1>Frame 9</h1>"));
    for (query, status) in [("12", 404), ("-1", 400), ("x", 400)] {
        let answer = visitor.get(&format!("{PAGE}?frame={query}")).await;
        assert_eq!(answer.status.as_u16(), status, "{query}");
    }
    let read = ("preview egress".to_owned(), "frame 9".to_owned());
    assert!(site.audited().await.contains(&read));
}

#[tokio::test]
async fn a_hold_is_one_frame_s_or_that_of_all_and_only_whoever_may_says_so() {
    let site = Site::new();
    *site.shelves.frames.lock().expect("not poisoned") = frames();
    let auditor = Visitor::with(&site, &[Role::Auditor]).await;
    let held = || site.shelves.held.lock().expect("not poisoned").len();
    for fields in ["", "frame=", "frame=-1", "frame=ALL", "frame=4294967296"] {
        for deed in ["hold", "release"] {
            let answer = auditor
                .post(&format!("/console/egress/{deed}"), fields)
                .await;
            assert_eq!(answer.status.as_u16(), 400, "{deed} {fields}");
        }
    }
    let wordless = auditor.form("/console/egress/hold", "frame=9");
    assert_eq!(auditor.send(wordless).await.status, 403);
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Auditor) {
        let other = Visitor::with(&site, &[role]).await;
        let refused = other.post("/console/egress/hold", "frame=9").await;
        assert_eq!(refused.status.as_u16(), 403, "{}", role.name());
    }
    assert_eq!(held(), 0);

    // What cannot be told is not shown as if all were well.
    let broken = "the folder is on fire".to_owned();
    *site.shelves.trouble.lock().expect("not poisoned") = Some(broken);
    let page = auditor.get("/console/egress").await;
    let said = words(&page.text());
    assert_eq!(page.status, 200);
    assert!(said.contains("It is not known which frames wait"), "{said}");
    assert!(
        !said.contains("fire") && !said.contains("No frame waits"),
        "{said}"
    );
    let failed = auditor.post("/console/egress/hold", "frame=9").await;
    assert_eq!((failed.status.as_u16(), held()), (500, 0));
}

#[tokio::test]
async fn every_imported_version_is_shown_with_who_made_it_live() {
    let site = Site::new();
    let version = |version: &str, standing| Imported {
        model: ModelRef {
            name: "probe".into(),
            version: version.into(),
            digest: "ab".repeat(32).parse().expect("a digest"),
        },
        standing,
    };
    *site.shelves.imported.lock().expect("not poisoned") = vec![
        version("1.0.0", Standing::Retired),
        version("1.1.0", Standing::Live),
        version("1.2.0", Standing::Imported),
    ];
    let (_, id) = site.token_until(&[Role::MlAdmin], None).await;
    let by = Actor::Token {
        id: id.clone(),
        address: [10, 0, 0, 7].into(),
    };
    for (subject, by) in [
        ("probe 1.0.0", Actor::CommandLine),
        ("probe 1.1.0", Actor::CommandLine),
        ("probe 1.1.0", by),
        ("probe 1.2.0-beta", Actor::CommandLine),
    ] {
        let noted = site.store.note_access("activate model", subject, by);
        noted.await.expect("noted");
    }
    let at = site.clock.now().rfc3339();
    let at = at[..19].replace('T', " ");
    let auditor = Visitor::with(&site, &[Role::Auditor]).await;
    let page = auditor.get("/console/models").await.text();
    let digest = "ab".repeat(32);
    for (version, expected) in [
        ("1.0.0", format!("retired the command line {at}")),
        (
            "1.1.0",
            format!("live from the next start on token {id} · 10.0.0.7 {at}"),
        ),
        ("1.2.0", "imported nobody –".to_owned()),
    ] {
        let expected = format!("probe {version} {expected} {digest}");
        assert_eq!(row(&page, version), expected);
    }
    let clinician = Visitor::with(&site, &[Role::Clinician]).await;
    let page = clinician.get("/console/models").await;
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("Every imported version"));
    *site.shelves.trouble.lock().expect("not poisoned") = Some("no disk".into());
    let page = auditor.get("/console/models").await;
    assert!(words(&page.text()).contains("The registry cannot be read"));
}

#[tokio::test]
async fn a_search_of_the_log_hides_what_it_does_not_mean() {
    let site = holding(&[]).await;
    let visitor = Visitor::with(&site, &[Role::Auditor, Role::Clinician]).await;
    visitor.get("/console/studies/1.2.3.1").await;
    site.store
        .note_access("activate model", "probe 1.0.0", Actor::CommandLine)
        .await
        .expect("noted");
    let cells = |page: &str, name: &str| -> Vec<String> {
        let mark = format!("data-name=\"{name}\">");
        let cells = page.split(&mark).skip(1);
        cells
            .map(|rest| words(rest.split("</td>").next().unwrap_or_default()))
            .collect()
    };
    let all = visitor.get("/console/audit").await.text();
    let verbs = cells(&all, "Action");
    for verb in ["read study", "activate model", "log in", "read audit"] {
        assert!(verbs.iter().any(|v| v == verb), "{verb}: {verbs:?}");
    }
    for (query, name, expected) in [
        ("verb=read+study", "Action", "read study"),
        ("verb=activate+model", "Action", "activate model"),
        ("subject=probe", "Subject", "probe 1.0.0"),
        ("by=command", "Who", "the command line"),
        ("verb=read+study&by=token", "Action", "read study"),
    ] {
        let page = visitor.get(&format!("/console/audit?{query}")).await.text();
        let found = cells(&page, name);
        assert!(!found.is_empty(), "{query}");
        assert!(
            found.iter().all(|cell| cell == expected),
            "{query}: {found:?}"
        );
        assert!(found.len() < verbs.len(), "{query}");
    }
    let none = visitor
        .get("/console/audit?verb=read+study&subject=probe")
        .await;
    let none = none.text();
    assert_eq!(cells(&none, "Action"), Vec::<String>::new());
    assert!(none.contains("There is no such line."));
}

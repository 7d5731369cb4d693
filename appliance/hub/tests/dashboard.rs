//! Half a year of a nation of fifty hospitals, five of which go wrong: what the hub makes of it, and what its pages say.

#![allow(
    clippy::print_stdout,
    reason = "the figures are for whoever reads the run"
)]

mod nation;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use nation::{BAD_CAMERA, DRIFTING, Nation, ROLLED_BACK, SILENT, TAMPERING};
use nation::{CAMERA_FROM, DRIFTS_FROM, SILENT_FROM};
use pericard_audit::SigningKey;
use pericard_hub::findings::{Finding, FindingKind, findings};
use pericard_hub::intake::Intake;
use pericard_hub::outlook::{FALSE_ALARMS, Outlook, State};
use pericard_hub::{Cause, Token, Viewer};
use std::sync::{Arc, OnceLock};
use tower::ServiceExt as _;

/// Wednesday 25 November 2026.
const NOW_S: u64 = 1_795_600_000;

/// One nation for all tests: they only look at it.
fn nation() -> &'static Nation {
    static NATION: OnceLock<(tempfile::TempDir, Nation)> = OnceLock::new();
    let (_, nation) = NATION.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let key = SigningKey::from_seed("hub.example", &[9; 32]).expect("a key");
        let nation = nation::live(dir.path(), key, NOW_S);
        for (number, secret, viewer) in [
            (1, ADMIN, Viewer::Admin),
            (2, ANALYST, Viewer::Analyst),
            (3, HOSPITAL, Viewer::Hospital(BAD_CAMERA)),
        ] {
            let token = Token {
                number,
                label: "test".into(),
                sha256: Token::key(secret).expect("a secret"),
                viewer,
                created_at_s: NOW_S,
                expires_at_s: NOW_S + 1000,
                revoked: false,
            };
            nation.hub.create_token(&token).expect("created");
        }
        (dir, nation)
    });
    nation
}

const ADMIN: &str = "pcd_admin";
const ANALYST: &str = "pcd_analyst";
const HOSPITAL: &str = "pcd_hospital";

fn found(viewer: Viewer) -> Vec<Finding> {
    let snapshot = nation().hub.records().snapshot();
    let outlook = Outlook::of(&snapshot, viewer);
    findings(&snapshot, &outlook, viewer)
}

#[test]
fn all_five_are_named_and_false_alarms_are_few_and_stated() {
    let found = found(Viewer::Analyst);
    let outlook = Outlook::of(&nation().hub.records().snapshot(), Viewer::Analyst);
    let names = |kind, hospital, model| {
        found
            .iter()
            .find(|f| f.kind == kind && f.hospital == hospital && f.model == model)
    };
    let since = |finding: Option<&Finding>, from: u16| {
        let since = finding.expect("named").since_week.expect("a week") - nation().first_week;
        assert!(
            (from..from + 3).contains(&since),
            "since {since}, from {from}"
        );
    };
    since(
        names(FindingKind::ModelDrift, None, Some(DRIFTING)),
        DRIFTS_FROM,
    );
    since(
        names(FindingKind::HospitalApart, Some(BAD_CAMERA), Some(301)),
        CAMERA_FROM,
    );
    assert!(
        names(FindingKind::Tampering, Some(TAMPERING), None).is_some(),
        "{found:?}"
    );
    assert!(
        names(FindingKind::Fork, Some(ROLLED_BACK), None).is_some(),
        "{found:?}"
    );
    let silent = names(FindingKind::Silent, Some(SILENT), None).expect("named");
    assert_eq!(
        silent.since_week,
        Some(nation().first_week + SILENT_FROM - 1)
    );

    let true_ones = |f: &&Finding| match f.kind {
        FindingKind::ModelDrift => f.model == Some(DRIFTING),
        FindingKind::HospitalApart => f.hospital == Some(BAD_CAMERA),
        FindingKind::Tampering => f.hospital == Some(TAMPERING),
        FindingKind::Fork => f.hospital == Some(ROLLED_BACK),
        FindingKind::Silent => f.hospital == Some(SILENT),
        FindingKind::RecalledInUse => false,
    };
    let false_ones: Vec<_> = found.iter().filter(|f| !true_ones(f)).collect();
    let beyond = outlook
        .lives
        .iter()
        .filter(|l| l.hospital != BAD_CAMERA && l.model != DRIFTING);
    let beyond = beyond
        .flat_map(|live| live.compared())
        .filter(|(_, far)| far.is_beyond())
        .count();
    println!(
        "{} comparisons; weeks beyond by chance: {beyond}, at most {:.1} expected; false findings: {}",
        outlook.compared,
        outlook.compared as f64 * FALSE_ALARMS,
        false_ones.len()
    );
    assert!(outlook.compared > 2000, "{}", outlook.compared);
    assert!(
        (beyond as f64) < 2.0 * outlook.compared as f64 * FALSE_ALARMS,
        "{beyond}"
    );
    assert!(false_ones.is_empty(), "{false_ones:?}");
    let refused = outlook.site(ROLLED_BACK).expect("enrolled");
    assert_eq!(refused.state, State::Refused);
    let reporting = outlook
        .sites
        .iter()
        .filter(|site| site.state == State::Reporting)
        .count();
    assert_eq!(reporting, 48);
}

#[test]
fn estimates_lie_within_the_intervals_that_were_predicted() {
    let outlook = Outlook::of(&nation().hub.records().snapshot(), Viewer::Analyst);
    let (mut held, mut all, mut widest) = (0, 0, 0.0_f64);
    for truth in &nation().truths {
        let trend = outlook.trend(truth.model).expect("told of");
        let week = trend.weeks.iter().find(|week| week.week == truth.week);
        let pool = week.expect("told of").pool;
        let estimates = [
            (pool.positivity().expect("many"), truth.positive),
            (pool.concordance().expect("many"), truth.agreement),
        ];
        for (estimate, truth) in estimates {
            all += 1;
            held += u32::from((estimate.low..=estimate.high).contains(&truth));
            widest = widest.max(estimate.high - estimate.low);
        }
    }
    println!("{held} of {all} estimates hold what is true; the widest is {widest:.4}");
    assert_eq!(all, 156);
    assert!(
        (143..=155).contains(&held),
        "{held} of {all}: 95 in 100 are 148"
    );
    assert!(widest < 0.05, "{widest}: national figures are usable");
}

#[test]
fn a_hospital_learns_of_itself_only() {
    let found = found(Viewer::Hospital(BAD_CAMERA));
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|f| f.hospital.is_none_or(|number| number == BAD_CAMERA)),
        "{found:?}"
    );
}

/// A browser of sorts: it keeps its cookie.
struct Browser {
    router: axum::Router,
    cookie: String,
}

impl Browser {
    async fn logged_in(secret: &str) -> Self {
        let (intake, _thread) = Intake::start(Arc::clone(&nation().hub)).expect("a thread");
        let router = pericard_hub::site::router(Arc::clone(&nation().hub), intake);
        let mut browser = Self {
            router,
            cookie: String::new(),
        };
        let (status, head, _) = browser.post("/login", &format!("token={secret}")).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let set = head[header::SET_COOKIE].to_str().expect("text");
        assert!(set.contains("Secure; HttpOnly; SameSite=Strict"), "{set}");
        browser.cookie = set.split(';').next().expect("a pair").to_owned();
        browser
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, String) {
        let answer = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("text");
        (parts.status, parts.headers, text)
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).header(header::COOKIE, &self.cookie);
        let (status, _, text) = self
            .send(request.body(Body::empty()).expect("a request"))
            .await;
        (status, text)
    }

    async fn post(&self, path: &str, form: &str) -> (StatusCode, axum::http::HeaderMap, String) {
        let request = Request::post(path)
            .header(header::COOKIE, &self.cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(
            request
                .body(Body::from(form.to_owned()))
                .expect("a request"),
        )
        .await
    }

    async fn word(&self) -> String {
        let (_, page) = self.get("/").await;
        let (_, rest) = page.split_once("name=\"word\" value=\"").expect("a form");
        rest.split('"').next().expect("a word").to_owned()
    }
}

#[tokio::test]
async fn pages_name_the_five_and_show_their_uncertainty() {
    let browser = Browser::logged_in(ANALYST).await;
    let (status, page) = browser.get("/").await;
    assert_eq!(status, StatusCode::OK);
    for expected in [
        "data-finding=\"model_drift\"",
        "data-finding=\"hospital_apart\"",
        "data-finding=\"tampering\"",
        "data-finding=\"fork\"",
        "data-finding=\"silent\"",
        "Hospital 17",
        "Hospital 23",
        "Hospital 31",
        "Hospital 42",
        "chest-triage 0.9.2",
    ] {
        assert!(
            page.contains(expected),
            "the overview does not say {expected}"
        );
    }
    let (_, model) = browser.get(&format!("/models/{DRIFTING}")).await;
    assert!(model.contains("class=\"beyond\"") && model.contains("class=\"limit\""));
    assert!(
        model.matches(" to ").count() > 60,
        "shares stand with their intervals"
    );
    let (_, witness) = browser.get("/witness").await;
    assert_eq!(witness.matches("fork: it did not continue").count(), 1);
    let (_, camera) = browser.get(&format!("/hospitals/{BAD_CAMERA}")).await;
    assert!(
        camera.contains("moved") && camera.contains("chip bad\">drift"),
        "its own verdict, too"
    );
    let (_, evaluations) = browser.get("/evaluations").await;
    assert!(evaluations.contains("area under curve") && evaluations.contains("12 hospitals"));
    for path in ["/models", "/hospitals", "/incidents", "/privacy"] {
        let (status, page) = browser.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(
            !page.contains("<script") && !page.contains("style="),
            "{path}"
        );
    }
    for path in ["/models/9", "/models/x", "/hospitals/99", "/hospitals/x"] {
        assert_eq!(browser.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn each_role_sees_its_pages_and_no_other() {
    let admin = Browser::logged_in(ADMIN).await;
    let analyst = Browser::logged_in(ANALYST).await;
    let hospital = Browser::logged_in(HOSPITAL).await;
    let stranger = Browser {
        cookie: "__Host-pericard-hub=AAAA".into(),
        ..Browser::logged_in(ADMIN).await
    };
    let own = format!("/hospitals/{BAD_CAMERA}");
    let drifting = format!("/models/{DRIFTING}");
    let (yes, no, gone) = (StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND);
    for (path, for_hospital) in [
        ("/", yes),
        ("/models", no),
        (&drifting, no),
        ("/hospitals", no),
        (&own, yes),
        ("/hospitals/5", gone),
        ("/evaluations", no),
        ("/incidents", no),
        ("/witness", no),
        ("/privacy", yes),
    ] {
        assert_eq!(admin.get(path).await.0, yes, "admin {path}");
        assert_eq!(analyst.get(path).await.0, yes, "analyst {path}");
        assert_eq!(hospital.get(path).await.0, for_hospital, "hospital {path}");
        assert_eq!(
            stranger.get(path).await.0,
            StatusCode::SEE_OTHER,
            "nobody {path}"
        );
    }
    let (_, page) = hospital.get("/").await;
    assert!(page.contains("Hospital 17") && !page.contains("Hospital 23"));
    assert_eq!(
        analyst.post("/login", "token=wrong").await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn only_an_admin_issues_and_only_from_a_page_of_its_own() {
    // A nation of its own: this one is changed.
    let dir = tempfile::tempdir().expect("a folder");
    let key = SigningKey::from_seed("hub.example", &[9; 32]).expect("a key");
    let hub = pericard_hub::Hub::open(&dir.path().join("hub.db"), key, Arc::new(|| NOW_S));
    let hub = Arc::new(hub.expect("a hub"));
    let model = pericard_hub::records::Model {
        id: 7,
        name: "chest".into(),
        version: "1".into(),
        digest: [7; 32],
    };
    hub.add_model(&model).expect("added");
    for (secret, viewer) in [(ADMIN, Viewer::Admin), (ANALYST, Viewer::Analyst)] {
        let token = Token {
            number: 0,
            label: "test".into(),
            sha256: Token::key(secret).expect("a secret"),
            viewer,
            created_at_s: NOW_S,
            expires_at_s: NOW_S + 1000,
            revoked: false,
        };
        hub.create_token(&token).expect("created");
    }
    let (intake, _thread) = Intake::start(Arc::clone(&hub)).expect("a thread");
    let router = pericard_hub::site::router(Arc::clone(&hub), intake);
    let enter = async |secret: &str| {
        let mut browser = Browser {
            router: router.clone(),
            cookie: String::new(),
        };
        let (_, head, _) = browser.post("/login", &format!("token={secret}")).await;
        let set = head[header::SET_COOKIE].to_str().expect("text");
        browser.cookie = set.split(';').next().expect("a pair").to_owned();
        browser
    };
    let (admin, analyst) = (enter(ADMIN).await, enter(ANALYST).await);
    let form = |word: &str, rest: &str| {
        format!("word={word}&kind=recall&model=7&cause=safety&text=Stop{rest}")
    };
    let issue = "/incidents/advisories";
    let said = analyst
        .post(issue, &form(&analyst.word().await, "&sure=yes"))
        .await;
    assert_eq!(said.0, StatusCode::FORBIDDEN, "an analyst reads only");
    assert_eq!(
        admin.post(issue, &form("made-up", "&sure=yes")).await.0,
        StatusCode::FORBIDDEN
    );
    let stolen = form(&analyst.word().await, "&sure=yes");
    assert_eq!(
        admin.post(issue, &stolen).await.0,
        StatusCode::FORBIDDEN,
        "another's word"
    );
    let word = admin.word().await;
    assert_eq!(
        admin.post(issue, &form(&word, "")).await.0,
        StatusCode::BAD_REQUEST,
        "not sure"
    );
    assert!(hub.records().snapshot().advisories.is_empty());
    assert_eq!(
        admin.post(issue, &form(&word, "&sure=yes")).await.0,
        StatusCode::SEE_OTHER
    );
    let issued = hub.records().snapshot().advisories[0].clone();
    assert_eq!(
        (issued.advisory.model, issued.advisory.cause, &*issued.text),
        (7, Cause::Safety, "Stop")
    );
    let (_, page) = admin.get("/incidents").await;
    assert!(page.contains("Stop") && page.contains("a risk to patients"));
    hub.revoke_token(1).expect("revoked");
    assert_eq!(
        admin.get("/").await.0,
        StatusCode::SEE_OTHER,
        "a revoked token ends its sessions"
    );
    hub.store().verify_audit().expect("whole");
}

#[tokio::test]
async fn any_frame_is_decoded_and_nothing_else_is_taken_for_one() {
    let browser = Browser::logged_in(ANALYST).await;
    let word = browser.word().await;
    let send = async |bytes: &[u8], word: &str| {
        let mut body = format!(
            "--x\r\nContent-Disposition: form-data; name=\"word\"\r\n\r\n{word}\r\n--x\r\n\
             Content-Disposition: form-data; name=\"frame\"; filename=\"1.frame\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n--x--\r\n");
        let request = Request::post("/privacy/decoded")
            .header(header::COOKIE, &browser.cookie)
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=x");
        let (status, _, text) = browser
            .send(request.body(Body::from(body)).expect("a request"))
            .await;
        (status, text)
    };
    let held = Arc::clone(&nation().hub.records().snapshot().frames[0]);
    let (status, page) = send(held.frame.bytes(), &word).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("holds this very frame") && page.contains("agreed, tenth 9"),
        "{page}"
    );
    assert_eq!(
        send(held.frame.bytes(), "made-up").await.0,
        StatusCode::FORBIDDEN
    );
    let (status, page) = send(b"Doe^Jane", &word).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("This is no frame: 8 bytes") && !page.contains("Doe"));
    let (status, _) = send(&[0; 40_000], &word).await;
    assert!(status.is_client_error(), "{status}");
}

#[tokio::test]
async fn programs_are_told_the_same() {
    let browser = Browser::logged_in(ANALYST).await;
    let ask = async |path: &str| {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {ANALYST}"));
        let (status, _, text) = browser
            .send(request.body(Body::empty()).expect("a request"))
            .await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let found = ask("/hub/v1/findings").await;
    let found = found.as_array().expect("a list");
    let kinds: Vec<_> = found
        .iter()
        .map(|f| f["kind"].as_str().expect("a word"))
        .collect();
    for kind in [
        "fork",
        "tampering",
        "model_drift",
        "hospital_apart",
        "silent",
    ] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let told = ask(&format!("/hub/v1/estimates?model={DRIFTING}")).await;
    let told = told.as_array().expect("a list");
    assert_eq!(told.len(), 26);
    let last = &told[25];
    assert!(last["positivity"]["low"].as_f64() < last["positivity"]["high"].as_f64());
    assert!(last["distance"]["value"].as_f64() > last["distance"]["threshold"].as_f64());
    let cards = ask("/hub/v1/evaluations").await;
    let scores = cards[0]["scores"].as_array().expect("a list");
    for (metric, truth) in [("sensitivity", 0.80), ("specificity", 0.88)] {
        let score = scores.iter().find(|s| s["metric"] == metric);
        let score = score.expect("asked for");
        assert_eq!(score["hospitals"], nation::EVALUATING);
        let end = |which: &str| score["estimate"][which].as_f64().expect("a number");
        assert!(end("low") < truth && truth < end("high"), "{score}");
        assert!(end("high") - end("low") < 0.06, "{score}");
    }
    let request = Request::get("/hub/v1/findings")
        .body(Body::empty())
        .expect("a request");
    assert_eq!(browser.send(request).await.0, StatusCode::UNAUTHORIZED);
}

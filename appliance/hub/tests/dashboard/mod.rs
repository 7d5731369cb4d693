//! Half a year of a nation of fifty hospitals, five of which go wrong: what the hub makes of it, and what its pages say.

#![allow(
    clippy::print_stdout,
    reason = "the figures are for whoever reads the run"
)]

use crate::database::Database;
use crate::nation;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use nation::{BAD_CAMERA, DRIFTING, Nation, ROLLED_BACK, SILENT, TAMPERING};
use nation::{CAMERA_FROM, DRIFTS_FROM, SILENT_FROM};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};
use pericard_audit::{Hash, SigningKey};
use pericard_door::Visitor;
use pericard_egress::{
    Books, CatalogueId, Closing, Evaluation, Log, MAX_MODELS_A_PATIENT, Meter, NEVER_TOLD_BELOW,
    Rules, Seed, TOLD_AT_ONCE, Week,
};
use pericard_frame::layout::{BINS, LABELS};
use pericard_frame::{Counter, Draft, FRAME_SIGNED_AS, Frame, ToHub, layout};
use pericard_gate::Desk;
use pericard_hub::findings::{Finding, FindingKind, findings};
use pericard_hub::hub::REQUESTS_WAITING_MAX;
use pericard_hub::intake::Intake;
use pericard_hub::outlook::{FALSE_ALARMS, Outlook, State};
use pericard_hub::records::Model;
use pericard_hub::{Asking, Cause, Hub, Keys, Metric, Registrar, Sent, Shown, Status};
use pericard_hub::{Token, Viewer, Way};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::thread;
use tower::ServiceExt as _;

/// Wednesday 25 November 2026.
const NOW_S: u64 = 1_795_600_000;
const LAST_WEEK: u16 = 2_967;

/// One nation for all tests: they only look at it. `None` where this kind of database is missing, which is said on stderr.
fn nation() -> Option<&'static Nation> {
    static NATION: OnceLock<Option<(Database, Nation)>> = OnceLock::new();
    let nation = NATION.get_or_init(|| {
        beside(|| {
            let database = Database::new()?;
            let nation = nation::live(database.place(), hub_key(), NOW_S);
            grant(&nation.hub, BAD_CAMERA);
            Some((database, nation))
        })
    });
    nation.as_ref().map(|(_, nation)| nation)
}

/// Does this on a thread of its own: a database may wait there, which it may not among the tasks of a runtime.
fn beside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().expect("no panic"))
}

/// Asks a hub that was opened outside, and is closed there.
fn asked<T>(questions: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(questions)
}

fn hub_key() -> SigningKey {
    SigningKey::from_seed("hub.example", &[9; 32]).expect("a key")
}

/// A token for each role; the hospital's is for this one.
fn grant(hub: &Hub, hospital: u32) {
    for (secret, viewer) in [
        (ADMIN, Viewer::Admin),
        (ANALYST, Viewer::Analyst),
        (HOSPITAL, Viewer::Hospital(hospital)),
    ] {
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
}

/// A hub with two models and these many hospitals, of which only the keys are real.
fn small(database: &Database, hospitals: u8) -> Arc<Hub> {
    let hub = Hub::open(database.place(), hub_key(), Arc::new(|| NOW_S));
    let hub = Arc::new(hub.expect("a hub"));
    for id in [7, 8] {
        let model = Model {
            id,
            name: "chest".into(),
            version: id.to_string(),
            digest: [id as u8; 32],
        };
        hub.add_model(&model).expect("added");
    }
    for number in 1..=hospitals {
        let enrolled = hub.enrol("A clinic", &key_of(number).verifier(), &[number; 32]);
        assert_eq!(enrolled.expect("enrolled"), u32::from(number));
    }
    if hospitals > 0 {
        grant(&hub, 1);
    }
    hub
}

fn key_of(hospital: u8) -> SigningKey {
    SigningKey::from_seed("appliance", &[hospital; 32]).expect("a key")
}

const ADMIN: &str = "pcd_admin";
const ANALYST: &str = "pcd_analyst";
const HOSPITAL: &str = "pcd_hospital";

fn found(nation: &Nation, viewer: Viewer) -> Vec<Finding> {
    let snapshot = nation.hub.records().snapshot();
    let outlook = Outlook::of(&snapshot, viewer);
    findings(&snapshot, &outlook, viewer)
}

#[test]
fn all_five_are_named_and_false_alarms_are_few_and_stated() {
    let Some(nation) = nation() else { return };
    let found = found(nation, Viewer::Analyst);
    let outlook = Outlook::of(&nation.hub.records().snapshot(), Viewer::Analyst);
    let names = |kind, hospital, model| {
        found
            .iter()
            .find(|f| f.kind == kind && f.hospital == hospital && f.model == model)
    };
    let since = |finding: Option<&Finding>, from: u16| {
        let since = finding.expect("named").since_week.expect("a week") - nation.first_week;
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
    assert_eq!(silent.since_week, Some(nation.first_week + SILENT_FROM - 1));

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
    let Some(nation) = nation() else { return };
    let outlook = Outlook::of(&nation.hub.records().snapshot(), Viewer::Analyst);
    let (mut held, mut all, mut widest) = (0, 0, 0.0_f64);
    for truth in &nation.truths {
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
    let Some(nation) = nation() else { return };
    let found = found(nation, Viewer::Hospital(BAD_CAMERA));
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|f| f.hospital.is_none_or(|number| number == BAD_CAMERA)),
        "{found:?}"
    );
    let models = |kind| {
        let of_kind = found.iter().filter(move |f| f.kind == kind);
        of_kind.map(|f| f.model).collect::<Vec<_>>()
    };
    assert_eq!(
        models(FindingKind::HospitalApart),
        [Some(301)],
        "its camera, and not the model: {found:?}"
    );
    assert_eq!(models(FindingKind::ModelDrift), [Some(DRIFTING)]);
    let told = found.iter().filter(|f| f.kind == FindingKind::ModelDrift);
    for of_others in told.map(|f| &f.why) {
        assert!(!of_others.contains(char::is_numeric), "{of_others}");
    }
}

/// Who enrols in these tests, with keys of its own.
fn registrar() -> Arc<Registrar> {
    static REGISTRAR: OnceLock<Arc<Registrar>> = OnceLock::new();
    let registrar = REGISTRAR.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let shown = Shown::Made(vec!["localhost".into()]);
        let keys = Keys::open(folder.path(), "hub.example", &shown, NOW_S).expect("keys");
        Arc::new(Registrar::new(keys, ([127, 0, 0, 1], 9443).into()))
    });
    Arc::clone(registrar)
}

/// A browser of sorts: it keeps its cookie.
struct Browser {
    router: axum::Router,
    cookie: String,
}

impl Browser {
    /// Of the router of this hub, without a session.
    fn at(hub: &Arc<Hub>) -> Self {
        let (intake, _thread) = Intake::start(Arc::clone(hub)).expect("a thread");
        Self {
            router: pericard_hub::site::router((Arc::clone(hub), registrar()), intake),
            cookie: String::new(),
        }
    }

    async fn logged_in(hub: &Arc<Hub>, secret: &str) -> Self {
        Self::at(hub).enters(secret).await
    }

    async fn enters(&self, secret: &str) -> Self {
        let mut browser = Self {
            router: self.router.clone(),
            cookie: String::new(),
        };
        let (status, head, _) = browser.post("/login", &format!("token={secret}")).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let set = head[header::SET_COOKIE].to_str().expect("text");
        assert!(set.contains("Secure; HttpOnly; SameSite=Strict"), "{set}");
        browser.cookie = set.split(';').next().expect("a pair").to_owned();
        browser
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let (status, headers, body) = self.sent(request).await;
        (
            status,
            headers,
            String::from_utf8(body.to_vec()).expect("text"),
        )
    }

    async fn sent(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Bytes) {
        let answer = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (parts.status, parts.headers, body)
    }

    /// What a program with this token reads there.
    async fn reads(&self, secret: &str, path: &str) -> Bytes {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {secret}"));
        let request = request.body(Body::empty()).expect("a request");
        let (status, _, body) = self.sent(request).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        body
    }

    async fn json(&self, secret: &str, path: &str) -> Value {
        serde_json::from_slice(&self.reads(secret, path).await).expect("JSON")
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).header(header::COOKIE, &self.cookie);
        let (status, _, text) = self
            .send(request.body(Body::empty()).expect("a request"))
            .await;
        (status, text)
    }

    async fn post(&self, path: &str, form: &str) -> (StatusCode, HeaderMap, String) {
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

    /// What a program hears that posts this, with this token or none.
    async fn posts(&self, secret: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let kind = if body.starts_with('{') {
            "application/json"
        } else {
            "text/plain"
        };
        let mut request = Request::post(path).header(header::CONTENT_TYPE, kind);
        if !secret.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {secret}"));
        }
        let request = request.body(Body::from(body.to_owned()));
        let (status, _, body) = self.sent(request.expect("a request")).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn word(&self) -> String {
        let (_, page) = self.get("/").await;
        let (_, rest) = page.split_once("name=\"word\" value=\"").expect("a form");
        rest.split('"').next().expect("a word").to_owned()
    }
}

#[tokio::test]
async fn pages_name_the_five_and_show_their_uncertainty() {
    let Some(nation) = nation() else { return };
    let browser = Browser::logged_in(&nation.hub, ANALYST).await;
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
    for chart in ["duration", "duration-95"] {
        let (_, chart) = model
            .split_once(&format!("<h2 id=\"{chart}\">"))
            .expect("a chart");
        let (chart, _) = chart.split_once("</figure>").expect("its end");
        assert!(chart.contains("<polyline class=\"line\""), "{chart}");
        let weeks = chart.matches("512 ms to 1.0 s").count();
        assert!(
            weeks > 20,
            "{weeks} weeks of a model that takes 200 to 900 ms"
        );
    }
    let (_, witness) = browser.get("/witness").await;
    assert_eq!(witness.matches("fork: it did not continue").count(), 1);
    let (_, camera) = browser.get(&format!("/hospitals/{BAD_CAMERA}")).await;
    assert!(
        camera.contains("moved") && camera.contains("chip bad\">drift"),
        "its own verdict, too"
    );
    let (_, evaluations) = browser.get("/evaluations").await;
    assert!(evaluations.contains("area under curve") && evaluations.contains("12 hospitals"));
    // Five metrics: each across hospitals, of the lowest and the highest, and of each of those that told.
    let of_five = 5 * (3 + nation::EVALUATING as usize);
    assert_eq!(evaluations.matches(" % (").count(), of_five);
    assert_eq!(
        evaluations.matches(" %").count(),
        of_five + evaluations.matches("95 % interval").count(),
        "no share stands alone"
    );
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
    let Some(nation) = nation() else { return };
    let admin = Browser::logged_in(&nation.hub, ADMIN).await;
    let analyst = Browser::logged_in(&nation.hub, ANALYST).await;
    let hospital = Browser::logged_in(&nation.hub, HOSPITAL).await;
    let stranger = Browser {
        cookie: "__Host-pericard-hub=AAAA".into(),
        ..Browser::at(&nation.hub)
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
    for finding in ["hospital_apart", "model_drift"] {
        let banner = format!("data-finding=\"{finding}\"");
        assert_eq!(page.matches(&banner).count(), 1, "{finding}: {page}");
    }
    assert!(!page.contains("href=\"/models/"), "not for its role");
    assert_eq!(
        analyst.post("/login", "token=wrong").await.0,
        StatusCode::UNAUTHORIZED
    );
}

/// Every row of the API's table, as its document lists them, for each role: what it hears. A row that is new is added here.
#[test]
fn each_role_uses_its_rows_of_the_api_and_no_other() {
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 1);
    // Nobody, a hospital, an analyst, an admin.
    let open = |status: u16| [status; 4];
    let token = [401, 200, 200, 200];
    let national = [401, 403, 200, 200];
    let admin = |status: u16| [401, 403, 403, status];
    let rows = [
        ("get /healthz", open(200)),
        ("get /readyz", open(200)),
        ("get /hub/v1/openapi.json", open(200)),
        ("post /hub/v1/frames", open(200)), // answered by a reply, which says that it comes from a stranger
        ("get /hub/v1/enrolments", admin(200)),
        ("post /hub/v1/enrolments", open(422)), // an empty request is none
        ("post /hub/v1/enrolments/{number}/grant", admin(422)),
        ("post /hub/v1/enrolments/{number}/refuse", admin(404)),
        ("get /hub/v1/hospitals", token),
        ("get /hub/v1/models", token),
        ("get /hub/v1/advisories", token),
        ("get /hub/v1/alarms", token),
        ("get /hub/v1/witness", token),
        ("get /hub/v1/findings", token),
        ("get /hub/v1/evaluations", national),
        ("get /hub/v1/estimates", token),
        ("get /hub/v1/operation", token),
        ("get /hub/v1/weeks", token),
        ("get /hub/v1/weeks.csv", token),
        ("get /hub/v1/weeks.parquet", token),
    ];
    asked(async {
        let anybody = Browser::at(&hub);
        let document = anybody.json(ADMIN, "/hub/v1/openapi.json").await;
        let paths = document["paths"].as_object().expect("paths");
        let listed = paths.iter().flat_map(|(path, verbs)| {
            let verbs = verbs.as_object().expect("verbs").iter();
            verbs.map(move |(verb, row)| (format!("{verb} {path}"), row))
        });
        let mut listed: BTreeMap<String, &Value> = listed.collect();
        for (row, expected) in rows {
            let said = listed.remove(row).expect("it is in the document");
            let (verb, path) = row.split_once(' ').expect("two words");
            let path = path.replace("{number}", "9");
            for (secret, status) in ["", HOSPITAL, ANALYST, ADMIN].into_iter().zip(expected) {
                let mut request = Request::builder().method(verb.to_uppercase().as_str());
                if !secret.is_empty() {
                    request = request.header(header::AUTHORIZATION, format!("Bearer {secret}"));
                }
                let request = request.uri(&path).extension(Visitor {
                    address: [127, 0, 0, 1].into(),
                    certificate: None,
                });
                let request = request.body(Body::empty()).expect("a request");
                let (heard, _, _) = anybody.sent(request).await;
                assert_eq!(heard.as_u16(), status, "{row} by '{secret}'");
                let is_said = !said["responses"][status.to_string()].is_null();
                assert!(is_said, "the document does not say {status} of {row}");
            }
        }
        assert!(listed.is_empty(), "not in this list: {listed:?}");
    });
}

#[test]
fn only_an_admin_issues_and_only_from_a_page_of_its_own() {
    // A nation of its own: this one is changed.
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 1);
    asked(async {
        let anybody = Browser::at(&hub);
        let (admin, analyst) = (anybody.enters(ADMIN).await, anybody.enters(ANALYST).await);
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
        beside(|| hub.revoke_token(1)).expect("revoked");
        assert_eq!(
            admin.get("/").await.0,
            StatusCode::SEE_OTHER,
            "a revoked token ends its sessions"
        );
    });
    hub.store().verify_audit().expect("whole");
}

#[tokio::test]
async fn any_frame_is_decoded_and_nothing_else_is_taken_for_one() {
    let Some(nation) = nation() else { return };
    let browser = Browser::logged_in(&nation.hub, ANALYST).await;
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
    let held = Arc::clone(&nation.hub.records().snapshot().frames[0]);
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
    let Some(nation) = nation() else { return };
    let browser = Browser::logged_in(&nation.hub, ANALYST).await;
    let ask = async |path: &str| browser.json(ANALYST, path).await;
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

#[tokio::test]
async fn what_programs_are_told_is_what_the_document_says() {
    let Some(nation) = nation() else { return };
    let browser = Browser::at(&nation.hub);
    let document = browser.json(ANALYST, "/hub/v1/openapi.json").await;
    let schema = |path: &str| {
        let answer = &document["paths"][path]["get"]["responses"]["200"];
        let items = &answer["content"]["application/json"]["schema"]["items"];
        let name = items["$ref"].as_str().expect("a schema");
        document.pointer(&name[1..]).expect("that is there")
    };
    for path in [
        "/hub/v1/estimates",
        "/hub/v1/findings",
        "/hub/v1/evaluations",
        "/hub/v1/operation",
    ] {
        let told = browser.json(ANALYST, path).await;
        let told = told.as_array().expect("a list");
        assert!(!told.is_empty(), "{path}");
        for one in told {
            fits(&document, schema(path), one, path);
        }
    }
}

/// Whether a value is what a schema says, as far as ours say anything.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let named = document.pointer(&name[1..]).expect("a schema");
        return fits(document, named, value, at);
    }
    if let Some(ways) = schema["oneOf"].as_array() {
        let way = &ways[usize::from(value.is_null())];
        return fits(document, way, value, at);
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => vec![kind.as_str().expect("a kind")],
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() && kinds.contains(&"integer") => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.contains(&kind), "{at}: {value} is no {kinds:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
    }
    if let Some(most) = schema["maximum"].as_f64() {
        let number = value.as_f64().expect("a number");
        assert!((0.0..=most).contains(&number), "{at}: {value}");
    }
    for one in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], one, at);
    }
    if let Some(object) = value.as_object() {
        let required = schema["required"].as_array().expect("names");
        let said: BTreeSet<&str> = required.iter().filter_map(Value::as_str).collect();
        let told: BTreeSet<&str> = object.keys().map(String::as_str).collect();
        assert_eq!(told, said, "{at}");
        for (name, one) in object {
            let at = format!("{at} {name}");
            fits(document, &schema["properties"][name], one, &at);
        }
    }
}

/// A hospital's first frame, of last week, in which its log is empty still.
fn first(hospital: u8) -> Draft<ToHub> {
    let mut draft = Draft::new();
    draft.put(&layout::APPLIANCE, 0, u32::from(hospital));
    draft.put(&layout::SEQUENCE, 0, 1_u32);
    draft.put(&layout::WEEK, 0, LAST_WEEK);
    let root = Hash::empty_root();
    let (words, _) = root.as_bytes().as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_be_bytes(*word));
    draft.put_all(&layout::LOG_ROOT, 0, words);
    draft
}

fn signed(hospital: u8, draft: Draft<ToHub>) -> Frame {
    let frame = draft.seal().expect("in range");
    let signature = key_of(hospital).seal(FRAME_SIGNED_AS, frame.signed_bytes());
    frame.with_signature(signature)
}

fn takes(hub: &Hub, frame: &Frame) {
    let (bytes, way) = (frame.bytes(), Way::Carried);
    let reply = hub.ingest(&[Sent { bytes, way }]).expect("durable");
    assert_eq!(reply[0].status(), Status::Accepted);
}

/// A hospital's frame of last week, signed: of two models how many inferences gave a result and how many none, and what the
/// counters say. The jobs that were done are as many as they should be.
fn frame(hospital: u8, models: [(u32, u32); 2], counters: &[(Counter, u32)]) -> Frame {
    let mut draft = first(hospital);
    for (at, (done, failed)) in models.into_iter().enumerate() {
        draft.put(&layout::MODEL, at, 7 + at as u16);
        draft.put(&layout::MODEL_DONE, at, done);
        draft.put(&layout::MODEL_FAILED, at, failed);
    }
    let done = models.map(|(done, _)| done).iter().sum();
    for (counter, count) in counters.iter().chain(&[(Counter::JobsDone, done)]) {
        draft.put(&layout::COUNTERS, counter.place(), *count);
    }
    signed(hospital, draft)
}

/// A hospital's outcome of the first plan: so many cases in each tenth, without the finding and with it.
fn outcome(hospital: u8, cases: [u16; LABELS]) -> Frame {
    let mut draft = first(hospital);
    draft.put(&layout::EVALUATION_PLAN, 0, 1_u32);
    draft.put(&layout::EVALUATION_EPSILON, 0, 500_u16);
    for (label, cases) in cases.into_iter().enumerate() {
        let cells = [layout::OFFSET + cases; BINS];
        draft.put_all(&layout::EVALUATION, label * BINS, cells);
    }
    signed(hospital, draft)
}

#[test]
fn an_evaluation_shows_nothing_of_fewer_than_five_hospitals_or_of_too_few_cases() {
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 7);
    let asking = Asking {
        model: 7,
        metrics: Metric::ALL.to_vec(),
        threshold_tenth: 5,
        cases_min: 200,
        until_s: NOW_S + 1000,
        text: String::new(),
    };
    hub.publish(asking).expect("published");
    let few_hospitals = "left out, fewer than 5 hospitals";
    // The page once these hospitals have told: how many figures it shows, and whether hospitals stand there by name.
    let told = |frames: &[Frame]| {
        frames.iter().for_each(|frame| takes(&hub, frame));
        let page = asked(async {
            let analyst = Browser::logged_in(&hub, ANALYST).await;
            analyst.get("/evaluations").await.1
        });
        let named = page.matches("href=\"/hospitals/").count();
        (page.matches(" % (").count(), named, page)
    };
    let enough = |hospital| outcome(hospital, [20, 20]);
    let (figures, named, page) = told(&[1, 2, 3, 4].map(enough));
    assert_eq!((figures, named), (0, 0), "four hospitals: {page}");
    assert!(page.contains(few_hospitals) && page.contains("4 hospitals"));

    // A fifth, with 180 cases: fewer than the plan asks for.
    let (figures, named, page) = told(&[outcome(5, [9, 9])]);
    assert_eq!((figures, named), (0, 0), "four and one of few: {page}");
    assert!(page.contains(few_hospitals) && !page.contains("180"));

    // One with many cases, of which ten have the finding: no sensitivity there, nor an area under the curve, so that only
    // four hospitals have them. Three metrics: across hospitals, lowest, highest, and of each of five.
    let (figures, named, page) = told(&[outcome(6, [30, 1])]);
    assert_eq!((figures, named), (3 * (3 + 5), 6), "{page}");
    assert!(page.contains("left out: fewer than 200") && !page.contains("180"));
    let sensitivity = "data-name=\"sensitivity\">";
    assert_eq!(page.matches(sensitivity).count(), 6, "{page}");
    let left_out = format!("{sensitivity}left out");
    assert_eq!(page.matches(&left_out).count(), 5, "{page}");

    let (figures, named, page) = told(&[enough(7)]);
    assert_eq!((figures, named), (3 * (3 + 6) + 2 * (3 + 5), 7), "{page}");
    assert!(!page.contains("180"), "whoever has too few stays out");
    assert_eq!(page.matches(&left_out).count(), 0, "{page}");
    assert_eq!(page.matches(">too few<").count(), 2, "{page}");
}

/// What a hospital's officer sends, and where its keys lie.
fn request(dir: &tempfile::TempDir, hospital: u8) -> (Desk, String) {
    let desk = Desk::at(dir.path().join(hospital.to_string()));
    let asked = pericard_gate::request(&desk, &[hospital; 32]).expect("a request");
    (desk, asked)
}

/// The key that an officer reads out.
fn key_in(request: &str) -> String {
    let mut lines = request.lines();
    let key = lines.find_map(|line| line.strip_prefix("frame_key "));
    key.expect("a key").to_owned()
}

/// What the hub's own log says that somebody did, as verb and subject.
fn done_in(hub: &Hub) -> Vec<String> {
    let lines = hub.store().audit().expect("the log").into_iter();
    let said = lines.map(|line| {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        let word = |name: &str| line[name].as_str().expect("a word").to_owned();
        format!("{} {}", word("verb"), word("subject"))
    });
    said.collect()
}

#[test]
fn who_asks_waits_until_an_admin_grants_it_and_the_log_says_who_did() {
    const ASKS: &str = "/hub/v1/enrolments";
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 1);
    let dir = tempfile::tempdir().expect("a folder");
    let (desk, asked_for) = request(&dir, 41);
    let key = key_in(&asked_for);
    let granting =
        |key: &str, name: &str| serde_json::json!({"frame_key": key, "name": name}).to_string();
    asked(async {
        let browser = Browser::at(&hub);
        let posts =
            async |secret: &str, path: &str, body: &str| browser.posts(secret, path, body).await;
        let (status, told) = posts("", ASKS, &asked_for).await;
        assert_eq!((status, &told["number"]), (StatusCode::ACCEPTED, &1.into()));
        let (status, again) = posts("", ASKS, &asked_for).await;
        assert_eq!(
            (status, again),
            (StatusCode::ACCEPTED, told),
            "asked twice, waiting once"
        );
        let changed = asked_for.replace("csr M", "csr N");
        for none in [&*changed, "Doe^Jane", &"x".repeat(5000)] {
            let (status, problem) = posts("", ASKS, none).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
            assert!(!problem.to_string().contains("Doe"), "{problem}");
        }
        assert_eq!(
            hub.records().snapshot().hospitals.len(),
            1,
            "nobody is enrolled for asking"
        );

        // Only an admin sees who waits, and decides.
        let reads = |secret: &'static str| {
            let request =
                Request::get(ASKS).header(header::AUTHORIZATION, format!("Bearer {secret}"));
            browser.send(request.body(Body::empty()).expect("a request"))
        };
        for secret in [ANALYST, HOSPITAL] {
            assert_eq!(reads(secret).await.0, StatusCode::FORBIDDEN);
            let (status, _) = posts(secret, &format!("{ASKS}/1/grant"), &granting(&key, "A")).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
            let (status, _) = posts(secret, &format!("{ASKS}/1/refuse"), "").await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
        assert_eq!(reads("pcd_nobody").await.0, StatusCode::UNAUTHORIZED);
        let waits = browser.json(ADMIN, ASKS).await;
        assert_eq!(
            (&waits[0]["frame_key"], &waits[0]["hospital"]),
            (&key.clone().into(), &Value::Null)
        );
        let other = key_in(&request(&dir, 43).1);
        for (number, body, status) in [
            ("1", granting(&other, "A clinic"), StatusCode::CONFLICT),
            ("1", granting(&key, " "), StatusCode::UNPROCESSABLE_ENTITY),
            (
                "1",
                granting(&key, &"x".repeat(121)),
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            ("1", "{}".to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
            ("9", granting(&key, "A clinic"), StatusCode::NOT_FOUND),
            ("x", granting(&key, "A clinic"), StatusCode::NOT_FOUND),
        ] {
            let (said, problem) = posts(ADMIN, &format!("{ASKS}/{number}/grant"), &body).await;
            assert_eq!(said, status, "{problem}");
        }
        assert_eq!(hub.records().snapshot().hospitals.len(), 1);
        let grant = format!("{ASKS}/1/grant");
        let (status, told) = posts(ADMIN, &grant, &granting(&key, "Lakeside clinic")).await;
        assert_eq!(
            (status, &told["hospital"]),
            (StatusCode::OK, &2.into()),
            "{told}"
        );
        let (status, _) = posts(ADMIN, &grant, &granting(&key, "Lakeside clinic")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "it waits no more");
        let note = told["note"].as_str().expect("a note");
        let enrolled = pericard_gate::accept(&desk, note, &registrar().key().to_string());
        assert_eq!(enrolled.expect("what its officer accepts").appliance, 2);
        let listed = browser.json(ADMIN, ASKS).await;
        assert_eq!(listed[0]["note"], note, "it can be had again");
        assert_eq!(
            (&listed[0]["granted_by"], &listed[0]["hospital"]),
            (&1.into(), &2.into())
        );
        let document = browser.json(ADMIN, "/hub/v1/openapi.json").await;
        fits(
            &document,
            &document["components"]["schemas"]["Enrolment"],
            &listed[0],
            ASKS,
        );
        // The same key once more: its certificate is renewed, and its number stays.
        posts("", ASKS, &asked_for).await;
        let (status, told) = posts(
            ADMIN,
            &format!("{ASKS}/2/grant"),
            &granting(&key, "Lakeside clinic"),
        )
        .await;
        assert_eq!(
            (status, &told["hospital"]),
            (StatusCode::OK, &2.into()),
            "{told}"
        );
    });
    let said = done_in(&hub);
    for line in [
        "ask for enrolment 1 over the door",
        "enrol hospital 2 by token 1, request 1",
        "renew certificate of hospital 2 by token 1, request 2",
        "enrol hospital 1 by command line",
    ] {
        assert!(said.iter().any(|said| said == line), "{line}: {said:?}");
    }
    hub.store().verify_audit().expect("whole");
}

#[test]
fn what_is_done_on_the_hubs_own_machine_is_in_its_log_as_that() {
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 1);
    hub.suspend(1, true).expect("suspended");
    hub.suspend(1, false).expect("resumed");
    let asking = Asking {
        model: 7,
        metrics: vec![Metric::Sensitivity],
        threshold_tenth: 5,
        cases_min: 50,
        until_s: NOW_S + 1000,
        text: "A first look".into(),
    };
    hub.publish(asking).expect("published");
    hub.revoke_token(3).expect("revoked");
    let here = |line: &str| format!("{line} by command line");
    let lines = [
        "add model 7",
        "add model 8",
        "enrol hospital 1",
        "create token 1 admin",
        "create token 2 analyst",
        "create token 3 hospital 1",
        "suspend hospital 1",
        "resume hospital 1",
        "publish evaluation plan 1",
        "revoke token 3",
    ];
    assert_eq!(done_in(&hub), lines.map(here));
}

#[test]
fn an_admin_grants_and_refuses_on_a_page_of_its_own() {
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 1);
    let dir = tempfile::tempdir().expect("a folder");
    let encoded = |text: &str| -> String {
        let each = text.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        });
        each.collect()
    };
    asked(async {
        let anybody = Browser::at(&hub);
        let (admin, analyst) = (anybody.enters(ADMIN).await, anybody.enters(ANALYST).await);
        assert_eq!(analyst.get("/enrolments").await.0, StatusCode::FORBIDDEN);
        assert!(
            !analyst.get("/").await.1.contains("/enrolments"),
            "nor is it in the menu"
        );
        let word = admin.word().await;
        // One comes over the door, and one is brought, as a form sends it.
        let (_, first) = request(&dir, 51);
        anybody.posts("", "/hub/v1/enrolments", &first).await;
        let (_, second) = request(&dir, 52);
        let brought = encoded(&second.replace('\n', "\r\n"));
        let bring = async |word: &str| {
            let form = format!("word={word}&request={brought}");
            admin.post("/enrolments/asked", &form).await.0
        };
        assert_eq!(bring("made-up").await, StatusCode::FORBIDDEN);
        assert_eq!(bring(&word).await, StatusCode::SEE_OTHER);
        let (_, page) = admin.get("/enrolments").await;
        for expected in ["Request 1", "Request 2", &key_in(&first), &key_in(&second)] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        let key = encoded(&key_in(&first));
        let form =
            |word: &str, rest: &str| format!("word={word}&key={key}&name=Hill+%3Cclinic%3E{rest}");
        let grant = "/enrolments/1/grant";
        let said = analyst
            .post(grant, &form(&analyst.word().await, "&sure=yes"))
            .await;
        assert_eq!(said.0, StatusCode::FORBIDDEN, "an analyst reads only");
        for (form, status) in [
            (form("made-up", "&sure=yes"), StatusCode::FORBIDDEN),
            (form(&word, ""), StatusCode::BAD_REQUEST),
            (
                form(&word, "&sure=yes").replace("Hill", "%00"),
                StatusCode::BAD_REQUEST,
            ),
            (
                form(&word, "&sure=yes").replace(&key, "other"),
                StatusCode::CONFLICT,
            ),
        ] {
            assert_eq!(admin.post(grant, &form).await.0, status);
        }
        assert_eq!(hub.records().snapshot().hospitals.len(), 1);
        assert_eq!(
            admin.post(grant, &form(&word, "&sure=yes")).await.0,
            StatusCode::SEE_OTHER
        );
        let (_, page) = admin.get("/enrolments").await;
        assert!(
            page.contains("pericard-enrolment/v1\nappliance 2\n"),
            "the note: {page}"
        );
        assert!(page.contains("Hill &lt;clinic&gt;"), "{page}");
        let refuse = async || {
            admin
                .post("/enrolments/2/refuse", &format!("word={word}"))
                .await
                .0
        };
        assert_eq!(refuse().await, StatusCode::SEE_OTHER);
        assert_eq!(refuse().await, StatusCode::NOT_FOUND, "it waits no more");
        let (_, page) = admin.get("/enrolments").await;
        assert!(page.contains("No request waits."), "{page}");
    });
    let said = done_in(&hub);
    for line in [
        "ask for enrolment 2 by token 1",
        "enrol hospital 2 by token 1, request 1",
        "refuse enrolment 2 by token 1",
    ] {
        assert!(said.iter().any(|said| said == line), "{line}: {said:?}");
    }
}

/// Anybody may ask, so that only so many wait; what an admin brings waits all the same.
#[test]
fn strangers_cannot_fill_the_hub_with_requests() {
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 0);
    let ask = |number: u32, by| hub.ask(&key_of(1).verifier(), &number.to_le_bytes(), by);
    for number in 1..=REQUESTS_WAITING_MAX {
        assert_eq!(ask(number, None).expect("it waits"), number);
    }
    assert!(ask(1000, None).is_err());
    assert_eq!(ask(7, None).expect("it waits already"), 7);
    let brought = ask(1000, Some(3)).expect("an admin's waits");
    assert_eq!(brought, REQUESTS_WAITING_MAX + 1);
    hub.refuse(7, 3).expect("refused");
    hub.refuse(8, 3).expect("refused");
    ask(1001, None).expect("there is room");
    assert_eq!(hub.records().snapshot().hospitals.len(), 0);
}

/// How a page shows an exact count.
fn shown(count: u32) -> String {
    format!("class=\"number\">{count}</span>")
}

#[test]
fn no_small_cell_can_be_worked_out_from_what_others_are_shown() {
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 3);
    let (objects, undecodable) = (Counter::ObjectsAdmitted, Counter::JobsUndecodable);
    for frame in [
        // A model that is rarely used: 12 less 9 is 3, 8 less 6 is 2.
        frame(1, [(9, 6), (3, 2)], &[(objects, 20), (undecodable, 8)]),
        // Nothing is small.
        frame(2, [(9, 6), (30, 20)], &[(objects, 65), (undecodable, 26)]),
        // A small cell among the ways in which jobs are given up: 26 less 23 is 3.
        frame(
            3,
            [(9, 6), (30, 20)],
            &[(undecodable, 23), (Counter::JobsInternal, 3)],
        ),
    ] {
        takes(&hub, &frame);
    }
    asked(async {
        let (analyst, own) = (
            Browser::logged_in(&hub, ANALYST).await,
            Browser::logged_in(&hub, HOSPITAL).await,
        );
        for count in [12, 9, 3, 8, 6, 2, 20] {
            let (_, page) = own.get("/").await;
            assert!(page.contains(&shown(count)), "its own {count}: {page}");
        }

        let (_, first) = analyst.get("/hospitals/1").await;
        let sum = format!("{} <span class=\"quiet\">(1 small cell left out)", shown(9));
        assert!(first.contains(&sum), "{first}");
        for path in [
            "/",
            "/models",
            "/models/7",
            "/models/8",
            "/hospitals",
            "/hospitals/1",
        ] {
            let (_, page) = analyst.get(path).await;
            for count in [12, 3, 8, 2, 20] {
                assert!(!page.contains(&shown(count)), "{path} shows {count}");
            }
        }
        let (_, second) = analyst.get("/hospitals/2").await;
        for count in [39, 26, 65] {
            assert!(second.contains(&shown(count)), "nothing to hide: {count}");
        }
        let (_, third) = analyst.get("/hospitals/3").await;
        assert!(third.contains(&shown(39)) && !third.contains(&shown(23)));

        // Programs are told the same cells, and no sum with others in it.
        let asked = "?hospital=1";
        let rows = analyst
            .json(ANALYST, &format!("/hub/v1/weeks{asked}"))
            .await;
        let cells = |name: &str| [&rows[0][name], &rows[1][name]].map(Value::as_u64);
        assert_eq!(cells("done"), [Some(9), None]);
        assert_eq!(cells("failed"), [Some(6), None]);
        let estimates = analyst
            .json(ANALYST, &format!("/hub/v1/estimates{asked}"))
            .await;
        let told = |at: usize| [&estimates[at]["done"], &estimates[at]["done_left_out"]];
        assert_eq!(told(0).map(Value::as_u64), [Some(9), Some(0)]);
        assert_eq!(told(1).map(Value::as_u64), [Some(0), Some(1)]);

        let csv = analyst
            .reads(ANALYST, &format!("/hub/v1/weeks.csv{asked}"))
            .await;
        let csv = String::from_utf8(csv.to_vec()).expect("text");
        let ends = |line: &str| {
            line.split(',')
                .skip(8)
                .take(2)
                .collect::<Vec<_>>()
                .join(",")
        };
        let ends: Vec<String> = csv.lines().map(ends).collect();
        assert_eq!(ends, ["done,failed", "9,6", ","]);

        let parquet = analyst
            .reads(ANALYST, &format!("/hub/v1/weeks.parquet{asked}"))
            .await;
        let file = SerializedFileReader::new(parquet).expect("a file");
        let rows = file.get_row_iter(None).expect("rows");
        let cell = |row: &Row, wanted: &str| {
            let mut cells = row.get_column_iter();
            match cells.find(|(name, _)| *name == wanted)?.1 {
                Field::Long(count) => Some(*count),
                _ => None,
            }
        };
        let rows = rows.map(|row| row.expect("a row"));
        let ends = rows.map(|row| ["done", "failed"].map(|name| cell(&row, name)));
        let ends: Vec<_> = ends.collect();
        assert_eq!(ends, [[Some(9), Some(6)], [None, None]]);
        let whole = own.json(HOSPITAL, "/hub/v1/weeks").await;
        let whole = [&whole[1]["done"], &whole[1]["failed"]].map(Value::as_u64);
        assert_eq!(whole, [Some(3), Some(2)], "its own are whole");
    });
}

#[test]
fn a_hospitals_page_shows_how_its_appliance_ran() {
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 2);
    let mut busy = first(1);
    busy.put(&layout::UPTIME_H, 0, 160_u16);
    busy.put(&layout::CPU_BUCKET, 0, 3_u8);
    busy.put(&layout::GPU_BUCKET, 0, 8_u8);
    for (field, buckets) in [
        (&layout::LATENCY_P50, [1_u8, 11, 0, 0, 14]),
        (&layout::LATENCY_P95, [2, 12, 0, 0, 17]),
        (&layout::LATENCY_P99, [3, 13, 0, 0, 24]),
    ] {
        busy.put_all(field, 0, buckets);
    }
    let (missing, internal) = (Counter::JobsModelUnavailable, Counter::JobsInternal);
    busy.put(&layout::COUNTERS, missing.place(), 71_u32);
    busy.put(&layout::COUNTERS, internal.place(), 53_u32);
    takes(&hub, &signed(1, busy));
    takes(&hub, &signed(2, first(2)));
    asked(async {
        let analyst = Browser::logged_in(&hub, ANALYST).await;
        let own = Browser::logged_in(&hub, HOSPITAL).await;
        let (_, seen) = analyst.get("/hospitals/1").await;
        for page in [seen, own.get("/").await.1] {
            for expected in [
                "160 of 168 hours",
                "30 to 40 %",
                "70 to 80 %",
                "queue wait",
                "4.1 s to 8.2 s",
                "32.8 s to 1 min",
                "more than 70 min",
                "at most 1 ms",
                "512 ms to 1.0 s",
                "too few to tell",
                "Queue wait that 95 of 100",
                "jobs, failed model unavailable",
                "jobs, failed internal",
            ] {
                assert!(page.contains(expected), "{expected} is missing in {page}");
            }
            assert!(page.contains(&shown(71)) && page.contains(&shown(53)));
        }
        let (_, other) = analyst.get("/hospitals/2").await;
        assert!(other.contains("it has none"), "no GPU: {other}");

        let all = analyst.json(ANALYST, "/hub/v1/operation").await;
        let one = &all[0];
        let told = ["uptime_h", "cpu_tenths", "gpu_tenths"].map(|name| one[name].as_u64());
        assert_eq!(told, [Some(160), Some(3), Some(7)]);
        let queue = &one["stages"][4];
        assert_eq!(queue["stage"], "queue");
        let told = ["p50_bucket", "p95_bucket", "p99_bucket"].map(|name| queue[name].as_u64());
        assert_eq!(told, [Some(14), Some(17), Some(24)]);
        assert!(all[1]["gpu_tenths"].is_null());
        let own = own.json(HOSPITAL, "/hub/v1/operation").await;
        assert_eq!(own.as_array().map(Vec::len), Some(1), "its own only");
        let request = Request::get("/hub/v1/operation?model=7")
            .header(header::AUTHORIZATION, format!("Bearer {ANALYST}"));
        let request = request.body(Body::empty()).expect("a request");
        assert_eq!(analyst.send(request).await.0, StatusCode::BAD_REQUEST);
    });
}

/// What the privacy page says is what hospitals' books do: here real ones charge the costliest week that there can be.
#[test]
fn the_privacy_page_says_what_the_books_charge() {
    let Some(database) = Database::new() else {
        return;
    };
    let charged = |evaluations: u32| {
        let dir = tempfile::tempdir().expect("a folder");
        let mut books = Books::open(dir.path().into(), Rules::default()).expect("books");
        let models: Vec<_> = (1..9).map(CatalogueId).collect();
        let closing = Closing {
            week: LAST_WEEK,
            inferences: Week::of(&models),
            log: Log::default(),
            evaluations: (1..=evaluations).map(|n| Evaluation::of(n, 50)).collect(),
            seed: Seed([3; 32]),
        };
        let entry = books.close(closing, &Meter::in_memory()).expect("closed");
        f64::from(entry.spent_milli_epsilon) / 1000.0
    };
    let hub = small(&database, 1);
    let (_, page) = asked(async {
        Browser::logged_in(&hub, HOSPITAL)
            .await
            .get("/privacy")
            .await
    });
    let (without, with, one) = (charged(0), charged(9), charged(1) - charged(0));
    let year = f64::from(Rules::default().year_milli_epsilon) / 1000.0;
    for said in [
        format!("epsilon {without} at most while no evaluation is told of"),
        format!("for {MAX_MODELS_A_PATIENT} models; epsilon {with} at most in a week"),
        format!(
            "epsilon {year} for somebody who is seen in each of 52 weeks, and epsilon {one} more"
        ),
        format!("from {TOLD_AT_ONCE} inferences, or from {NEVER_TOLD_BELOW} after"),
        "exact, identifying the hospital by design, and not differentially private".into(),
    ] {
        assert!(page.contains(&said), "{said}: {page}");
    }
    assert_eq!((without, with), (1.0, 2.0));
    assert!(
        !page.contains("no number on"),
        "exact counts do tell: {page}"
    );
}

#[test]
fn every_answer_wears_the_strict_policy() {
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                          base-uri 'none'; frame-ancestors 'none'";
    let Some(database) = Database::new() else {
        return;
    };
    let hub = small(&database, 1);
    asked(async {
        let (anybody, own) = (Browser::at(&hub), Browser::logged_in(&hub, HOSPITAL).await);
        for (who, path, status) in [
            (&own, "/", StatusCode::OK),
            (&own, "/privacy", StatusCode::OK),
            (&own, "/models", StatusCode::FORBIDDEN),
            (&own, "/hospitals/9", StatusCode::NOT_FOUND),
            (&anybody, "/login", StatusCode::OK),
            (&anybody, "/", StatusCode::SEE_OTHER),
            (&anybody, "/style.css", StatusCode::OK),
            (&anybody, "/nowhere", StatusCode::NOT_FOUND),
            (&anybody, "/hub/v1/weeks", StatusCode::UNAUTHORIZED),
        ] {
            let request = Request::get(path).header(header::COOKIE, &who.cookie);
            let request = request.body(Body::empty()).expect("a request");
            let (said, headers, _) = who.send(request).await;
            assert_eq!(said, status, "{path}");
            for (name, value) in [
                (header::CONTENT_SECURITY_POLICY, POLICY),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::REFERRER_POLICY, "no-referrer"),
                (header::CACHE_CONTROL, "no-store"),
            ] {
                let all: Vec<_> = headers.get_all(&name).iter().collect();
                assert_eq!(all, [value], "{path}: {name}");
            }
        }
        let (said, headers, _) = anybody.post("/login", "token=wrong").await;
        assert_eq!(said, StatusCode::UNAUTHORIZED);
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], POLICY);
    });
}

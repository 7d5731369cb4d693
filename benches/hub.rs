//! How many frames a second the hub takes, each judged, witnessed and on disk before it is answered.
//! `cargo bench -p pericard-hub --bench hub`; two Markdown tables on stdout, for `benches/runs/`: frames a second, and how
//! long each page of the dashboard takes over half a year of the simulated nation. Fewer than 200 frames a second, or a page
//! that once takes 300 ms, is a failure.
//!
//! Frames go in where the HTTPS route hands them on, and pages come from behind the door, so that TLS is not measured.

#![allow(clippy::print_stdout)] // the table is what it is run for

#[path = "../appliance/hub/tests/nation/mod.rs"]
mod nation;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use pericard_audit::hash::leaf_of;
use pericard_audit::{Frontier, Hash, SigningKey, proof};
use pericard_frame::reply::Status;
use pericard_frame::{Draft, FRAME_SIGNED_AS, Frame, layout};
use pericard_hub::intake::Intake;
use pericard_hub::{Hub, Keys, Registrar, Shown, Token, Viewer, Way};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::ServiceExt as _;

const NOW_S: u64 = 1_795_600_000;
const FIRST_WEEK: u16 = 2_900;
/// A half year of a nation.
const HOSPITALS: u8 = 50;
const WEEKS: u32 = 26;
/// What the hub takes at least.
const FRAMES_PER_S_MIN: f64 = 200.0;
/// What a page may take, the slowest time too.
const PAGE_MAX: Duration = Duration::from_millis(300);
/// How often each page is asked for.
const PAGE_RUNS: usize = 20;
const SECRET: &str = "pcd_bench";
/// What one sender alone sends, each frame after the answer to the one before.
const ALONE: u32 = 200;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("| senders | frames | s | frames/s |\n| --- | --- | --- | --- |");
    for (senders, frames_each) in [(1, ALONE), (HOSPITALS, WEEKS)] {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::from_seed("hub.example", &[9; 32]).expect("a key");
        let hub = Hub::open(&folder.path().join("hub.db"), key, Arc::new(|| NOW_S));
        let hub = Arc::new(hub.expect("a hub"));
        let nation: Vec<Vec<Frame>> = (1..=senders)
            .map(|seed| frames(&hub, seed, frames_each))
            .collect();
        let (intake, thread) = Intake::start(Arc::clone(&hub)).expect("a thread");
        let begun = Instant::now();
        runtime.block_on(send_all(&intake, nation));
        let took_s = begun.elapsed().as_secs_f64();
        drop(intake);
        thread.join().expect("no panic");
        let total = u32::from(senders) * frames_each;
        let kept = hub.records().snapshot().frames.len();
        assert_eq!(kept, total as usize, "all of them are kept");
        let rate = f64::from(total) / took_s;
        println!("| {senders} | {total} | {took_s:.2} | {rate:.0} |");
        assert!(
            rate >= FRAMES_PER_S_MIN,
            "{senders} senders: {rate:.0} frames/s"
        );
    }
    println!();
    runtime.block_on(pages());
}

/// Every page over half a year of the simulated nation.
async fn pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = SigningKey::from_seed("hub.example", &[9; 32]).expect("a key");
    let hub = nation::live(&folder.path().join("hub.db"), key, NOW_S).hub;
    let token = Token {
        number: 0,
        label: "bench".into(),
        sha256: Token::key(SECRET).expect("a secret"),
        viewer: Viewer::Admin,
        created_at_s: NOW_S,
        expires_at_s: NOW_S + 86_400,
        revoked: false,
    };
    hub.create_token(&token).expect("created");
    let (intake, _thread) = Intake::start(Arc::clone(&hub)).expect("a thread");
    let shown = Shown::Made(vec!["localhost".into()]);
    let keys = Keys::open(&folder.path().join("keys"), "hub.example", &shown, NOW_S);
    let at = ([127, 0, 0, 1], 9443).into();
    let registrar = Arc::new(Registrar::new(keys.expect("keys"), at));
    let router = pericard_hub::site::router((hub, registrar), intake);
    let login = Request::post("/login")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(format!("token={SECRET}")));
    let entered = router.clone().oneshot(login.expect("a request")).await;
    let entered = entered.expect("an answer");
    let cookie = entered.headers()[header::SET_COOKIE]
        .to_str()
        .expect("text");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    println!("| page | KiB | median ms | slowest ms |\n| --- | --- | --- | --- |");
    let own = format!("/hospitals/{}", nation::BAD_CAMERA);
    let model = format!("/models/{}", nation::DRIFTING);
    for path in [
        "/",
        "/models",
        &model,
        "/hospitals",
        &own,
        "/enrolments",
        "/evaluations",
        "/incidents",
        "/witness",
        "/privacy",
    ] {
        let mut took = Vec::new();
        let mut bytes = 0;
        for _ in 0..PAGE_RUNS {
            let asked = Request::get(path).header(header::COOKIE, &cookie);
            let asked = asked.body(Body::empty()).expect("a request");
            let begun = Instant::now();
            let answer = router.clone().oneshot(asked).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            bytes = answer
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes()
                .len();
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        let ms = |at: usize| took[at].as_secs_f64() * 1000.0;
        let (median, slowest) = (ms(PAGE_RUNS / 2), ms(PAGE_RUNS - 1));
        println!("| {path} | {} | {median:.1} | {slowest:.1} |", bytes / 1024);
        assert!(
            took[PAGE_RUNS - 1] < PAGE_MAX,
            "{path} takes {slowest:.0} ms"
        );
    }
}

/// All hospitals at once; each sends its next frame after the answer to the one before.
async fn send_all(intake: &Intake, nation: Vec<Vec<Frame>>) {
    let mut senders = tokio::task::JoinSet::new();
    for (frames, seed) in nation.into_iter().zip(1_u8..) {
        let intake = intake.clone();
        senders.spawn(async move {
            for frame in frames {
                let way = Way::Connection([seed; 32]);
                let reply = intake.offer(frame.bytes().to_vec(), way).await;
                assert_eq!(reply.expect("an answer").status(), Status::Accepted);
            }
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent.expect("no panic");
    }
}

/// A hospital's frames, signed, each with a log that grew since the one before.
fn frames(hub: &Hub, seed: u8, count: u32) -> Vec<Frame> {
    let key = SigningKey::from_seed("appliance", &[seed; 32]).expect("a key");
    let number = hub.enrol("A hospital", &key.verifier(), &[seed; 32]);
    let number = number.expect("enrolled");
    let mut log: Vec<Hash> = Vec::new();
    let frame = |sequence: u32| {
        let witnessed = log.len() as u64;
        log.extend(
            (0..40).map(|line| leaf_of(&[&sequence.to_le_bytes()[..], &[seed, line]].concat())),
        );
        let mut draft = Draft::new();
        draft.put(&layout::APPLIANCE, 0, number);
        draft.put(&layout::SEQUENCE, 0, sequence);
        draft.put(&layout::WEEK, 0, FIRST_WEEK);
        let frontier: Frontier = log.iter().copied().collect();
        draft.put(&layout::LOG_SIZE, 0, frontier.size());
        draft.put_all(&layout::LOG_ROOT, 0, words(frontier.root()));
        draft.put(&layout::LOG_FROM, 0, witnessed);
        let path = proof::consistency(&log, witnessed).unwrap_or_default();
        draft.put(&layout::PROOF_LEN, 0, path.len() as u8);
        draft.put_all(&layout::PROOF, 0, path.into_iter().flat_map(words));
        let frame = draft.seal().expect("in range");
        let signature = key.seal(FRAME_SIGNED_AS, frame.signed_bytes());
        frame.with_signature(signature)
    };
    (1..=count).map(frame).collect()
}

fn words(hash: Hash) -> [u64; 4] {
    let (words, _) = hash.as_bytes().as_chunks::<8>();
    std::array::from_fn(|at| u64::from_be_bytes(words[at]))
}

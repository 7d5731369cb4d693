//! How many frames a second the hub takes, each judged, witnessed and on disk before it is answered.
//! `cargo bench -p pericard-hub --bench hub`; one Markdown table on stdout, for `benches/runs/`.
//!
//! Frames go in where the HTTPS route hands them on, so that TLS, which each hospital pays once a week, is not measured.

#![allow(clippy::print_stdout)] // the table is what it is run for

use pericard_audit::hash::leaf_of;
use pericard_audit::{Frontier, Hash, SigningKey, proof};
use pericard_frame::reply::Status;
use pericard_frame::{Draft, FRAME_SIGNED_AS, Frame, layout};
use pericard_hub::intake::Intake;
use pericard_hub::{Hub, Way};
use std::sync::Arc;
use std::time::Instant;

const NOW_S: u64 = 1_795_600_000;
const FIRST_WEEK: u16 = 2_900;
/// A half year of a nation.
const HOSPITALS: u8 = 50;
const WEEKS: u32 = 26;
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

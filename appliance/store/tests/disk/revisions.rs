//! The check that every test here ends with must itself see a loss: one revision after the other of an object is taken
//! away, as a store would have lost it that forgot a commit or a file.

use crate::simulated::memory_dir;
use crate::site;
use crate::work::{Ack, admit, check, content};
use pericard_domain::time::StandingClock;
use pericard_store::Store;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const STUDY: u32 = 1;
const N: u32 = 1;
const LENGTHS: [usize; 3] = [3000, 3001, 3002];

/// Other bytes come again and again under one UID; what was promised of them.
fn revised(dir: &Path) -> Vec<Ack> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let clock = Arc::new(StandingClock::new(site::at(0)));
    let store = Store::open(site::config(dir), Arc::clone(&clock) as Arc<_>).expect("opens");
    runtime.block_on(async {
        let mut promised = Vec::new();
        for length in LENGTHS {
            let ack = admit(&store, &clock, (STUDY, N), &content(N, length)).await;
            promised.push(ack.expect("admitted"));
        }
        promised
    })
}

fn sha256(ack: &Ack) -> &str {
    let Ack::Object { sha256, .. } = ack else {
        panic!("an object: {ack:?}")
    };
    sha256
}

fn file(dir: &Path, ack: &Ack) -> PathBuf {
    let shelves = std::fs::read_dir(dir.join("objects")).expect("shelves");
    let files = shelves.flat_map(|shelf| std::fs::read_dir(shelf.expect("a shelf").path()));
    let mut files = files.flatten().map(|file| file.expect("a file"));
    let is_it = |name: &str| name.starts_with(sha256(ack));
    let found = files.find(|file| file.file_name().to_str().is_some_and(is_it));
    found.expect("its file").path()
}

/// The row, and the mark of the latest with it: as if the last commit had never been.
fn forget_row(dir: &Path, ack: &Ack) {
    let database = rusqlite::Connection::open(dir.join("pericard.db")).expect("the database");
    // What refers to the row would have been forgotten with it; it is nothing to this check.
    let unbound = database.pragma_update(None, "foreign_keys", false);
    unbound.expect("rows may refer to nothing");
    let forgotten = database.execute(
        "DELETE FROM instances WHERE lower(hex(digest)) = ?1",
        [sha256(ack)],
    );
    assert_eq!(forgotten, Ok(1));
    let marked = database.execute(
        "UPDATE instances SET is_latest = (revision = (SELECT max(revision) FROM instances))",
        (),
    );
    assert_eq!(marked, Ok(LENGTHS.len() - 1));
}

#[test]
fn a_lost_revision_is_found_out_be_it_the_last_or_not() {
    for lost in 0..LENGTHS.len() {
        let dir = memory_dir();
        let promised = revised(dir.path());
        check(dir.path(), &promised).expect("all is there");
        std::fs::remove_file(file(dir.path(), &promised[lost])).expect("removed");
        let wrong = check(dir.path(), &promised).expect_err("a file is lost");
        assert!(wrong.contains(sha256(&promised[lost])), "{wrong}");
        forget_row(dir.path(), &promised[lost]);
        let wrong = check(dir.path(), &promised).expect_err("a revision is lost");
        assert!(wrong.contains(sha256(&promised[lost])), "{wrong}");
    }
}

#[test]
fn an_altered_revision_is_found_out_be_it_the_last_or_not() {
    for altered in 0..LENGTHS.len() {
        let dir = memory_dir();
        let promised = revised(dir.path());
        let file = file(dir.path(), &promised[altered]);
        std::fs::write(file, content(N + 1, LENGTHS[altered])).expect("altered");
        let wrong = check(dir.path(), &promised).expect_err("a file is altered");
        assert!(wrong.contains("corrupt"), "{wrong}");
    }
}

#[test]
fn a_latest_that_was_not_offered_last_is_found_out() {
    let dir = memory_dir();
    let promised = revised(dir.path());
    let [before @ .., last] = promised.as_slice() else {
        panic!("several revisions")
    };
    check(dir.path(), before).expect_err("nobody offered the last");
    let mut offered = before.to_vec();
    offered.push(Ack::Offered {
        study: STUDY,
        n: N,
        sha256: sha256(last).to_owned(),
    });
    check(dir.path(), &offered).expect("it was offered, and the answer was lost");
}

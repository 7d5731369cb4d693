//! The disk that backups lie on fails: each sync of a backup once. The backup is then none, or it is whole; the one before
//! it is intact, the next one is whole, and none of them believes a sync that was asked for again. The appliance goes on.

use crate::image::{Image, Manner};
use crate::record::{Line, Record};
use crate::simulated::memory_dir;
use crate::syscalls::{Call, Verdict, Watching};
use crate::work::{admit, content};
use crate::{Dice, site};
use pericard_domain::actor::Actor;
use pericard_domain::time::StandingClock;
use pericard_store::backup::{BackedUp, BackupOptions, RestoreOptions, Told, check};
use pericard_store::{Store, StoreError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const OPTIONS: BackupOptions = BackupOptions {
    kept_max: 7,
    reread: false,
};
const OBJECT_BYTES: usize = 3000;
/// A backup syncs each content, each directory of them, and its manifest.
const SYNCS_MIN: usize = 10;

fn silent() -> Told {
    Arc::new(|_| {})
}

#[test]
fn a_backup_whose_sync_failed_is_none_and_the_next_is_whole() {
    let syncs = with_a_failed_sync(None);
    assert!(syncs >= SYNCS_MIN, "{syncs}");
    for nth in 1..=syncs {
        with_a_failed_sync(Some(nth));
    }
    eprintln!("{syncs} syncs of a backup failed, one after the other");
}

/// Makes a backup, another whose `nth` sync fails, and a third; then the power goes. Gives how many syncs the second asked for.
fn with_a_failed_sync(nth: Option<usize>) -> usize {
    let (data, vault) = (memory_dir(), memory_dir());
    let clock = Arc::new(StandingClock::new(site::at(0)));
    let store = Store::open(site::config(data.path()), Arc::clone(&clock) as Arc<_>);
    let store = store.expect("opens");
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let next = |from: u32| {
        clock.advance(Duration::from_secs(60));
        for n in from..from + 2 {
            let bytes = content(n, OBJECT_BYTES);
            tokio
                .block_on(admit(&store, &clock, (1, n), &bytes))
                .expect("admitted");
        }
        tokio.block_on(store.backup(vault.path(), OPTIONS, (Actor::CommandLine, silent())))
    };
    let mut whole = vec![named(&next(1)).expect("the first")];
    let (mut image, record) = (Image::of(vault.path()), Record::default());
    let asked = Arc::new(AtomicUsize::new(0));
    let watching = Watching::begin(vault.path(), record.recorder(plan(&asked, nth)));
    let second = next(3);
    let syncs = asked.swap(usize::MAX / 2, Ordering::SeqCst);
    whole.extend(named(&second));
    whole.push(
        named(&next(5)).unwrap_or_else(|| panic!("the third, after sync {nth:?} of the second")),
    );
    drop(watching);
    assert_eq!(store.trouble(), None, "it is not the appliance's disk");
    for line in record.lines() {
        if let Line::Made(made) = line {
            image.apply(&made);
        }
    }
    let after = memory_dir();
    image.crash(Manner::LosesAll, &mut Dice::new(1), after.path());
    for name in whole {
        is_whole(after.path(), &name)
            .unwrap_or_else(|wrong| panic!("sync {nth:?}, {name}: {wrong}"));
    }
    syncs
}

fn named(made: &Result<BackedUp, StoreError>) -> Option<String> {
    made.as_ref().ok().map(|made| made.name.clone())
}

/// Says of each call what becomes of it.
type Plan = Box<dyn FnMut(&Path, &Call<'_>) -> Verdict + Send>;

/// Fails the `nth` sync of a file or directory, and only that.
fn plan(asked: &Arc<AtomicUsize>, nth: Option<usize>) -> Plan {
    let asked = Arc::clone(asked);
    Box::new(move |_, call| {
        if !matches!(call, Call::Sync | Call::SyncDir) {
            return Verdict::Do;
        }
        let count = asked.fetch_add(1, Ordering::SeqCst) + 1;
        if Some(count) == nth {
            return Verdict::Fail(libc::EIO);
        }
        Verdict::Do
    })
}

fn is_whole(vault: &Path, name: &str) -> Result<(), StoreError> {
    let options = RestoreOptions {
        name: Some(name.to_owned()),
        ..RestoreOptions::default()
    };
    check(vault, &options, &silent()).map(drop)
}

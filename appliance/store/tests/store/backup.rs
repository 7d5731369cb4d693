//! Backups: whole or not there, incremental, restored to the same; and what is wrong with one is named.

use crate::site::{self, LEASE, Site, admit, conclusion, inference, study_uid, verbs};
use pericard_domain::actor::Actor;
use pericard_store::backup::{BackedUp, BackupOptions, RestoreOptions, Told, check, restore};
use pericard_store::care::DamageKind;
use pericard_store::{Store, StoreError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const CHILD: &str = "PERICARD_STORE_BACKUP_CHILD";
const OPTIONS: BackupOptions = BackupOptions {
    kept_max: 7,
    reread: false,
};

fn silent() -> Told {
    Arc::new(|_| {})
}

/// Studies with results, some delivered, and files beside the database.
async fn furnished(site: &Site, studies: u32) -> Store {
    let store = site.open();
    for study in 1..=studies {
        let job = inference(site, &store, study, &["m"]).await;
        let concluded = conclusion(&store, &job, (study, 50)).await;
        store.conclude(&job, concluded).await.expect("concluded");
    }
    let delivery = store.lease_delivery("pacs", LEASE).await.expect("leased");
    store
        .delivered(&delivery.expect("due"))
        .await
        .expect("delivered");
    let registry = site.dir.path().join("registry/packages");
    std::fs::create_dir_all(&registry).expect("made");
    std::fs::write(registry.join("model.onnx"), "weights").expect("written");
    store
}

async fn back_up(store: &Store, to: &Path) -> BackedUp {
    let made = store.backup(to, OPTIONS, (Actor::CommandLine, silent()));
    made.await.expect("a backup")
}

/// Everything that a store shows of its studies.
async fn shown(store: &Store) -> serde_json::Value {
    let mut all = Vec::new();
    for study in store.studies(1000, 0).await.expect("studies") {
        let uid = study.study.clone();
        let objects = store.instances(&uid).await.expect("objects");
        let bytes: Vec<_> = objects
            .iter()
            .map(|object| std::fs::read(store.object_path(object)).expect("its file"))
            .collect();
        all.push(serde_json::json!({
            "study": study, "objects": objects, "bytes": bytes,
            "reports": store.reports(&uid).await.expect("reports"),
            "deliveries": store.deliveries(Some(&uid), 0).await.expect("deliveries"),
        }));
    }
    serde_json::json!(all)
}

fn restored_site(from: &Path) -> Result<Site, StoreError> {
    let site = Site::new();
    let options = RestoreOptions {
        audit_origin: Some(site::ORIGIN.into()),
        ..RestoreOptions::default()
    };
    restore(from, site.dir.path(), &options, &silent()).map(|_| site)
}

/// Every content of the vault.
fn blobs(vault: &Path) -> Vec<PathBuf> {
    let dirs = std::fs::read_dir(vault.join("blobs"))
        .expect("blobs")
        .flatten();
    let files = dirs.flat_map(|dir| std::fs::read_dir(dir.path()).expect("blobs").flatten());
    files.map(|file| file.path()).collect()
}

#[tokio::test]
async fn what_is_restored_is_what_was_backed_up_and_goes_on() {
    let site = Site::new();
    let store = furnished(&site, 3).await;
    let vault = tempfile::tempdir().expect("a folder");
    let made = back_up(&store, vault.path()).await;
    assert_eq!((made.lost.len(), made.copied_files), (0, made.files));
    // What comes later is not in it, and what is removed later still is.
    let then = shown(&store).await;
    admit(&store, 9, 1).await;
    store
        .erase_study(&study_uid(1), false, Actor::CommandLine)
        .await
        .expect("erased");
    let again = restored_site(vault.path()).expect("restored");
    let copy = again.open();
    assert_eq!(shown(&copy).await, then);
    copy.verify_audit().await.expect("a whole log");
    let weights = again.dir.path().join("registry/packages/model.onnx");
    assert_eq!(std::fs::read(weights).expect("weights"), b"weights");
    admit(&copy, 9, 1).await;
    copy.verify_audit().await.expect("a whole log, longer");
    let said = verbs(&store).await;
    assert!(said.contains(&"begin backup".into()) && said.contains(&"end backup".into()));
}

#[tokio::test]
async fn a_second_backup_copies_only_what_is_new_and_old_ones_are_pruned() {
    let site = Site::new();
    let store = furnished(&site, 3).await;
    let vault = tempfile::tempdir().expect("a folder");
    let first = back_up(&store, vault.path()).await;
    site.clock.advance(Duration::from_secs(1));
    admit(&store, 9, 1).await;
    let second = back_up(&store, vault.path()).await;
    // The new object, the database, and the checkpoint of the log when it was written meanwhile.
    assert_eq!(second.files, first.files + 1);
    assert!((2..=3).contains(&second.copied_files), "{second:?}");
    assert!(first.name < second.name);
    // The first can still be restored by name.
    let older = tempfile::tempdir().expect("a folder");
    let options = RestoreOptions {
        name: Some(first.name.clone()),
        ..RestoreOptions::default()
    };
    let restored = restore(vault.path(), older.path(), &options, &silent()).expect("restored");
    assert_eq!(restored.files, first.files);
    // Erased, and every backup but the latest pruned: nothing of the study is left in the folder.
    let erased = store.instances(&study_uid(1)).await.expect("objects");
    store
        .erase_study(&study_uid(1), true, Actor::CommandLine)
        .await
        .expect("erased");
    site.clock.advance(Duration::from_secs(1));
    let only = BackupOptions {
        kept_max: 1,
        ..OPTIONS
    };
    let made = store.backup(vault.path(), only, (Actor::CommandLine, silent()));
    assert!(made.await.expect("a backup").pruned >= 4);
    let left = blobs(vault.path());
    let name = |path: &PathBuf| {
        path.file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let left: Vec<_> = left.iter().map(name).collect();
    assert!(
        erased
            .iter()
            .all(|object| !left.contains(&object.digest.to_string()))
    );
    restored_site(vault.path()).expect("and the latest is whole");
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_the_backup_is_named_and_nothing_is_left_behind() {
    let site = Site::new();
    let store = furnished(&site, 2).await;
    let vault = tempfile::tempdir().expect("a folder");
    let made = back_up(&store, vault.path()).await;
    let manifest = vault.path().join("manifests").join(&made.name);
    let mut files = blobs(vault.path());
    files.push(manifest.clone());
    for file in files {
        let whole = std::fs::read(&file).expect("its bytes");
        let mut harmed = whole.clone();
        let middle = harmed.len() / 2;
        harmed[middle] ^= 1;
        std::fs::write(&file, harmed).expect("harmed");
        let name = file
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        for outcome in [
            restored_site(vault.path()).map(drop),
            check(vault.path(), &RestoreOptions::default(), &silent()).map(drop),
        ] {
            let said = outcome.expect_err("found").to_string();
            assert!(said.contains(&name), "{name}: {said}");
        }
        std::fs::write(&file, whole).expect("as it was");
    }
    // Cut off in the manifest, at every line.
    let whole = std::fs::read_to_string(&manifest).expect("the manifest");
    for (at, _) in whole.match_indices('\n') {
        std::fs::write(&manifest, &whole[..at]).expect("cut");
        let cut = restored_site(vault.path()).err();
        assert!(cut.is_some() || at + 1 == whole.len(), "cut at {at}");
    }
    std::fs::write(&manifest, whole).expect("as it was");
    check(vault.path(), &RestoreOptions::default(), &silent()).expect("whole again");
    // A failed restore leaves the place as empty as it was.
    std::fs::write(&blobs(vault.path())[0], "rot").expect("harmed");
    let empty = tempfile::tempdir().expect("a folder");
    restore(
        vault.path(),
        empty.path(),
        &RestoreOptions::default(),
        &silent(),
    )
    .expect_err("refused");
    assert_eq!(
        std::fs::read_dir(empty.path()).expect("the folder").count(),
        0
    );
}

#[tokio::test]
async fn a_place_that_is_not_empty_and_another_appliances_backup_are_refused() {
    let site = Site::new();
    let store = furnished(&site, 1).await;
    let vault = tempfile::tempdir().expect("a folder");
    back_up(&store, vault.path()).await;
    let full = restore(
        vault.path(),
        site.dir.path(),
        &RestoreOptions::default(),
        &silent(),
    );
    let reason = full.expect_err("refused").to_string();
    assert!(reason.contains("is not empty"), "{reason}");
    let other = RestoreOptions {
        audit_origin: Some("another/audit".into()),
        ..RestoreOptions::default()
    };
    let empty = tempfile::tempdir().expect("a folder");
    let reason = restore(vault.path(), empty.path(), &other, &silent());
    let reason = reason.expect_err("refused").to_string();
    assert!(reason.contains(site::ORIGIN), "{reason}");
    let inside = site.dir.path().join("backups");
    let made = store.backup(&inside, OPTIONS, (Actor::CommandLine, silent()));
    let reason = made.await.expect_err("refused").to_string();
    assert!(reason.contains("inside the data directory") && !inside.exists());
    // Cut off while it was restored, it is no data directory.
    let cut = Site::new();
    std::fs::write(cut.dir.path().join("restore.unfinished"), "").expect("written");
    let Err(refused) = Store::open(cut.config(), cut.clock()) else {
        panic!("opened");
    };
    let reason = refused.to_string();
    assert!(reason.contains("was cut off"), "{reason}");
}

#[tokio::test]
async fn what_is_lost_is_said_and_the_rest_is_backed_up() {
    let site = Site::new();
    let store = furnished(&site, 2).await;
    let objects = store.instances(&study_uid(1)).await.expect("objects");
    std::fs::write(store.object_path(&objects[0]), "rot").expect("harmed");
    let vault = tempfile::tempdir().expect("a folder");
    let made = back_up(&store, vault.path()).await;
    assert_eq!(made.lost.len(), 1, "{:?}", made.lost);
    let copy = restored_site(vault.path()).expect("restored");
    let store = copy.open();
    let damages = store.damages(0).await.expect("damages");
    let kinds: Vec<_> = damages
        .iter()
        .map(|d| (d.instance.clone(), d.kind))
        .collect();
    assert_eq!(
        kinds,
        [(objects[0].identity.instance.clone(), DamageKind::Missing)]
    );
    // And one that rots in the backup can be left out on purpose.
    let objects = store.instances(&study_uid(2)).await.expect("objects");
    let name = objects[0].digest.to_string();
    let blob = vault.path().join("blobs").join(&name[..2]).join(&name);
    std::fs::write(blob, "rot").expect("harmed");
    restored_site(vault.path()).map(drop).expect_err("refused");
    let options = RestoreOptions {
        accepts_losses: true,
        ..RestoreOptions::default()
    };
    let place = tempfile::tempdir().expect("a folder");
    let restored = restore(vault.path(), place.path(), &options, &silent()).expect("restored");
    assert_eq!(restored.lost.len(), 2);
}

#[tokio::test]
async fn rot_in_the_folder_is_found_and_copied_anew_when_asked() {
    let site = Site::new();
    let store = furnished(&site, 1).await;
    let vault = tempfile::tempdir().expect("a folder");
    back_up(&store, vault.path()).await;
    let object = &store.instances(&study_uid(1)).await.expect("objects")[0];
    let name = object.digest.to_string();
    let blob = vault.path().join("blobs").join(&name[..2]).join(&name);
    let mut bytes = std::fs::read(&blob).expect("its bytes");
    bytes[3] ^= 1;
    std::fs::write(&blob, bytes).expect("harmed");
    site.clock.advance(Duration::from_secs(1));
    let reread = BackupOptions {
        reread: true,
        ..OPTIONS
    };
    let made = store.backup(vault.path(), reread, (Actor::CommandLine, silent()));
    made.await.expect("a backup");
    restored_site(vault.path()).expect("whole again");
}

/// Killed at many moments, with senders at work: every older backup restores to what it was, and the next one is made.
#[test]
fn killed_in_the_middle_the_previous_backup_is_intact() {
    const ROUNDS: u32 = 30;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let site = Site::new();
    let vault = tempfile::tempdir().expect("a folder");
    let then = runtime.block_on(async {
        let store = furnished(&site, 4).await;
        back_up(&store, vault.path()).await;
        shown(&store).await
    });
    let first = names(vault.path());
    let mut cut = 0;
    for round in 0..ROUNDS {
        let before = names(vault.path()).len();
        kill_backup_after(&site, vault.path(), round);
        cut += u32::from(names(vault.path()).len() == before);
        let place = tempfile::tempdir().expect("a folder");
        let options = RestoreOptions {
            name: Some(first[0].clone()),
            ..RestoreOptions::default()
        };
        restore(vault.path(), place.path(), &options, &silent()).expect("the first is intact");
        check(vault.path(), &RestoreOptions::default(), &silent()).expect("the latest is whole");
        if round % 10 == 9 {
            let copy = Site {
                dir: place,
                clock: Arc::clone(&site.clock),
            };
            runtime.block_on(async {
                let store = copy.open();
                assert_eq!(shown(&store).await, then);
                store.verify_audit().await.expect("a whole log");
            });
        }
    }
    assert!(cut >= ROUNDS / 3, "most were cut off: {cut}");
    runtime.block_on(async {
        let store = site.open();
        back_up(&store, vault.path()).await;
        let copy = restored_site(vault.path()).expect("restored");
        let copy = copy.open();
        assert_eq!(shown(&copy).await, shown(&store).await);
    });
}

fn names(vault: &Path) -> Vec<String> {
    let items = std::fs::read_dir(vault.join("manifests"))
        .expect("manifests")
        .flatten();
    let mut names: Vec<_> = items
        .map(|item| item.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Lets a child admit and back up, and kills it when it has told of so many files.
fn kill_backup_after(site: &Site, vault: &Path, round: u32) {
    use std::io::BufRead as _;
    let exe = std::env::current_exe().expect("this program");
    let mut child = Command::new(exe)
        .args([
            "--exact",
            "backup::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(
            CHILD,
            format!("{round}:{}:{}", site.dir.path().display(), vault.display()),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child");
    let lines = std::io::BufReader::new(child.stdout.take().expect("its output")).lines();
    let enough = round as usize * 2;
    for _file in lines
        .map_while(Result::ok)
        .filter(|line| line.contains("copied"))
        .take(enough)
    {}
    child.kill().expect("killed");
    child.wait().expect("gone");
}

/// Not a test but the child of the one above: without its environment it does nothing.
#[test]
fn child() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let mut told = told.splitn(3, ':');
    let round: u32 = told.next().and_then(|n| n.parse().ok()).expect("a number");
    let (dir, vault) = (
        told.next().expect("a folder"),
        told.next().expect("a folder"),
    );
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let clock = pericard_domain::time::StandingClock::new(site::at(1000 + u64::from(round)));
        let store = Store::open(site::config(Path::new(dir)), Arc::new(clock)).expect("opens");
        for n in 1..=24 {
            admit(&store, 1000 + round, n).await;
        }
        let told: Told = Arc::new(|progress| site::say(&format!("copied {}", progress.files)));
        let options = BackupOptions {
            kept_max: 100,
            reread: false,
        };
        let made = store.backup(Path::new(vault), options, (Actor::CommandLine, told));
        made.await.expect("a backup");
    });
}

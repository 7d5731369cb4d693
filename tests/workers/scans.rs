//! What arrives is scanned behind walls: by whose process, and what its loss costs.

use crate::losses::signal;
use crate::stage::{cached, config, s};

use pericard_runner::{Haste, Runner, RunnerConfig, ScanFailure};
use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

/// The files of a real study.
fn sample() -> Option<Vec<PathBuf>> {
    let entries = std::fs::read_dir(cached("samples/t1-head")?).expect("the sample");
    Some(
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect(),
    )
}

fn opened(path: &PathBuf) -> File {
    File::open(path).expect("a file")
}

fn malformed() -> File {
    let path = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(path.path(), [7; 4096]).expect("written");
    File::open(path.path()).expect("a file")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_serves_one_caller_and_no_other() {
    let (Some(config), Some(files)) = (config(), sample()) else {
        return;
    };
    let runner = Runner::new(config);
    let first = runner.scan("a", opened(&files[0]), Haste::Soon).await;
    let first = first.expect("it is whole");
    assert_eq!(first.facts.modality.as_deref(), Some("MR"));
    assert!(first.facts.rows.is_some() && first.facts.patient_id.is_some());
    let of_a = runner.scanner_pids();
    assert_eq!(of_a.len(), 1);
    // What is no object costs no scanner.
    let refused = runner.scan("a", malformed(), Haste::Soon).await;
    assert!(
        matches!(&refused, Err(ScanFailure::Malformed(why)) if why.contains("DICOM")),
        "{refused:?}"
    );
    let second = runner.scan("a", opened(&files[1]), Haste::Long).await;
    let second = second.expect("it is whole");
    assert_eq!(second.identity.series, first.identity.series);
    assert_ne!(second.identity.instance, first.identity.instance);
    assert_eq!(runner.scanner_pids(), of_a, "the same process");
    let other = runner.scan("b", opened(&files[0]), Haste::Soon).await;
    assert_eq!(other.expect("it is whole"), first);
    let both = runner.scanner_pids();
    assert!(both.len() == 2 && both.contains(&of_a[0]), "{both:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_scans_at_once_give_each_its_own_answer() {
    let (Some(config), Some(files)) = (config(), sample()) else {
        return;
    };
    let runner = Runner::new(config);
    let mut expected = Vec::new();
    for file in &files {
        let scanned = runner.scan("a", opened(file), Haste::Soon).await;
        expected.push(scanned.expect("it is whole").identity.instance);
    }
    let mut scans = tokio::task::JoinSet::new();
    for round in 0..8 {
        for (number, file) in files.iter().enumerate() {
            let (runner, file) = (runner.clone(), opened(file));
            let caller = ["a", "b", "c"][(round + number) % 3];
            scans.spawn(async move { (number, runner.scan(caller, file, Haste::Soon).await) });
        }
    }
    let mut scanned = 0;
    while let Some(done) = scans.join_next().await {
        let (number, answer) = done.expect("a task");
        assert_eq!(
            answer.expect("it is whole").identity.instance,
            expected[number]
        );
        scanned += 1;
    }
    assert_eq!(scanned, 8 * files.len());
    assert_eq!(runner.scanner_pids().len(), 3, "one for each caller");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_a_scanner_costs_its_object_a_second_try_and_nobody_else_anything() {
    let (Some(config), Some(files)) = (config(), sample()) else {
        return;
    };
    let runner = Runner::new(RunnerConfig {
        reading_timeout: s(2),
        ..config
    });
    let scan = |haste| runner.scan("a", opened(&files[0]), haste);
    let first = scan(Haste::Soon).await.expect("it is whole");
    let idle = runner.scanner_pids();
    signal(idle[0], "KILL");
    assert_eq!(
        scan(Haste::Soon).await.as_ref(),
        Ok(&first),
        "killed while it waited"
    );
    let hangs = runner.scanner_pids();
    assert_ne!(hangs, idle);
    signal(hangs[0], "STOP");
    let begun = Instant::now();
    assert_eq!(
        scan(Haste::Long).await.as_ref(),
        Ok(&first),
        "it hung, and was ended"
    );
    assert!(begun.elapsed() >= s(2), "it was waited for");
    assert!(!runner.scanner_pids().contains(&hangs[0]));
    assert!(!std::path::Path::new(&format!("/proc/{}", hangs[0])).exists());

    // A scan that nobody waits for any more: its process answers to nobody else.
    let abandoned = runner.scanner_pids();
    signal(abandoned[0], "STOP");
    let given_up = tokio::time::timeout(s(1), scan(Haste::Long)).await;
    assert!(given_up.is_err(), "it hangs");
    assert_eq!(scan(Haste::Soon).await.as_ref(), Ok(&first));
    assert!(!runner.scanner_pids().contains(&abandoned[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_scanner_can_be_had_the_object_is_not_blamed() {
    let (Some(config), Some(files)) = (config(), sample()) else {
        return;
    };
    let worker = pericard_runner::workers_of("/nonexistent/pericard");
    let runner = Runner::new(RunnerConfig { worker, ..config });
    let refused = runner.scan("a", opened(&files[0]), Haste::Soon).await;
    assert!(
        matches!(refused, Err(ScanFailure::Unavailable(_))),
        "{refused:?}"
    );
}

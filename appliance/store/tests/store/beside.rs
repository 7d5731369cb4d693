//! The command line at work beside the serving process.

use crate::site::{self, LEASE, Site, TERMS, inference};
use pericard_domain::actor::Actor;
use pericard_domain::job::{Failure, FailureClass};
use pericard_store::StoreError;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_keep_one_whole_log() {
    const EACH: u64 = 60;
    let site = Site::new();
    let (server, cli) = (site.open(), site.open_beside());
    let note = |store: pericard_store::Store, verb: &'static str| {
        tokio::spawn(async move {
            for n in 0..EACH {
                let subject = format!("study {n}");
                store
                    .note_access(verb, &subject, Actor::CommandLine)
                    .await
                    .expect("noted");
            }
        })
    };
    let tasks = [
        note(server.clone(), "read study"),
        note(cli.clone(), "list jobs"),
    ];
    for task in tasks {
        task.await.expect("no panic");
    }
    for store in [&server, &cli] {
        let verified = store.verify_audit().await.expect("a whole log");
        assert_eq!(verified.lines, 2 * EACH);
    }
    drop((server, cli));
    site.open().verify_audit().await.expect("a whole log");
}

#[tokio::test]
async fn opened_beside_lapses_no_lease_and_receives_nothing() {
    let site = Site::new();
    let server = site.open();
    let job = inference(&site, &server, 1, &["m"]).await;
    let cli = site.open_beside();
    server.renew(&job, LEASE).await.expect("still held");
    assert!(matches!(
        cli.incoming().err(),
        Some(StoreError::Conflict(_))
    ));
    let seen = cli.job(job.job.id).await.expect("the job");
    assert_eq!(seen.state.name(), "leased");
}

#[tokio::test]
async fn the_server_notices_what_is_changed_beside_it() {
    let site = Site::new();
    let server = site.open();
    let job = inference(&site, &server, 1, &["m"]).await;
    let failure = Failure {
        class: FailureClass::ModelFailed,
        reason: "x".into(),
    };
    server.fail(&job, failure, None).await.expect("failed");
    assert_eq!(server.lease(TERMS).await, Ok(None));
    let cli = site.open_beside();
    cli.retry_job(job.job.id, Actor::CommandLine)
        .await
        .expect("retried");
    let retried = async {
        loop {
            if let Some(job) = server.lease(TERMS).await.expect("leased") {
                return job;
            }
            server.changed().await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(10), retried).await;
    assert_eq!(found.expect("noticed").job.id, job.job.id);
}

#[tokio::test]
async fn a_fresh_directory_can_be_opened_beside_first() {
    let site = Site::new();
    let cli = site.open_beside();
    cli.note_access("issue", "token", Actor::CommandLine)
        .await
        .expect("noted");
    let server = site.open();
    drop(cli);
    assert_eq!(site::verbs(&server).await, ["issue"]);
    server.verify_audit().await.expect("a whole log");
}

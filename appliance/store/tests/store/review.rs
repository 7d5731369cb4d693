//! What people say of results.

use crate::site::{Site, at, conclusion, inference, peer, study_uid, verbs};
use pericard_domain::actor::Actor;
use pericard_domain::job::JobId;
use pericard_domain::time::Timestamp;
use pericard_store::review::Verdict::{self, Agreed, Disagreed};
use pericard_store::week::WEEK_MS;
use pericard_store::{Store, StoreError};

/// Study 1 with one result, and the job that gave it.
async fn with_result() -> (Site, Store, JobId) {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    let results = conclusion(&store, &job, (1, 9)).await;
    store.conclude(&job, results).await.expect("concluded");
    (site, store, job.job.id)
}

fn radiologist(id: &str) -> Actor {
    Actor::Token {
        id: id.into(),
        address: [127, 0, 0, 1].into(),
    }
}

async fn standing(store: &Store) -> Vec<(String, Verdict)> {
    let kept = store.reports(&study_uid(1)).await.expect("reports");
    let reviews = kept[0].reviews.iter();
    reviews.map(|r| (r.reviewer.clone(), r.verdict)).collect()
}

async fn counted(store: &Store) -> (u64, u64, u64) {
    let all = Timestamp::from_millis(i64::MAX);
    let weeks = store.concordance(at(0), all).await.expect("counted");
    assert_eq!(weeks.len(), 1);
    assert!(at(10).as_millis() - weeks[0].week_begins.as_millis() < WEEK_MS);
    (weeks[0].agreed, weeks[0].disagreed, weeks[0].unreviewed)
}

#[tokio::test]
async fn a_later_verdict_of_the_same_reviewer_takes_the_place_and_both_are_audited() {
    let (site, store, job) = with_result().await;
    assert_eq!(counted(&store).await, (0, 0, 1));
    let study = study_uid(1);
    let say = |verdict, by| store.review(&study, job, verdict, by);
    for (verdict, lines) in [(Agreed, 1), (Agreed, 1), (Disagreed, 2)] {
        say(verdict, radiologist("ab")).await.expect("said");
        let said = verbs(&store).await;
        let said = said.iter().filter(|verb| *verb == "review result").count();
        assert_eq!(said, lines, "{verdict:?}");
        assert_eq!(standing(&store).await, [("token ab".to_owned(), verdict)]);
    }
    assert_eq!(counted(&store).await, (0, 1, 0));
    site.clock.set(at(20));
    say(Agreed, peer()).await.expect("said");
    let latest = standing(&store).await;
    assert_eq!(latest[0], ("peer CT1".to_owned(), Agreed));
    assert_eq!(latest.len(), 2, "each reviewer has a verdict of their own");
    assert_eq!(counted(&store).await, (1, 0, 0), "the latest counts");
    let inferences = store.inferences(at(0), at(1000)).await.expect("read");
    assert_eq!(inferences[0].verdict, Some(Agreed));
    store.verify_audit().await.expect("a whole log");
}

#[tokio::test]
async fn only_results_are_reviewed_and_only_by_somebody() {
    let (_site, store, job) = with_result().await;
    let by = || radiologist("ab");
    let results = [
        store.review(&study_uid(2), job, Agreed, by()).await,
        store
            .review(&study_uid(1), JobId(job.0 + 1), Agreed, by())
            .await,
    ];
    for refused in results {
        assert!(matches!(refused, Err(StoreError::NotFound(_))));
    }
    for nobody in [Actor::CommandLine, Actor::room("jobs")] {
        let refused = store.review(&study_uid(1), job, Agreed, nobody).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))));
    }
    assert_eq!(standing(&store).await, []);
}

#[tokio::test]
async fn an_erased_study_takes_what_was_said_of_it_along() {
    let (site, store, job) = with_result().await;
    let by = radiologist("ab");
    store
        .review(&study_uid(1), job, Disagreed, by)
        .await
        .expect("said");
    store
        .erase_study(&study_uid(1), false, Actor::CommandLine)
        .await
        .expect("erased");
    let left = site
        .database()
        .query_row("SELECT count(*) FROM reviews", (), |row| row.get(0));
    assert_eq!(left, Ok(0));
}

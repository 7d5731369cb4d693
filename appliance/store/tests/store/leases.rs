//! Who is at work, and what becomes of a job when they are not heard of again.

use crate::site::{self, LEASE, Site, TERMS, admit, at, inference, lease, offer, peer};
use pericard_domain::actor::Actor;
use pericard_domain::job::{Failure, FailureClass, JobId, JobState, Priority};
use pericard_store::StoreError;
use pericard_store::queue::JobQuery;
use std::time::Duration;

fn failure(class: FailureClass) -> Failure {
    Failure {
        class,
        reason: "the reason".into(),
    }
}

#[tokio::test]
async fn the_most_urgent_then_the_oldest_comes_first() {
    let site = Site::new();
    let store = site.open();
    let wishes = [
        (1, Priority::Batch, 1),
        (2, Priority::Routine, 3),
        (3, Priority::Routine, 2),
        (4, Priority::Stat, 5),
        (5, Priority::Routine, 2),
    ];
    for (study, priority, due_s) in wishes {
        let mut object = offer(&store, study, 1, &[study as u8]).await;
        (object.priority, object.assemble_at) = (priority, at(due_s));
        store.admit(object, peer()).await.expect("admitted");
    }
    assert_eq!(store.next_due().await, Ok(Some(at(1))));
    site.clock.set(at(5));
    let mut order = Vec::new();
    while let Some(job) = store.lease(TERMS).await.expect("leased") {
        assert_eq!(job.until, at(65));
        order.push(job.job.work.study().to_string());
    }
    let expected = [4, 3, 5, 2, 1].map(|n| site::study_uid(n).to_string());
    assert_eq!(order, expected);
    assert_eq!(
        store.next_due().await,
        Ok(Some(at(65))),
        "when the first lease lapses"
    );
}

#[tokio::test]
async fn a_lapsed_lease_is_given_again_until_no_attempt_is_left() {
    let site = Site::new();
    let store = site.open();
    let mut held = inference(&site, &store, 1, &["m"]).await;
    for attempt in 1..=3 {
        assert_eq!(held.job.attempts, attempt);
        site.clock.advance(LEASE - Duration::from_millis(1));
        assert_eq!(store.lease(TERMS).await, Ok(None), "the lease still holds");
        site.clock.advance(Duration::from_millis(1));
        let next = store.lease(TERMS).await.expect("leased");
        if let Some(next) = next {
            let late = store
                .fail(&held, failure(FailureClass::Internal), None)
                .await;
            assert_eq!(
                late,
                Err(StoreError::LeaseLapsed),
                "somebody else is at work"
            );
            held = next;
        } else {
            assert_eq!(attempt, 3);
        }
    }
    let job = store.job(held.job.id).await.expect("the job");
    let JobState::Failed { failure } = job.state else {
        panic!("visible in its state: {job:?}");
    };
    assert_eq!(failure.class, FailureClass::WorkerLost);
    assert!(failure.reason.contains("3 attempts"), "{failure:?}");
    assert_eq!(store.depth().await.expect("depth").failed_jobs, 1);
    let verbs = site::verbs(&store).await;
    assert_eq!(verbs[2..], ["lapse lease", "lapse lease", "fail job"]);
    store.verify_audit().await.expect("a whole log");
}

#[tokio::test]
async fn a_renewed_lease_holds_and_a_late_holder_keeps_what_nobody_took() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    site.clock.advance(LEASE / 2);
    store.renew(&job, LEASE).await.expect("renewed");
    site.clock.advance(LEASE * 3 / 4);
    assert_eq!(store.lease(TERMS).await, Ok(None));
    site.clock.advance(LEASE); // lapsed, and nobody has asked for work
    store.renew(&job, LEASE).await.expect("still the holder's");
    assert_eq!(store.lease(TERMS).await, Ok(None));
}

#[tokio::test]
async fn a_transient_failure_waits_and_a_permanent_one_does_not() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    let lost = failure(FailureClass::WorkerLost);
    store
        .fail(&job, lost.clone(), Some(at(100)))
        .await
        .expect("put back");
    let waiting = store.job(job.job.id).await.expect("the job");
    assert_eq!(waiting.state, JobState::Waiting { due_at: at(100) });
    assert_eq!((waiting.attempts, waiting.last_failure), (1, Some(lost)));
    assert_eq!(store.lease(TERMS).await, Ok(None));
    site.clock.set(at(100));
    let job = lease(&store).await;
    let unsuitable = failure(FailureClass::UnsuitableInput);
    store
        .fail(&job, unsuitable.clone(), Some(at(200)))
        .await
        .expect("failed");
    let failed = store.job(job.job.id).await.expect("the job");
    assert_eq!(
        failed.state,
        JobState::Failed {
            failure: unsuitable
        }
    );
    assert_eq!(failed.ended_at, Some(at(100)));
}

#[tokio::test]
async fn the_last_transient_failure_ends_the_job_at_once() {
    let site = Site::new();
    let store = site.open();
    let mut job = inference(&site, &store, 1, &["m"]).await;
    for attempt in 1..=3 {
        let lost = failure(FailureClass::WorkerLost);
        store
            .fail(&job, lost, Some(at(10)))
            .await
            .expect("put back or failed");
        if attempt < 3 {
            job = lease(&store).await;
        }
    }
    let failed = store.job(job.job.id).await.expect("the job");
    assert_eq!(failed.state.name(), "failed");
}

#[tokio::test]
async fn postponing_costs_no_attempt() {
    let site = Site::new();
    let store = site.open();
    let mut job = inference(&site, &store, 1, &["m"]).await;
    for n in 1..10 {
        assert_eq!(job.job.attempts, 1);
        store.postpone(&job, at(10 + n)).await.expect("postponed");
        site.clock.set(at(10 + n));
        job = lease(&store).await;
    }
}

#[tokio::test]
async fn a_former_process_holds_no_lease() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    drop(store);
    let store = site.open();
    let again = lease(&store).await;
    // The job is not at fault when the whole appliance ends: it costs no attempt.
    assert_eq!((again.job.id, again.job.attempts), (job.job.id, 1));
    assert_eq!(store.renew(&job, LEASE).await, Err(StoreError::LeaseLapsed));
}

#[tokio::test]
async fn people_cancel_what_waits_and_retry_what_ended() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    let (id, by) = (job.job.id, Actor::CommandLine);
    let refused = store.cancel_job(id, by.clone()).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(_))),
        "it is at work: {refused:?}"
    );
    store
        .fail(&job, failure(FailureClass::ModelFailed), None)
        .await
        .expect("failed");
    let retried = store.retry_job(id, by.clone()).await.expect("retried");
    assert_eq!(retried.state, JobState::Waiting { due_at: at(10) });
    assert_eq!((retried.attempts, retried.ended_at), (0, None));
    let cancelled = store.cancel_job(id, by.clone()).await.expect("cancelled");
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(store.lease(TERMS).await, Ok(None));
    store.retry_job(id, by.clone()).await.expect("retried");
    lease(&store).await;
    let none = store.retry_job(JobId(99), by).await;
    assert_eq!(none.err(), Some(StoreError::NotFound("job")));
    let verbs = site::verbs(&store).await;
    assert_eq!(
        verbs[2..],
        ["fail job", "retry job", "cancel job", "retry job"]
    );
}

#[tokio::test]
async fn an_assembly_is_not_retried_beside_the_next_one() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    site.clock.set(at(10));
    let assembly = lease(&store).await;
    store
        .fail(&assembly, failure(FailureClass::ModelUnavailable), None)
        .await
        .expect("failed");
    admit(&store, 1, 2).await;
    let refused = store.retry_job(assembly.job.id, Actor::CommandLine).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn waiting_for_change_misses_nothing() {
    let site = Site::new();
    let store = site.open();
    let waiter = store.clone();
    assert_eq!(waiter.lease(TERMS).await, Ok(None));
    admit(&store, 1, 1).await; // between finding nothing and waiting
    waiter.changed().await;
    let news = waiter.changed();
    let quiet = tokio::time::timeout(Duration::from_millis(1), news).await;
    // An idle store may bring a first spurious wake; after it there is silence until something happens.
    if quiet.is_ok() {
        let quiet = tokio::time::timeout(Duration::from_millis(300), waiter.changed()).await;
        assert!(quiet.is_err(), "nothing has changed");
    }
    let jobs = store.jobs(JobQuery::default()).await.expect("jobs");
    store
        .cancel_job(jobs[0].id, Actor::CommandLine)
        .await
        .expect("cancelled");
    waiter.changed().await;
}

#[tokio::test]
async fn jobs_are_listed_latest_first_by_study_and_state() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m", "n"]).await;
    admit(&store, 2, 1).await;
    let list = async |query| {
        let jobs = store.jobs(query).await.expect("jobs");
        jobs.into_iter().map(|job| job.id.0).collect::<Vec<_>>()
    };
    assert_eq!(list(JobQuery::default()).await, [4, 3, 2, 1]);
    let leased = JobQuery {
        state: Some("leased".into()),
        ..JobQuery::default()
    };
    assert_eq!(list(leased).await, [job.job.id.0]);
    let of_study = JobQuery {
        study: Some(site::study_uid(2)),
        ..JobQuery::default()
    };
    assert_eq!(list(of_study).await, [4]);
    assert_eq!(
        list(JobQuery {
            limit: 1,
            ..JobQuery::default()
        })
        .await,
        [4]
    );
    let depth = store.depth().await.expect("depth");
    assert_eq!(depth.open_jobs[&Priority::Routine], 3);
}

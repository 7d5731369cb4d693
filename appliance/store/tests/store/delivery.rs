//! The outbox: each result to each destination, until it is there or given up.

use crate::site::{self, LEASE, Site, at, conclusion, inference};
use pericard_domain::actor::Actor;
use pericard_domain::job::{Priority, Work};
use pericard_store::admission::NewObject;
use pericard_store::outbox::DeliveryTrouble;
use pericard_store::queue::PlannedInference;
use pericard_store::{Store, StoreError};

async fn with_mail(site: &Site) -> Store {
    let store = site.open();
    let job = inference(site, &store, 1, &["m"]).await;
    let results = conclusion(&store, &job, (1, 9)).await;
    store.conclude(&job, results).await.expect("concluded");
    store
}

async fn take(store: &Store) -> Option<pericard_store::outbox::Delivery> {
    store.lease_delivery("pacs", LEASE).await.expect("leased")
}

#[tokio::test]
async fn delivered_once_and_never_offered_again() {
    let site = Site::new();
    let store = with_mail(&site).await;
    assert!(
        store
            .lease_delivery("elsewhere", LEASE)
            .await
            .expect("leased")
            .is_none()
    );
    assert_eq!(store.next_delivery_due("pacs").await, Ok(Some(at(10))));
    let delivery = take(&store).await.expect("mail");
    assert_eq!(
        delivery.instance.identity.instance,
        site::instance_uid(1, 9)
    );
    assert!(take(&store).await.is_none(), "it is in hand");
    assert_eq!(store.depth().await.expect("depth").undelivered, 1);
    let taken = async |of, by| store.results_taken(&site::study_uid(of), by).await;
    assert_eq!(taken(1, "pacs").await, Ok(0));
    store.delivered(&delivery).await.expect("delivered");
    assert_eq!(taken(1, "pacs").await, Ok(1));
    assert_eq!(taken(1, "elsewhere").await, Ok(0));
    assert_eq!(taken(2, "pacs").await, Ok(0));
    assert_eq!(
        store.delivered(&delivery).await,
        Err(StoreError::LeaseLapsed)
    );
    site.clock.set(at(10_000));
    assert!(take(&store).await.is_none());
    let mail = store
        .deliveries(Some(&site::study_uid(1)), 0)
        .await
        .expect("mail");
    assert_eq!(
        (mail[0].state.as_str(), mail[0].delivered_at),
        ("delivered", Some(at(10)))
    );
    assert!(store.deliveries(None, 0).await.expect("mail").is_empty());
    assert_eq!(
        site::verbs(&store).await.last().map(String::as_str),
        Some("deliver")
    );
}

#[tokio::test]
async fn a_transient_trouble_waits_and_a_permanent_one_is_given_up() {
    let site = Site::new();
    let store = with_mail(&site).await;
    let delivery = take(&store).await.expect("mail");
    let reason = "the peer is out of resources".to_owned();
    let later = DeliveryTrouble::Transient {
        reason: reason.clone(),
        retry_at: at(100),
    };
    store
        .not_delivered(&delivery, later)
        .await
        .expect("put off");
    assert!(take(&store).await.is_none());
    assert_eq!(store.next_delivery_due("pacs").await, Ok(Some(at(100))));
    site.clock.set(at(100));
    let delivery = take(&store).await.expect("mail");
    assert_eq!(delivery.attempts, 2);
    let never = DeliveryTrouble::Permanent {
        reason: "SOP class refused".into(),
    };
    store
        .not_delivered(&delivery, never)
        .await
        .expect("given up");
    site.clock.set(at(10_000));
    assert!(take(&store).await.is_none());
    let depth = store.depth().await.expect("depth");
    assert_eq!((depth.undelivered, depth.undeliverable), (0, 1));
    let mail = store.deliveries(None, 0).await.expect("mail");
    assert_eq!(mail[0].last_trouble.as_deref(), Some("SOP class refused"));
    assert_eq!(
        site::verbs(&store).await[3..],
        ["not delivered", "not delivered"]
    );

    store
        .retry_delivery(mail[0].id, Actor::CommandLine)
        .await
        .expect("retried");
    let delivery = take(&store).await.expect("mail");
    store.delivered(&delivery).await.expect("delivered");
    let again = store.retry_delivery(mail[0].id, Actor::CommandLine).await;
    assert!(matches!(again, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn a_lapsed_delivery_is_offered_again_also_after_a_crash() {
    let site = Site::new();
    let mut store = with_mail(&site).await;
    let first = take(&store).await.expect("mail");
    site.clock.advance(LEASE);
    let second = take(&store).await.expect("mail");
    assert_eq!((second.id, second.attempts), (first.id, 2));
    assert_eq!(store.delivered(&first).await, Err(StoreError::LeaseLapsed));
    drop(store);
    store = site.open();
    let third = take(&store)
        .await
        .expect("mail, before the lease would have lapsed");
    store.delivered(&third).await.expect("delivered");
}

/// One result of each class for the PACS, of which the RIS is told, concluded in this order.
async fn with_urgent_mail(site: &Site, classes: &[(u32, Priority)]) -> Store {
    let store = site.open();
    for &(study, priority) in classes {
        let object = NewObject {
            assemble_at: at(0),
            ..site::offer(&store, study, 1, format!("study {study}").as_bytes()).await
        };
        store.admit(object, site::peer()).await.expect("admitted");
        let assembly = site::lease(&store).await;
        let planned = PlannedInference {
            priority,
            messages: vec!["ris".into()],
            ..site::planned("m")
        };
        let complete = store.complete_study(&assembly, vec![planned]).await;
        complete.expect("complete");
        let job = site::lease(&store).await;
        let results = conclusion(&store, &job, (study, 9)).await;
        store.conclude(&job, results).await.expect("concluded");
    }
    store
}

const CLASSES: [(u32, Priority); 4] = [
    (1, Priority::Batch),
    (2, Priority::Routine),
    (3, Priority::Routine),
    (4, Priority::Stat),
];

#[tokio::test]
async fn what_is_urgent_leaves_first() {
    let site = Site::new();
    let store = with_urgent_mail(&site, &CLASSES).await;
    let mut left = Vec::new();
    while let Some(delivery) = take(&store).await {
        left.push(delivery.instance.identity.study);
    }
    assert_eq!(left, [4, 2, 3, 1].map(site::study_uid));
}

#[tokio::test]
async fn an_urgent_delivery_that_waits_for_its_next_attempt_holds_nothing_up() {
    let site = Site::new();
    let store = with_urgent_mail(&site, &CLASSES).await;
    let urgent = take(&store).await.expect("mail");
    let later = DeliveryTrouble::Transient {
        reason: "the peer is out of resources".into(),
        retry_at: at(100),
    };
    let put_off = store.not_delivered(&urgent, later).await;
    put_off.expect("put off");
    let next = take(&store).await.expect("mail");
    assert_eq!(next.instance.identity.study, site::study_uid(2));
    site.clock.set(at(100));
    let next = take(&store).await.expect("mail");
    assert_eq!(next.id, urgent.id);
}

#[tokio::test]
async fn what_is_urgent_is_told_first_and_never_before_an_earlier_word_on_the_same_study() {
    let site = Site::new();
    let store = with_urgent_mail(&site, &CLASSES).await;
    // Study 1 becomes urgent with its second revision: the first, which nobody was told of yet, is no later than that.
    let late = NewObject {
        assemble_at: at(0),
        ..site::offer(&store, 1, 2, b"a late object").await
    };
    store.admit(late, site::peer()).await.expect("admitted");
    let assembly = site::lease(&store).await;
    let planned = PlannedInference {
        priority: Priority::Stat,
        messages: vec!["ris".into()],
        ..site::planned("m")
    };
    let complete = store.complete_study(&assembly, vec![planned]).await;
    assert_eq!(complete, Ok(2));
    let job = site::lease(&store).await;
    let results = conclusion(&store, &job, (1, 10)).await;
    store.conclude(&job, results).await.expect("concluded");
    let mut told = Vec::new();
    while let Some(message) = store.lease_message("ris", LEASE).await.expect("leased") {
        let Work::Infer { revision, .. } = message.job.work else {
            panic!("not an inference: {message:?}");
        };
        store.message_delivered(&message).await.expect("delivered");
        told.push((message.study.study, revision));
    }
    let expected = [(1, 1), (4, 1), (1, 2), (2, 1), (3, 1)];
    assert_eq!(told, expected.map(|(n, r)| (site::study_uid(n), r)));
}

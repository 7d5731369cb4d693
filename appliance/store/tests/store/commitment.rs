//! What a peer promises of one delivery: whenever its word comes, it is matched with the question that was asked.

use crate::site::{LEASE, Site, admit, at, conclusion, identity, inference, instance_uid, peer};
use pericard_domain::ae::AeTitle;
use pericard_store::commitment::{Promise, Question, Reference};
use pericard_store::{Store, StoreError};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// One object that is with the PACS and of which the PACS is to be asked.
async fn with_delivered(site: &Site) -> Store {
    let store = site.open();
    let job = inference(site, &store, 1, &["m"]).await;
    let results = conclusion(&store, &job, (1, 9)).await;
    store.conclude(&job, results).await.expect("concluded");
    let delivery = store.lease_delivery("pacs", LEASE).await.expect("leased");
    let noted = store.delivered_uncommitted(&delivery.expect("mail")).await;
    noted.expect("delivered");
    store
}

async fn ask(store: &Store) -> Option<Question> {
    let asked = store.commitment_question("pacs", 10, HOUR).await;
    asked.expect("asked")
}

async fn settle(store: &Store, promise: Promise) -> Result<(), StoreError> {
    store.settle_commitment("pacs", promise, peer()).await
}

fn all_kept(question: &Question) -> Promise {
    Promise {
        transaction: question.transaction.clone(),
        kept: question.references.clone(),
        not_kept: Vec::new(),
    }
}

fn nothing_kept(question: &Question) -> Promise {
    let failed = question.references.iter().cloned();
    Promise {
        transaction: question.transaction.clone(),
        kept: Vec::new(),
        not_kept: failed.map(|reference| (reference, 0x0112)).collect(),
    }
}

#[tokio::test]
async fn a_question_is_on_disk_before_anybody_can_put_it() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let question = ask(&store).await.expect("due");
    // Nothing has been sent yet: all that is known now is what the verb has left on the disk.
    drop(store);
    let store = site.open();
    assert_eq!(settle(&store, all_kept(&question)).await, Ok(()));
    assert_eq!(store.commitments("pacs").await, Ok((0, 1)));
}

#[tokio::test]
async fn a_promise_counts_while_its_question_waits_to_be_asked_again() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let question = ask(&store).await.expect("due");
    let put_off = store.commitment_put_off(&question, "the line broke", at(100));
    put_off.await.expect("put off");
    let stranger = store.settle_commitment("elsewhere", all_kept(&question), peer());
    assert!(matches!(stranger.await, Err(StoreError::NotFound(_))));
    assert_eq!(settle(&store, all_kept(&question)).await, Ok(()));
    assert_eq!(store.commitments("pacs").await, Ok((0, 1)));
    site.clock.set(at(10_000));
    assert_eq!(ask(&store).await, None, "it is promised");
}

#[tokio::test]
async fn word_that_comes_again_is_welcome_and_changes_nothing() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let first = ask(&store).await.expect("due");
    site.clock.set(at(2 * 60 * 60));
    let second = ask(&store).await.expect("due again");
    assert_eq!(settle(&store, all_kept(&first)).await, Ok(()));
    let lines = crate::site::verbs(&store).await;
    // The peer did not hear our answer, or answers each question; and one that it has kept does not get lost by an older word.
    for word in [all_kept(&first), all_kept(&second), nothing_kept(&second)] {
        assert_eq!(settle(&store, word).await, Ok(()));
    }
    assert_eq!(crate::site::verbs(&store).await, lines, "nothing happened");
    assert_eq!(store.commitments("pacs").await, Ok((0, 1)));
    let stranger = store.settle_commitment("elsewhere", all_kept(&first), peer());
    assert!(matches!(stranger.await, Err(StoreError::NotFound(_))));
    let unasked = Question {
        transaction: "1.2.3.4".into(),
        ..first
    };
    let unasked = settle(&store, all_kept(&unasked)).await;
    assert!(matches!(unasked, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn a_refusal_counts_while_its_question_waits_and_not_after_the_object_was_sent_again() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let question = ask(&store).await.expect("due");
    let put_off = store.commitment_put_off(&question, "the line broke", at(100));
    put_off.await.expect("put off");
    assert_eq!(settle(&store, nothing_kept(&question)).await, Ok(()));
    assert_eq!(store.commitments("pacs").await, Ok((0, 0)));
    let delivery = store.lease_delivery("pacs", LEASE).await.expect("leased");
    let delivery = delivery.expect("it is sent again");
    assert_eq!(delivery.attempts, 2);
    let noted = store.delivered_uncommitted(&delivery).await;
    noted.expect("delivered");
    // What was said of the first copy says nothing of the second.
    let late = settle(&store, all_kept(&question)).await;
    assert!(matches!(late, Err(StoreError::NotFound(_))), "{late:?}");
    assert_eq!(store.commitments("pacs").await, Ok((1, 0)));
}

#[tokio::test]
async fn a_promise_counts_however_often_was_asked_since() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let first = ask(&store).await.expect("due");
    let mut later = Vec::new();
    for hour in 2..14 {
        site.clock.set(at(hour * 60 * 60));
        later.push(ask(&store).await.expect("due again"));
    }
    let stranger = store.settle_commitment("elsewhere", all_kept(&first), peer());
    assert!(matches!(stranger.await, Err(StoreError::NotFound(_))));
    assert_eq!(settle(&store, all_kept(&first)).await, Ok(()));
    assert_eq!(store.commitments("pacs").await, Ok((0, 1)));
    for question in later {
        assert_eq!(settle(&store, all_kept(&question)).await, Ok(()));
    }
    assert_eq!(store.commitments("pacs").await, Ok((0, 1)));
}

#[tokio::test]
async fn a_refusal_of_an_earlier_question_sends_the_object_again_and_ends_the_later_ones() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let first = ask(&store).await.expect("due");
    site.clock.set(at(2 * 60 * 60));
    let second = ask(&store).await.expect("due again");
    assert_eq!(settle(&store, nothing_kept(&first)).await, Ok(()));
    assert_eq!(store.commitments("pacs").await, Ok((0, 0)));
    let delivery = store.lease_delivery("pacs", LEASE).await.expect("leased");
    let delivery = delivery.expect("it is sent again");
    let noted = store.delivered_uncommitted(&delivery).await;
    noted.expect("delivered");
    // What is said of the first copy says nothing of the second.
    for question in [first, second] {
        let late = settle(&store, all_kept(&question)).await;
        assert!(matches!(late, Err(StoreError::NotFound(_))), "{late:?}");
    }
    let third = ask(&store).await.expect("due");
    assert_eq!(settle(&store, all_kept(&third)).await, Ok(()));
    assert_eq!(store.commitments("pacs").await, Ok((0, 1)));
}

#[tokio::test]
async fn of_questions_without_an_answer_the_latest_count() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let mut asked = Vec::new();
    for hour in 1..=201 {
        site.clock.set(at(hour * 2 * 60 * 60));
        asked.push(ask(&store).await.expect("due"));
    }
    let oldest = settle(&store, all_kept(&asked[0])).await;
    assert!(matches!(oldest, Err(StoreError::NotFound(_))), "{oldest:?}");
    assert_eq!(settle(&store, all_kept(&asked[1])).await, Ok(()));
    assert_eq!(store.commitments("pacs").await, Ok((0, 1)));
}

#[tokio::test]
async fn a_question_that_was_heard_is_not_forgotten_for_those_that_were_put_off() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let heard = ask(&store).await.expect("due");
    let mut unheard = Vec::new();
    for minute in 0..250 {
        site.clock.set(at(2 * 60 * 60 + minute * 60));
        let question = ask(&store).await.expect("due again");
        let again_at = at(2 * 60 * 60 + (minute + 1) * 60);
        let put_off = store.commitment_put_off(&question, "it is down", again_at);
        put_off.await.expect("put off");
        unheard.push(question);
    }
    let oldest = settle(&store, all_kept(&unheard[0])).await;
    assert!(matches!(oldest, Err(StoreError::NotFound(_))), "{oldest:?}");
    assert_eq!(settle(&store, all_kept(&heard)).await, Ok(()));
    assert_eq!(store.commitments("pacs").await, Ok((0, 1)));
}

#[tokio::test]
async fn a_question_that_failed_is_asked_anew_when_it_was_put_off_to() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let question = ask(&store).await.expect("due");
    let put_off = store.commitment_put_off(&question, "the line broke", at(100));
    put_off.await.expect("put off");
    site.clock.set(at(99));
    assert_eq!(ask(&store).await, None);
    site.clock.set(at(100));
    let again = ask(&store).await.expect("due again");
    assert_eq!(again.references, question.references);
    assert_ne!(again.transaction, question.transaction);
}

#[tokio::test]
async fn what_was_promised_before_the_question_failed_stays_promised() {
    let site = Site::new();
    let store = with_delivered(&site).await;
    let question = ask(&store).await.expect("due");
    assert_eq!(settle(&store, all_kept(&question)).await, Ok(()));
    let lines = crate::site::verbs(&store).await;
    let put_off = store.commitment_put_off(&question, "the line broke", at(100));
    put_off.await.expect("nothing to put off");
    assert_eq!(crate::site::verbs(&store).await, lines, "nothing happened");
    assert_eq!(store.commitments("pacs").await, Ok((0, 1)));
    site.clock.set(at(10_000));
    assert_eq!(ask(&store).await, None);
}

#[tokio::test]
async fn what_is_damaged_is_not_promised_until_it_is_whole_again() {
    let site = Site::new();
    let store = site.open();
    for n in [1, 2] {
        admit(&store, 1, n).await;
    }
    let rotten = store.instance(&instance_uid(1, 2)).await.expect("held");
    std::fs::remove_file(store.object_path(&rotten)).expect("lost");
    assert_eq!(store.scrub(1 << 20).await.expect("scrubbed").damaged, 1);
    let reference = |n| {
        let identity = identity(1, n);
        Reference {
            sop_class: identity.sop_class,
            instance: identity.instance,
        }
    };
    let promised = async || {
        let title = AeTitle::new("CT1").expect("a title");
        let question = Question {
            transaction: "1.2.3.4".into(),
            references: [1, 2, 3].map(reference).to_vec(),
        };
        let owed = store.promise(&title, question, peer()).await;
        owed.expect("promised").promise
    };
    let now = promised().await;
    assert_eq!(now.kept, [reference(1)]);
    let failed = [(reference(2), 0x0110), (reference(3), 0x0112)];
    assert_eq!(now.not_kept, failed);
    admit(&store, 1, 2).await;
    let then = promised().await;
    assert_eq!(then.kept, [1, 2].map(reference));
    assert_eq!(then.not_kept, [(reference(3), 0x0112)]);
}

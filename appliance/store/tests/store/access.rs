//! Tokens, and who looked at what.

use crate::site::{self, Site, at};
use pericard_domain::actor::{Actor, Role};
use pericard_store::StoreError;
use pericard_store::access::NewToken;

fn new_token(secret: u8) -> NewToken {
    NewToken {
        label: "the reading room".into(),
        roles: vec![Role::Clinician, Role::Modality],
        secret_sha256: [secret; 32],
        expires_at: Some(at(100)),
    }
}

#[tokio::test]
async fn a_token_opens_until_it_is_revoked_or_expires() {
    let site = Site::new();
    let store = site.open();
    let by = Actor::CommandLine;
    let token = store
        .issue_token(new_token(1), by.clone())
        .await
        .expect("issued");
    let other = store
        .issue_token(new_token(2), by.clone())
        .await
        .expect("issued");
    assert_ne!(token.id, other.id);
    assert_eq!(store.token_by_hash(&[1; 32]).await, Ok(Some(token.clone())));
    assert_eq!(store.token_by_hash(&[3; 32]).await, Ok(None));
    store
        .revoke_token(&token.id, by.clone())
        .await
        .expect("revoked");
    assert_eq!(store.token_by_hash(&[1; 32]).await, Ok(None));
    let again = store.revoke_token(&token.id, by).await;
    assert!(matches!(again, Err(StoreError::NotFound(_))));
    site.clock.set(at(100));
    assert_eq!(store.token_by_hash(&[2; 32]).await, Ok(None), "expired");
    let listed = store.tokens().await.expect("tokens");
    let revoked: Vec<_> = listed.iter().map(|t| t.revoked_at).collect();
    assert_eq!(revoked, [None, Some(at(0))]);
    assert_eq!(
        site::verbs(&store).await,
        ["issue token", "issue token", "revoke token"]
    );
}

#[tokio::test]
async fn the_same_secret_twice_is_refused_and_harms_no_other_change() {
    let site = Site::new();
    let store = site.open();
    let by = Actor::CommandLine;
    store
        .issue_token(new_token(1), by.clone())
        .await
        .expect("issued");
    // Sent together, they may share a commit; the failing one is undone alone.
    let (same, fresh, noted) = tokio::join!(
        store.issue_token(new_token(1), by.clone()),
        store.issue_token(new_token(2), by.clone()),
        store.note_access("read study", "study 1.2.3", by.clone()),
    );
    assert!(
        matches!(
            same,
            Err(StoreError::Failed {
                step: "issue token",
                ..
            })
        ),
        "{same:?}"
    );
    assert!(fresh.is_ok() && noted.is_ok());
    assert_eq!(store.tokens().await.expect("tokens").len(), 2);
    assert_eq!(site::verbs(&store).await.len(), 3);
    store.verify_audit().await.expect("a whole log");
}

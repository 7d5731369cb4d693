//! Tokens, and who looked at what.

use crate::site::{self, Site, at};
use pericard_domain::actor::{Actor, Role};
use pericard_store::access::NewToken;
use pericard_store::{StoreError, tokens_in};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

/// Every file below a directory, with what it holds.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("a file");
                found.insert(path, bytes);
            }
        }
    }
    found
}

#[tokio::test]
async fn tokens_are_counted_without_opening_the_store_and_nothing_changes() {
    let site = Site::new();
    let dir = site.dir.path();
    let nothing_yet = dir.join("not there");
    assert_eq!(tokens_in(&nothing_yet), Ok(0));
    assert!(!nothing_yet.exists());
    let store = site.open();
    let by = Actor::CommandLine;
    assert_eq!(tokens_in(dir), Ok(0));
    let issued = store.issue_token(new_token(1), by.clone()).await;
    let other = store.issue_token(new_token(2), by.clone()).await;
    other.expect("issued");
    assert_eq!(tokens_in(dir), Ok(2), "beside the process that serves");
    let revoked = store.revoke_token(&issued.expect("issued").id, by).await;
    revoked.expect("revoked");
    assert_eq!(tokens_in(dir), Ok(1));
    drop(store);
    let before = files(dir);
    assert!(!before.is_empty());
    assert_eq!(tokens_in(dir), Ok(1), "while none serves");
    assert!(files(dir) == before, "it left something behind");
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

//! What a week's frame is made of.

use crate::site::{self, Site, admit, at, conclusion, inference};
use pericard_audit::{Hash, proof};
use pericard_store::week::Continuation;

#[tokio::test]
async fn a_log_proves_that_it_holds_what_it_held() {
    let site = Site::new();
    let store = site.open();
    admit(&store, 1, 1).await;
    let earlier = store.continuation(0).await.expect("the log");
    let is_empty = earlier.proof.is_empty();
    assert!(is_empty, "every log continues the empty one");
    for study in 2..9 {
        admit(&store, study, 1).await;
    }
    let later = store.continuation(earlier.head.size).await.expect("proved");
    let log = |of: &Continuation| (of.head.size, Hash::new(of.head.root));
    let path: Vec<_> = later.proof.iter().map(|hash| Hash::new(*hash)).collect();
    proof::check_consistency(log(&earlier), log(&later), &path).expect("it holds");
    let beyond = store.continuation(later.head.size + 1).await;
    let is_empty = beyond.expect("the log").proof.is_empty();
    assert!(is_empty, "nobody can prove what is not so");
}

#[tokio::test]
async fn a_weeks_inferences_are_those_kept_in_it() {
    let site = Site::new();
    let store = site.open();
    let job = inference(&site, &store, 1, &["m"]).await;
    store
        .conclude(&job, conclusion(&store, &job, (1, 9)).await)
        .await
        .expect("concluded");
    let found = store.inferences(at(0), at(1_000_000)).await.expect("read");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].study, site::study_uid(1));
    assert_eq!(found[0].model, site::model("m"));
    for (from, before) in [(1_000_000, 2_000_000), (0, 0)] {
        let others = store.inferences(at(from), at(before)).await;
        assert_eq!(others.expect("read"), []);
    }
}

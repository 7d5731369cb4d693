//! The worklist: every state that a study can be in, and what it is asked for.

use crate::site::{self, Site, admit, at, conclusion, inference, offer, peer, study_uid};
use pericard_domain::job::{Failure, FailureClass, JobState, Priority};
use pericard_store::worklist::{Progress, WorklistQuery};

#[tokio::test]
async fn studies_stand_where_the_work_on_them_stands() {
    let site = Site::new();
    let store = site.open();
    let progress = async |n| {
        let query = WorklistQuery {
            limit: 10,
            ..WorklistQuery::default()
        };
        let rows = store.worklist(query).await.expect("the worklist");
        let row = rows.into_iter().find(|r| r.study.study == study_uid(n));
        row.expect("the study").progress
    };
    let job = inference(&site, &store, 1, &["brain"]).await;
    assert_eq!(progress(1).await, Progress::Working);
    let done = conclusion(&store, &job, (1, 50)).await;
    store.conclude(&job, done).await.expect("concluded");
    assert_eq!(progress(1).await, Progress::Done);

    let job = inference(&site, &store, 2, &["brain"]).await;
    let failure = Failure {
        class: FailureClass::UnsuitableInput,
        reason: "a slice is missing".into(),
    };
    store.fail(&job, failure, None).await.expect("failed");
    let failed = store.job(job.job.id).await.expect("the job").state;
    assert!(matches!(failed, JobState::Failed { .. }), "{failed:?}");
    assert_eq!(progress(2).await, Progress::Failed);

    admit(&store, 3, 1).await;
    assert_eq!(progress(3).await, Progress::Arriving);
    site.clock.set(at(30));
    let assembly = site::lease(&store).await;
    store
        .complete_study(&assembly, Vec::new())
        .await
        .expect("complete");
    assert_eq!(progress(3).await, Progress::Held);

    for (wanted, study) in [
        (Progress::Done, 1),
        (Progress::Failed, 2),
        (Progress::Held, 3),
    ] {
        let query = WorklistQuery {
            progress: Some(wanted),
            limit: 10,
            ..WorklistQuery::default()
        };
        let rows = store.worklist(query).await.expect("the worklist");
        let studies: Vec<_> = rows.into_iter().map(|r| r.study.study).collect();
        assert_eq!(studies, [study_uid(study)], "{wanted:?}");
    }
}

#[tokio::test]
async fn it_is_asked_by_patient_modality_and_priority_and_in_pages() {
    let site = Site::new();
    let store = site.open();
    let told = [
        (1, "DOE^JANE", "P-1", "CT", Priority::Stat),
        (2, "Doe^John", "P-2", "MR", Priority::Routine),
        (3, "M%_LLER", "P-3", "MR", Priority::Routine),
    ];
    for (study, name, id, modality, priority) in told {
        site.clock.set(at(u64::from(study)));
        let mut object = offer(&store, study, 1, &[study as u8]).await;
        object.facts.patient_name = Some(name.into());
        object.facts.patient_id = Some(id.into());
        object.facts.modality = Some(modality.into());
        object.priority = priority;
        store.admit(object, peer()).await.expect("admitted");
    }
    let all = || WorklistQuery {
        limit: 10,
        ..WorklistQuery::default()
    };
    let by = |patient: &str| WorklistQuery {
        patient: Some(patient.to_owned()),
        ..all()
    };
    let asked: [(WorklistQuery, &[u32]); 9] = [
        (all(), &[3, 2, 1]),
        (by("doe"), &[2, 1]),
        (by("P-3"), &[3]),
        (by("P-"), &[]),
        (by("%_"), &[3]),
        (by("' OR 1=1 --"), &[]),
        (
            WorklistQuery {
                modality: Some("MR".into()),
                ..all()
            },
            &[3, 2],
        ),
        (
            WorklistQuery {
                priority: Some(Priority::Stat),
                ..all()
            },
            &[1],
        ),
        (
            WorklistQuery {
                limit: 1,
                offset: 1,
                ..all()
            },
            &[2],
        ),
    ];
    for (query, expected) in asked {
        let said = format!("{query:?}");
        let rows = store.worklist(query).await.expect("the worklist");
        let studies: Vec<_> = rows.into_iter().map(|r| r.study.study).collect();
        let expected: Vec<_> = expected.iter().copied().map(study_uid).collect();
        assert_eq!(studies, expected, "{said}");
    }
}

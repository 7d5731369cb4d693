//! What is held is found.

use crate::site::{self, Site, admit, at, offer, peer, study_uid};
use pericard_domain::uid::{InstanceUid, SeriesUid};
use pericard_store::find::InstanceFilter;
use pericard_store::{Store, StoreError};

async fn furnished(site: &Site) -> Store {
    let store = site.open();
    let patients = [
        (1, "P-1", "DOE^JANE", "CT", "20261120"),
        (2, "P-12", "Doe^John", "MR", "20261121"),
        (3, "P[1]", "M_LLER^A", "CT", "20261123"),
    ];
    for (study, id, name, modality, date) in patients {
        for n in [10, 2] {
            site.clock.set(at(u64::from(study)));
            let mut object = offer(&store, study, n, &[study as u8, n as u8]).await;
            object.facts.patient_id = Some(id.into());
            object.facts.patient_name = Some(name.into());
            object.facts.modality = Some(modality.into());
            object.facts.study_date = Some(date.into());
            store.admit(object, peer()).await.expect("admitted");
        }
    }
    store
}

#[tokio::test]
async fn studies_are_listed_latest_received_first() {
    let site = Site::new();
    let store = furnished(&site).await;
    admit(&store, 1, 3).await;
    let list = async |limit, offset| {
        let studies = store.studies(limit, offset).await.expect("studies");
        studies.into_iter().map(|s| s.study).collect::<Vec<_>>()
    };
    site.clock.set(at(9));
    admit(&store, 2, 3).await;
    assert_eq!(list(10, 0).await, [2, 3, 1].map(study_uid));
    assert_eq!(list(1, 1).await, [3].map(study_uid));
    let study = store.study(&study_uid(2)).await.expect("the study");
    assert_eq!(
        (study.first_received_at, study.last_received_at),
        (at(2), at(9))
    );
    assert_eq!((study.instances, study.results), (3, 0));
    assert_eq!(study.facts.patient_name.as_deref(), Some("Doe^John"));
    let none = store.study(&study_uid(99)).await;
    assert_eq!(none, Err(StoreError::NotFound("study")));
    let none = store.instance(&site::instance_uid(99, 1)).await;
    assert_eq!(none, Err(StoreError::NotFound("object")));
}

#[tokio::test]
async fn objects_are_in_the_order_of_their_numbers_not_of_their_text() {
    let site = Site::new();
    let store = furnished(&site).await;
    let held = store.instances(&study_uid(1)).await.expect("objects");
    let numbers: Vec<_> = held
        .iter()
        .filter_map(|i| i.facts.instance_number.as_deref())
        .collect();
    assert_eq!(numbers, ["2", "10"]);
}

#[tokio::test]
async fn filters_find_what_they_say() {
    let site = Site::new();
    let store = furnished(&site).await;
    let all = InstanceFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (all(), "3 3 2 2 1 1"),
        (
            InstanceFilter {
                study: Some(study_uid(2)),
                ..all()
            },
            "2 2",
        ),
        (
            InstanceFilter {
                series: SeriesUid::new("1.2.3.3.1").ok(),
                ..all()
            },
            "3 3",
        ),
        (
            InstanceFilter {
                instance: InstanceUid::new("1.2.3.1.1.2").ok(),
                ..all()
            },
            "1",
        ),
        (
            InstanceFilter {
                patient_id: text("P-1"),
                ..all()
            },
            "1 1",
        ),
        (
            InstanceFilter {
                patient_id: text("P-*"),
                ..all()
            },
            "2 2 1 1",
        ),
        (
            InstanceFilter {
                patient_id: text("P-1?"),
                ..all()
            },
            "2 2",
        ),
        (
            InstanceFilter {
                patient_id: text("P[1]*"),
                ..all()
            },
            "3 3",
        ),
        (
            InstanceFilter {
                patient_name: text("doe*"),
                ..all()
            },
            "2 2 1 1",
        ),
        (
            InstanceFilter {
                patient_name: text("M_LLER*"),
                ..all()
            },
            "3 3",
        ),
        (
            InstanceFilter {
                patient_name: text("M%"),
                ..all()
            },
            "",
        ),
        (
            InstanceFilter {
                modality: text("MR"),
                ..all()
            },
            "2 2",
        ),
        (
            InstanceFilter {
                accession_number: text("ACC2"),
                ..all()
            },
            "",
        ),
        (
            InstanceFilter {
                study_date_from: text("20261121"),
                ..all()
            },
            "3 3 2 2",
        ),
        (
            InstanceFilter {
                study_date_to: text("20261121"),
                ..all()
            },
            "2 2 1 1",
        ),
        (
            InstanceFilter {
                limit: 2,
                offset: 1,
                ..all()
            },
            "3 2",
        ),
    ];
    for (filter, expected) in cases {
        let found = store.find_instances(filter.clone()).await.expect("found");
        let studies: Vec<_> = found
            .iter()
            .map(|i| i.identity.study.as_str().trim_start_matches("1.2.3."))
            .collect();
        assert_eq!(studies.join(" "), expected, "{filter:?}");
    }
}

use super::*;
use pericard_domain::digest::Digest;
use pericard_domain::order::{Expected, Order};
use pericard_domain::rule::{Match, ResultKind};
use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, StudyUid, TransferSyntaxUid};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn study() -> StudyUid {
    StudyUid::new("1.2").unwrap()
}

fn instance(series: &str, number: u32, modality: &str, is_result: bool) -> Instance {
    Instance {
        identity: ObjectIdentity {
            study: study(),
            series: SeriesUid::new(series).unwrap(),
            instance: InstanceUid::new(format!("{series}.{number}")).unwrap(),
            sop_class: SopClassUid::new("1.5").unwrap(),
            transfer_syntax: TransferSyntaxUid::new("1.2.840.10008.1.2").unwrap(),
        },
        facts: InstanceFacts {
            modality: Some(modality.into()),
            ..InstanceFacts::default()
        },
        digest: Digest::new([1; 32]),
        size_bytes: 1,
        revision: 1,
        received_at: at(0),
        is_result,
    }
}

fn rule(requires: Vec<Match>) -> Rule {
    Rule {
        name: "ct".into(),
        when: of("CT"),
        models: vec!["m".into()],
        priority: Priority::Routine,
        idle_timeout_s: 10,
        requires,
        wait_max_s: 100,
        priors: None,
        destinations: vec![],
        messages: vec![],
        results: ResultKind::usual(),
        report_failures: true,
    }
}

fn of(modality: &str) -> Match {
    Match {
        modalities: vec![modality.into()],
        ..Match::default()
    }
}

fn standing(instances: Vec<Instance>) -> Standing {
    Standing {
        study: study(),
        instances,
        last_received_at: at(0),
        expected: vec![],
        counts: BTreeMap::new(),
    }
}

fn deciding(rules: Vec<Rule>) -> AllThatIsKnown {
    let rules: Arc<[Rule]> = rules.into();
    AllThatIsKnown {
        idle: IdleTimeout {
            rules: watch::channel(rules).1,
            otherwise_s: 5,
        },
        visits: Visits::default(),
    }
}

fn two() -> Vec<Instance> {
    vec![
        instance("1.3", 1, "CT", false),
        instance("1.3", 2, "CT", false),
    ]
}

fn count(standing: &mut Standing, series: &[(&str, u32)]) {
    let counts = series.iter().map(|(uid, n)| ((*uid).to_owned(), *n));
    standing.counts.insert("pacs".into(), counts.collect());
}

#[test]
fn idle_time_speaks_last() {
    let deciding = deciding(vec![rule(vec![])]);
    let standing = standing(two());
    let idle = Because::Idle { seconds: 10 };
    let wait = Verdict::Wait {
        until: at(10),
        why: idle.clone(),
    };
    assert_eq!(deciding.verdict(&standing, at(9)), wait);
    assert_eq!(deciding.verdict(&standing, at(10)), Verdict::Complete(idle));
}

#[test]
fn an_open_association_is_waited_for_but_not_for_ever() {
    let deciding = deciding(vec![rule(vec![])]);
    let standing = standing(two());
    let visit = deciding.visits.begin();
    visit.note(&study());
    let Verdict::Wait { until, why } = deciding.verdict(&standing, at(50)) else {
        panic!("it is open");
    };
    assert_eq!((until, why), (at(55), Because::AssociationOpen));
    assert_eq!(
        deciding.verdict(&standing, at(100)),
        Verdict::Complete(Because::Idle { seconds: 10 })
    );
    visit.end();
    assert!(matches!(
        deciding.verdict(&standing, at(50)),
        Verdict::Complete(_)
    ));
}

#[test]
fn what_the_source_has_ends_the_wait_or_prolongs_it() {
    let deciding = deciding(vec![rule(vec![])]);
    let mut standing = standing(two());
    count(&mut standing, &[("1.3", 2)]);
    let counted = |objects| Because::Counted {
        source: "pacs".into(),
        objects,
    };
    assert_eq!(
        deciding.verdict(&standing, at(0)),
        Verdict::Complete(counted(2))
    );
    assert!(deciding.idle.is_whole(&standing, at(0)));

    count(&mut standing, &[("1.3", 3)]);
    let missing = Verdict::Wait {
        until: at(100),
        why: Because::Missing {
            source: "pacs".into(),
            objects: 1,
        },
    };
    assert_eq!(deciding.verdict(&standing, at(50)), missing);
    assert!(!deciding.idle.is_whole(&standing, at(50)));
    let given_up = Because::GaveUp {
        seconds: 100,
        lacking: "1 objects that pacs has".into(),
    };
    assert_eq!(
        deciding.verdict(&standing, at(100)),
        Verdict::Complete(given_up)
    );

    // A series that we made there is none of the study's.
    standing.instances.push(instance("1.9", 1, "SR", true));
    count(&mut standing, &[("1.3", 2), ("1.9", 1)]);
    assert_eq!(
        deciding.verdict(&standing, at(0)),
        Verdict::Complete(counted(2))
    );
    // A series that the source does not know yet: its word is not the last.
    count(&mut standing, &[]);
    assert!(matches!(
        deciding.verdict(&standing, at(9)),
        Verdict::Wait {
            why: Because::Idle { .. },
            ..
        }
    ));
}

#[test]
fn what_was_ordered_or_is_required_is_waited_for() {
    let required = deciding(vec![rule(vec![of("CT"), of("PT")])]);
    let mut standing = standing(two());
    let wait = |what: &str| Verdict::Wait {
        until: at(100),
        why: Because::Lacking { what: what.into() },
    };
    assert_eq!(
        required.verdict(&standing, at(20)),
        wait("requirement 2 of rule \"ct\"")
    );
    let free = deciding(vec![rule(vec![])]);
    standing.expected.push(Expected {
        order: Order {
            modality: Some("PT".into()),
            ..Order::default()
        },
        source: "worklist ris".into(),
        state: Expecting::Expected,
    });
    assert_eq!(
        free.verdict(&standing, at(20)),
        wait("PT, which was ordered")
    );
    let with_pt = {
        let mut with = standing.clone();
        with.instances.push(instance("1.4", 1, "PT", false));
        with
    };
    assert_eq!(
        required.verdict(&with_pt, at(20)),
        Verdict::Complete(Because::Idle { seconds: 10 })
    );
    standing.expected[0].state = Expecting::Gone;
    assert!(matches!(
        free.verdict(&standing, at(20)),
        Verdict::Complete(_)
    ));
}

#[test]
fn without_a_rule_the_configured_time_holds() {
    let deciding = deciding(vec![]);
    let standing = standing(two());
    assert!(matches!(
        deciding.verdict(&standing, at(4)),
        Verdict::Wait { .. }
    ));
    assert_eq!(
        deciding.verdict(&standing, at(5)),
        Verdict::Complete(Because::Idle { seconds: 5 })
    );
}

#[test]
fn without_a_rule_what_an_order_names_is_waited_for_too() {
    let deciding = deciding(vec![]);
    let mut standing = standing(two());
    let order = "workitem 1.7".to_owned();
    let named = BTreeMap::from([("1.3".to_owned(), 3)]);
    standing.counts.insert(order.clone(), named);
    let missing = Verdict::Wait {
        until: at(900),
        why: Because::Missing {
            source: order.clone(),
            objects: 1,
        },
    };
    assert_eq!(deciding.verdict(&standing, at(899)), missing);
    assert_eq!(
        deciding.verdict(&standing, at(900)),
        Verdict::Complete(Because::GaveUp {
            seconds: 900,
            lacking: "1 objects that workitem 1.7 has".into(),
        })
    );
    standing.instances.push(instance("1.3", 3, "CT", false));
    assert_eq!(
        deciding.verdict(&standing, at(0)),
        Verdict::Complete(Because::Counted {
            source: order,
            objects: 3,
        })
    );
}

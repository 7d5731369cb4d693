//! Both ends refuse what does not keep to the layout, whatever it is.

use pericard_frame::layout::{
    self, ADVISORIES, CELLS, EVALUATION_CELLS, LAYOUT, MAGIC, PLANS, VERSION, reply,
};
use pericard_frame::page::Form;
use pericard_frame::plan::{Metric, Plan};
use pericard_frame::reply::{Cause, Kind, Reason, Status};
use pericard_frame::{
    Advisory, Draft, FRAME_BYTES, Fault, Frame, FromHub, Reply, Spec, ToHub, cell, evaluation_cell,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn fields_stand_one_after_the_other_and_fit() {
    for table in [&LAYOUT[..], &reply::REPLY_LAYOUT[..]] {
        let mut end = 0;
        for spec in table {
            assert_eq!(spec.offset_bytes, end, "{}", spec.name);
            assert!(spec.min <= spec.max && spec.count > 0, "{}", spec.name);
            let widest = u64::MAX >> (64 - 8 * spec.width_bytes);
            assert!(spec.max <= widest, "{}", spec.name);
            end = spec.end_bytes();
        }
        assert!(end <= FRAME_BYTES);
    }
    // Another layout is another version: a number's place is its meaning.
    let ends = [LAYOUT.last(), reply::REPLY_LAYOUT.last()];
    let ends = ends.map(|last| last.map(|spec| spec.end_bytes()));
    assert_eq!((VERSION, ends), (3, [Some(2866), Some(2430)]));
    assert_eq!(LAYOUT.last().map(|spec| spec.name), Some("signature"));
    assert_eq!(reply::PLAN_METRICS.spec().max, u64::from(Metric::EVERY));
}

#[test]
fn what_is_put_in_is_read_out_and_nothing_else() {
    let mut draft = Draft::<ToHub>::new();
    draft.put(&layout::COUNTERS, 3, 77);
    draft.put(&layout::LOG_ROOT, 2, u64::MAX);
    draft.put(&layout::COUNTERS, 1_000_000, 5); // no such place
    let frame = draft.seal().expect("in range");
    let opened = Frame::open(frame.bytes()).expect("the same");
    assert_eq!(opened.get(&layout::COUNTERS, 3), 77);
    assert_eq!(opened.get(&layout::COUNTERS, 1_000_000), 0);
    let told = opened.lines().filter(|line| line.value != 0);
    let told: Vec<_> = told.map(|l| (l.spec.name, l.at, l.value)).collect();
    let expected = [
        ("mark", 0, u64::from(MAGIC)),
        ("layout", 0, u64::from(VERSION)),
        ("log_root", 2, u64::MAX),
        ("count", 3, 77),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_signature_covers_all_that_is_said_and_changes_none_of_it() {
    let mut draft = Draft::<ToHub>::new();
    draft.put(&layout::SEQUENCE, 0, 7);
    draft.put(&layout::PROOF_LEN, 0, 1);
    draft.put(&layout::PROOF, 3, u64::MAX);
    let unsigned = draft.seal().expect("in range");
    let signed = unsigned.with_signature([0xAB; 64]);
    assert_eq!(signed.signature(), [0xAB; 64]);
    assert_eq!(signed.signed_bytes(), unsigned.signed_bytes());
    let after = FRAME_BYTES - Frame::padding_bytes();
    assert_eq!(signed.signed_bytes().len() + 64, after);
    assert_eq!(Frame::open(signed.bytes()), Ok(signed));
}

#[test]
fn a_place_that_is_not_used_can_hide_nothing() {
    let mut frame = Draft::<ToHub>::new();
    frame.put(&layout::HIST, CELLS, 1_u16); // of the second model, which is not told of
    let field = "hist";
    let fault = Err(Fault::Contradiction { field, at: CELLS });
    assert_eq!(frame.seal(), fault);
    for told in [
        &[(&layout::HIST_MODEL, 3_u16)][..],
        &[(&layout::HIST_EPSILON, 500_u16)][..],
        &[(&layout::HIST_MODEL, 3_u16), (&layout::HIST_EPSILON, 500)][..],
    ] {
        let mut frame = Draft::<ToHub>::new();
        told.iter()
            .for_each(|(field, value)| frame.put(field, 0, *value));
        assert!(matches!(frame.seal(), Err(Fault::Contradiction { .. })));
    }
    for (field, at, value) in [
        (&layout::EVALUATION, EVALUATION_CELLS, 8192_u16),
        (&layout::EVALUATION_EPSILON, 1, 500),
    ] {
        let mut frame = Draft::<ToHub>::new();
        frame.put(&layout::EVALUATION_PLAN, 0, 7_u32);
        frame.put(&layout::EVALUATION_EPSILON, 0, 500_u16);
        frame.put(field, at, value);
        let field = field.spec().name;
        assert_eq!(frame.seal(), Err(Fault::Contradiction { field, at }));
    }
    let mut frame = Draft::<ToHub>::new();
    frame.put(&layout::EVALUATION_PLAN, 0, 7_u32);
    assert!(frame.seal().is_err(), "told, and it cost nothing");
    let mut frame = Draft::<ToHub>::new();
    frame.put(&layout::PROOF_LEN, 0, 1);
    frame.put(&layout::PROOF, 4, 1_u64);
    let (field, at) = ("proof", 4);
    assert_eq!(frame.seal(), Err(Fault::Contradiction { field, at }));
    assert_eq!(
        (cell(0, 0, 10), cell(8, 0, 0), cell(0, 3, 0)),
        (None, None, None)
    );
    assert_eq!(cell(7, 2, 9), Some(8 * CELLS - 1));
    let places = (
        evaluation_cell(1, 1, 9),
        evaluation_cell(2, 0, 0),
        evaluation_cell(0, 2, 0),
    );
    assert_eq!(places, (Some(2 * EVALUATION_CELLS - 1), None, None));
}

#[test]
fn every_byte_outside_the_fields_must_be_zero_and_is_checked() {
    let frame = Draft::<ToHub>::new().seal().expect("in range");
    let reply = Draft::<FromHub>::new().seal().expect("in range");
    for offset_bytes in FRAME_BYTES - Frame::padding_bytes()..FRAME_BYTES {
        let mut bytes = *frame.bytes();
        bytes[offset_bytes] = 1;
        assert_eq!(Frame::open(&bytes), Err(Fault::NotZero { offset_bytes }));
        let mut bytes = *reply.bytes();
        bytes[offset_bytes] = 1;
        assert_eq!(Reply::open(&bytes), Err(Fault::NotZero { offset_bytes }));
    }
    for found_bytes in [0, FRAME_BYTES - 1] {
        let short = Frame::open(&frame.bytes()[..found_bytes]);
        assert_eq!(short, Err(Fault::Length { found_bytes }));
    }
    assert!(Frame::open(reply.bytes()).is_err() && Reply::open(frame.bytes()).is_err());
}

#[test]
fn advisories_come_back_as_they_were_put_in() {
    let advisory = |number: u32| Advisory {
        number,
        kind: if number.is_multiple_of(2) {
            Kind::Recall
        } else {
            Kind::Advisory
        },
        model: 300,
        model_digest: [1, 2, 3, u64::from(number)],
        issued_at_s: 1_700_000_000,
        cause: Cause::Drift,
        signature: [number as u8; 64],
    };
    let mut draft = Draft::<FromHub>::new();
    draft.put(&reply::STATUS, 0, Status::Refused.number());
    draft.put(&reply::REASON, 0, Reason::Log.number());
    draft.put_all(&reply::COSIGNATURE, 0, [7_u8; 64]);
    for at in 0..ADVISORIES {
        assert!(draft.put_advisory(at, &advisory(at as u32 + 1)));
    }
    assert!(!draft.put_advisory(ADVISORIES, &advisory(99)));
    let sealed = draft.seal().expect("in range");
    let opened = Reply::open(sealed.bytes()).expect("the same");
    assert_eq!(
        (opened.status(), opened.reason()),
        (Status::Refused, Reason::Log)
    );
    assert_eq!(opened.cosignature(), [7; 64]);
    let told: Vec<_> = opened.advisories().collect();
    let expected: Vec<_> = (1..=ADVISORIES as u32).map(advisory).collect();
    assert_eq!(told, expected);

    let mut bytes = *sealed.bytes();
    bytes[reply::ADVISORY_COUNT.spec().offset_bytes] = 3; // the rest would be hidden
    assert!(matches!(
        Reply::open(&bytes),
        Err(Fault::Contradiction { .. })
    ));
    bytes = *Draft::<FromHub>::new().seal().expect("in range").bytes();
    bytes[reply::ADVISORY_COUNT.spec().offset_bytes] = 1; // and there is none
    assert!(matches!(
        Reply::open(&bytes),
        Err(Fault::Contradiction { .. })
    ));
    let ranges = (
        reply::STATUS.spec().max,
        reply::REASON.spec().max,
        reply::REASON_CODE.spec().max,
    );
    let lists = (Status::ALL.len(), Reason::ALL.len(), Cause::ALL.len());
    assert_eq!(
        lists,
        (
            ranges.0 as usize + 1,
            ranges.1 as usize + 1,
            ranges.2 as usize + 1
        )
    );
}

#[test]
fn plans_come_back_as_they_were_put_in_beside_advisories() {
    let plan = |number: u32| Plan {
        number,
        model: 300,
        model_digest: [1, 2, 3, u64::from(number)],
        metrics: Metric::Sensitivity.bit() | Metric::AreaUnderCurve.bit(),
        threshold_tenth: 5,
        cases_min: 200,
        issued_at_s: 1_700_000_000,
        until_s: 1_800_000_000,
        signature: [number as u8; 64],
    };
    let mut draft = Draft::<FromHub>::new();
    for at in 0..PLANS {
        assert!(draft.put_plan(at, &plan(at as u32 + 1)));
    }
    assert!(!draft.put_plan(PLANS, &plan(99)));
    let sealed = draft.seal().expect("in range");
    let opened = Reply::open(sealed.bytes()).expect("the same");
    let expected: Vec<_> = (1..=PLANS as u32).map(plan).collect();
    assert_eq!(opened.plans().collect::<Vec<_>>(), expected);
    assert_eq!(opened.advisories().count(), 0);
    assert!(expected[0].asks(Metric::Sensitivity) && !expected[0].asks(Metric::Specificity));
    let all: std::collections::BTreeSet<_> = expected.iter().map(Plan::signed_bytes).collect();
    assert_eq!(all.len(), PLANS, "each signed for itself");
    for count in [PLANS as u8 - 1, 0] {
        let mut bytes = *sealed.bytes();
        bytes[reply::PLAN_COUNT.spec().offset_bytes] = count; // the rest would be hidden
        assert!(matches!(
            Reply::open(&bytes),
            Err(Fault::Contradiction { .. })
        ));
    }
}

/// A number of the table that a mutation goes to, and what it becomes.
fn aimed() -> impl Strategy<Value = (usize, usize, u64)> {
    let value = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        0_u64..20_000,
        any::<u64>()
    ];
    (any::<usize>(), any::<usize>(), value)
}

/// Writes the numbers into the bytes, without regard to any range.
fn write(bytes: &mut [u8], table: &[&Spec], aimed: &[(usize, usize, u64)]) {
    for (field, at, value) in aimed {
        let spec = table[field % table.len()];
        let begin = spec.offset_bytes + (at % spec.count) * spec.width_bytes;
        bytes[begin..begin + spec.width_bytes]
            .copy_from_slice(&value.to_le_bytes()[..spec.width_bytes]);
    }
}

/// Whatever is opened says every one of its bytes, within the table's ranges.
fn is_whole<F: Form>(page: &pericard_frame::page::Page<F>) {
    let mut said = [0_u8; FRAME_BYTES];
    for line in page.lines() {
        let spec = line.spec;
        assert!((spec.min..=spec.max).contains(&line.value), "{}", spec.name);
        let begin = spec.offset_bytes + line.at * spec.width_bytes;
        said[begin..begin + spec.width_bytes]
            .copy_from_slice(&line.value.to_le_bytes()[..spec.width_bytes]);
    }
    assert_eq!(&said, page.bytes(), "a byte that no number says");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn strangers_bytes_are_refused_or_said_in_full(
        aimed in vec(aimed(), 0..6),
        stray in proptest::option::weighted(0.2, (0..FRAME_BYTES, any::<u8>())),
    ) {
        let frame = Draft::<ToHub>::new().seal().expect("in range");
        let reply = Draft::<FromHub>::new().seal().expect("in range");
        let (mut to_hub, mut from_hub) = (*frame.bytes(), *reply.bytes());
        write(&mut to_hub, &LAYOUT, &aimed);
        write(&mut from_hub, &reply::REPLY_LAYOUT, &aimed);
        if let Some((at, byte)) = stray {
            (to_hub[at], from_hub[at]) = (byte, byte);
        }
        if let Ok(frame) = Frame::open(&to_hub) {
            is_whole(&frame);
            prop_assert_eq!(frame.bytes(), &to_hub);
        }
        if let Ok(reply) = Reply::open(&from_hub) {
            is_whole(&reply);
            prop_assert_eq!(reply.advisories().count() as u64, reply.get(&reply::ADVISORY_COUNT, 0));
        }
    }

    #[test]
    fn a_number_beyond_its_range_is_refused_by_both_ends(field in 0..LAYOUT.len(), at: usize, by: u64) {
        let spec = LAYOUT[field];
        let widest = u64::MAX >> (64 - 8 * spec.width_bytes);
        prop_assume!(spec.max < widest);
        let value = spec.max + 1 + by % (widest - spec.max);
        let mut bytes = *Draft::<ToHub>::new().seal().expect("in range").bytes();
        write(&mut bytes, &LAYOUT, &[(field, at, value)]);
        let (field, at) = (spec.name, at % spec.count);
        prop_assert_eq!(Frame::open(&bytes), Err(Fault::OutOfRange { field, at }));
    }

    #[test]
    fn noise_of_any_kind_is_no_page(bytes in vec(any::<u8>(), 0..2 * FRAME_BYTES)) {
        prop_assert!(Frame::open(&bytes).is_err());
        prop_assert!(Reply::open(&bytes).is_err());
    }
}

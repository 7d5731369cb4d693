//! The same lesion by the same name: what a model finds again where it found it in the study's earlier revision keeps the
//! tracking identifier and the tracking UID that it had then. A model that looks again draws a little differently, so a
//! place is not compared digit by digit: two outlines are one thing when they are of the same concept, in the same frame,
//! and overlap enough.

use crate::findings;
use pericard_dicom::report::tracking_uid;
use pericard_domain::finding::{Finding, Region, Report};
use pericard_domain::image::FrameRef;
use pericard_domain::uid::StudyUid;
use pericard_store::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// How much of what two outlines cover together both must cover, for them to be the same thing.
const OVERLAP_MIN: f64 = 0.5;

/// What the model, of whatever version, found in the latest earlier revision that it has looked at.
pub(crate) async fn earlier(
    store: &Store,
    (study, revision): (&StudyUid, u32),
    model: &str,
) -> Result<Vec<Finding>, StoreError> {
    let reports = store.reports(study).await?.into_iter();
    let of_model = |report: &Report| report.model.name == model && report.revision < revision;
    let earlier = reports.map(|kept| kept.report).filter(of_model);
    let latest = earlier.max_by_key(|report| report.revision);
    Ok(latest.map(|report| report.findings).unwrap_or_default())
}

/// Gives what was found before the name that it had, best overlap first, each name once. What is new has a name that nothing
/// else in the report has.
pub(crate) fn inherit(
    (study, model): (&StudyUid, &str),
    found: &mut [Finding],
    earlier: &[Finding],
) {
    let pairs = pairs(found, earlier);
    let (mut named, mut given) = (BTreeSet::new(), BTreeSet::new());
    for (_, new, old) in pairs {
        if named.contains(&new) || given.contains(&old) {
            continue;
        }
        named.insert(new);
        given.insert(old);
        found[new].tracking_id.clone_from(&earlier[old].tracking_id);
        found[new].tracking_uid = earlier[old].tracking_uid.clone();
    }
    let mut used: BTreeSet<String> = named
        .iter()
        .map(|new| found[*new].tracking_uid.to_string())
        .collect();
    for (n, finding) in found.iter_mut().enumerate() {
        if named.contains(&n) {
            continue;
        }
        // What moved away from here keeps the name that this place gave it.
        while !used.insert(finding.tracking_uid.to_string()) {
            let other = format!("{}/other", finding.tracking_uid);
            finding.tracking_uid = tracking_uid(study, model, &other);
            finding.tracking_id = findings::text_name(&finding.tracking_uid);
        }
    }
}

/// Which of the new and which of the earlier findings may be one, and how much they overlap: the most first.
fn pairs(found: &[Finding], earlier: &[Finding]) -> Vec<(f64, usize, usize)> {
    let mut by_frame: BTreeMap<(&str, u32), Vec<usize>> = BTreeMap::new();
    for (old, finding) in earlier.iter().enumerate() {
        if let Some((source, _)) = outlined(finding) {
            let frame = (source.instance.as_str(), source.frame);
            by_frame.entry(frame).or_default().push(old);
        }
    }
    let mut pairs = Vec::new();
    for (new, finding) in found.iter().enumerate() {
        let Some((source, corners)) = outlined(finding) else {
            continue;
        };
        let there = by_frame.get(&(source.instance.as_str(), source.frame));
        for old in there.into_iter().flatten().copied() {
            let (is_same, Some((_, before))) = (
                same_concept(finding, &earlier[old]),
                outlined(&earlier[old]),
            ) else {
                continue;
            };
            let overlap = overlap(corners, before);
            if is_same && overlap >= OVERLAP_MIN {
                pairs.push((overlap, new, old));
            }
        }
    }
    // Of equals the first: the same work gives the same names.
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    pairs
}

fn same_concept(one: &Finding, other: &Finding) -> bool {
    let (one, other) = (&one.concept, &other.concept);
    (&one.value, &one.scheme) == (&other.value, &other.scheme)
}

fn outlined(finding: &Finding) -> Option<(&FrameRef, &[[f32; 2]])> {
    match &finding.region {
        Region::Outline { source, corners } => Some((source, corners)),
        Region::Frames { .. } => None,
    }
}

type Point = [f64; 2];

/// What two convex outlines share, as a part of what they cover together.
fn overlap(one: &[[f32; 2]], other: &[[f32; 2]]) -> f64 {
    let (one, other) = (turned(one), turned(other));
    let mut shared = one.clone();
    for (n, from) in other.iter().enumerate() {
        let to = &other[(n + 1) % other.len()];
        shared = cut(&shared, (from, to));
    }
    let shared = area(&shared);
    let together = area(&one) + area(&other) - shared;
    if together > 0.0 {
        shared / together
    } else {
        0.0
    }
}

/// The corners in the order that makes the area positive.
fn turned(corners: &[[f32; 2]]) -> Vec<Point> {
    let mut corners: Vec<Point> = corners.iter().map(|c| c.map(f64::from)).collect();
    if area(&corners) < 0.0 {
        corners.reverse();
    }
    corners
}

/// The part of a polygon on the inner side of an edge (Sutherland and Hodgman's algorithm).
fn cut(polygon: &[Point], (from, to): (&Point, &Point)) -> Vec<Point> {
    let side =
        |p: &Point| (to[0] - from[0]) * (p[1] - from[1]) - (to[1] - from[1]) * (p[0] - from[0]);
    let mut kept = Vec::with_capacity(polygon.len() + 1);
    for (n, here) in polygon.iter().enumerate() {
        let next = &polygon[(n + 1) % polygon.len()];
        let (a, b) = (side(here), side(next));
        if a >= 0.0 {
            kept.push(*here);
        }
        if (a > 0.0 && b < 0.0) || (a < 0.0 && b > 0.0) {
            let part = a / (a - b);
            kept.push([0, 1].map(|axis| here[axis] + part * (next[axis] - here[axis])));
        }
    }
    kept
}

/// The area by the shoelace formula, negative when the corners go the other way.
fn area(corners: &[Point]) -> f64 {
    let edge = |n: usize| {
        let (here, next) = (corners[n], corners[(n + 1) % corners.len()]);
        here[0] * next[1] - next[0] * here[1]
    };
    (0..corners.len()).map(edge).sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::finding::Code;
    use pericard_domain::uid::InstanceUid;

    const STUDY: &str = "1.2";

    fn boxed(at: [f32; 2], size: [f32; 2]) -> Finding {
        in_frame(1, at, size)
    }

    fn in_frame(frame: u32, [x, y]: [f32; 2], [w, h]: [f32; 2]) -> Finding {
        let place = format!("1.3/{frame}/{x},{y},{w},{h}");
        let tracking_uid = tracking_uid(&study(), "m", &place);
        Finding {
            tracking_id: findings::text_name(&tracking_uid),
            tracking_uid,
            concept: Code::new("TEXT", "99PERICARD", "Text"),
            region: Region::Outline {
                source: FrameRef {
                    instance: InstanceUid::new("1.3").unwrap(),
                    frame,
                },
                corners: vec![[x, y], [x + w, y], [x + w, y + h], [x, y + h]],
            },
            measurements: vec![],
            text: None,
            score: None,
        }
    }

    fn study() -> StudyUid {
        StudyUid::new(STUDY).unwrap()
    }

    fn named(mut found: Vec<Finding>, earlier: &[Finding]) -> Vec<InstanceUid> {
        inherit((&study(), "m"), &mut found, earlier);
        found.into_iter().map(|f| f.tracking_uid).collect()
    }

    fn uids(findings: &[Finding]) -> Vec<InstanceUid> {
        findings.iter().map(|f| f.tracking_uid.clone()).collect()
    }

    #[test]
    fn how_much_outlines_overlap() {
        let square = |x: f32, y: f32| [[x, y], [x + 10.0, y], [x + 10.0, y + 10.0], [x, y + 10.0]];
        let diamond = [[5.0, -5.0], [15.0, 5.0], [5.0, 15.0], [-5.0, 5.0]];
        let mut backwards = square(0.0, 0.0);
        backwards.reverse();
        let line = [[0.0, 0.0], [10.0, 0.0], [10.0, 0.0]];
        for (one, other, expected) in [
            (&square(0.0, 0.0)[..], &square(0.0, 0.0)[..], 1.0),
            (&square(0.0, 0.0), &backwards, 1.0),
            (&square(0.0, 0.0), &square(5.0, 0.0), 1.0 / 3.0),
            (&square(0.0, 0.0), &square(10.0, 0.0), 0.0),
            (&square(0.0, 0.0), &square(30.0, 30.0), 0.0),
            // The diamond covers all of the square, and as much again.
            (&square(0.0, 0.0), &diamond, 0.5),
            (&diamond, &square(0.0, 0.0), 0.5),
            (&line, &square(0.0, 0.0), 0.0),
            (&line, &line, 0.0),
            (&[], &square(0.0, 0.0), 0.0),
        ] {
            let found = overlap(one, other);
            assert!(
                (found - expected).abs() < 1e-9,
                "{one:?} {other:?}: {found}"
            );
        }
    }

    #[test]
    fn what_is_drawn_a_little_differently_keeps_its_name() {
        let before = [
            boxed([100.0, 50.0], [80.0, 20.0]),
            boxed([100.0, 90.0], [60.0, 20.0]),
        ];
        for shift in [0.4, 1.0, -1.0, 3.0] {
            let now = vec![
                boxed([100.0 + shift, 50.0 - shift], [80.0, 20.0]),
                boxed([100.0 - shift, 90.0], [60.0 + shift, 20.0]),
            ];
            let fresh = uids(&now);
            assert!(
                uids(&before).iter().all(|uid| !fresh.contains(uid)),
                "{shift}"
            );
            assert_eq!(named(now, &before), uids(&before), "{shift}");
        }
        let mut moved = vec![boxed([101.0, 50.0], [80.0, 20.0])];
        inherit((&study(), "m"), &mut moved, &before);
        assert_eq!(
            moved[0].tracking_id, before[0].tracking_id,
            "the name for people too"
        );
    }

    #[test]
    fn the_order_does_not_matter() {
        let before = [
            boxed([0.0, 0.0], [40.0, 10.0]),
            boxed([0.0, 30.0], [40.0, 10.0]),
        ];
        let swapped = vec![
            boxed([1.0, 30.0], [40.0, 10.0]),
            boxed([1.0, 0.0], [40.0, 10.0]),
        ];
        let [first, second] = [0, 1].map(|n: usize| before[n].tracking_uid.clone());
        assert_eq!(named(swapped, &before), [second, first]);
    }

    #[test]
    fn of_two_candidates_the_better_has_the_name_and_the_other_is_new() {
        let before = [boxed([0.0, 0.0], [40.0, 10.0])];
        let now = vec![
            boxed([8.0, 0.0], [40.0, 10.0]),
            boxed([2.0, 0.0], [40.0, 10.0]),
        ];
        let (fresh, found) = (uids(&now), named(now, &before));
        assert_eq!(found, [fresh[0].clone(), before[0].tracking_uid.clone()]);
        // And the other way about: one that could be either is what it overlaps more.
        let before = [
            boxed([8.0, 0.0], [40.0, 10.0]),
            boxed([2.0, 0.0], [40.0, 10.0]),
        ];
        let found = named(vec![boxed([3.0, 0.0], [40.0, 10.0])], &before);
        assert_eq!(found, [before[1].tracking_uid.clone()]);
    }

    #[test]
    fn elsewhere_or_something_else_is_new() {
        let before = [boxed([0.0, 0.0], [40.0, 10.0])];
        let mut other = boxed([0.5, 0.0], [40.0, 10.0]);
        other.concept = Code::new("ARROW", "99PERICARD", "Arrow");
        let far = boxed([30.0, 0.0], [40.0, 10.0]);
        let now = vec![in_frame(2, [0.0, 0.0], [40.0, 10.0]), other, far];
        let fresh = uids(&now);
        assert_eq!(named(now, &before), fresh);
        assert_eq!(named(vec![], &before), []);
    }

    #[test]
    fn whoever_comes_to_a_place_does_not_take_the_name_of_whoever_left_it() {
        let first = boxed([0.0, 0.0], [40.0, 10.0]);
        let mut moved = boxed([9.0, 0.0], [40.0, 10.0]);
        moved.tracking_uid = first.tracking_uid.clone();
        // It moves on, and something new is where it was first.
        let now = vec![boxed([18.0, 0.0], [40.0, 10.0]), first.clone()];
        let found = named(now, std::slice::from_ref(&moved));
        assert!(found.contains(&first.tracking_uid));
        assert_ne!(found[0], found[1], "two things, two names");
        // Twice the same place in one report, too.
        let twice = named(vec![first.clone(), first.clone()], &[]);
        assert_eq!(twice[0], first.tracking_uid);
        assert_ne!(twice[0], twice[1]);
        assert_eq!(
            twice,
            named(vec![first.clone(), first], &[]),
            "and the same again"
        );
    }
}

//! How far each hospital's audit log is witnessed, how old that is, and where a log did not continue.

use super::layout::{Page, page};
use super::pieces::{Tone, chip, hospital, moment, nothing, thousands};
use super::visit::Visit;
use crate::records::{AlarmKind, Snapshot, Witnessed};
use crate::site::Site;
use axum::extract::{Extension, State};
use maud::{Markup, html};

const DAY_S: u64 = 86_400;
/// A checkpoint that is older than this lags: a frame a week, held for a week, and one more.
const LAG_DAYS_MAX: u64 = 21;

pub(super) async fn show(State(site): State<Site>, Extension(visit): Extension<Visit>) -> Page {
    let snapshot = site.hub().records().snapshot();
    let content = html! {
        h1 { "Witness of the audit logs" }
        p.quiet {
            "With each frame a hospital proves that its audit log still holds every line that it held before, and the hub signs \
             how far it has seen it. A log that was rolled back or rewritten cannot give that proof."
        }
        @if snapshot.hospitals.is_empty() { (nothing("No hospital is enrolled.")) } @else { div.sheet { table.stack {
            thead { tr {
                th scope="col" { "Hospital" } th scope="col" { "State" } th scope="col" { "Lines" }
                th scope="col" { "Last checkpoint" } th scope="col" { "Lag" } th scope="col" { "Root" }
            } }
            tbody { @for hospital in &snapshot.hospitals { (row(&snapshot, hospital.number)) } }
        } } }
    };
    page(&visit, "/witness", "Witness", content)
}

fn row(snapshot: &Snapshot, number: u32) -> Markup {
    let seen = of(snapshot, number);
    html! {
        tr {
            td data-name="Hospital" { (hospital(snapshot, number)) }
            td data-name="State" { (state(snapshot, number)) }
            td.number data-name="Lines" { @if let Some(seen) = seen { (thousands(seen.size)) } }
            td data-name="Last checkpoint" { @if let Some(seen) = seen { (moment(seen.cosigned_at_s)) } }
            td.number data-name="Lag" { @if let Some(seen) = seen { (lag_days(snapshot, seen)) " days" } }
            td.uid data-name="Root" { @if let Some(seen) = seen { (hex::encode(seen.root).split_at(16).0) "…" } }
        }
    }
}

/// The same for one hospital's own page.
pub(super) fn card(snapshot: &Snapshot, number: u32) -> Markup {
    html! {
        section.sheet aria-labelledby="witness" {
            h2 #witness { "Audit log" }
            dl.facts {
                div { dt { "state" } dd { (state(snapshot, number)) } }
                @if let Some(seen) = of(snapshot, number) {
                    div { dt { "lines" } dd.number { (thousands(seen.size)) } }
                    div { dt { "last checkpoint" } dd { (moment(seen.cosigned_at_s)) } }
                    div { dt { "lag" } dd.number { (lag_days(snapshot, seen)) " days" } }
                    div { dt { "root" } dd.uid { (hex::encode(seen.root)) } }
                }
            }
        }
    }
}

fn state(snapshot: &Snapshot, number: u32) -> Markup {
    let open = snapshot.alarms.iter().filter(|alarm| alarm.is_open());
    let mut own = open.filter(|alarm| alarm.appliance == number);
    let forked = own.any(|alarm| alarm.kind == AlarmKind::Fork);
    match of(snapshot, number) {
        _ if forked => chip("fork: it did not continue", Tone::Bad),
        None => chip("never seen", Tone::Quiet),
        Some(seen) if lag_days(snapshot, seen) > LAG_DAYS_MAX => chip("lags", Tone::Warn),
        Some(_) => chip("continues", Tone::Good),
    }
}

fn of(snapshot: &Snapshot, number: u32) -> Option<&Witnessed> {
    snapshot
        .witnessed
        .iter()
        .find(|seen| seen.appliance == number)
}

fn lag_days(snapshot: &Snapshot, seen: &Witnessed) -> u64 {
    snapshot.now_s.saturating_sub(seen.cosigned_at_s) / DAY_S
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Alarm;

    const NOW_S: u64 = 1_795_600_000;

    /// How hospital 3 stands, whose last checkpoint is so old.
    fn stands(age_s: u64, alarms: Vec<Alarm>) -> String {
        let seen = Witnessed {
            appliance: 3,
            size: 5,
            root: [7; 32],
            cosigned_at_s: NOW_S - age_s,
        };
        let snapshot = Snapshot {
            witnessed: vec![seen],
            alarms,
            now_s: NOW_S,
            ..Snapshot::default()
        };
        row(&snapshot, 3).into_string()
    }

    #[test]
    fn a_checkpoint_lags_after_three_weeks() {
        let lags = |age_s| stands(age_s, Vec::new()).contains(">lags<");
        assert!(!lags(0) && !lags((LAG_DAYS_MAX + 1) * DAY_S - 1));
        assert!(lags((LAG_DAYS_MAX + 1) * DAY_S));
        let late = stands(30 * DAY_S, Vec::new());
        assert!(late.contains(">30 days<"), "{late}");
        assert!(stands(DAY_S, Vec::new()).contains(">continues<"));
        let never = row(&Snapshot::default(), 3).into_string();
        assert!(never.contains(">never seen<"), "{never}");
    }

    #[test]
    fn a_fork_is_said_whatever_the_lag() {
        let fork = |appliance, kind| Alarm {
            number: 1,
            appliance,
            at_s: NOW_S,
            kind,
            sequence: None,
            closed_at_s: None,
        };
        let says = |alarm| stands(30 * DAY_S, vec![alarm]).contains("fork: it did not continue");
        assert!(says(fork(3, AlarmKind::Fork)));
        assert!(!says(fork(4, AlarmKind::Fork)) && !says(fork(3, AlarmKind::Signature)));
        let closed = Alarm {
            closed_at_s: Some(NOW_S),
            ..fork(3, AlarmKind::Fork)
        };
        assert!(!says(closed), "somebody has looked into it");
    }
}

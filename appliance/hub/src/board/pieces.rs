//! What several pages have: figures with their uncertainty, moments, states.

use crate::figures::{Distance, ESTIMATE_MIN, Estimate};
use crate::outlook::State;
use crate::records::{Snapshot, Viewer};
use crate::weeks::{COUNT_SHOWN_MIN, is_shown};
use maud::{Markup, html};
use pericard_frame::stage::bucket_end_ms;
use time::{Date, OffsetDateTime};

/// How a word is felt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warn,
    Bad,
    Quiet,
}

impl Tone {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Quiet => "none",
        }
    }
}

/// A word in its colour. The word says all: the colour only helps to find it.
pub(super) fn chip(word: &str, tone: Tone) -> Markup {
    html! { span class={ "chip " (tone.class()) } { (word) } }
}

pub(super) fn state(state: State) -> Markup {
    let tone = match state {
        State::Reporting => Tone::Good,
        State::New => Tone::Quiet,
        State::Holding => Tone::Warn,
        State::Silent | State::Refused | State::Suspended => Tone::Bad,
    };
    chip(state.word(), tone)
}

/// The hospital's own verdict on a model's scores.
pub(super) fn verdict(verdict: u8) -> Markup {
    match verdict {
        1 => chip("stable", Tone::Good),
        2 => chip("watch", Tone::Warn),
        3 => chip("drift", Tone::Bad),
        _ => chip("unknown", Tone::Quiet),
    }
}

/// The Monday on which a week begins.
pub(super) fn monday(week: u16) -> String {
    let days = 4 + 7 * i64::from(week);
    let moment = OffsetDateTime::from_unix_timestamp(days * 86_400);
    moment.map_or_else(|_| String::new(), |at| date(at.date()))
}

/// A week, as people name it: by its Monday.
pub(super) fn week(week: u16) -> Markup {
    let monday = monday(week);
    html! { time datetime=(monday) { (monday) } }
}

/// A moment, to the minute.
pub(super) fn moment(at_s: u64) -> Markup {
    let at = i64::try_from(at_s).ok();
    let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    html! { @if let Some(at) = at {
        @let (date, hour, minute) = (date(at.date()), at.hour(), at.minute());
        time datetime=(format!("{date}T{hour:02}:{minute:02}Z")) { (date) " " (format!("{hour:02}:{minute:02}")) }
    } }
}

fn date(date: Date) -> String {
    format!(
        "{}-{:02}-{:02}",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}

/// A share with its interval, or that too few stand behind it.
pub(super) fn share(estimate: Option<Estimate>) -> Markup {
    html! { @match estimate {
        Some(share) => span.number { (percent(share)) },
        None => span.quiet { "left out: fewer than " (ESTIMATE_MIN) },
    } }
}

pub(super) fn percent(share: Estimate) -> String {
    let [value, low, high] = [share.value, share.low, share.high].map(|part| 100.0 * part);
    format!("{value:.1} % ({low:.1} to {high:.1})")
}

/// A noised count with its interval.
pub(super) fn noised(count: Estimate) -> Markup {
    html! { span.number { (thousands(count.value.round() as u64)) " (" (thousands(count.low.round() as u64)) " to "
    (thousands(count.high.round() as u64)) ")" } }
}

/// A distance, as charts draw it.
pub(super) fn noised_distance(far: Distance) -> Estimate {
    Estimate {
        value: far.value,
        low: far.low,
        high: far.high,
    }
}

/// A distance in words: with its interval, and the threshold that says what chance makes of it.
pub(super) fn apart(far: &Distance) -> String {
    format!(
        "{:.3} ({:.3} to {:.3}), alarm at {:.3}",
        far.value, far.low, far.high, far.threshold
    )
}

/// An exact count, unless it is small and somebody else's.
pub(super) fn exact(count: u64, is_own: bool) -> Markup {
    html! { @if is_own || is_shown(count) {
        span.number { (thousands(count)) }
    } @else {
        span.quiet { "1 to " (COUNT_SHOWN_MIN - 1) }
    } }
}

/// The sum of exact counts that may be shown, and how many were left out: adding them would give them away.
pub(super) fn sum(counts: impl IntoIterator<Item = u64>) -> (u64, usize) {
    counts
        .into_iter()
        .fold((0, 0), |(sum, left), count| match is_shown(count) {
            true => (sum + count, left),
            false => (sum, left + 1),
        })
}

/// Such a sum.
pub(super) fn summed((sum, left): (u64, usize)) -> Markup {
    html! {
        span.number { (thousands(sum)) }
        @if left > 0 { " " span.quiet { "(" (left) @if left == 1 { " small cell" } @else { " small cells" } " left out)" } }
    }
}

/// A number with a thin space after each three digits.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A duration as its bucket, as the frame numbers them: it is known to lie between the ends, and no better.
pub(super) fn bucket(number: u8) -> String {
    match ends_ms(number) {
        None => "too few to tell".to_owned(),
        Some((from, end)) => between(from, end),
    }
}

/// The same as charts draw it.
pub(super) fn bucket_estimate(number: u8) -> Option<Estimate> {
    let (from, end) = ends_ms(number)?;
    let low = from as f64;
    let high = end.map_or(f64::INFINITY, |end| end as f64);
    let middle = (low.max(1.0) * high).sqrt();
    Some(Estimate {
        value: if high.is_finite() { middle } else { low },
        low,
        high,
    })
}

/// That a duration lies between these ends, milliseconds; the last bucket has none above.
pub(super) fn between(from_ms: u64, end_ms: Option<u64>) -> String {
    match (from_ms, end_ms) {
        (0, Some(end)) => format!("at most {}", duration(end)),
        (from, Some(end)) => format!("{} to {}", duration(from), duration(end)),
        (from, None) => format!("more than {}", duration(from)),
    }
}

/// A duration of so many milliseconds.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        ..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => format!("{:.0} min", ms as f64 / 60_000.0),
    }
}

/// What lies in a bucket took longer than the first, and at most as long as the second; `None` for too few to tell.
fn ends_ms(number: u8) -> Option<(u64, Option<u64>)> {
    let place = usize::from(number).checked_sub(1)?;
    let from = place.checked_sub(1).and_then(bucket_end_ms);
    Some((from.unwrap_or(0), bucket_end_ms(place)))
}

/// Tenths of the time in which something was busy, as they were cut off.
pub(super) fn tenths(tenths: u64) -> String {
    match tenths {
        10.. => "100 %".to_owned(),
        some => format!("{} to {} %", 10 * some, 10 * (some + 1)),
    }
}

/// A model's name and version.
pub(super) fn model_name(snapshot: &Snapshot, id: u16) -> String {
    let model = snapshot.models.iter().find(|model| model.id == id);
    model.map_or_else(
        || format!("number {id}, in no catalogue"),
        |model| format!("{} {}", model.name, model.version),
    )
}

/// A model; a link for who may follow it.
pub(super) fn model(snapshot: &Snapshot, viewer: Viewer, id: u16) -> Markup {
    let name = model_name(snapshot, id);
    html! { @match viewer {
        Viewer::Hospital(_) => (name),
        _ => a href={ "/models/" (id) } { (name) },
    } }
}

/// A hospital, as a link.
pub(super) fn hospital(snapshot: &Snapshot, number: u32) -> Markup {
    let found = snapshot.hospitals.iter().find(|h| h.number == number);
    html! { a href={ "/hospitals/" (number) } {
        @match found { Some(hospital) => (hospital.name), None => { "number " (number) } }
    } }
}

/// Says that a list is empty.
pub(super) fn nothing(what: &str) -> Markup {
    html! { p.nothing { (what) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_weeks_and_buckets_as_people_write_them() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(monday(2_968), "2026-11-23");
        assert_eq!(bucket(0), "too few to tell");
        assert_eq!(bucket(1), "at most 1 ms");
        assert_eq!(bucket(10), "256 ms to 512 ms");
        assert_eq!(bucket(11), "512 ms to 1.0 s");
        assert_eq!(bucket(14), "4.1 s to 8.2 s");
        assert_eq!(bucket(24), "more than 70 min");
        let ends = |number| bucket_estimate(number).map(|e| (e.low, e.high));
        assert_eq!(ends(0), None);
        assert_eq!(ends(10), Some((256.0, 512.0)));
        assert!(ends(24).is_some_and(|(low, high)| low > 4e6 && high.is_infinite()));
        assert_eq!(
            (&*tenths(0), &*tenths(7), &*tenths(10)),
            ("0 to 10 %", "70 to 80 %", "100 %")
        );
    }

    #[test]
    fn small_cells_are_in_no_sum() {
        assert_eq!(sum([0, 4, 5, 1, 100]), (105, 2));
        let shown = exact(4, false).into_string();
        assert!(
            shown.contains("1 to 4") && !shown.contains(">4<"),
            "{shown}"
        );
        assert!(exact(4, true).into_string().contains(">4<"));
    }

    #[test]
    fn what_strangers_wrote_is_text() {
        let shown = chip("<script>alert(1)</script>", Tone::Bad).into_string();
        assert!(!shown.contains("<script"), "{shown}");
    }
}

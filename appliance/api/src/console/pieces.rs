//! What several pages have.

use super::layout::may;
use super::visit::Visit;
use maud::{Markup, html};
use pericard_domain::job::{Job, JobState, Priority, Work};
use pericard_domain::time::Timestamp;
use pericard_domain::uid::StudyUid;
use pericard_store::worklist::Progress;

/// How a state is felt: the colour of its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Busy,
    Warn,
    Bad,
    Quiet,
}

impl Tone {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
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

pub(super) fn job_state(state: &JobState) -> Markup {
    let tone = match state {
        JobState::Waiting { .. } => Tone::Quiet,
        JobState::Leased { .. } => Tone::Busy,
        JobState::Done => Tone::Good,
        JobState::Failed { .. } => Tone::Bad,
        JobState::Cancelled => Tone::Quiet,
    };
    chip(state.name(), tone)
}

pub(super) fn progress(progress: Progress) -> Markup {
    let tone = match progress {
        Progress::Arriving | Progress::Held => Tone::Quiet,
        Progress::Working => Tone::Busy,
        Progress::Failed => Tone::Bad,
        Progress::Done => Tone::Good,
    };
    chip(progress.name(), tone)
}

pub(super) fn priority(priority: Priority) -> Markup {
    let tone = match priority {
        Priority::Stat => Tone::Warn,
        Priority::Routine | Priority::Batch => Tone::Quiet,
    };
    chip(priority.name(), tone)
}

/// A moment, to the second.
pub(super) fn moment(at: Timestamp) -> Markup {
    let whole = at.rfc3339();
    let (date, rest) = whole.split_once('T').unwrap_or((&whole, ""));
    let time = rest.split('.').next().unwrap_or_default();
    html! { time datetime=(whole) { (date) " " (time) } }
}

/// A date of DICOM, `YYYYMMDD`, as people write it; what is no such date, as it stands.
pub(super) fn date(dicom: &str) -> String {
    match dicom.len() == 8 && dicom.bytes().all(|b| b.is_ascii_digit()) {
        true => format!("{}-{}-{}", &dicom[..4], &dicom[4..6], &dicom[6..]),
        false => dicom.to_owned(),
    }
}

/// A patient's name as people write it: the components of the first group, without DICOM's carets.
pub(super) fn name(dicom: &str) -> String {
    let first = dicom.split('=').next().unwrap_or_default();
    let mut parts = first.split('^').map(str::trim);
    let family = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    match rest.is_empty() {
        true => family.to_owned(),
        false => format!("{family}, {}", rest.join(" ")),
    }
}

/// What is there, or a dash.
pub(super) fn or_dash(text: Option<&str>) -> &str {
    text.unwrap_or("–")
}

/// A study's UID; a link for whoever may follow it.
pub(super) fn study_link(visit: &Visit, study: &StudyUid) -> Markup {
    html! {
        @if may(visit, "/console/studies/{study}") {
            a.uid href={ "/console/studies/" (study) } { (study) }
        } @else {
            span.uid { (study) }
        }
    }
}

/// What a job is to do.
pub(super) fn work(job: &Job) -> Markup {
    match &job.work {
        Work::Assemble { .. } => html! { "take the study as complete" },
        Work::Infer {
            revision, model, ..
        } => html! { (model) span.quiet { " · revision " (revision) } },
    }
}

/// Bytes as people say them.
pub(super) fn bytes(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_048_576 => (1_u64 << 10, "KiB"),
        1_048_576..1_073_741_824 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    format!("{:.1} {name}", bytes as f64 / unit as f64)
}

/// A choice of a form: nothing, or one of these names.
pub(super) fn choice<'n>(
    (field, label): (&str, &str),
    names: impl IntoIterator<Item = &'n str>,
    chosen: Option<&str>,
) -> Markup {
    html! {
        div.field {
            label for=(field) { (label) }
            select id=(field) name=(field) {
                option value="" { "all" }
                @for name in names {
                    option value=(name) selected[chosen == Some(name)] { (name) }
                }
            }
        }
    }
}

/// Says that a list is empty.
pub(super) fn nothing(what: &str) -> Markup {
    html! { p.nothing { (what) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_dates_and_sizes_as_people_write_them() {
        assert_eq!(name("DOE^JANE^^DR"), "DOE, JANE DR");
        assert_eq!(name("YAMADA^TARO=山田^太郎"), "YAMADA, TARO");
        assert_eq!(name("DOE"), "DOE");
        assert_eq!(date("20261123"), "2026-11-23");
        assert_eq!(date("<b>"), "<b>");
        assert_eq!(date("é345678"), "é345678");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
    }

    #[test]
    fn what_strangers_wrote_is_text() {
        let shown = chip("<script>alert(1)</script>", Tone::Bad).into_string();
        assert!(!shown.contains("<script"), "{shown}");
    }
}

//! What each model did in each hospital's weeks: one row each, for programs (JSON) and researchers (CSV), made here once.
//!
//! Small cells are left out: a count of one to four says something of somebody, also where no patient is named.

use crate::records::{Received, Snapshot, Viewer};
use pericard_frame::cell;
use pericard_frame::layout::{self, BINS, MODELS, OFFSET, REVIEWS, TOLD_MODELS};
use serde_json::{Map, Value, json};

/// The smallest exact count above zero that is shown to anybody but the hospital whose it is.
pub const COUNT_SHOWN_MIN: u64 = 5;
/// Whether an exact count may be shown to others than the hospital whose it is.
#[must_use]
pub const fn is_shown(count: u64) -> bool {
    count == 0 || count >= COUNT_SHOWN_MIN
}

/// The smallest noised total of a histogram that is shown to anybody but the hospital whose it is.
pub const TOLD_SHOWN_MIN: i64 = 50;
/// How many rows an answer has at most: a nation of 50 hospitals with 8 models over ten years.
pub const ROWS_MAX: usize = 250_000;

/// The columns before the histogram's, each with what it means.
pub const COLUMNS: [(&str, &str); 15] = [
    ("hospital", "the number of the hospital's appliance"),
    ("week", "counted from Monday 5 January 1970"),
    ("sequence", "the number of the frame among the hospital's"),
    ("received_at_s", "when the hub took it, seconds since 1970"),
    ("carried", "whether somebody carried it as a file"),
    ("model", "the model's number in the catalogue"),
    ("name", "its name; empty when it is in no catalogue"),
    ("version", "its version"),
    ("done", "inferences that gave a result; left out below 5"),
    ("failed", "inferences that gave none; left out below 5"),
    (
        "p50_bucket",
        "the bucket of the median duration, from 1; 0 when there were too few",
    ),
    ("p95_bucket", "the same for 95 of 100"),
    (
        "drift",
        "the hospital's own verdict: 0 unknown, 1 stable, 2 watch, 3 drift",
    ),
    (
        "told_weeks",
        "how many weeks the histogram tells of together; 0 without one",
    ),
    (
        "told_milli_epsilon",
        "the privacy budget spent on it; its noise has a scale of 1000 divided by this",
    ),
];
/// The states of review, as the histogram's columns are called: `unreviewed_0` to `disagreed_9`, by tenth of the score.
pub const REVIEW_NAMES: [&str; REVIEWS] = ["unreviewed", "agreed", "disagreed"];

/// Which rows are wanted.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Only this hospital's.
    pub hospital: Option<u32>,
    /// Only this model's.
    pub model: Option<u16>,
    /// From this week on.
    pub from_week: Option<u16>,
    /// Up to this week.
    pub to_week: Option<u16>,
}

impl Wanted {
    /// Whether this week is among those that are wanted.
    #[must_use]
    pub fn has(&self, week: u16) -> bool {
        self.from_week.is_none_or(|from| from <= week) && self.to_week.is_none_or(|to| week <= to)
    }
}

/// One row, by column. What is left out is null.
pub type Row = Map<String, Value>;

/// The rows that this viewer may see, by hospital, week and model. What is small is left out of all but a hospital's own.
pub fn rows<'s>(
    snapshot: &'s Snapshot,
    viewer: Viewer,
    wanted: Wanted,
) -> impl Iterator<Item = Row> + use<'s> {
    let asked = move |received: &&std::sync::Arc<Received>| {
        viewer.sees(received.appliance)
            && wanted.hospital.is_none_or(|n| n == received.appliance)
            && wanted.has(received.week)
    };
    snapshot
        .frames
        .iter()
        .filter(asked)
        .flat_map(move |received| {
            let is_own = viewer == Viewer::Hospital(received.appliance);
            let places = (0..MODELS).filter(move |at| {
                let id = received.frame.get(&layout::MODEL, *at);
                let told = id > 0 || done(received, *at) > 0;
                told && wanted.model.is_none_or(|model| u64::from(model) == id)
            });
            places.map(move |at| row(snapshot, received, at, is_own))
        })
}

/// Rows as CSV (RFC 4180), with a line of column names.
#[must_use]
pub fn csv(rows: impl Iterator<Item = Row>) -> String {
    let names = names();
    let mut text = names.join(",") + "\r\n";
    for row in rows {
        let cells: Vec<String> = names.iter().map(|name| quoted(row.get(name))).collect();
        text += &cells.join(",");
        text += "\r\n";
    }
    text
}

/// Every column's name, in the order of the CSV.
#[must_use]
pub fn names() -> Vec<String> {
    let fixed = COLUMNS.iter().map(|(name, _)| (*name).to_owned());
    fixed.chain(cells().map(|(name, ..)| name)).collect()
}

/// The histogram's columns, with review and bin.
fn cells() -> impl Iterator<Item = (String, usize, usize)> {
    let reviews = REVIEW_NAMES.iter().enumerate();
    reviews
        .flat_map(|(review, name)| (0..BINS).map(move |bin| (format!("{name}_{bin}"), review, bin)))
}

fn row(snapshot: &Snapshot, received: &Received, at: usize, is_own: bool) -> Row {
    let frame = &received.frame;
    let id = frame.get(&layout::MODEL, at);
    let model = snapshot
        .models
        .iter()
        .find(|model| u64::from(model.id) == id);
    let place =
        (0..TOLD_MODELS).find(|place| id > 0 && frame.get(&layout::HIST_MODEL, *place) == id);
    let told = |field: &layout::Field<u16>| place.map_or(0, |place| frame.get(field, place));
    let exact = |count| (is_own || is_shown(count)).then_some(count);
    let fixed = json!({
        "hospital": received.appliance, "week": received.week, "sequence": received.sequence,
        "received_at_s": received.received_at_s, "carried": received.carried,
        "model": id, "name": model.map(|m| &m.name), "version": model.map(|m| &m.version),
        "done": exact(done(received, at)), "failed": exact(frame.get(&layout::MODEL_FAILED, at)),
        "p50_bucket": frame.get(&layout::MODEL_P50, at), "p95_bucket": frame.get(&layout::MODEL_P95, at),
        "drift": frame.get(&layout::DRIFT, at),
        "told_weeks": place.map_or(0, |place| frame.get(&layout::HIST_WEEKS, place)),
        "told_milli_epsilon": told(&layout::HIST_EPSILON),
    });
    let mut row = match fixed {
        Value::Object(row) => row,
        _ => Row::new(),
    };
    let histogram = place.map(|place| histogram(received, place));
    let shown = histogram.filter(|counts| is_own || counts.iter().sum::<i64>() >= TOLD_SHOWN_MIN);
    for (at, (name, ..)) in cells().enumerate() {
        row.insert(name, shown.as_ref().map(|counts| counts[at]).into());
    }
    row
}

/// The noised counts, in the order of the columns. They can be below zero.
fn histogram(received: &Received, place: usize) -> Vec<i64> {
    let count = |(_, review, bin): (String, usize, usize)| {
        let at = cell(place, review, bin)?;
        let noised = received.frame.get(&layout::HIST, at).cast_signed();
        Some(noised - i64::from(OFFSET))
    };
    cells().map(|cell| count(cell).unwrap_or(0)).collect()
}

fn done(received: &Received, at: usize) -> u64 {
    received.frame.get(&layout::MODEL_DONE, at)
}

fn quoted(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) if text.contains([',', '"', '\r', '\n']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Model;
    use pericard_frame::{Draft, ToHub};
    use std::sync::Arc;

    fn nation(done: u32, cell_count: u16) -> Snapshot {
        let mut draft = Draft::<ToHub>::new();
        draft.put(&layout::APPLIANCE, 0, 3_u32);
        draft.put(&layout::MODEL, 0, 9_u16);
        draft.put(&layout::MODEL_DONE, 0, done);
        draft.put(&layout::HIST_MODEL, 0, 9_u16);
        draft.put(&layout::HIST_WEEKS, 0, 1_u8);
        draft.put(&layout::HIST_EPSILON, 0, 500_u16);
        draft.put_all(&layout::HIST, 0, [OFFSET + cell_count; layout::CELLS]);
        draft.put(&layout::HIST, 0, OFFSET - 2);
        let received = Received {
            appliance: 3,
            sequence: 1,
            week: 2_967,
            received_at_s: 5,
            carried: false,
            frame: draft.seal().expect("in range"),
        };
        let model = Model {
            id: 9,
            name: "lung,nodule".into(),
            version: "1.0".into(),
            digest: [0; 32],
        };
        Snapshot {
            frames: vec![Arc::new(received)],
            models: vec![model],
            ..Snapshot::default()
        }
    }

    fn only(snapshot: &Snapshot, viewer: Viewer) -> Row {
        let mut rows: Vec<Row> = rows(snapshot, viewer, Wanted::default()).collect();
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    #[test]
    fn small_cells_are_for_their_own_hospital_only() {
        let few = nation(4, 1);
        for viewer in [Viewer::Admin, Viewer::Analyst] {
            let row = only(&few, viewer);
            assert_eq!(
                (&row["done"], &row["agreed_3"]),
                (&Value::Null, &Value::Null)
            );
            assert_eq!(row["told_weeks"], 1);
        }
        let own = only(&few, Viewer::Hospital(3));
        assert_eq!(
            (own["done"].as_u64(), own["agreed_3"].as_i64()),
            (Some(4), Some(1))
        );
        assert_eq!(own["unreviewed_0"], -2);
        let many = only(&nation(5, 2), Viewer::Analyst);
        assert_eq!(
            (many["done"].as_u64(), many["agreed_3"].as_i64()),
            (Some(5), Some(2))
        );
        let stranger = rows(&few, Viewer::Hospital(4), Wanted::default());
        assert_eq!(stranger.count(), 0);
    }

    #[test]
    fn a_row_is_a_line_of_as_many_cells_as_there_are_columns() {
        let nation = nation(7, 2);
        let text = csv(rows(&nation, Viewer::Analyst, Wanted::default()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[1].starts_with("3,2967,1,5,false,9,\"lung,nodule\",1.0,7,0,"),
            "{}",
            lines[1]
        );
        let cells = lines[1].replace("lung,nodule", "");
        assert_eq!(cells.split(',').count(), names().len());
        assert_eq!(lines[0].split(',').count(), names().len());
    }

    #[test]
    fn what_is_asked_for_is_what_comes() {
        let nation = nation(7, 2);
        let asked = |text: &str| {
            let wanted = serde_json::from_str(text).expect("a question");
            rows(&nation, Viewer::Admin, wanted).count()
        };
        assert_eq!(
            asked(r#"{"hospital": 3, "model": 9, "from_week": 2967, "to_week": 2967}"#),
            1
        );
        for other in [
            r#"{"hospital": 2}"#,
            r#"{"model": 8}"#,
            r#"{"from_week": 2968}"#,
            r#"{"to_week": 2966}"#,
        ] {
            assert_eq!(asked(other), 0, "{other}");
        }
    }
}

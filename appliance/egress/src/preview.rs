//! What would leave, before it leaves: the frame, number by number, and its bytes.

use crate::spool::{self, SpoolError};
use pericard_frame::stage::{BUCKETS, bucket_end_ms};
use pericard_frame::{Counter, FRAME_BYTES, Frame, Line, Stage};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// Every number of a frame and its bytes. It is read back from the very bytes, so it shows what is in them and not what
/// was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// How many bytes are sent, always the same.
    pub frame_bytes: usize,
    /// Every number, in the order of their places.
    pub numbers: Vec<Shown>,
    /// How many bytes at the end belong to no number. They have been checked to be zero.
    pub zero_padding_bytes: usize,
    /// All bytes, in hexadecimal.
    pub frame_hex: String,
}

/// One number of a frame, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// What it is.
    pub value: u64,
    /// What it means.
    pub meaning: String,
    /// Where it begins in the frame.
    pub offset_bytes: usize,
    /// How many bytes it takes.
    pub width_bytes: usize,
}

/// What would be sent of what this spool file holds.
///
/// # Errors
/// When there is no such file, it is no spool, or what it holds does not keep to the frame's layout.
pub fn preview(spool: &Path) -> Result<Preview, SpoolError> {
    let kept = spool::read(spool)?;
    let (identity, tally) = kept.ok_or_else(|| SpoolError::Absent(spool.to_owned()))?;
    Preview::of(&tally.frame(identity.release, identity.appliance)?)
}

/// What the frame of this number says, from the folder of the [`crate::Books`].
///
/// # Errors
/// When there is none, or it does not keep to the layout.
pub fn preview_frame(dir: &Path, sequence: u32) -> Result<Preview, SpoolError> {
    let path = crate::books::frame_path(dir, sequence);
    let bytes = std::fs::read(&path).map_err(spool::failed("read", &path))?;
    Preview::of(&Frame::open(&bytes)?)
}

impl Preview {
    /// What this frame says.
    ///
    /// # Errors
    /// When the other end would refuse it.
    pub fn of(frame: &Frame) -> Result<Self, SpoolError> {
        let frame = Frame::open(frame.bytes())?; // as the other end will
        Ok(Self {
            frame_bytes: FRAME_BYTES,
            numbers: frame.lines().map(shown).collect(),
            zero_padding_bytes: Frame::padding_bytes(),
            frame_hex: frame.bytes().iter().map(|b| format!("{b:02x}")).collect(),
        })
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "This frame of {} bytes would be sent:", self.frame_bytes)?;
        let mut unused = 0;
        for number in &self.numbers {
            // Most places of what has many are unused, and would hide the rest.
            if number.name.ends_with(']') && number.value == 0 {
                unused += 1;
                continue;
            }
            let (value, name) = (number.value, &number.name);
            writeln!(f, "{value:>20}  {name:<36} {}", number.meaning)?;
        }
        writeln!(
            f,
            "{:>20}  {unused} unused numbers of models, histograms and proofs",
            0
        )?;
        let padding = self.zero_padding_bytes;
        writeln!(f, "{:>20}  {padding} bytes that mean nothing", 0)
    }
}

fn shown(line: Line) -> Shown {
    let Line { spec, at, value } = line;
    let (name, meaning) = words(line);
    Shown {
        name,
        value,
        meaning,
        offset_bytes: spec.offset_bytes + at * spec.width_bytes,
        width_bytes: spec.width_bytes,
    }
}

fn words(line: Line) -> (String, String) {
    let Line { spec, at, value } = line;
    let meaning = spec.meaning.to_owned();
    match spec.name {
        "count" => Counter::ALL.get(at).map_or_else(
            || (format!("count[{at}]"), meaning),
            |counter| {
                let (family, class) = (counter.family(), counter.class());
                (format!("{family}.{class}"), counter.meaning().to_owned())
            },
        ),
        name if name.starts_with("latency") => {
            let stage = Stage::ALL.get(at).map_or("?", |stage| stage.name());
            (format!("{name}.{stage}"), in_time(value, &meaning))
        }
        name if name.starts_with("model_p") => (format!("{name}[{at}]"), in_time(value, &meaning)),
        name if spec.count > 1 => (format!("{name}[{at}]"), meaning),
        name => (name.to_owned(), meaning),
    }
}

/// A bucket's number, said as a time.
fn in_time(bucket: u64, meaning: &str) -> String {
    let at = usize::try_from(bucket).ok().and_then(|b| b.checked_sub(1));
    let said = match at {
        None => "too few to tell".to_owned(),
        Some(at) => match bucket_end_ms(at) {
            Some(end) => format!("at most {end} ms"),
            None => format!("more than {} ms", 1_u64 << (BUCKETS - 2)),
        },
    };
    format!("{meaning} Here: {said}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CatalogueId, Identity, Meter, Outcome};
    use std::time::Duration;

    #[test]
    fn a_preview_shows_every_byte_of_what_the_spool_holds() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = dir.path().join("counters");
        assert!(matches!(preview(&spool), Err(SpoolError::Absent(_))));
        let identity = Identity {
            appliance: 9,
            release: [0, 1, 7],
        };
        let meter = Meter::open(spool.clone(), identity).expect("opened");
        meter.count_by(Counter::ObjectsAdmitted, 41);
        meter.inference(CatalogueId(300), Outcome::Done, Duration::from_secs(2));
        for _ in 0..200 {
            meter.observe(Stage::Admit, Duration::from_millis(5));
        }
        meter.flush().expect("written");

        let kept = preview(&spool).expect("shown");
        assert_eq!(kept, meter.preview().expect("shown"));
        let value = |name: &str| {
            kept.numbers
                .iter()
                .find(|n| n.name == name)
                .map(|n| n.value)
        };
        for (name, expected) in [
            ("objects.admitted", 41),
            ("appliance", 9),
            ("release[2]", 7),
            ("model[1]", 300),
            ("model_done[1]", 1),
            ("latency_p95.admit", 4),
            ("latency_p95.infer", 0),
            ("jobs.done", 0),
        ] {
            assert_eq!(value(name), Some(expected), "{name}");
        }
        let bytes: usize = kept.numbers.iter().map(|n| n.width_bytes).sum();
        assert_eq!(bytes + kept.zero_padding_bytes, FRAME_BYTES);
        assert_eq!(kept.frame_hex.len(), 2 * FRAME_BYTES);

        let said = kept.to_string();
        assert!(said.contains("objects.admitted"), "{said}");
        assert!(said.contains("Here: at most 8 ms."), "{said}");
        let json = serde_json::to_value(&kept).expect("serialised");
        assert_eq!(json["numbers"][0]["name"], "mark");
    }

    #[test]
    fn counting_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = dir.path().join("counters");
        for expected in 1..=3 {
            let meter = Meter::open(spool.clone(), Identity::default()).expect("opened");
            meter.count(Counter::JobsDone);
            assert_eq!(meter.counted(Counter::JobsDone), expected);
            meter.flush().expect("written");
        }
    }
}

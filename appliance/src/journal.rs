//! Where log lines go: the systemd journal with fields, or readable lines on stderr.
//!
//! Rooms speak `tracing`. Under systemd each event becomes one journal entry whose fields are the event's fields, in
//! capitals with the prefix that `systemd-journal-logger` gives; otherwise a line for people. Ids only, never a patient.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::sync::OnceLock;
use systemd_journal_logger::{JournalLog, connected_to_journal};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt as lines, reload};

/// Changes what is logged, from now on.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Set once, when logging begins: the subscriber is the process's, and so is its filter.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Logs at another level from now on.
///
/// # Errors
/// When the level is none of those that [`begin`] takes; what was logged is then logged on.
pub fn set_level(level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    SET_FILTER.get().map_or(Ok(()), |set| set(filter))
}

/// What a level in the configuration stands for.
///
/// # Errors
/// When it is none of those that [`begin`] takes.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, String> {
    let refused =
        || format!("{level:?} is not error, warn, info, debug, trace, or room=level pairs");
    // By itself the filter takes a mistyped level for the name of a room, and logs nothing else.
    let is_known = |part: &str| part.contains('=') || part.parse::<Level>().is_ok();
    if !level.split(',').all(is_known) {
        return Err(refused());
    }
    // A bare level is for our own rooms, who never say a patient's name; libraries know no such rule.
    let ours = |level: Level| format!("{},pericard={level}", level.min(Level::INFO));
    let directives = level.parse().map_or_else(|_| level.to_owned(), ours);
    EnvFilter::try_new(directives).map_err(|_| refused())
}

/// Begins logging at `level` (`error`, `warn`, `info`, `debug`, `trace`, or `room=level` pairs).
///
/// # Errors
/// When the level is none of these.
pub fn begin(level: &str) -> Result<(), String> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let set: SetFilter = Box::new(move |filter| handle.reload(filter).map_err(|e| e.to_string()));
    let _ = SET_FILTER.set(set); // logging that has begun already stays as it is
    if connected_to_journal()
        && JournalLog::new()
            .and_then(|log| log.install().map_err(std::io::Error::other))
            .is_ok()
    {
        log::set_max_level(log::LevelFilter::Trace); // the filter below has decided already
        let _ = tracing_subscriber::registry()
            .with(Journal.with_filter(filter))
            .try_init();
        return Ok(());
    }
    let lines = lines::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_timer(lines::time::SystemTime);
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init();
    Ok(())
}

struct Journal;

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        log::logger().log(
            &log::Record::builder()
                .level(level_of(*metadata.level()))
                .target(metadata.target())
                .module_path(metadata.module_path())
                .file(metadata.file())
                .line(metadata.line())
                .args(format_args!("{}", fields.message))
                .key_values(&fields.others)
                .build(),
        );
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => self.others.push((name.to_owned(), value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => drop(write!(self.message, "{value:?}")),
            name => self.others.push((name.to_owned(), format!("{value:?}"))),
        }
    }
}

const fn level_of(level: Level) -> log::Level {
    match level {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Info,
        Level::DEBUG => log::Level::Debug,
        Level::TRACE => log::Level::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_lets_libraries_say_no_more_than_usual() {
        for (level, means) in [
            ("debug", "info,pericard=debug"),
            ("warn", "warn,pericard=warn"),
            ("info,pericard_api=trace", "info,pericard_api=trace"),
        ] {
            let directives = filter(level).unwrap().to_string();
            let sorted = |text: &str| {
                let mut parts: Vec<_> = text.split(',').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            assert_eq!(sorted(&directives), sorted(means));
        }
        assert!(filter("debgu").is_err());
    }
}

//! How one line of a profile is looked at. Each says what it found: `Ok` as it should be, `Err` as it should not.

use super::configured::Configured;
use super::machine::{Machine, Unseen};
use crate::config::Config;
use serde::Deserialize;
use std::path::Path;

/// Files that a profile wants installed, as they are shipped.
#[rustfmt::skip] // a table
const SHIPPED: [(&str, &str); 6] = [
    ("files/sysctl.d/60-pericard.conf", include_str!("../../../../firmware-config/files/sysctl.d/60-pericard.conf")),
    ("files/coredump/pericard.conf", include_str!("../../../../firmware-config/files/coredump/pericard.conf")),
    ("files/modprobe.d/pericard-server.conf", include_str!("../../../../firmware-config/files/modprobe.d/pericard-server.conf")),
    ("files/modprobe.d/pericard-nvidia.conf", include_str!("../../../../firmware-config/files/modprobe.d/pericard-nvidia.conf")),
    ("files/udev/60-pericard-nvidia.rules", include_str!("../../../../firmware-config/files/udev/60-pericard-nvidia.rules")),
    ("files/nvidia/pericard-mig.service", include_str!("../../../../firmware-config/files/nvidia/pericard-mig.service")),
];

/// The longest that a finding is shown.
const FOUND_CHARS_MAX: usize = 100;

/// What is looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Probe {
    /// A file's text.
    Text(Text),
    /// What a program prints, line by line.
    Output(Output),
    /// A number with dots in a file's text.
    Version(Version),
    /// How many lines of a file begin so.
    Count(Count),
    /// The memory of the machine.
    Memory(Memory),
    /// One byte of a file.
    Byte(Byte),
    /// Things that must all be there.
    Exists(Exists),
    /// A file as it is shipped.
    Installed(Installed),
    /// A file system and its options.
    Mount(Mount),
    /// The device beneath a directory.
    Encrypted(Encrypted),
    /// Swap.
    Swap(Swap),
    /// The appliance's configuration.
    Configuration(Configuration),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    path: String,
    /// Where else settings of the same kind stand, or other distributions have them; all that are there count as one text.
    #[serde(default)]
    and_paths: Vec<String>,
    /// Comments do not count.
    #[serde(default)]
    settings: bool,
    #[serde(flatten)]
    wanted: Wanted,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    program: String,
    arguments: Vec<String>,
    /// The first line names the column.
    #[serde(default)]
    heading: bool,
    #[serde(default)]
    lines_min: usize,
    /// Only what follows this text counts.
    after: Option<String>,
    version_at_least: Option<String>,
    /// When the last argument lies below this, somebody else sees to it.
    unless_below: Option<String>,
    #[serde(flatten)]
    wanted: Wanted,
}

/// What a text must be; what is not given is not asked.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    is: Option<String>,
    #[serde(default)]
    any_of: Vec<String>,
    #[serde(default)]
    holds: Vec<String>,
    /// In the place of all of `holds`, on another processor or in another form.
    #[serde(default)]
    or_holds: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
    at_least: Option<f64>,
    at_most: Option<f64>,
    /// Nothing to look at is as it should be; what cannot be looked at is not.
    #[serde(default)]
    absent_ok: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Version {
    path: String,
    /// Only what follows the first of these that is there counts.
    #[serde(default)]
    after: Vec<String>,
    at_least: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Count {
    path: String,
    lines_with: String,
    at_least: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    gib_min: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Byte {
    path: String,
    at: usize,
    is: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exists {
    paths: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Installed {
    path: String,
    shipped: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mount {
    at: String,
    types: Vec<String>,
    with: Vec<String>,
    without: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Encrypted {
    at: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Swap {
    encrypted: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Configuration {
    file: String,
}

type Found = Result<String, String>;

impl Probe {
    /// Puts the configured paths into the places of their words.
    pub(super) fn fill(&mut self, configured: &Configured) {
        let texts: Vec<&mut String> = match self {
            Self::Output(probe) => probe.arguments.iter_mut().collect(),
            Self::Exists(probe) => probe.paths.iter_mut().collect(),
            Self::Mount(probe) => vec![&mut probe.at],
            Self::Encrypted(probe) => vec![&mut probe.at],
            Self::Configuration(probe) => vec![&mut probe.file],
            _ => Vec::new(), // these look at the system's own places
        };
        for text in texts {
            *text = configured.filled(text);
        }
    }

    pub(super) fn look(&self, machine: &Machine) -> Found {
        match self {
            Self::Text(probe) => probe.look(machine),
            Self::Output(probe) => probe.look(machine),
            Self::Version(probe) => {
                let text = machine.text(&probe.path)?;
                let mut marks = probe.after.iter();
                let mark = marks.find(|mark| text.contains(mark.as_str()));
                let mark = mark.or(probe.after.first());
                at_least(&text, mark.map(String::as_str), &probe.at_least)
            }
            Self::Count(probe) => {
                let text = machine.text(&probe.path)?;
                let lines = text.lines().filter(|l| l.starts_with(&probe.lines_with));
                let count = lines.count();
                judged(count >= probe.at_least, count.to_string())
            }
            Self::Memory(probe) => probe.look(machine),
            Self::Byte(probe) => {
                let byte = machine.bytes(&probe.path)?.get(probe.at).copied();
                judged(byte == Some(probe.is), format!("{}", byte.unwrap_or(0)))
            }
            Self::Exists(probe) => probe.look(machine),
            Self::Installed(probe) => probe.look(machine),
            Self::Mount(probe) => probe.look(machine),
            Self::Encrypted(probe) => {
                let mount = mount_of(machine, &probe.at)?;
                let encrypted = machine.is_encrypted(&mount.device);
                let word = if encrypted { "encrypted" } else { "in clear" };
                judged(encrypted, format!("{} is {word}", mount.at))
            }
            Self::Swap(probe) => probe.look(machine),
            Self::Configuration(probe) => probe.look(machine),
        }
    }
}

impl Wanted {
    fn of(&self, text: Result<String, Unseen>) -> Found {
        let text = match text {
            Ok(text) => text,
            Err(Unseen::Absent(why)) if self.absent_ok => return Ok(why),
            Err(why) => return Err(why.into()),
        };
        let instead = !self.or_holds.is_empty() && missing(&self.or_holds, &text).is_none();
        if let Some(word) = missing(&self.holds, &text).filter(|_| !instead) {
            return Err(format!("no {}", word.trim()));
        }
        for word in &self.lacks {
            if text.contains(word.as_str()) {
                return Err(word.trim().to_owned());
            }
        }
        let number = || text.split_whitespace().next()?.parse::<f64>().ok();
        let right = self.is.as_ref().is_none_or(|is| *is == text)
            && (self.any_of.is_empty() || self.any_of.contains(&text))
            && self
                .at_least
                .is_none_or(|least| number().is_some_and(|n| n >= least))
            && self
                .at_most
                .is_none_or(|most| number().is_some_and(|n| n <= most));
        judged(right, text)
    }
}

impl Text {
    fn look(&self, machine: &Machine) -> Found {
        let mut there = Vec::new();
        for path in [&self.path].into_iter().chain(&self.and_paths) {
            match machine.text(path) {
                Ok(text) => there.push(text),
                Err(Unseen::Absent(_)) => {}
                hidden => return self.wanted.of(hidden),
            }
        }
        if there.is_empty() {
            let absent = format!("{}: not there", self.path);
            return self.wanted.of(Err(Unseen::Absent(absent)));
        }
        let text = there.join("\n");
        let text = if self.settings {
            settings(&text).join("\n")
        } else {
            text
        };
        self.wanted.of(Ok(text))
    }
}

impl Exists {
    fn look(&self, machine: &Machine) -> Found {
        let missing = self.paths.iter().find(|path| !machine.exists(path));
        match missing {
            None => Ok(format!("{} there", self.paths.join(", "))),
            Some(path) => Err(format!("{path} is not there")),
        }
    }
}

impl Output {
    /// Every line must be as wanted: with two cards, one that is not counts.
    fn look(&self, machine: &Machine) -> Found {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let last = arguments.last().copied().unwrap_or_default();
        if let Some(below) = &self.unless_below
            && last.starts_with(below.as_str())
        {
            return Ok(format!("{last} is seen to by others"));
        }
        let said = match machine.said(&self.program, &arguments) {
            Ok(said) => said,
            unseen => return self.wanted.of(unseen),
        };
        if let Some(least) = &self.version_at_least {
            return at_least(&said, self.after.as_deref(), least);
        }
        if !(self.wanted.holds.is_empty() && self.wanted.lacks.is_empty()) {
            return self.wanted.of(Ok(said)); // a whole text is looked through
        }
        let lines: Vec<&str> = said
            .lines()
            .skip(usize::from(self.heading))
            .map(str::trim)
            .collect();
        if lines.len() < self.lines_min.max(1) {
            return Err(format!("{} of {}", lines.len(), self.lines_min.max(1)));
        }
        for line in &lines {
            self.wanted.of(Ok((*line).to_owned()))?;
        }
        Ok(shortened(lines.join(", ")))
    }
}

impl Memory {
    fn look(&self, machine: &Machine) -> Found {
        let text = machine.text("/proc/meminfo")?;
        let total = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
        let kib: Option<u64> = total.and_then(|l| l.split_whitespace().next()?.parse().ok());
        let gib = kib.ok_or("/proc/meminfo: no MemTotal")? / (1024 * 1024);
        judged(gib >= self.gib_min, format!("{gib} GiB"))
    }
}

impl Installed {
    fn look(&self, machine: &Machine) -> Found {
        let shipped = SHIPPED.iter().find(|(name, _)| *name == self.shipped);
        let (_, shipped) = shipped.ok_or_else(|| format!("{} is not shipped", self.shipped))?;
        let there = machine.text(&self.path)?;
        // Comments and empty lines are the administrator's own.
        let (there, shipped) = (settings(&there), settings(shipped));
        let missing = shipped.iter().find(|line| !there.contains(line));
        match missing {
            None => Ok(format!("{} is installed", self.path)),
            Some(line) => Err(format!("{} lacks {line:?}", self.path)),
        }
    }
}

impl Mount {
    fn look(&self, machine: &Machine) -> Found {
        let mount = mount_of(machine, &self.at)?;
        if mount.at != self.at {
            return Err(format!("{} lies on {}", self.at, mount.at));
        }
        if !self.types.contains(&mount.kind) {
            return Err(format!("{} is {}", mount.at, mount.kind));
        }
        let has = |option: &String| mount.options.contains(option);
        if let Some(missing) = self.with.iter().find(|option| !has(option)) {
            return Err(format!("mounted without {missing}"));
        }
        if let Some(wrong) = self.without.iter().find(|option| has(option)) {
            return Err(format!("mounted with {wrong}"));
        }
        Ok(format!("{} with {}", mount.kind, mount.options.join(",")))
    }
}

impl Swap {
    fn look(&self, machine: &Machine) -> Found {
        let text = machine.text("/proc/swaps")?;
        for line in text.lines().skip(1) {
            let Some(path) = line.split_whitespace().next() else {
                continue;
            };
            let name = path.rsplit('/').next().unwrap_or(path);
            if name.starts_with("zram") {
                continue; // memory, not a disk
            }
            let device = machine.text(&format!("/sys/class/block/{name}/dev"));
            let encrypted = match device {
                Ok(device) => machine.is_encrypted(&device),
                // A file lies on the file system that holds it.
                Err(_) => mount_of(machine, path).is_ok_and(|m| machine.is_encrypted(&m.device)),
            };
            if self.encrypted && !encrypted {
                return Err(format!("{path} is in clear"));
            }
        }
        Ok("none in clear".into())
    }
}

impl Configuration {
    /// The same reading as the appliance's own; `pericard check` asks more.
    fn look(&self, machine: &Machine) -> Found {
        match Config::read(&machine.named(Path::new(&self.file))) {
            Ok(_) => Ok(format!("{} is whole", self.file)),
            Err(error) => Err(shortened(error.to_string())),
        }
    }
}

/// A line of /proc/self/mountinfo.
struct Mounted {
    at: String,
    device: String,
    kind: String,
    options: Vec<String>,
}

/// The file system that a path lies on: the deepest mount above it, and of two at one place the later.
fn mount_of(machine: &Machine, path: &str) -> Result<Mounted, String> {
    let text = machine.text("/proc/self/mountinfo")?;
    let above = |at: &str| at == "/" || path == at || path.starts_with(&format!("{at}/"));
    let mounts = text.lines().filter_map(mounted);
    let deepest = mounts
        .filter(|mount| above(&mount.at))
        .max_by_key(|mount| mount.at.len());
    deepest.ok_or_else(|| "/proc/self/mountinfo names no file system".into())
}

fn mounted(line: &str) -> Option<Mounted> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let of_mount = left.get(5)?.split(',');
    let of_system = right.get(2)?.split(',');
    Some(Mounted {
        at: (*left.get(4)?).to_owned(),
        device: (*left.get(2)?).to_owned(),
        kind: (*right.first()?).to_owned(),
        options: of_mount.chain(of_system).map(str::to_owned).collect(),
    })
}

/// The first of these words that a text does not hold.
fn missing<'a>(words: &'a [String], text: &str) -> Option<&'a String> {
    words.iter().find(|word| !text.contains(word.as_str()))
}

fn settings(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// The first number with dots, after a mark when one is given, compared part by part.
fn at_least(text: &str, after: Option<&str>, least: &str) -> Found {
    let rest = match after {
        None => text,
        Some(mark) => match text.split_once(mark) {
            Some((_, rest)) => rest,
            None => return Err(format!("nothing says {mark}")),
        },
    };
    let digits = |c: char| c.is_ascii_digit();
    let Some(start) = rest.find(digits) else {
        return Err("no version".into());
    };
    let rest = &rest[start..];
    let end = rest.find(|c: char| c != '.' && !digits(c));
    let version = &rest[..end.unwrap_or(rest.len())];
    let parts = |text: &str| -> Vec<u64> {
        let numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
        numbers.collect()
    };
    judged(parts(version) >= parts(least), version.to_owned())
}

fn judged(right: bool, found: String) -> Found {
    let found = shortened(found);
    if right { Ok(found) } else { Err(found) }
}

fn shortened(text: String) -> String {
    let line = text.lines().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= FOUND_CHARS_MAX {
        return line;
    }
    let start: String = line.chars().take(FOUND_CHARS_MAX).collect();
    format!("{start}...")
}

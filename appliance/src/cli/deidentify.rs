//! `pericard deidentify`: a folder of images in, a folder of images that say nothing of the patient out.
//!
//! What cannot be cleaned does not go out, and the last lines name it. Text in pixels is looked for by the text spotting model
//! that is live; without one only images go out that have none by their kind. Files are strangers': each is scanned, decoded and
//! cleaned by processes of the runner, and one over which such a process is lost does not go out either.

use super::rehearse::files_below;
use super::{CommandError, block_on, output};
use crate::config::Config;
use crate::machine::Machine;
use crate::serve::runner_config;
use clap::{Args, ValueEnum};
use pericard_dicom::deidentify::{EDITION, Keep, Key, NOT_OFFERED, OPTIONS_EDITION, Profile};
use pericard_domain::image::{ImagingOutput, TextBox};
use pericard_domain::model::{Package, Task};
use pericard_registry::Registry;
use pericard_runner::{Cleaned, Haste, Reader, RunFailure, Runner};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The site's secret, within the data directory: made at the first use.
const KEY_FILE: &str = "deidentify.key";
/// Whose objects they are, to the runner's scanners.
const CALLER: &str = "command line";

#[derive(Debug, Args)]
#[command(after_help = restrictions())]
pub(crate) struct DeidentifyArgs {
    #[command(flatten)]
    config: super::ConfigFile,
    /// The folder with the images; folders in it are searched too
    from: PathBuf,
    /// Where the cleaned images go: a folder that is empty, or not there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What is kept that the Basic Profile would take out (PS3.15 table E.1-1)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    keep: Vec<Kept>,
    /// The site's secret, 32 bytes: the same pseudonyms come of the same secret. Without it, the data directory's own
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// What is not done, so that nobody takes it for done.
fn restrictions() -> String {
    let options = NOT_OFFERED.map(|(code, name)| format!("{name} ({code})"));
    format!(
        "Basic Profile of PS3.15 annex E, {EDITION}; options by the edition of {OPTIONS_EDITION}. Not offered: {}. What they would \
         clean is taken out, or keeps the image from going out; faces are not looked for.",
        options.join(", ")
    )
}

/// The options of the standard's profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kept {
    /// UIDs
    Uids,
    /// What tells one device from another
    Device,
    /// Where it was made
    Institution,
    /// Sex, age, size, weight and the like
    PatientCharacteristics,
    /// Dates and times as they are
    FullDates,
    /// Dates put back by the same number of days for everything of one patient
    ShiftedDates,
}

impl From<Kept> for Keep {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Uids => Self::Uids,
            Kept::Device => Self::Device,
            Kept::Institution => Self::Institution,
            Kept::PatientCharacteristics => Self::PatientCharacteristics,
            Kept::FullDates => Self::FullDates,
            Kept::ShiftedDates => Self::ShiftedDates,
        }
    }
}

pub(crate) fn run(args: &DeidentifyArgs) -> Result<(), CommandError> {
    // Whoever asks may read the folder: the appliance's own user perhaps not.
    let config = Config::read(&args.config.file)?;
    if args.keep.contains(&Kept::FullDates) && args.keep.contains(&Kept::ShiftedDates) {
        let why = "--keep: full-dates and shifted-dates are not both possible";
        return Err(CommandError::Usage(why.into()));
    }
    let data_dir = &config.written.appliance.data_dir;
    let own = data_dir.join(KEY_FILE);
    let profile = Profile {
        key: key(args.key.as_deref(), &own)?,
        keep: args.keep.iter().copied().map(Keep::from).collect(),
    };
    prepare(&args.out)?;
    let files = files_below(&args.from)?;
    let bench = Bench::open(&config, data_dir)?;
    let mut refused = Vec::new();
    for file in &files {
        let exported = bench
            .clean(file, &profile)
            .and_then(|cleaned| put(&args.out, &cleaned));
        if let Err(why) = exported {
            refused.push((file.strip_prefix(&args.from).unwrap_or(file), why));
        }
    }
    report(files.len(), &refused, bench.spotting.is_some())
}

/// What went out and what did not, and why. The reasons say nothing of the patient; the names are the files' own.
fn report(files: usize, refused: &[(&Path, String)], looked: bool) -> Result<(), CommandError> {
    output::line(format!(
        "{} of {files} images exported by PS3.15 {EDITION} (options {OPTIONS_EDITION}), {}",
        files - refused.len(),
        if looked {
            "text in the pixels looked for and blackened"
        } else {
            "text in the pixels not looked for: no text spotting model is live"
        }
    ));
    for (file, why) in refused {
        output::line(format!("not exported: {}: {why}", file.display()));
    }
    if refused.is_empty() {
        return Ok(());
    }
    let count = refused.len();
    Err(CommandError::Failed(format!(
        "{count} files could not be cleaned and were not exported"
    )))
}

/// The secret in that file, or the appliance's own, made when there is none.
fn key(given: Option<&Path>, own: &Path) -> Result<Key, CommandError> {
    let path = given.unwrap_or(own);
    let failed = |e: std::io::Error| CommandError::Failed(format!("{}: {e}", path.display()));
    if given.is_none() && !own.exists() {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(CommandError::failed)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(own)
            .map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        file.sync_all().map_err(failed)?;
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(33).read_to_end(&mut bytes).map_err(failed)?;
    let bytes = <[u8; 32]>::try_from(bytes);
    bytes.map(Key::new).map_err(|_| {
        let path = path.display();
        CommandError::Usage(format!("{path}: a secret is 32 random bytes"))
    })
}

/// An empty folder, so that nothing of another export is taken for this one's.
fn prepare(out: &Path) -> Result<(), CommandError> {
    let failed = |e: std::io::Error| CommandError::Failed(format!("{}: {e}", out.display()));
    fs::create_dir_all(out).map_err(failed)?;
    if fs::read_dir(out).map_err(failed)?.next().is_some() {
        let why = format!("{}: is not empty; give a new folder", out.display());
        return Err(CommandError::Usage(why));
    }
    Ok(())
}

/// Where files are cleaned.
struct Bench {
    runner: Runner,
    /// Who looks for text in the pixels, when somebody does.
    spotting: Option<Package>,
}

impl Bench {
    /// With the text spotting model that is live.
    fn open(config: &Config, data_dir: &Path) -> Result<Self, CommandError> {
        let runner = Runner::new(runner_config(config, &Machine::this().program));
        let registry_dir = data_dir.join("registry");
        let live = match registry_dir.exists() {
            true => Registry::open(&registry_dir).and_then(|registry| registry.live()),
            false => Ok(Vec::new()),
        };
        let spotting = live
            .map_err(CommandError::failed)?
            .into_iter()
            .find(|package| package.manifest.task == Task::TextSpotting);
        if let Some(package) = &spotting {
            runner.load(package).map_err(CommandError::failed)?;
        }
        Ok(Self { runner, spotting })
    }

    /// The file as it may go out, or why it may not.
    fn clean(&self, path: &Path, profile: &Profile) -> Result<Cleaned, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let scanned = self.runner.scan(CALLER, file, Haste::Long);
        let scanned = block_on(async { Ok(scanned.await) }).map_err(|e| e.to_string())?;
        let scanned = scanned.map_err(|e| format!("it would not be taken: {e}"))?;
        let instance = &scanned.identity.instance;
        // One for each file: nothing of one is left for the next.
        let mut reader = self.runner.reader();
        let boxes = match &self.spotting {
            None => None,
            Some(_) if scanned.facts.rows.is_none() => Some(Vec::new()), // no image, which is refused for that
            Some(package) => {
                let opened = reader.open(instance, path).map_err(CommandError::failed);
                let looked = opened.and_then(|_| all_frames(&mut reader, &self.runner, package));
                Some(looked.map_err(|e| format!("text could not be looked for: {e}"))?)
            }
        };
        let cleaned = reader.clean(instance, path, profile, boxes.as_deref());
        cleaned.map_err(|failure| match failure {
            RunFailure::Lost(_) => "a decoder failed on it".to_owned(),
            other => other.to_string(),
        })
    }
}

fn all_frames(
    reader: &mut Reader,
    runner: &Runner,
    package: &Package,
) -> Result<Vec<TextBox>, CommandError> {
    let mut boxes = Vec::new();
    while let Some(portion) = reader.frames().map_err(CommandError::failed)? {
        let looking = runner.look(&package.model, portion);
        let output = block_on(async { looking.await.map_err(CommandError::failed) })?;
        match output {
            ImagingOutput::Text(found) => boxes.extend(found),
            ImagingOutput::Mask(_) => {
                let why = format!("{} gave an output of another task", package.model);
                return Err(CommandError::Failed(why));
            }
        }
    }
    Ok(boxes)
}

/// Writes `STUDY/INSTANCE.dcm`, by the new UIDs.
fn put(out: &Path, cleaned: &Cleaned) -> Result<(), String> {
    let folder = out.join(cleaned.study.as_str());
    let written = fs::create_dir_all(&folder).and_then(|()| {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true);
        file.open(folder.join(format!("{}.dcm", cleaned.instance)))?
            .write_all(&cleaned.bytes)
    });
    written.map_err(|e| format!("cannot be written: {e}"))
}

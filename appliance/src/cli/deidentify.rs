//! `pericard deidentify`: a folder of images in, a folder of images that say nothing of the patient out.
//!
//! What cannot be cleaned does not go out, and the last lines name it. Text in pixels is looked for by the text spotting model
//! that is live; without one only images go out that have none by their kind.

use super::rehearse::files_below;
use super::{CommandError, block_on, output};
use crate::config::Config;
use crate::machine::Machine;
use crate::serve::runner_config;
use clap::{Args, ValueEnum};
use pericard_dicom::deidentify::{
    Cleaned, EDITION, Keep, Key, NOT_OFFERED, OPTIONS_EDITION, Profile, Text, deidentify,
};
use pericard_dicom::scan::{ScanLimits, scan_file};
use pericard_domain::image::{ImagingOutput, TextBox};
use pericard_domain::model::{Package, Task};
use pericard_domain::uid::{InstanceUid, StudyUid};
use pericard_registry::Registry;
use pericard_runner::{Reader, Runner};
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The site's secret, within the data directory: made at the first use.
const KEY_FILE: &str = "deidentify.key";

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
    let mut eye = Eye::open(&config, data_dir)?;
    let mut refused = Vec::new();
    for file in &files {
        let exported = eye
            .looked(file)
            .and_then(|boxes| clean(file, &profile, boxes.as_deref()))
            .and_then(|cleaned| put(&args.out, &cleaned));
        if let Err(why) = exported {
            refused.push((file.strip_prefix(&args.from).unwrap_or(file), why));
        }
    }
    report(files.len(), &refused, eye.looks())
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

/// Who looks for text in the pixels, when somebody does.
struct Eye {
    model: Option<(Runner, Package)>,
}

impl Eye {
    /// With the text spotting model that is live.
    fn open(config: &Config, data_dir: &Path) -> Result<Self, CommandError> {
        let registry_dir = data_dir.join("registry");
        if !registry_dir.exists() {
            return Ok(Self { model: None });
        }
        let registry = Registry::open(&registry_dir).map_err(CommandError::failed)?;
        let live = registry.live().map_err(CommandError::failed)?;
        let spotting = live
            .into_iter()
            .find(|package| package.manifest.task == Task::TextSpotting);
        let Some(package) = spotting else {
            return Ok(Self { model: None });
        };
        let runner = Runner::new(runner_config(config, &Machine::this().program));
        runner.load(&package).map_err(CommandError::failed)?;
        Ok(Self {
            model: Some((runner, package)),
        })
    }

    const fn looks(&self) -> bool {
        self.model.is_some()
    }

    /// Every text in every frame of that file; `None` when nobody looks.
    fn looked(&mut self, file: &Path) -> Result<Option<Vec<TextBox>>, String> {
        let Some((runner, package)) = &self.model else {
            return Ok(None);
        };
        let scanned = File::open(file).map_err(|e| e.to_string())?;
        let scanned = scan_file(&mut BufReader::new(scanned), &ScanLimits::default());
        let header = scanned.map_err(|e| format!("it would not be taken: {e}"))?;
        if header.facts.rows.is_none() {
            return Ok(Some(Vec::new())); // no image, which is refused for that
        }
        let instance = header.identity.instance;
        let failed = |e: &dyn std::fmt::Display| format!("text could not be looked for: {e}");
        let mut reader = runner.reader();
        reader.open(&instance, file).map_err(|e| failed(&e))?;
        all_frames(&mut reader, runner, package)
            .map(Some)
            .map_err(|e| failed(&e))
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

fn clean(file: &Path, profile: &Profile, boxes: Option<&[TextBox]>) -> Result<Cleaned, String> {
    let opened = File::open(file).map_err(|e| e.to_string())?;
    let looked = boxes.map_or(Text::NotLookedFor, Text::Found);
    // A decoder that panics costs its own file, which stays here.
    catch_unwind(AssertUnwindSafe(|| {
        deidentify(opened, &ScanLimits::default(), profile, looked)
    }))
    .map_err(|_| "a decoder failed on it".to_owned())?
    .map_err(|refusal| refusal.to_string())
}

/// Writes `STUDY/INSTANCE.dcm`, by the new UIDs.
fn put(out: &Path, cleaned: &Cleaned) -> Result<(), String> {
    // With UIDs kept they are the sender's, and a file name is made of them.
    let study = StudyUid::new(&cleaned.study).map_err(|e| e.to_string())?;
    let instance = InstanceUid::new(&cleaned.instance).map_err(|e| e.to_string())?;
    let folder = out.join(study.as_str());
    let written = fs::create_dir_all(&folder).and_then(|()| {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true);
        file.open(folder.join(format!("{instance}.dcm")))?
            .write_all(&cleaned.bytes)
    });
    written.map_err(|e| format!("cannot be written: {e}"))
}

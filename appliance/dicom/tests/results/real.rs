//! Reports on the sample studies that `cargo xtask fetch` got: real headers, with what real headers have wrong.

use crate::{Written, context, device, finding, frame, peers, report};
use pericard_dicom::report::structured_report;
use pericard_dicom::scan::ScanLimits;
use pericard_dicom::source::Source;
use pericard_domain::finding::Region;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 10] = [
    "us1",
    "ob",
    "echo",
    "adult-echo",
    "pelvis",
    "chest",
    "leg",
    "clean",
    "t1-head",
    "t1-head-oblique",
];

/// A report may inherit what is wrong with its source's patient and study, and nothing else.
#[test]
fn a_report_adds_no_error_to_its_source() {
    let Some(samples) = samples() else { return };
    let mut studies: BTreeMap<String, Vec<(PathBuf, Source)>> = BTreeMap::new();
    for path in FOLDERS
        .iter()
        .flat_map(|folder| files(&samples.join(folder)))
    {
        let mut file = File::open(&path).unwrap();
        let source = Source::read(&mut file, &ScanLimits::default());
        let source = source.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        studies
            .entry(source.study().to_string())
            .or_default()
            .push((path, source));
    }
    assert!(
        studies.len() >= FOLDERS.len(),
        "{} holds {} studies",
        samples.display(),
        studies.len()
    );
    for study in studies.into_values() {
        let (paths, sources): (Vec<_>, Vec<_>) = study.into_iter().unzip();
        one(&paths[0], &sources);
    }
}

fn one(path: &Path, sources: &[Source]) {
    let corners = vec![[0.0, 0.0], [9.5, 0.0], [9.5, 4.0]];
    let place = Region::Outline {
        source: frame(&sources[0], 1),
        corners,
    };
    let everywhere = Region::Frames {
        sources: sources.iter().map(|source| frame(source, 1)).collect(),
    };
    let mut text = finding("line-1", place);
    text.text = Some("630P630".into());
    let mut report = report(sources, vec![text, finding("all", everywhere)]);
    report.study = sources[0].study().clone();
    let device = device();
    let object = structured_report(&report, &context(sources, &device));
    let object = object.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let written = Written::new(&object);
    let (Some(ours), Some(theirs)) = (peers::verdict(&written.path), peers::complaints(path))
    else {
        return;
    };
    let errors: Vec<&str> = ours
        .lines()
        .filter(|line| line.starts_with("Error") && !inherited(line, &theirs))
        .collect();
    assert!(
        errors.is_empty(),
        "{}:\n{}",
        path.display(),
        errors.join("\n")
    );
    // What the source's own values have wrong, it complains of too.
    if let Some(said) = peers::dumped(&written.path) {
        assert!(said.contains("630P630"), "{said}");
    }
    peers::read(&[&written.path]);
}

/// Whether the source has the same error, or one about the same value, such as a UID that is none.
fn inherited(error: &str, of_source: &str) -> bool {
    let value = error.split('"').nth(1);
    let about_value = |line: &str| value.is_some_and(|value| line.contains(value));
    of_source
        .lines()
        .any(|line| line == error || (line.starts_with("Error") && about_value(line)))
}

/// The samples in the cache that `cargo xtask` fills.
fn samples() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || set("HOME").unwrap_or_default().join(".cache");
    let cache = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let samples = cache.unwrap_or_else(home).join("pericard/samples");
    if samples.is_dir() {
        return Some(samples);
    }
    let reason = format!(
        "{} is not there; `cargo xtask fetch` gets it",
        samples.display()
    );
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{reason}"
    );
    eprintln!("skipped: {reason}");
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

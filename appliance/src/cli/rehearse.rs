//! `pericard check --study DIR`: what the rules would do with studies on disk. Reads files; asks no appliance.

use super::{CommandError, output};
use pericard_dicom::header::Header;
use pericard_dicom::scan::{ScanLimits, scan_file};
use pericard_domain::rule::{Priors, Rule, Unmet};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// The most files that are read: more is not a study but an archive.
const FILES_MAX: usize = 100_000;

/// Says, study by study, which rules would fire and what each of the others misses.
pub(super) fn rehearse(rules: &[Rule], dir: &Path) -> Result<(), CommandError> {
    let mut studies: BTreeMap<String, Vec<Header>> = BTreeMap::new();
    let mut passed_over = 0;
    for file in files_below(dir)? {
        match header(&file) {
            Some(header) => {
                let study = header.identity.study.to_string();
                studies.entry(study).or_default().push(header);
            }
            None => passed_over += 1,
        }
    }
    if studies.is_empty() {
        let dir = dir.display();
        return Err(CommandError::Failed(format!(
            "{dir}: holds no DICOM object that would be taken"
        )));
    }
    for (study, objects) in &studies {
        output::line(format!("study {study}: {} objects", objects.len()));
        for rule in rules {
            output::line(format!("  {}", verdict(rule, objects)));
        }
        if rules.is_empty() {
            output::line(
                "  there are no [[rules]]: it would be kept, and no model would look at it",
            );
        }
    }
    if passed_over > 0 {
        output::line(format!(
            "{passed_over} files are no DICOM objects that would be taken"
        ));
    }
    Ok(())
}

/// Whether a rule fires for these objects, with what it asks for; or what they miss.
fn verdict(rule: &Rule, objects: &[Header]) -> String {
    let mut unmet: BTreeMap<Unmet, usize> = BTreeMap::new();
    for object in objects {
        if let Some(key) = rule.when.unmet(&object.identity.sop_class, &object.facts) {
            *unmet.entry(key).or_default() += 1;
        }
    }
    let matching = objects.len() - unmet.values().sum::<usize>();
    if matching > 0 {
        return format!(
            "rule {:?} fires: {matching} objects match; {}",
            rule.name,
            asked(rule, objects)
        );
    }
    let reasons: Vec<_> = unmet
        .iter()
        .map(|(key, count)| format!("{} ({count} objects)", said(rule, *key)))
        .collect();
    format!(
        "rule {:?} does not: not met: {}",
        rule.name,
        reasons.join("; ")
    )
}

/// What a rule that fires asks for: everything that it would do.
fn asked(rule: &Rule, objects: &[Header]) -> String {
    let list = |names: &[String]| match names {
        [] => "nobody".to_owned(),
        names => names.join(", "),
    };
    let terms = rule.terms();
    let results: Vec<_> = terms.results.iter().map(|kind| kind.name()).collect();
    let mut said = vec![
        format!(
            "models {}, {}, after {} s without a new object, {} to {}",
            rule.models.join(", "),
            rule.priority.name(),
            rule.idle_timeout_s,
            results.join(" "),
            list(&rule.destinations)
        ),
        format!("told of by message: {}", list(&rule.messages)),
        format!(
            "of failures {}",
            match rule.report_failures {
                true => "a report",
                false => "no word",
            }
        ),
    ];
    for (required, number) in rule.requires.iter().zip(1..) {
        let meets = |o: &&Header| required.fits(&o.identity.sop_class, &o.facts);
        let word = match objects.iter().filter(meets).count() {
            0 => "not met yet".to_owned(),
            count => format!("met by {count} objects"),
        };
        said.push(format!(
            "requirement {number} of {} {word}",
            rule.requires.len()
        ));
    }
    said.push(format!(
        "waited for at most {} s while something lacks",
        rule.wait_max_s
    ));
    said.extend(rule.priors.as_ref().map(earlier));
    said.join("; ")
}

fn earlier(priors: &Priors) -> String {
    let modalities = match priors.modalities.as_slice() {
        [] => "the study's own modalities".to_owned(),
        some => some.join(", "),
    };
    format!(
        "earlier studies from {}: at most {} of {modalities}, {} objects, {} MiB, {} days back, waited for at most {} s",
        priors.from,
        priors.studies_max,
        priors.objects_max,
        priors.size_max_mib,
        priors.age_max_days,
        priors.wait_max_s
    )
}

fn said(rule: &Rule, unmet: Unmet) -> String {
    match unmet {
        Unmet::Key(key) => key.to_owned(),
        Unmet::Attribute(number) => rule
            .when
            .attributes
            .get(number - 1)
            .map_or_else(String::new, |c| format!("attributes {:?}", c.name)),
    }
}

/// What would be read of the file at the door; `None` when it would be refused there.
fn header(file: &Path) -> Option<Header> {
    let file = File::open(file).ok()?;
    scan_file(&mut BufReader::new(file), &ScanLimits::default()).ok()
}

/// Every file below a folder, in the order of their names. Links are not followed.
pub(super) fn files_below(dir: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let failed =
        |path: &Path, e: std::io::Error| CommandError::Failed(format!("{}: {e}", path.display()));
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| failed(&folder, e))? {
            let entry = entry.map_err(|e| failed(&folder, e))?;
            let kind = entry.file_type().map_err(|e| failed(&entry.path(), e))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
        if found.len() > FILES_MAX {
            let dir = dir.display();
            let why = format!("{dir}: more than {FILES_MAX} files; give the folder of one study");
            return Err(CommandError::Failed(why));
        }
    }
    found.sort();
    Ok(found)
}

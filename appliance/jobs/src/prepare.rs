//! The study's objects into what the model takes: decoded frames, or one volume.
//!
//! Pixels are decoded by the runner's reader, a process behind walls; here are only the choice of objects and the headers
//! that results are made from, which the scanner reads. Everything is blocking and runs on threads of its own kind; nothing
//! here writes.

use crate::failure::GiveUp;
use pericard_dicom::scan::ScanLimits;
use pericard_dicom::source::{Source, SourceError};
use pericard_domain::job::FailureClass;
use pericard_domain::model::{IntendedUse, Package};
use pericard_domain::rule::Match;
use pericard_domain::study::Instance;
use pericard_domain::uid::InstanceUid;
use pericard_runner::{Picture, Reader};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// The least slices of a volume.
const SLICES_MIN: usize = 8;

/// An object of the study and where its file is.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) instance: Instance,
    pub(crate) path: PathBuf,
}

/// The objects that the model is meant for and that have pixels.
///
/// # Errors
/// When there is none: the model has nothing to say about this study, and that is said.
pub(crate) fn suitable(package: &Package, held: Vec<Held>) -> Result<Vec<Held>, GiveUp> {
    let IntendedUse {
        modalities,
        body_parts,
        sop_classes,
        ..
    } = package.manifest.intended_use.clone();
    let wanted = Match {
        modalities,
        sop_classes,
        ..Match::default()
    };
    // A body part is often left out by the sender: only one that is stated and is another one speaks against the model.
    let part_fits = |held: &Held| {
        let stated = held.instance.facts.body_part.as_deref();
        body_parts.is_empty()
            || stated.is_none_or(|s| body_parts.iter().any(|p| p.eq_ignore_ascii_case(s)))
    };
    let has_pixels =
        |held: &Held| held.instance.facts.rows.is_some() && held.instance.facts.columns.is_some();
    let suitable: Vec<_> = held
        .into_iter()
        .filter(|h| wanted.matches(&h.instance) && part_fits(h) && has_pixels(h))
        .collect();
    if suitable.is_empty() {
        let reason = format!(
            "no image of the study is of a modality, SOP class or body part that {} is for",
            package.model
        );
        return Err(GiveUp::failed(FailureClass::UnsuitableInput, reason));
    }
    Ok(suitable)
}

/// The headers of these objects.
pub(crate) fn sources(held: &[Held]) -> Result<Vec<Source>, GiveUp> {
    held.iter().map(source).collect()
}

fn source(held: &Held) -> Result<Source, GiveUp> {
    let file =
        File::open(&held.path).map_err(|e| unreadable(&held.instance.identity.instance, &e))?;
    Source::read(&mut BufReader::new(file), &ScanLimits::default())
        .map_err(|e: SourceError| undecodable(&held.instance.identity.instance, &e))
}

/// One object's frames for the model, from its first.
pub(crate) fn open(reader: &mut Reader, held: &Held) -> Result<(), GiveUp> {
    reader.open(&held.instance.identity.instance, &held.path)?;
    Ok(())
}

/// One volume out of the series that is most a volume, and the objects that it was made of.
pub(crate) fn volume(reader: &mut Reader, held: &[Held]) -> Result<(Picture, Vec<Held>), GiveUp> {
    let objects: Vec<_> = held
        .iter()
        .map(|h| (h.instance.identity.instance.clone(), h.path.clone()))
        .collect();
    let (picture, used) = reader.volume(&objects, SLICES_MIN)?;
    let of = |held: &&Held| used.contains(&held.instance.identity.instance);
    Ok((picture, held.iter().filter(of).cloned().collect()))
}

fn undecodable(instance: &InstanceUid, error: &impl std::fmt::Display) -> GiveUp {
    GiveUp::failed(
        FailureClass::Undecodable,
        format!("object {instance}: {error}"),
    )
}

fn unreadable(instance: &InstanceUid, error: &std::io::Error) -> GiveUp {
    GiveUp::failed(
        FailureClass::Internal,
        format!("object {instance} cannot be read: {error}"),
    )
}

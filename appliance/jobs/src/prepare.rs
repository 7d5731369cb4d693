//! The study's objects into what the model takes: decoded frames, or one volume.
//!
//! Objects are parsed and decoded by the runner's reader, a process behind walls; here is only the choice of objects.
//! Everything is blocking and runs on threads of its own kind; nothing here writes.

use crate::failure::GiveUp;
use pericard_dicom::source::Source;
use pericard_domain::job::FailureClass;
use pericard_domain::model::{IntendedUse, Package};
use pericard_domain::rule::Match;
use pericard_domain::study::Instance;
use pericard_runner::{Picture, Reader};
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
pub(crate) fn sources(reader: &mut Reader, held: &[Held]) -> Result<Vec<Source>, GiveUp> {
    held.iter().map(|held| source(reader, held)).collect()
}

/// The headers of those objects that can be read.
pub(crate) fn readable_sources(reader: &mut Reader, held: &[Held]) -> (Vec<Held>, Vec<Source>) {
    held.iter()
        .filter_map(|held| Some((held.clone(), source(reader, held).ok()?)))
        .unzip()
}

fn source(reader: &mut Reader, held: &Held) -> Result<Source, GiveUp> {
    let identity = &held.instance.identity;
    let source = reader.source(&identity.instance, &held.path)?;
    // Results go into the study and the series that the object was admitted under, whatever its reader says.
    if (source.study(), source.series()) != (&identity.study, &identity.series) {
        let reason = format!(
            "object {}: it says to be of another study or series",
            identity.instance
        );
        return Err(GiveUp::failed(FailureClass::Undecodable, reason));
    }
    Ok(source)
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

//! The study's objects into what the model takes: decoded frames, or one volume.
//!
//! Everything here is blocking and runs on threads of its own kind; nothing here writes.

use crate::failure::GiveUp;
use pericard_dicom::geometry::{GeometryError, Place, Slice, assemble, suitable_series};
use pericard_dicom::pixels::{PixelError, Pixels};
use pericard_dicom::scan::ScanLimits;
use pericard_dicom::source::{Source, SourceError};
use pericard_domain::image::{Frame, Volume};
use pericard_domain::job::FailureClass;
use pericard_domain::model::{IntendedUse, Package};
use pericard_domain::rule::Match;
use pericard_domain::study::Instance;
use pericard_domain::uid::InstanceUid;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// The most bytes of decoded frames in memory at once: frames go to the model in portions of this size.
const PORTION_BYTES_MAX: usize = 256 << 20;
/// The most frames in one portion.
const PORTION_FRAMES_MAX: usize = 256;
/// The most voxels of a volume.
const VOXELS_MAX: usize = 256 << 20;
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

/// The frames of one object, portion by portion.
pub(crate) struct Portions {
    pixels: Pixels,
    instance: InstanceUid,
    next: u32,
}

impl Portions {
    pub(crate) fn open(held: &Held) -> Result<Self, GiveUp> {
        let instance = held.instance.identity.instance.clone();
        let pixels = Pixels::open(&held.path, &ScanLimits::default())
            .map_err(|e: PixelError| undecodable(&instance, &e))?;
        Ok(Self {
            pixels,
            instance,
            next: 1,
        })
    }

    /// The next portion; empty when there is none.
    pub(crate) fn take(&mut self) -> Result<Vec<Frame>, GiveUp> {
        let (mut portion, mut bytes) = (Vec::new(), 0);
        while self.next <= self.pixels.frames()
            && bytes < PORTION_BYTES_MAX
            && portion.len() < PORTION_FRAMES_MAX
        {
            let frame = self
                .pixels
                .frame(self.next)
                .map_err(|e| undecodable(&self.instance, &e))?;
            bytes += frame.samples.len();
            portion.push(frame);
            self.next += 1;
        }
        Ok(portion)
    }
}

/// One volume out of the series that is most a volume, and the objects that it was made of.
pub(crate) fn volume(held: &[Held]) -> Result<(Volume, Vec<Held>), GiveUp> {
    let places = suitable_series(&sources(held)?, SLICES_MIN).map_err(|e| no_volume(&e))?;
    let voxels = places.iter().try_fold(0_usize, |sum, p| {
        p.rows.checked_mul(p.columns)?.checked_add(sum)
    });
    if voxels.is_none_or(|voxels| voxels > VOXELS_MAX) {
        let reason = format!("the series has more than {VOXELS_MAX} voxels; send it resampled");
        return Err(GiveUp::failed(FailureClass::UnsuitableInput, reason));
    }
    let by_instance: BTreeMap<&InstanceUid, &Held> = held
        .iter()
        .map(|h| (&h.instance.identity.instance, h))
        .collect();
    let (mut slices, mut used) = (Vec::with_capacity(places.len()), BTreeMap::new());
    let mut open: Option<(InstanceUid, Pixels)> = None;
    for place in places {
        let instance = place.source.instance.clone();
        let held = by_instance[&instance]; // every place is of one of these objects
        used.insert(instance.clone(), held.clone());
        slices.push(slice(place, held, &mut open)?);
    }
    let volume = assemble(slices, SLICES_MIN).map_err(|e| no_volume(&e))?;
    Ok((volume, used.into_values().collect()))
}

/// One slice's values. The last object stays open: the frames of a multi-frame object come one after another.
fn slice(
    place: Place,
    held: &Held,
    open: &mut Option<(InstanceUid, Pixels)>,
) -> Result<Slice, GiveUp> {
    let instance = &held.instance.identity.instance;
    let mut pixels = match open.take().filter(|(of, _)| of == instance) {
        Some((_, pixels)) => pixels,
        None => Pixels::open(&held.path, &ScanLimits::default())
            .map_err(|e| undecodable(instance, &e))?,
    };
    let values = pixels
        .values(place.source.frame)
        .map_err(|e| undecodable(instance, &e))?;
    *open = Some((instance.clone(), pixels));
    Ok(Slice { place, values })
}

fn no_volume(error: &GeometryError) -> GiveUp {
    GiveUp::failed(FailureClass::UnsuitableInput, error.to_string())
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

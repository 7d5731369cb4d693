//! The reader: strangers' DICOM objects in, frames or one volume out. Its memory is one study's: it ends with the job.

use super::contained;
use super::show;
use crate::view::{Raw, ShownFacts, View};
use crate::words::{FrameHead, Read, ReadAnswer, VolumeHead};
use pericard_confine::{Channel, Room};
use pericard_dicom::deidentify::{Profile, Text, deidentify};
use pericard_dicom::geometry::{Place, Slice, assemble, suitable_series};
use pericard_dicom::json::{self, JsonError};
use pericard_dicom::pixels::Pixels;
use pericard_dicom::scan::ScanLimits;
use pericard_dicom::segments;
use pericard_dicom::source::Source;
use pericard_dicom::{agreement, anew};
use pericard_domain::image::{Frame, FrameRef, TextBox};
use pericard_domain::uid::{InstanceUid, StudyUid};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Seek};
use std::os::fd::OwnedFd;

#[derive(Default)]
pub(super) struct Desk {
    open: Option<Open>,
    sources: Vec<Source>,
    files: BTreeMap<InstanceUid, File>,
    places: Vec<Place>,
}

/// An object whose frames are being decoded.
struct Open {
    instance: InstanceUid,
    pixels: Pixels,
    next: u32,
    /// Decoded, but without room in the portion before.
    kept: Option<Frame>,
}

type Answer = Result<ReadAnswer, ReadAnswer>;

impl Desk {
    pub(super) fn work(mut self, channel: &Channel) {
        while let Ok((read, descriptors)) = channel.receive_with::<Read>() {
            let answer = contained(|| self.answer(read, descriptors));
            let last = answer.is_err();
            let answer = answer.map_or_else(ReadAnswer::Panicked, |a| a.unwrap_or_else(|e| e));
            if channel.send(&answer).is_err() || last {
                return;
            }
        }
    }

    fn answer(&mut self, read: Read, descriptors: Vec<OwnedFd>) -> Answer {
        let unsuitable = |why: &str| ReadAnswer::Unsuitable(why.to_owned());
        let mut descriptors = descriptors.into_iter();
        let (descriptor, second) = (descriptors.next(), descriptors.next());
        match read {
            Read::Choose { slices_min } => self.choose(slices_min),
            Read::Open(instance) => {
                let file = descriptor.ok_or_else(|| unsuitable("there is no file"))?;
                self.open(instance, file.into())
            }
            Read::Header(instance) => {
                let file = descriptor.ok_or_else(|| unsuitable("there is no file"))?;
                self.header(instance, file.into())
            }
            Read::Frames { first, frames_max } => {
                let room = descriptor.ok_or_else(|| unsuitable("there is no room"))?;
                if let (Some(first), Some(open)) = (first, &mut self.open) {
                    (open.next, open.kept) = (first, None);
                }
                self.frames(frames_max, &received(room)?)
            }
            Read::Show(view) => {
                let room = descriptor.ok_or_else(|| unsuitable("there is no room"))?;
                self.show(&view, &received(room)?)
            }
            Read::Bytes { frame, raw } => {
                let room = descriptor.ok_or_else(|| unsuitable("there is no room"))?;
                self.bytes(frame, raw, &received(room)?)
            }
            Read::Describe { instance, base } => {
                let (Some(file), Some(room)) = (descriptor, second) else {
                    return Err(unsuitable("there is no file or no room"));
                };
                describe(&instance, file.into(), &base, &received(room)?)
            }
            Read::Bulk { instance, path } => {
                let (Some(file), Some(room)) = (descriptor, second) else {
                    return Err(unsuitable("there is no file or no room"));
                };
                bulk(&instance, file.into(), &path, &received(room)?)
            }
            Read::Source(instance) => {
                let (Some(file), Some(room)) = (descriptor, second) else {
                    return Err(unsuitable("there is no file or no room"));
                };
                source(&instance, file.into(), &received(room)?)
            }
            Read::Anew { instance, explicit } => {
                let (Some(file), Some(room)) = (descriptor, second) else {
                    return Err(unsuitable("there is no file or no room"));
                };
                written_anew(&instance, file.into(), explicit, &received(room)?)
            }
            Read::Clean { profile, boxes } => {
                let (Some(file), Some(room)) = (descriptor, second) else {
                    return Err(unsuitable("there is no file or no room"));
                };
                clean(file.into(), &profile, boxes.as_deref(), &received(room)?)
            }
            Read::Agreement(instance) => {
                let file = descriptor.ok_or_else(|| unsuitable("there is no file"))?;
                agreement(&instance, file.into())
            }
            Read::Marks { source } => self.marks(source.as_ref()),
            Read::Assemble { slices_min } => {
                let room = descriptor.ok_or_else(|| unsuitable("there is no room"))?;
                self.assemble(slices_min, &received(room)?)
            }
        }
    }

    fn open(&mut self, instance: InstanceUid, file: File) -> Answer {
        let pixels = Pixels::from_reader(file, &ScanLimits::default())
            .map_err(|e| undecodable(&instance, &e))?;
        let frames = pixels.frames();
        self.open = Some(Open {
            instance,
            pixels,
            next: 1,
            kept: None,
        });
        Ok(ReadAnswer::Opened { frames })
    }

    /// As many frames as have room.
    fn frames(&mut self, frames_max: usize, room: &Room) -> Answer {
        let open = self.opened()?;
        let mut mapped = room.map().map_err(|e| undecodable(&open.instance, &e))?;
        let (mut heads, mut at) = (Vec::new(), 0);
        while heads.len() < frames_max {
            let Some(frame) = open.frame()? else { break };
            let end = at + frame.samples.len();
            if end > room.bytes() {
                open.kept = Some(frame);
                break;
            }
            mapped[at..end].copy_from_slice(&frame.samples);
            at = end;
            heads.push(FrameHead::of(&frame));
        }
        if heads.is_empty() && open.kept.is_some() {
            let why = "a frame is larger than may be handed on";
            return Err(undecodable(&open.instance, &why));
        }
        Ok(ReadAnswer::Frames(heads))
    }

    /// A frame as a file, at the beginning of the room.
    fn show(&mut self, view: &View, room: &Room) -> Answer {
        let open = self.opened()?;
        let refused = |error: &dyn std::fmt::Display| undecodable(&open.instance, &error);
        let wished = view.window.map(|window| (window, view.curve));
        let decoded = open.pixels.frame_in(view.frame, wished);
        let (frame, window) = decoded.map_err(|e| refused(&e))?;
        let (bytes, width, height) = show::encoded(frame, view).map_err(|e| refused(&e))?;
        let mut mapped = room.map().map_err(|e| refused(&e))?;
        let place = mapped.get_mut(..bytes.len());
        let place = place.ok_or_else(|| refused(&"its picture is larger than may be handed on"))?;
        place.copy_from_slice(&bytes);
        let facts = ShownFacts {
            width,
            height,
            window,
        };
        Ok(ReadAnswer::Shown {
            bytes: bytes.len(),
            facts,
        })
    }

    fn bytes(&mut self, frame: u32, raw: Raw, room: &Room) -> Answer {
        let open = self.opened()?;
        let bytes = match raw {
            Raw::Stored => open.pixels.stored_bytes(frame),
            Raw::Native => open.pixels.native_bytes(frame),
        };
        let bytes = bytes.map_err(|e| undecodable(&open.instance, &e))?;
        fill(&open.instance, &bytes, room)
    }

    fn marks(&mut self, source: Option<&FrameRef>) -> Answer {
        let open = self.opened()?;
        let outlines = match source {
            Some(source) => segments::outlines(&mut open.pixels, source)
                .map_err(|e| undecodable(&open.instance, &e))?,
            None => Vec::new(),
        };
        Ok(ReadAnswer::Marks {
            marked: segments::marked(&open.pixels),
            outlines,
        })
    }

    fn opened(&mut self) -> Result<&mut Open, ReadAnswer> {
        let none = || ReadAnswer::Unsuitable("no object is open".into());
        self.open.as_mut().ok_or_else(none)
    }

    fn header(&mut self, instance: InstanceUid, file: File) -> Answer {
        let source = Source::read(&mut BufReader::new(&file), &ScanLimits::default())
            .map_err(|e| undecodable(&instance, &e))?;
        self.sources.push(source);
        self.files.insert(instance, file);
        Ok(ReadAnswer::Header)
    }

    fn choose(&mut self, slices_min: usize) -> Answer {
        let places = suitable_series(&self.sources, slices_min);
        self.places = places.map_err(|e| ReadAnswer::Unsuitable(e.to_string()))?;
        self.sources = Vec::new(); // their data sets are not needed any more
        let voxels = self.places.iter().try_fold(0_usize, |sum, place| {
            place.rows.checked_mul(place.columns)?.checked_add(sum)
        });
        let voxels = voxels.unwrap_or(usize::MAX);
        Ok(ReadAnswer::Chosen { voxels })
    }

    fn assemble(&mut self, slices_min: usize, room: &Room) -> Answer {
        let places = std::mem::take(&mut self.places);
        let (mut slices, mut used) = (Vec::with_capacity(places.len()), BTreeSet::new());
        let mut open: Option<(InstanceUid, Pixels)> = None;
        for place in places {
            used.insert(place.source.instance.clone());
            slices.push(self.slice(place, &mut open)?);
        }
        let volume =
            assemble(slices, slices_min).map_err(|e| ReadAnswer::Unsuitable(e.to_string()))?;
        let bytes: &[u8] = bytemuck::cast_slice(&volume.voxels);
        let unsuitable = |why: &str| ReadAnswer::Unsuitable(why.to_owned());
        if bytes.len() != room.bytes() {
            return Err(unsuitable(
                "the volume is not of the size that its series has",
            ));
        }
        let mut mapped = room.map().map_err(|e| unsuitable(&e.to_string()))?;
        mapped[..bytes.len()].copy_from_slice(bytes);
        Ok(ReadAnswer::Volume {
            head: Box::new(VolumeHead::of(&volume)),
            used: used.into_iter().collect(),
        })
    }

    /// One slice's values. The last object stays open: the frames of a multi-frame object come one after another.
    fn slice(
        &mut self,
        place: Place,
        open: &mut Option<(InstanceUid, Pixels)>,
    ) -> Result<Slice, ReadAnswer> {
        let instance = place.source.instance.clone();
        let mut pixels = match open.take().filter(|(of, _)| *of == instance) {
            Some((_, pixels)) => pixels,
            None => {
                // Another handle of the same file: frames of two objects may alternate.
                let file = self.files.get(&instance);
                let file = file.ok_or_else(|| undecodable(&instance, &"it says to be another"))?;
                let file = file.try_clone().and_then(|mut file| {
                    file.rewind()?;
                    Ok(file)
                });
                let file = file.map_err(|e| undecodable(&instance, &e))?;
                Pixels::from_reader(file, &ScanLimits::default())
                    .map_err(|e| undecodable(&instance, &e))?
            }
        };
        let values = pixels
            .values(place.source.frame)
            .map_err(|e| undecodable(&instance, &e))?;
        *open = Some((instance, pixels));
        Ok(Slice { place, values })
    }
}

impl Open {
    fn frame(&mut self) -> Result<Option<Frame>, ReadAnswer> {
        if let Some(frame) = self.kept.take() {
            return Ok(Some(frame));
        }
        if self.next > self.pixels.frames() {
            return Ok(None);
        }
        let frame = self
            .pixels
            .frame(self.next)
            .map_err(|e| undecodable(&self.instance, &e))?;
        self.next += 1;
        Ok(Some(frame))
    }
}

/// The object's attributes as JSON.
fn describe(instance: &InstanceUid, file: File, base: &str, room: &Room) -> Answer {
    let described = json::describe(&mut BufReader::new(file), &ScanLimits::default(), base);
    let value = described.map_err(|e| undecodable(instance, &e))?;
    fill(instance, value.to_string().as_bytes(), room)
}

fn bulk(instance: &InstanceUid, file: File, path: &str, room: &Room) -> Answer {
    let Ok(path) = path.parse() else {
        return Ok(ReadAnswer::NoSuchBulk);
    };
    match json::bulk(&mut BufReader::new(file), &ScanLimits::default(), &path) {
        Ok(bytes) => fill(instance, &bytes, room),
        Err(JsonError::NoSuchBulk) => Ok(ReadAnswer::NoSuchBulk),
        Err(error) => Err(undecodable(instance, &error)),
    }
}

fn source(instance: &InstanceUid, file: File, room: &Room) -> Answer {
    let source = Source::read(&mut BufReader::new(file), &ScanLimits::default())
        .map_err(|e| undecodable(instance, &e))?;
    let bytes = source.to_bytes().map_err(|e| undecodable(instance, &e))?;
    fill(instance, &bytes, room)
}

fn written_anew(instance: &InstanceUid, file: File, explicit: bool, room: &Room) -> Answer {
    let bytes_max = room.bytes() as u64;
    let anew = anew::written_anew(&mut BufReader::new(file), explicit, bytes_max);
    let bytes = anew.map_err(|e| undecodable(instance, &e))?;
    fill(instance, &bytes, room)
}

fn clean(file: File, profile: &Profile, boxes: Option<&[TextBox]>, room: &Room) -> Answer {
    let refused = |why: &dyn std::fmt::Display| ReadAnswer::Unsuitable(why.to_string());
    let looked = boxes.map_or(Text::NotLookedFor, Text::Found);
    let cleaned = deidentify(file, &ScanLimits::default(), profile, looked);
    let cleaned = cleaned.map_err(|refusal| refused(&refusal))?;
    // With UIDs kept they are the sender's, and files are called by them.
    let study = StudyUid::new(&cleaned.study).map_err(|e| refused(&e))?;
    let instance = InstanceUid::new(&cleaned.instance).map_err(|e| refused(&e))?;
    let bytes = cleaned.bytes.len();
    let mut mapped = room.map().map_err(|e| refused(&e))?;
    let place = mapped.get_mut(..bytes);
    let place = place.ok_or_else(|| refused(&"cleaned, it is larger than may be handed on"))?;
    place.copy_from_slice(&cleaned.bytes);
    Ok(ReadAnswer::Cleaned {
        bytes,
        study,
        instance,
    })
}

fn agreement(instance: &InstanceUid, file: File) -> Answer {
    agreement::read(&mut BufReader::new(file), &ScanLimits::default())
        .map(ReadAnswer::Agreement)
        .map_err(|e| undecodable(instance, &e))
}

/// Puts the bytes at the beginning of the room.
fn fill(instance: &InstanceUid, bytes: &[u8], room: &Room) -> Answer {
    let mut mapped = room.map().map_err(|e| undecodable(instance, &e))?;
    let place = mapped.get_mut(..bytes.len());
    let place =
        place.ok_or_else(|| undecodable(instance, &"it is larger than may be handed on"))?;
    place.copy_from_slice(bytes);
    Ok(ReadAnswer::Filled { bytes: bytes.len() })
}

fn received(room: OwnedFd) -> Result<Room, ReadAnswer> {
    Room::received(room).map_err(|e| ReadAnswer::Unsuitable(e.to_string()))
}

fn undecodable(instance: &InstanceUid, error: &impl std::fmt::Display) -> ReadAnswer {
    ReadAnswer::Undecodable {
        instance: instance.clone(),
        why: error.to_string(),
    }
}

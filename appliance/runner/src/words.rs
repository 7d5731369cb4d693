//! What crosses between the appliance and its workers.
//!
//! The appliance trusts a worker with nothing but its own answer: counts, sizes and names that come back are held against
//! what was asked.

use crate::view::{Raw, ShownFacts, View};
use pericard_confine::Walls;
use pericard_dicom::agreement::Agreement;
use pericard_dicom::deidentify::Profile;
use pericard_dicom::segments::{Marked, Outline};
use pericard_domain::chat::{ChatEvent, ChatRefusal, ChatRequest, Embeddings, Prompt};
use pericard_domain::device::{Device, KvForm};
use pericard_domain::entity::Entity;
use pericard_domain::figures::EngineFigures;
use pericard_domain::image::{Channels, FrameRef, TextBox};
use pericard_domain::model::Package;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::uid::{InstanceUid, StudyUid};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The first message to a worker: what it is to be. Nothing untrusted is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Load {
    /// A model on ONNX Runtime.
    Imaging {
        library: PathBuf,
        package: Package,
        threads: usize,
        device: Device,
    },
    /// A language model.
    Language {
        package: Package,
        share: Share,
        device: Device,
    },
    /// What models are to compute on, tried and let go of.
    Device(Device),
    /// The reader of DICOM objects.
    Reader,
    /// The scanner of DICOM objects that arrive.
    Scanner,
}

/// A language model's share.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) threads: usize,
    pub(crate) sequences_max: usize,
    pub(crate) queue_max: usize,
    pub(crate) kv_form: KvForm,
}

/// The answer to [`Load`], from behind the walls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) device: String,
    pub(crate) context_tokens: Option<u32>,
    pub(crate) walls: Walls,
}

/// What the bytes of a picture in shared memory are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Head {
    /// One frame's samples after another's.
    Frames(Vec<FrameHead>),
    /// The voxels of one volume, 32-bit floats of this machine.
    Volume(VolumeHead),
}

/// [`pericard_domain::image::Frame`] without its samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FrameHead {
    pub(crate) source: FrameRef,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) channels: Channels,
}

/// [`pericard_domain::image::Volume`] without its voxels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumeHead {
    pub(crate) size: [usize; 3],
    pub(crate) origin: [f64; 3],
    pub(crate) column_step: [f64; 3],
    pub(crate) row_step: [f64; 3],
    pub(crate) slice_step: [f64; 3],
    pub(crate) slices: Vec<FrameRef>,
}

/// To a worker on ONNX Runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Look {
    /// With the picture's memory and, for a volume, room for the mask.
    Picture(Head),
    /// A text, to mark what stands in it.
    Text(String),
}

/// What a worker on ONNX Runtime saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Seen {
    Text(Vec<TextBox>),
    Entities(Vec<Entity>),
    /// The room is filled: one byte a voxel.
    Mask,
    Unsuitable(String),
    Failed(String),
    /// The engine asked for more memory than it may have.
    OutOfMemory,
}

/// To the reader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Read {
    /// Makes an object ready, whose file comes with the message.
    Open(InstanceUid),
    /// Decodes the next frames into the room that comes with the message.
    Frames {
        /// From this one on; `None` goes on after the latest.
        first: Option<u32>,
        frames_max: usize,
    },
    /// Makes a picture of a frame of the object that is open, in the room that comes with the message.
    Show(View),
    /// Gives a frame's bytes, in the room that comes with the message.
    Bytes { frame: u32, raw: Raw },
    /// Describes the object whose file comes with the message, in the room that comes with it.
    Describe {
        instance: InstanceUid,
        /// What the URIs of its large values begin with.
        base: String,
    },
    /// Gives a large value of the object whose file comes with the message, in the room that comes with it.
    Bulk { instance: InstanceUid, path: String },
    /// Gives what results are made from of the object whose file comes with the message, in the room that comes with it.
    Source(InstanceUid),
    /// Writes the data set of the object whose file comes with the message in the other uncompressed syntax, in the room that
    /// comes with it.
    Anew {
        instance: InstanceUid,
        explicit: bool,
    },
    /// Takes out of the object whose file comes with the message what identifies somebody, and writes the rest into the room
    /// that comes with it.
    Clean {
        profile: Profile,
        /// The texts that were found in its pixels; nothing when nobody looked.
        boxes: Option<Vec<TextBox>>,
    },
    /// Says what the report whose file comes with the message says of results.
    Agreement(InstanceUid),
    /// Says what the open segmentation marks.
    Marks {
        /// Whose outlines are wanted.
        source: Option<FrameRef>,
    },
    /// Reads an object's header, whose file comes with the message; the file is kept for [`Read::Assemble`].
    Header(InstanceUid),
    /// Chooses the series that is a volume.
    Choose { slices_min: usize },
    /// Decodes it into the room that comes with the message.
    Assemble { slices_min: usize },
}

/// What the reader says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ReadAnswer {
    Opened {
        frames: u32,
    },
    /// Empty when there is none left.
    Frames(Vec<FrameHead>),
    /// The room begins with so many bytes of a picture.
    Shown {
        bytes: usize,
        facts: ShownFacts,
    },
    /// The room begins with so many bytes of what was asked for.
    Filled {
        bytes: usize,
    },
    /// The room begins with so many bytes of a cleaned image, which is called so now.
    Cleaned {
        bytes: usize,
        study: StudyUid,
        instance: InstanceUid,
    },
    NoSuchBulk,
    Agreement(Option<Agreement>),
    Marks {
        marked: Vec<Marked>,
        outlines: Vec<Outline>,
    },
    Header,
    Chosen {
        voxels: usize,
    },
    Volume {
        head: Box<VolumeHead>,
        used: Vec<InstanceUid>,
    },
    /// The study does not hold a volume.
    Unsuitable(String),
    /// An object cannot be decoded.
    Undecodable {
        instance: InstanceUid,
        why: String,
    },
    /// A decoder panicked: where in the source.
    Panicked(String),
}

/// To the scanner, with the file of an object.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Scan;

/// What the scanner says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ScanAnswer {
    Scanned(Box<Scanned>),
    /// It is no DICOM object, or none that can be kept safely.
    Malformed(String),
    /// It panicked: where in the source.
    Panicked(String),
}

/// What a scan tells of an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scanned {
    pub(crate) identity: ObjectIdentity,
    #[serde(with = "as_json")]
    pub(crate) facts: InstanceFacts,
}

/// Facts leave out what they do not say, which only a form that names its fields can carry.
mod as_json {
    use pericard_domain::study::InstanceFacts;
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        facts: &InstanceFacts,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let json = serde_json::to_string(facts).map_err(S::Error::custom)?;
        json.serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<InstanceFacts, D::Error> {
        let json = String::deserialize(from)?;
        serde_json::from_str(&json).map_err(D::Error::custom)
    }
}

/// To a language worker. The numbers are the appliance's, never given twice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Ask {
    Chat(u64, ChatRequest),
    /// The ids of a prompt's tokens.
    Tokens(u64, Prompt),
    /// The text of tokens.
    Text(u64, Vec<u32>),
    /// The vectors of texts.
    Embed(u64, Vec<String>),
    /// What the engine counts.
    Figures(u64),
    Cancel(u64),
    /// How far the engine is.
    Steps,
}

/// From a language worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Tell {
    Accepted(u64),
    Refused(u64, ChatRefusal),
    Tokens(u64, Vec<u32>),
    Text(u64, String),
    Embedded(u64, Embeddings),
    Figures(u64, Box<EngineFigures>),
    Event(u64, ChatEvent),
    Steps(u64),
}

/// A worker's own words for people, cut short: whoever has taken it over must not fill the job list.
pub(crate) fn clipped(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    text.chars()
        .filter(|c| !c.is_control())
        .take(CHARS_MAX)
        .collect()
}

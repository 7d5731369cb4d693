//! The reader of DICOM objects: strangers' bytes are parsed and decoded in a process that ends with the job.

use crate::imaging::held;
use crate::picture::Picture;
use crate::rests::Rests;
use crate::runner::RunFailure;
use crate::staff::Staff;
use crate::view::{Raw, Shown, View};
use crate::words::{FrameHead, Head, Load, Read, ReadAnswer, Started, clipped};
use crate::worker::READER;
use pericard_confine::{Limits, Lost, Room, Walls, Worker};
use pericard_dicom::agreement::Agreement;
use pericard_dicom::deidentify::Profile;
use pericard_dicom::segments::{Marked, Outline};
use pericard_dicom::source::{CROSSING_BYTES_MAX, Source};
use pericard_domain::image::{Frame, FrameRef, ImagingInput, TextBox};
use pericard_domain::uid::{InstanceUid, StudyUid};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The most bytes of decoded frames that go to a model at once.
const PORTION_BYTES_MAX: usize = 256 << 20;
/// The most bytes of a cleaned image, which is not compressed any more.
const CLEANED_BYTES_MAX: usize = 1 << 30;
/// The most frames in one portion.
const PORTION_FRAMES_MAX: usize = 256;
/// The most voxels of a volume.
const VOXELS_MAX: usize = 256 << 20;
/// What is asked about when it is no single object. Only jobs do, and those rest between their attempts.
const WHOLE: &str = "the study's volume";

/// An image out of which everything was taken that identifies somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Its new SOP Instance UID.
    pub instance: InstanceUid,
    /// Its new Study Instance UID.
    pub study: StudyUid,
    /// The Part 10 file, Explicit VR Little Endian.
    pub bytes: Vec<u8>,
}

/// Where readers come from: one is kept ready, so that a job does not wait for a process to start.
pub(crate) struct Readers {
    staff: Staff,
    timeout: Duration,
    ready: Mutex<Option<Hired>>,
    rests: Mutex<Rests>,
}

struct Hired {
    worker: Worker,
    walls: Walls,
}

/// Reads the objects of one study. Its process ends when it is dropped: nothing of one study is left for the next.
pub struct Reader {
    readers: Arc<Readers>,
    worker: Option<Worker>,
    open: Option<InstanceUid>,
    next_frame: u32,
}

impl Readers {
    pub(crate) fn new(staff: Staff, timeout: Duration) -> Self {
        Self {
            staff,
            timeout,
            ready: Mutex::default(),
            rests: Mutex::default(),
        }
    }

    /// Starts one and says which walls it has; it is kept for the next job.
    pub(crate) fn test(&self) -> Result<Walls, String> {
        let hired = self.hire().map_err(|lost| lost.to_string())?;
        let walls = hired.walls.clone();
        *held(&self.ready) = Some(hired);
        Ok(walls)
    }

    pub(crate) fn reader(self: &Arc<Self>) -> Reader {
        Reader {
            readers: Arc::clone(self),
            worker: None,
            open: None,
            next_frame: 1,
        }
    }

    fn take(self: &Arc<Self>) -> Result<Worker, Lost> {
        // One that ended while it waited has cost nobody anything.
        let ready = held(&self.ready)
            .take()
            .filter(|hired| hired.worker.leash().is_alive());
        let hired = match ready {
            Some(hired) => hired,
            None => self.hire()?,
        };
        let this = Arc::clone(self);
        // Without a thread the next job starts its own.
        let _ = std::thread::Builder::new()
            .name("reader".into())
            .spawn(move || {
                if let Ok(hired) = this.hire() {
                    held(&this.ready).get_or_insert(hired);
                }
            });
        Ok(hired.worker)
    }

    /// Why none is given for this object now: it has cost too many.
    fn rests(&self, instance: Option<&InstanceUid>) -> Option<String> {
        let (why, _) = held(&self.rests).of(instance?, Instant::now())?;
        Some(why)
    }

    fn note_loss(&self, instance: Option<&InstanceUid>, how: String) {
        if let Some(instance) = instance {
            held(&self.rests).note(instance, how, Instant::now());
        }
    }

    fn hire(&self) -> Result<Hired, Lost> {
        let hired: Result<(Worker, Started), String> = self.staff.hire(READER, &Load::Reader)?;
        let (worker, started) = hired.map_err(|why| Lost::Unstarted(clipped(&why)))?;
        Ok(Hired {
            worker,
            walls: started.walls,
        })
    }
}

impl Reader {
    /// Makes an object ready and says how many frames it has. Blocking.
    ///
    /// # Errors
    /// [`RunFailure::Undecodable`], [`RunFailure::Unreadable`], or [`RunFailure::Lost`] when the process was lost over it.
    pub fn open(&mut self, instance: &InstanceUid, path: &Path) -> Result<u32, RunFailure> {
        let file = opened(instance, path)?;
        let read = Read::Open(instance.clone());
        match self.ask(&read, file.as_fd(), instance)? {
            ReadAnswer::Opened { frames } => {
                (self.open, self.next_frame) = (Some(instance.clone()), 1);
                Ok(frames)
            }
            other => Err(self.failure(other, instance)),
        }
    }

    /// The next frames of the object that is open; `None` when there are none left. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn frames(&mut self) -> Result<Option<Picture>, RunFailure> {
        self.portion(None, PORTION_FRAMES_MAX)
    }

    /// One frame of an object, counted from 1. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn frame(
        &mut self,
        instance: &InstanceUid,
        path: &Path,
        frame: u32,
    ) -> Result<Frame, RunFailure> {
        self.reopen(instance, path)?;
        let missing = |why: &str| RunFailure::Undecodable(format!("object {instance}: {why}"));
        let portion = self.portion(Some(frame), 1)?;
        let portion = portion.ok_or_else(|| missing("it has no such frame"))?;
        let mapped = portion.memory.map().map_err(no_memory)?;
        match portion.head.with(&mapped[..portion.memory.bytes()]) {
            Ok(ImagingInput::Frames(frames)) => frames
                .into_iter()
                .next()
                .ok_or_else(|| missing("it has no such frame")),
            _ => Err(missing("its frame is none")),
        }
    }

    /// A frame of an object as a picture for people. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn show(
        &mut self,
        instance: &InstanceUid,
        path: &Path,
        view: &View,
    ) -> Result<Shown, RunFailure> {
        self.reopen(instance, path)?;
        let room = Room::of(PORTION_BYTES_MAX).map_err(no_memory)?;
        let (bytes, facts) = match self.ask(&Read::Show(*view), room.as_fd(), instance)? {
            ReadAnswer::Shown { bytes, facts } => (bytes, facts),
            other => return Err(self.failure(other, instance)),
        };
        let bytes = taken(room, bytes, instance)?;
        Ok(Shown { bytes, facts })
    }

    /// The bytes of a frame. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn bytes(
        &mut self,
        instance: &InstanceUid,
        path: &Path,
        frame: u32,
        raw: Raw,
    ) -> Result<Vec<u8>, RunFailure> {
        self.reopen(instance, path)?;
        let room = Room::of(PORTION_BYTES_MAX).map_err(no_memory)?;
        let read = Read::Bytes { frame, raw };
        match self.ask(&read, room.as_fd(), instance)? {
            ReadAnswer::Filled { bytes } => taken(room, bytes, instance),
            other => Err(self.failure(other, instance)),
        }
    }

    /// An object's attributes as DICOM JSON; its large values are named by URIs that begin with `base`. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn describe(
        &mut self,
        instance: &InstanceUid,
        path: &Path,
        base: &str,
    ) -> Result<Vec<u8>, RunFailure> {
        let read = Read::Describe {
            instance: instance.clone(),
            base: base.to_owned(),
        };
        let (answer, room) = self.ask_of_file(&read, instance, path)?;
        match answer {
            ReadAnswer::Filled { bytes } => taken(room, bytes, instance),
            other => Err(self.failure(other, instance)),
        }
    }

    /// A value that [`Reader::describe`] names by a URI; `None` when there is none of that path. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn bulk(
        &mut self,
        instance: &InstanceUid,
        path: &Path,
        value: &str,
    ) -> Result<Option<Vec<u8>>, RunFailure> {
        let read = Read::Bulk {
            instance: instance.clone(),
            path: value.to_owned(),
        };
        let (answer, room) = self.ask_of_file(&read, instance, path)?;
        match answer {
            ReadAnswer::Filled { bytes } => taken(room, bytes, instance).map(Some),
            ReadAnswer::NoSuchBulk => Ok(None),
            other => Err(self.failure(other, instance)),
        }
    }

    /// What results are made from of an object: its header, without pixels and private attributes. Also of an object that
    /// rests, since its failure is told in a result: its header may be whole. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn source(&mut self, instance: &InstanceUid, path: &Path) -> Result<Source, RunFailure> {
        if self.worker.is_none() {
            let hired = self.readers.take();
            let lost = |lost| RunFailure::Lost(format!("object {instance}: {lost}"));
            self.worker = Some(hired.map_err(lost)?);
        }
        let read = Read::Source(instance.clone());
        let (answer, room) = self.ask_in_room(&read, CROSSING_BYTES_MAX, instance, path)?;
        let bytes = match answer {
            ReadAnswer::Filled { bytes } => taken(room, bytes, instance)?,
            other => return Err(self.failure(other, instance)),
        };
        let broke =
            |why: &dyn std::fmt::Display| RunFailure::Lost(format!("object {instance}: {why}"));
        let source = Source::from_bytes(&bytes).map_err(|error| broke(&error))?;
        if source.instance() != instance {
            return Err(broke(&"the reader says that it is another"));
        }
        Ok(source)
    }

    /// What a report or key object selection says of results; `None` when it says nothing. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn agreement(
        &mut self,
        instance: &InstanceUid,
        path: &Path,
    ) -> Result<Option<Agreement>, RunFailure> {
        let file = opened(instance, path)?;
        match self.ask(&Read::Agreement(instance.clone()), file.as_fd(), instance)? {
            ReadAnswer::Agreement(agreement) => Ok(agreement),
            other => Err(self.failure(other, instance)),
        }
    }

    /// An object's data set in the other of the two uncompressed little endian syntaxes, without its file header. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn written_anew(
        &mut self,
        instance: &InstanceUid,
        path: &Path,
        explicit: bool,
    ) -> Result<Vec<u8>, RunFailure> {
        let read = Read::Anew {
            instance: instance.clone(),
            explicit,
        };
        let (answer, room) = self.ask_of_file(&read, instance, path)?;
        match answer {
            ReadAnswer::Filled { bytes } => taken(room, bytes, instance),
            other => Err(self.failure(other, instance)),
        }
    }

    /// Takes out of an image what identifies somebody. `boxes` are the texts that were found in its pixels; `None` when nobody
    /// looked. Blocking.
    ///
    /// # Errors
    /// [`RunFailure::Unsuitable`] with the reason for which it may not go out, and as [`Reader::open`].
    pub fn clean(
        &mut self,
        instance: &InstanceUid,
        path: &Path,
        profile: &Profile,
        boxes: Option<&[TextBox]>,
    ) -> Result<Cleaned, RunFailure> {
        let read = Read::Clean {
            profile: profile.clone(),
            boxes: boxes.map(<[_]>::to_vec),
        };
        match self.ask_in_room(&read, CLEANED_BYTES_MAX, instance, path)? {
            (
                ReadAnswer::Cleaned {
                    bytes,
                    study,
                    instance: new,
                },
                room,
            ) => Ok(Cleaned {
                instance: new,
                study,
                bytes: taken(room, bytes, instance)?,
            }),
            (other, _) => Err(self.failure(other, instance)),
        }
    }

    fn ask_of_file(
        &mut self,
        read: &Read,
        instance: &InstanceUid,
        path: &Path,
    ) -> Result<(ReadAnswer, Room), RunFailure> {
        self.ask_in_room(read, PORTION_BYTES_MAX, instance, path)
    }

    fn ask_in_room(
        &mut self,
        read: &Read,
        bytes_max: usize,
        instance: &InstanceUid,
        path: &Path,
    ) -> Result<(ReadAnswer, Room), RunFailure> {
        let file = opened(instance, path)?;
        let room = Room::of(bytes_max).map_err(no_memory)?;
        let answer = self.ask_plain(read, &[file.as_fd(), room.as_fd()], Some(instance))?;
        Ok((answer, room))
    }

    /// What a segmentation marks, and the outlines of it in one image. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn marks(
        &mut self,
        segmentation: &InstanceUid,
        path: &Path,
        source: Option<&FrameRef>,
    ) -> Result<(Vec<Marked>, Vec<Outline>), RunFailure> {
        self.reopen(segmentation, path)?;
        let source = source.cloned();
        match self.ask_plain(&Read::Marks { source }, &[], Some(segmentation))? {
            ReadAnswer::Marks { marked, outlines } => Ok((marked, outlines)),
            other => Err(self.failure(other, segmentation)),
        }
    }

    /// Opens it unless it is open. A lost worker has forgotten what was.
    fn reopen(&mut self, instance: &InstanceUid, path: &Path) -> Result<(), RunFailure> {
        if self.worker.is_none() || self.open.as_ref() != Some(instance) {
            self.open(instance, path)?;
        }
        Ok(())
    }

    fn portion(
        &mut self,
        first: Option<u32>,
        frames_max: usize,
    ) -> Result<Option<Picture>, RunFailure> {
        let Some(instance) = self.open.clone() else {
            return Ok(None);
        };
        let room = Room::of(PORTION_BYTES_MAX).map_err(no_memory)?;
        let read = Read::Frames { first, frames_max };
        self.next_frame = first.unwrap_or(self.next_frame);
        let heads = match self.ask(&read, room.as_fd(), &instance)? {
            ReadAnswer::Frames(heads) => heads,
            other => return Err(self.failure(other, &instance)),
        };
        if heads.len() > frames_max {
            return Err(RunFailure::Lost(
                "the reader says what was not asked".into(),
            ));
        }
        if heads.is_empty() {
            self.open = None;
            return Ok(None);
        }
        let broke = |why: &str| RunFailure::Lost(format!("object {instance}: {why}"));
        let memory = room
            .filled()
            .map_err(|_| broke("the reader keeps what it handed over"))?;
        let heads = self.numbered(heads, &instance);
        self.next_frame += u32::try_from(heads.len()).unwrap_or(u32::MAX);
        let head = Head::Frames(heads);
        match head.bytes() {
            Some(bytes) if bytes <= memory.bytes() => Ok(Some(Picture {
                memory: memory.cut(bytes),
                head,
            })),
            _ => Err(broke("the reader says more than it handed over")),
        }
    }

    /// One volume out of the series that is most a volume, and the objects that it was made of. Blocking.
    ///
    /// # Errors
    /// As [`Reader::open`], and [`RunFailure::Unsuitable`] when there is no volume.
    pub fn volume(
        &mut self,
        objects: &[(InstanceUid, PathBuf)],
        slices_min: usize,
    ) -> Result<(Picture, Vec<InstanceUid>), RunFailure> {
        for (instance, path) in objects {
            let file = opened(instance, path)?;
            let read = Read::Header(instance.clone());
            match self.ask(&read, file.as_fd(), instance)? {
                ReadAnswer::Header => {}
                other => return Err(self.failure(other, instance)),
            }
        }
        let voxels = match self.ask_plain(&Read::Choose { slices_min }, &[], None)? {
            ReadAnswer::Chosen { voxels } if voxels <= VOXELS_MAX => voxels,
            ReadAnswer::Chosen { .. } => {
                let why = "the series has more than {VOXELS_MAX} voxels; send it resampled";
                let why = why.replace("{VOXELS_MAX}", &VOXELS_MAX.to_string());
                return Err(RunFailure::Unsuitable(why));
            }
            other => return Err(failure_of(other, WHOLE)),
        };
        let room = Room::of(voxels * size_of::<f32>()).map_err(no_memory)?;
        let assemble = Read::Assemble { slices_min };
        let (head, used) = match self.ask_plain(&assemble, &[room.as_fd()], None)? {
            ReadAnswer::Volume { head, used } => (head, used),
            other => return Err(failure_of(other, WHOLE)),
        };
        let broke = |why: &str| RunFailure::Lost(format!("{WHOLE}: {why}"));
        let memory = room
            .filled()
            .map_err(|_| broke("the reader keeps what it handed over"))?;
        let known: BTreeSet<_> = objects.iter().map(|(instance, _)| instance).collect();
        let of_study = head.slices.iter().map(|slice| &slice.instance).chain(&used);
        if head.voxels() != Some(voxels)
            || head.slices.len() != head.size[2]
            || !of_study
                .into_iter()
                .all(|instance| known.contains(instance))
        {
            return Err(broke("the reader says what was not asked"));
        }
        let head = Head::Volume(*head);
        Ok((Picture { head, memory }, used))
    }

    /// The process, for whoever watches it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.worker.as_ref().map(|worker| worker.leash().pid())
    }

    fn ask(
        &mut self,
        read: &Read,
        descriptor: BorrowedFd<'_>,
        instance: &InstanceUid,
    ) -> Result<ReadAnswer, RunFailure> {
        self.ask_plain(read, &[descriptor], Some(instance))
    }

    fn ask_plain(
        &mut self,
        read: &Read,
        descriptors: &[BorrowedFd<'_>],
        instance: Option<&InstanceUid>,
    ) -> Result<ReadAnswer, RunFailure> {
        let about = instance.map_or_else(|| WHOLE.into(), |instance| format!("object {instance}"));
        let failed = |why: &dyn std::fmt::Display| RunFailure::Lost(format!("{about}: {why}"));
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => {
                if let Some(why) = self.readers.rests(instance) {
                    return Err(failed(&why));
                }
                self.readers.take().map_err(|lost| failed(&lost))?
            }
        };
        let time = self.readers.timeout;
        let limits = Limits { time, cpu: time };
        let answer = worker.ask(read, descriptors, limits).map_err(|lost| {
            tracing::warn!(about, %lost, "the reader was lost");
            self.readers.note_loss(instance, lost.to_string());
            failed(&lost)
        })?;
        match &answer {
            // It has ended.
            ReadAnswer::Panicked(place) => {
                let how = format!("a decoder failed: {}", clipped(place));
                self.readers.note_loss(instance, how);
            }
            _ => self.worker = Some(worker),
        }
        Ok(answer)
    }

    fn failure(&self, answer: ReadAnswer, instance: &InstanceUid) -> RunFailure {
        failure_of(answer, &format!("object {instance}"))
    }

    /// Which frames these are is not for the reader to say.
    fn numbered(&self, mut heads: Vec<FrameHead>, instance: &InstanceUid) -> Vec<FrameHead> {
        for (head, number) in heads.iter_mut().zip(self.next_frame..) {
            head.source.instance = instance.clone();
            head.source.frame = number;
        }
        heads
    }
}

fn failure_of(answer: ReadAnswer, about: &str) -> RunFailure {
    match answer {
        ReadAnswer::Unsuitable(why) => RunFailure::Unsuitable(clipped(&why)),
        ReadAnswer::Undecodable { instance, why } => {
            RunFailure::Undecodable(format!("object {instance}: {}", clipped(&why)))
        }
        ReadAnswer::Panicked(place) => {
            RunFailure::Lost(format!("{about}: a decoder failed: {}", clipped(&place)))
        }
        _ => RunFailure::Lost(format!("{about}: the reader answered another question")),
    }
}

/// The first bytes of a room that the reader has filled.
fn taken(room: Room, bytes: usize, instance: &InstanceUid) -> Result<Vec<u8>, RunFailure> {
    let broke = |why: &str| RunFailure::Lost(format!("object {instance}: {why}"));
    let memory = room
        .filled()
        .map_err(|_| broke("the reader keeps what it handed over"))?;
    if bytes > memory.bytes() {
        return Err(broke("the reader says more than it handed over"));
    }
    let mapped = memory.map().map_err(no_memory)?;
    Ok(mapped[..bytes].to_vec())
}

/// Read-only: what the reader gets it cannot change.
fn opened(instance: &InstanceUid, path: &Path) -> Result<File, RunFailure> {
    File::open(path)
        .map_err(|e| RunFailure::Unreadable(format!("object {instance} cannot be read: {e}")))
}

fn no_memory(error: std::io::Error) -> RunFailure {
    RunFailure::Unreadable(format!("no shared memory: {error}"))
}

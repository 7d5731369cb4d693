//! What is read of objects for programs: attributes, frames, large values, many pictures. All of it is made by one reader
//! behind walls for one answer; no byte of an object is parsed in this process.

use crate::appliance::Api;
use crate::painter::{Kept, turn};
use crate::problem::Problem;
use futures_util::{Stream, StreamExt as _, stream};
use pericard_dicom::json::BulkPath;
use pericard_domain::study::Instance;
use pericard_runner::{Raw, Reader, RunFailure, Shown, View};
use std::io;
use tokio::sync::OwnedSemaphorePermit;

/// Answers that are made of objects at once: each has a process for as long as its client takes it.
pub(crate) const READINGS_AT_ONCE_MAX: usize = 8;

/// A reader of objects, for one answer. Every call is blocking, and fails as [`RunFailure`] says.
pub trait Reading: Send + 'static {
    /// The object's attributes as DICOM JSON, whose large values are named by URIs that begin with `base`.
    fn describe(&mut self, object: &Kept, base: &str) -> Result<Vec<u8>, RunFailure>;

    /// The bytes of a frame.
    fn bytes(&mut self, object: &Kept, frame: u32, raw: Raw) -> Result<Vec<u8>, RunFailure>;

    /// A large value; `None` when there is none at that path.
    fn bulk(&mut self, object: &Kept, path: &BulkPath) -> Result<Option<Vec<u8>>, RunFailure>;

    /// A frame as a picture.
    fn show(&mut self, object: &Kept, view: &View) -> Result<Shown, RunFailure>;
}

impl Reading for Reader {
    fn describe(&mut self, object: &Kept, base: &str) -> Result<Vec<u8>, RunFailure> {
        self.describe(&object.instance, &object.path, base)
    }

    fn bytes(&mut self, object: &Kept, frame: u32, raw: Raw) -> Result<Vec<u8>, RunFailure> {
        self.bytes(&object.instance, &object.path, frame, raw)
    }

    fn bulk(&mut self, object: &Kept, path: &BulkPath) -> Result<Option<Vec<u8>>, RunFailure> {
        self.bulk(&object.instance, &object.path, &path.to_string())
    }

    fn show(&mut self, object: &Kept, view: &View) -> Result<Shown, RunFailure> {
        self.show(&object.instance, &object.path, view)
    }
}

/// One answer's reader, and its place among those that there may be.
pub(crate) struct Desk {
    reading: Box<dyn Reading>,
    _turn: OwnedSemaphorePermit,
}

impl Api {
    /// A reader for one answer.
    ///
    /// # Errors
    /// 503 when too many answers are being made.
    pub(crate) async fn desk(&self) -> Result<Desk, Problem> {
        let turn = turn(&self.desks).await?;
        Ok(Desk {
            reading: self.rooms.painter.reading(),
            _turn: turn,
        })
    }

    /// An object and where its file is.
    pub(crate) fn kept(&self, instance: &Instance) -> Kept {
        Kept {
            instance: instance.identity.instance.clone(),
            path: self.rooms.store.object_path(instance),
        }
    }
}

impl Desk {
    /// One piece of work, on a thread where it may block.
    pub(crate) async fn work<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&mut dyn Reading) -> Result<T, RunFailure> + Send + 'static,
    ) -> Result<(T, Self), Problem> {
        let done = tokio::task::spawn_blocking(move || {
            let made = work(&mut *self.reading);
            (made, self)
        });
        let (made, desk) = done.await.map_err(|error| {
            tracing::error!(%error, "an object was not read");
            Problem::internal()
        })?;
        Ok((made?, desk))
    }

    /// What `make` gives for each of `all`, in their order and as the client takes it. The first is made before anything is
    /// answered, so that a refusal has its status; a later one breaks the answer off.
    ///
    /// # Errors
    /// What the first one is refused for.
    pub(crate) async fn each<W, F>(
        self,
        all: Vec<W>,
        make: F,
    ) -> Result<impl Stream<Item = io::Result<(usize, Vec<u8>)>> + Send + 'static, Problem>
    where
        W: Send + 'static,
        F: Fn(&mut dyn Reading, &W) -> Result<Vec<u8>, RunFailure> + Clone + Send + 'static,
    {
        let mut all = all.into_iter().enumerate();
        let Some((place, first)) = all.next() else {
            return Ok(stream::empty().left_stream());
        };
        let making = make.clone();
        let (made, desk) = self.work(move |reading| making(reading, &first)).await?;
        let rest = stream::try_unfold((desk, all), move |(desk, mut all)| {
            let making = make.clone();
            async move {
                let Some((place, next)) = all.next() else {
                    return Ok(None);
                };
                let made = desk.work(move |reading| making(reading, &next)).await;
                let (made, desk) = made.map_err(|problem| {
                    tracing::error!(why = problem.detail, "an answer about objects breaks off");
                    io::Error::other("unreadable")
                })?;
                Ok(Some(((place, made), (desk, all))))
            }
        });
        let first = stream::once(async move { Ok((place, made)) });
        Ok(first.chain(rest).right_stream())
    }
}

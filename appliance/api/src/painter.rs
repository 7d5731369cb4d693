//! Pictures of what is held, as this room needs them: the runner in production, scripted ones in tests. No byte of an
//! object is decoded in this process: what comes back is a finished file, and outlines.

use crate::appliance::Api;
use crate::dicomweb::wado::refuse_damaged;
use crate::problem::Problem;
use crate::reading::Reading;
use http::StatusCode;
use pericard_dicom::segments::{Marked, Outline};
use pericard_domain::image::{FrameRef, GreyWindow};
use pericard_domain::study::Instance;
use pericard_domain::uid::InstanceUid;
use pericard_runner::{RunFailure, Runner, Shown, View};
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Pictures that are made at once: each takes a process and up to a core, and the models need theirs.
pub(crate) const PICTURES_AT_ONCE_MAX: usize = 4;
/// How long a picture waits for its turn.
const PICTURE_WAIT_S: u64 = 20;
/// No window is wider or further away: beyond, no modality measures.
const WINDOW_MAX: f64 = 1e9;
/// When to ask again.
const RETRY_AFTER_S: u32 = 5;

/// An object and where its file is.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Which.
    pub instance: InstanceUid,
    /// Its file.
    pub path: PathBuf,
}

/// Whoever makes pictures.
pub trait Painter: Send + Sync + 'static {
    /// One frame as a picture. Blocking.
    ///
    /// # Errors
    /// See [`RunFailure`].
    fn show(&self, object: &Kept, view: &View) -> Result<Shown, RunFailure>;

    /// What a segmentation marks, and the outlines of it in one image. Blocking.
    ///
    /// # Errors
    /// See [`RunFailure`].
    fn marks(
        &self,
        segmentation: &Kept,
        source: Option<&FrameRef>,
    ) -> Result<(Vec<Marked>, Vec<Outline>), RunFailure>;

    /// A reader for one answer.
    fn reading(&self) -> Box<dyn Reading>;
}

impl Painter for Runner {
    fn show(&self, object: &Kept, view: &View) -> Result<Shown, RunFailure> {
        self.reader().show(&object.instance, &object.path, view)
    }

    fn marks(
        &self,
        segmentation: &Kept,
        source: Option<&FrameRef>,
    ) -> Result<(Vec<Marked>, Vec<Outline>), RunFailure> {
        let Kept { instance, path } = segmentation;
        self.reader().marks(instance, path, source)
    }

    fn reading(&self) -> Box<dyn Reading> {
        Box::new(self.reader())
    }
}

impl Api {
    /// One frame of an object as a picture. The caller has written the access into the audit log.
    ///
    /// # Errors
    /// 422 when it cannot be shown, 503 when too many pictures are being made, 500 when the file is damaged.
    pub(crate) async fn show(&self, instance: &Instance, view: View) -> Result<Shown, Problem> {
        self.paint(instance, move |painter, kept| painter.show(kept, &view))
            .await
    }

    /// What a segmentation marks, and the outlines of it in one image.
    ///
    /// # Errors
    /// As [`Api::show`].
    pub(crate) async fn marks(
        &self,
        segmentation: &Instance,
        source: Option<FrameRef>,
    ) -> Result<(Vec<Marked>, Vec<Outline>), Problem> {
        self.paint(segmentation, move |painter, kept| {
            painter.marks(kept, source.as_ref())
        })
        .await
    }

    async fn paint<T: Send + 'static>(
        &self,
        instance: &Instance,
        work: impl FnOnce(&dyn Painter, &Kept) -> Result<T, RunFailure> + Send + 'static,
    ) -> Result<T, Problem> {
        refuse_damaged(self, &instance.identity.study, slice::from_ref(instance)).await?;
        let kept = self.kept(instance);
        let turn = turn(&self.easels).await?;
        let painter = Arc::clone(&self.rooms.painter);
        let painted = tokio::task::spawn_blocking(move || {
            let _turn = turn; // until the picture is made, whether or not somebody still waits for it
            work(&*painter, &kept)
        });
        let painted = painted.await.map_err(|error| {
            tracing::error!(%error, "a picture was not made");
            Problem::internal()
        })?;
        Ok(painted?)
    }
}

/// The window that the parameter `named` asks for.
///
/// # Errors
/// 400 when it is none.
pub(crate) fn grey_window(named: &str, center: f64, width: f64) -> Result<GreyWindow, Problem> {
    if center.abs() <= WINDOW_MAX && width > 0.0 && width <= WINDOW_MAX {
        return Ok(GreyWindow { center, width });
    }
    Err(Problem::parameter(
        named,
        "a window has a center and a width above 0",
    ))
}

pub(crate) async fn turn(easels: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let patience = Duration::from_secs(PICTURE_WAIT_S);
    match tokio::time::timeout(patience, Arc::clone(easels).acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => {
            let detail = "too many pictures are asked for; ask again";
            Err(
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
                    .retry_after(RETRY_AFTER_S),
            )
        }
    }
}

impl From<RunFailure> for Problem {
    fn from(failure: RunFailure) -> Self {
        let detail = failure.to_string();
        match failure {
            RunFailure::Undecodable(_) | RunFailure::Unsuitable(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not_shown", detail)
            }
            RunFailure::Lost(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "worker_lost", detail)
                    .retry_after(RETRY_AFTER_S)
            }
            failure => {
                tracing::error!(%failure, "a picture was not made");
                Self::internal()
            }
        }
    }
}

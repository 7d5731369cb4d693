//! Models on ONNX Runtime: one process for each. Of those that look at pictures one infers at a time, on the cores that are imaging's
//! share; those that read texts have a turn and a thread of their own, so that whoever asks them does not wait for a volume.

use crate::picture::Picture;
use crate::runner::{Loaded, RunFailure};
use crate::staff::Staff;
use crate::words::{Head, Load, Look, Seen, Started, clipped};
use crate::worker::IMAGING;
use pericard_confine::{Limits, Lost, Room, Worker};
use pericard_domain::device::Device;
use pericard_domain::entity::Entity;
use pericard_domain::image::{ImagingOutput, Mask};
use pericard_domain::model::{ModelRef, Package, Task};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The wait before a worker that was lost twice in a row is started again; it doubles with each further loss.
const RESTART_FIRST_S: u64 = 1;
/// The longest such wait.
const RESTART_LONGEST_S: u64 = 60;
/// Texts that may wait.
const TEXTS_MAX: usize = 32;
/// Threads of a model that reads texts: its networks are small.
const TEXT_THREADS: usize = 1;

pub(crate) struct Imaging {
    staff: Staff,
    library: PathBuf,
    threads: usize,
    device: Device,
    seats: Mutex<HashMap<ModelRef, Arc<Seat>>>,
    /// One inference at a time: each uses every thread of the share. Fair, so the order of asking is the order of service.
    turn: Arc<Semaphore>,
    /// The same for texts.
    text_turn: Arc<Semaphore>,
    /// A text that finds no place here is refused.
    texts: Arc<Semaphore>,
}

/// A loaded model, whether or not its worker lives at the moment.
struct Seat {
    package: Package,
    loaded: Mutex<Option<Loaded>>,
    post: Mutex<Post>,
}

/// Where the worker stands.
#[derive(Default)]
struct Post {
    worker: Option<Worker>,
    /// Losses since the last inference that ended well.
    losses: u32,
    /// No worker is started before.
    rest_until: Option<Instant>,
}

impl Imaging {
    pub(crate) fn new(staff: Staff, library: PathBuf, (threads, device): (usize, Device)) -> Self {
        Self {
            staff,
            library,
            threads,
            device,
            seats: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            text_turn: Arc::new(Semaphore::new(1)),
            texts: Arc::new(Semaphore::new(TEXTS_MAX)),
        }
    }

    pub(crate) fn load(&self, package: &Package) -> Result<String, String> {
        let (worker, started) = self.hire(package).map_err(|lost| lost.to_string())??;
        let seat = Seat {
            package: package.clone(),
            loaded: Mutex::default(),
            post: Mutex::new(Post {
                worker: Some(worker),
                ..Post::default()
            }),
        };
        self.seats().insert(package.model.clone(), Arc::new(seat));
        Ok(started.device)
    }

    pub(crate) fn list(&self, loaded: Loaded) {
        if let Some(seat) = self.seats().get(&loaded.model) {
            *held(&seat.loaded) = Some(loaded);
        }
    }

    pub(crate) fn loaded(&self) -> Vec<Loaded> {
        let seats: Vec<_> = self.seats().values().cloned().collect();
        let mut all: Vec<_> = seats
            .iter()
            .filter_map(|seat| held(&seat.loaded).clone())
            .collect();
        all.sort_by(|a, b| a.model.cmp(&b.model));
        all
    }

    /// Takes a model away: its process ends when what it works on has ended, and all its memory is back.
    pub(crate) fn unload(&self, model: &ModelRef) -> bool {
        self.seats().remove(model).is_some()
    }

    /// The worker's process, for whoever watches it.
    pub(crate) fn pid(&self, model: &ModelRef) -> Option<u32> {
        let seat = self.seats().get(model).cloned()?;
        let post = held(&seat.post);
        post.worker.as_ref().map(|worker| worker.leash().pid())
    }

    pub(crate) async fn infer(
        self: &Arc<Self>,
        model: &ModelRef,
        picture: Picture,
    ) -> Result<ImagingOutput, RunFailure> {
        let look = move |worker: &mut Worker, limits| ask(worker, &picture, limits);
        self.in_turn(model, &self.turn, look).await
    }

    /// Has a text marked.
    pub(crate) async fn mark(
        self: &Arc<Self>,
        model: &ModelRef,
        text: String,
    ) -> Result<Vec<Entity>, RunFailure> {
        let place = Arc::clone(&self.texts).try_acquire_owned();
        let place = place.map_err(|_| RunFailure::Busy)?;
        let mark = move |worker: &mut Worker, limits| {
            let _place = place; // kept until the text was really read
            ask_of_text(worker, text, limits)
        };
        self.in_turn(model, &self.text_turn, mark).await
    }

    async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        model: &ModelRef,
        turn: &Arc<Semaphore>,
        ask: impl FnOnce(&mut Worker, Limits) -> Asked<T> + Send + 'static,
    ) -> Result<T, RunFailure> {
        let seat = self.seats().get(model).cloned();
        let seat = seat.ok_or_else(|| RunFailure::NotLoaded(model.to_string()))?;
        // Before the turn: while one model's worker rests after losses, the others work.
        if let Some(rest) = seat.rest() {
            tokio::time::sleep(rest).await;
        }
        let turn = Arc::clone(turn).acquire_owned().await;
        let turn = turn.map_err(|_| RunFailure::Lost("the appliance is shutting down".into()))?;
        let this = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn; // given back when the inference has really ended, also after nobody waits for it any more
            this.with_worker(&seat, ask)
        });
        work.await
            .unwrap_or_else(|_| Err(RunFailure::Lost("the thread that fed it ended".into())))
    }

    pub(crate) fn close(&self) {
        self.turn.close();
        self.text_turn.close();
    }

    fn with_worker<T>(
        &self,
        seat: &Seat,
        ask: impl FnOnce(&mut Worker, Limits) -> Asked<T>,
    ) -> Result<T, RunFailure> {
        let mut post = held(&seat.post);
        // One that ended while it had nothing to do, or by what came before, is nothing that this question pays for.
        let alive = |worker: &Worker| worker.leash().is_alive();
        let mut worker = match post.worker.take().filter(alive) {
            Some(worker) => worker,
            None => self.replace(seat, &mut post)?,
        };
        let timeout = Duration::from_secs(seat.package.manifest.budget.inference_timeout_s.into());
        let limits = Limits {
            time: timeout,
            cpu: timeout * u32::try_from(self.threads_of(&seat.package)).unwrap_or(1),
        };
        match ask(&mut worker, limits) {
            Ok(Ok(output)) => {
                (post.losses, post.worker) = (0, Some(worker));
                Ok(output)
            }
            // A model that fails is whole; one that panicked ends, and the next inference looks whether it lives.
            Ok(Err(failure)) => {
                post.worker = Some(worker);
                Err(failure)
            }
            Err(lost) => {
                post.note_loss();
                let model = &seat.package.model;
                tracing::warn!(%model, losses = post.losses, %lost, "a worker was lost");
                Err(RunFailure::Lost(format!("{model}: {lost}")))
            }
        }
    }

    /// A new worker for a seat whose worker was lost.
    fn replace(&self, seat: &Seat, post: &mut Post) -> Result<Worker, RunFailure> {
        let model = &seat.package.model;
        let hired = self.hire(&seat.package);
        match hired.map_err(|lost| lost.to_string()).and_then(|h| h) {
            Ok((worker, _)) => {
                tracing::info!(%model, pid = worker.leash().pid(), "a lost worker was replaced");
                Ok(worker)
            }
            Err(why) => {
                post.note_loss();
                tracing::error!(%model, losses = post.losses, why, "a lost worker cannot be replaced");
                Err(RunFailure::Lost(format!("{model}: {}", clipped(&why))))
            }
        }
    }

    fn hire(&self, package: &Package) -> Result<Result<(Worker, Started), String>, Lost> {
        let load = Load::Imaging {
            library: self.library.clone(),
            package: package.clone(),
            threads: self.threads_of(package),
            device: self.device,
        };
        self.staff.hire(IMAGING, &load)
    }

    fn threads_of(&self, package: &Package) -> usize {
        match package.manifest.task {
            Task::TokenClassification => TEXT_THREADS,
            _ => self.threads,
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<ModelRef, Arc<Seat>>> {
        held(&self.seats)
    }
}

impl Seat {
    /// How long its next worker still rests.
    fn rest(&self) -> Option<Duration> {
        // Held by a running inference: then there is a worker, and the turn is what to wait for.
        let post = self.post.try_lock().ok()?;
        let rest = post.rest_until?.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }
}

impl Post {
    /// The first loss costs nothing but the attempt: one poison object must not keep its neighbours waiting.
    fn note_loss(&mut self) {
        self.worker = None;
        self.losses += 1;
        self.rest_until = rest_after(self.losses).map(|rest| Instant::now() + rest);
    }
}

/// How long a worker rests after so many losses in a row.
pub(crate) fn rest_after(losses: u32) -> Option<Duration> {
    let doublings = losses.checked_sub(2)?.min(16);
    let rest = RESTART_FIRST_S << doublings;
    Some(Duration::from_secs(rest.min(RESTART_LONGEST_S)))
}

/// What comes of one question; the outer error is the loss of the worker.
type Asked<T> = Result<Result<T, RunFailure>, Lost>;

fn ask(worker: &mut Worker, picture: &Picture, limits: Limits) -> Asked<ImagingOutput> {
    let no_memory = |e: std::io::Error| Lost::Broke(format!("shared memory: {e}"));
    let room = match &picture.head {
        Head::Volume(volume) => Some(Room::of(volume.voxels().unwrap_or(0)).map_err(no_memory)?),
        Head::Frames(_) => None,
    };
    let descriptors = [Some(picture.memory.as_fd()), room.as_ref().map(AsFd::as_fd)];
    let descriptors: Vec<_> = descriptors.into_iter().flatten().collect();
    let seen = worker.ask::<Seen>(&Look::Picture(picture.head.clone()), &descriptors, limits)?;
    Ok(match (seen, room, &picture.head) {
        (Seen::Text(boxes), None, _) => Ok(ImagingOutput::Text(boxes)),
        (Seen::Mask, Some(room), Head::Volume(head)) => {
            let memory = room.filled().map_err(no_memory)?;
            let mapped = memory.map().map_err(no_memory)?;
            Ok(ImagingOutput::Mask(Mask {
                size: head.size,
                voxels: mapped[..memory.bytes()].to_vec(),
            }))
        }
        (seen, ..) => return failed(seen),
    })
}

/// What is marked must lie within the text: the worker is believed no place elsewhere.
fn ask_of_text(worker: &mut Worker, text: String, limits: Limits) -> Asked<Vec<Entity>> {
    let look = Look::Text(text);
    let seen = worker.ask::<Seen>(&look, &[], limits)?;
    match (seen, &look) {
        (Seen::Entities(entities), Look::Text(text)) => {
            let lies_within = |e: &Entity| text.get(e.start..e.end).is_some();
            if !entities.iter().all(lies_within) {
                return Err(Lost::Broke("it marked what is not in the text".into()));
            }
            Ok(Ok(entities))
        }
        (seen, _) => failed(seen),
    }
}

fn failed<T>(seen: Seen) -> Asked<T> {
    match seen {
        Seen::Unsuitable(why) => Ok(Err(RunFailure::Unsuitable(clipped(&why)))),
        Seen::Failed(why) => Ok(Err(RunFailure::Model(clipped(&why)))),
        Seen::OutOfMemory => Err(Lost::Ended(
            "it asked for more memory than it may have".into(),
        )),
        Seen::Text(_) | Seen::Entities(_) | Seen::Mask => {
            Err(Lost::Broke("it answered another question".into()))
        }
    }
}

/// A lock whose holder only looks up, puts in or takes out: a panic in between leaves it whole.
pub(crate) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_the_longest() {
        let rests: Vec<_> = (0..12)
            .map(|losses| rest_after(losses).map_or(0, |rest| rest.as_secs()))
            .collect();
        assert_eq!(rests, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(rest_after(u32::MAX), Some(Duration::from_secs(60)));
    }
}

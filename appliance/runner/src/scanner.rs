//! Scanning what arrives: a stranger's bytes are looked at behind walls before anything of them is kept.
//!
//! A process for each object would cost more than the scan itself, by a factor of hundreds. So a scanner serves many objects,
//! but those of one caller: whoever takes it over with a malformed object can lie about nothing but what the same caller sends,
//! and not for long.

use crate::imaging::held;
use crate::staff::Staff;
use crate::words::{Load, Scan, ScanAnswer, Scanned, Started, clipped};
use crate::worker::SCANNER;
use pericard_confine::{ChannelError, Lost, Partial, Worker};
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// Objects that are scanned at once, of those that take a moment and of those that may take long: a few that inflate to
/// hundreds of megabytes keep none waiting that does not.
const SOON_MAX: usize = 8;
const LONG_MAX: usize = 4;
/// The longest that a scan may take which takes a moment.
const SOON_TIMEOUT: Duration = Duration::from_secs(30);
/// How often an object is scanned whose scanner is lost over it: the loss may be another's doing.
const TRIES_MAX: u32 = 2;
/// Objects that one scanner looks at, and how long it may be at work in all; then another takes its place.
const OBJECTS_MAX: u32 = 1000;
const WORK_MAX: Duration = Duration::from_secs(300);
/// Scanners that wait for their caller's next object, and for how long.
const WAITING_MAX: usize = 8;
const WAITING_TIME: Duration = Duration::from_secs(30);
/// The most bytes of an answer: some fifty texts, each no longer than a scan lets it be, in JSON.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How long a scan may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// The object is small, and is as large as it is: what lies in it is walked in a moment.
    Soon,
    /// It is large, or may inflate to more than it is.
    Long,
}

/// What a scan tells of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedObject {
    /// What it is.
    pub identity: ObjectIdentity,
    /// What lists and rules ask for.
    pub facts: InstanceFacts,
}

/// Why a scan told nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanFailure {
    /// It is no DICOM object, or none that can be kept safely.
    #[error("{0}")]
    Malformed(String),
    /// No scanner could be had: this says nothing about the object.
    #[error("it could not be scanned: {0}")]
    Unavailable(String),
}

/// The scanners at work and those that wait.
pub(crate) struct Scanners {
    staff: Staff,
    /// The longest that a scan may take which may take long.
    long_timeout: Duration,
    soon: Semaphore,
    long: Semaphore,
    /// Whose turn it is among one caller's objects that take a moment. To wait for the scanner that the caller has costs a
    /// tenth of a millisecond, to start another a hundred times that.
    turns: Mutex<HashMap<String, Weak<Semaphore>>>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Of each caller, the latest that was used at the end.
    of: HashMap<String, Vec<Scanner>>,
    /// Whether somebody comes to end those that wait for too long.
    is_swept: bool,
}

struct Scanner {
    worker: Worker,
    /// Its socket, for whoever waits until it has said something.
    socket: UnixStream,
    objects: u32,
    work: Duration,
    since: Instant,
}

/// A scanner at work. One that is dropped before it has answered is ended: nobody would know what its next answer is about.
struct AtWork(Option<Scanner>);

impl Drop for AtWork {
    fn drop(&mut self) {
        end(self.0.take());
    }
}

impl Scanners {
    pub(crate) fn new(staff: Staff, long_timeout: Duration) -> Self {
        Self {
            staff,
            long_timeout,
            soon: Semaphore::new(SOON_MAX),
            long: Semaphore::new(LONG_MAX),
            turns: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    pub(crate) async fn scan(
        self: &Arc<Self>,
        caller: &str,
        file: File,
        haste: Haste,
    ) -> Result<ScannedObject, ScanFailure> {
        let (places, timeout) = match haste {
            Haste::Soon => (&self.soon, SOON_TIMEOUT),
            Haste::Long => (&self.long, self.long_timeout),
        };
        let closed = |_| ScanFailure::Unavailable("the appliance is stopping".into());
        let _turn = match haste {
            Haste::Soon => Some(self.turn(caller).acquire_owned().await.map_err(closed)?),
            Haste::Long => None,
        };
        let _place = places.acquire().await.map_err(closed)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut at_work = self.scanner(caller).await?;
            let Some(scanner) = &mut at_work.0 else {
                return Err(ScanFailure::Unavailable("there is no scanner".into()));
            };
            let lost = match scanner.ask(&file, timeout).await {
                Ok(ScanAnswer::Scanned(scanned)) => {
                    self.keep(caller, at_work.0.take());
                    let Scanned { identity, facts } = *scanned;
                    return Ok(ScannedObject { identity, facts });
                }
                Ok(ScanAnswer::Malformed(why)) => {
                    self.keep(caller, at_work.0.take());
                    return Err(ScanFailure::Malformed(clipped(&why)));
                }
                Ok(ScanAnswer::Panicked(place)) => {
                    Lost::Ended(format!("it failed: {}", clipped(&place)))
                }
                Err(error) => ended(at_work.0.take(), error, timeout).await,
            };
            tracing::warn!(%lost, "the scanner was lost");
            if tries >= TRIES_MAX {
                return Err(failure(&lost));
            }
        }
    }

    /// The processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let waiting = held(&self.waiting);
        let all = waiting.of.values().flatten();
        all.map(|scanner| scanner.worker.leash().pid()).collect()
    }

    /// What lets one of the caller's objects through at a time; gone with the last that waits for it.
    fn turn(&self, caller: &str) -> Arc<Semaphore> {
        let mut turns = held(&self.turns);
        if let Some(turn) = turns.get(caller).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(caller.to_owned(), Arc::downgrade(&turn));
        turn
    }

    async fn scanner(self: &Arc<Self>, caller: &str) -> Result<AtWork, ScanFailure> {
        if let Some(scanner) = self.waiting_for(caller) {
            return Ok(AtWork(Some(scanner)));
        }
        let staff = self.staff.clone();
        let hired = tokio::task::spawn_blocking(move || hire(&staff)).await;
        let unavailable = |why: &dyn std::fmt::Display| ScanFailure::Unavailable(why.to_string());
        let worker = hired.map_err(|why| unavailable(&why))?;
        let worker = worker.map_err(|lost| unavailable(&lost))?;
        let socket = worker.channel().unwaited().and_then(UnixStream::from_std);
        Ok(AtWork(Some(Scanner {
            socket: socket.map_err(|why| unavailable(&why))?,
            worker,
            objects: 0,
            work: Duration::ZERO,
            since: Instant::now(),
        })))
    }

    fn waiting_for(&self, caller: &str) -> Option<Scanner> {
        let mut waiting = held(&self.waiting);
        let of_caller = waiting.of.get_mut(caller)?;
        let scanner = of_caller.pop();
        if of_caller.is_empty() {
            waiting.of.remove(caller);
        }
        scanner
    }

    /// Keeps one for its caller's next object, unless it has worked for long enough.
    fn keep(self: &Arc<Self>, caller: &str, scanner: Option<Scanner>) {
        let Some(mut scanner) = scanner else { return };
        if scanner.objects >= OBJECTS_MAX || scanner.work >= WORK_MAX {
            return end(Some(scanner));
        }
        scanner.since = Instant::now();
        let (surplus, is_swept) = {
            let mut waiting = held(&self.waiting);
            let surplus = waiting.surplus();
            let of_caller = waiting.of.entry(caller.to_owned()).or_default();
            of_caller.push(scanner);
            (surplus, std::mem::replace(&mut waiting.is_swept, true))
        };
        end(surplus);
        if !is_swept {
            tokio::spawn(sweep(Arc::clone(self)));
        }
    }
}

impl Waiting {
    /// The one that has waited longest, when another would be one too many.
    fn surplus(&mut self) -> Option<Scanner> {
        if self.of.values().map(Vec::len).sum::<usize>() < WAITING_MAX {
            return None;
        }
        let longest = self
            .of
            .iter()
            .min_by_key(|(_, of)| of.first().map(|s| s.since));
        let caller = longest.map(|(caller, _)| caller.clone())?;
        let of_caller = self.of.get_mut(&caller)?;
        let scanner = (!of_caller.is_empty()).then(|| of_caller.remove(0));
        if of_caller.is_empty() {
            self.of.remove(&caller);
        }
        scanner
    }

    /// Those that have waited for too long.
    fn overdue(&mut self, now: Instant) -> Vec<Scanner> {
        let mut overdue = Vec::new();
        for of_caller in self.of.values_mut() {
            let is_over = |s: &mut Scanner| now.saturating_duration_since(s.since) >= WAITING_TIME;
            overdue.extend(of_caller.extract_if(.., is_over));
        }
        self.of.retain(|_, of_caller| !of_caller.is_empty());
        overdue
    }
}

impl Scanner {
    async fn ask(&mut self, file: &File, timeout: Duration) -> Result<ScanAnswer, ChannelError> {
        let begun = Instant::now();
        self.objects += 1;
        // A few bytes to somebody who has read all before: there is room for them.
        let channel = self.worker.channel();
        channel.send_with(&Scan, &[file.as_fd()])?;
        let answer = tokio::time::timeout(timeout, self.answer()).await;
        self.work += begun.elapsed();
        answer.unwrap_or(Err(ChannelError::Late))
    }

    async fn answer(&self) -> Result<ScanAnswer, ChannelError> {
        let mut so_far = Partial::default();
        loop {
            self.socket.readable().await?;
            let came = self.socket.try_io(Interest::READABLE, || {
                let channel = self.worker.channel();
                match channel.receive_now(&mut so_far, ANSWER_BYTES_MAX) {
                    Ok(None) => Err(ErrorKind::WouldBlock.into()),
                    Ok(Some(answer)) => Ok(Ok(answer)),
                    Err(error) => Ok(Err(error)),
                }
            });
            match came {
                Ok(answer) => return answer,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Ends scanners whose callers bring nothing any more, until none waits.
async fn sweep(scanners: Arc<Scanners>) {
    loop {
        tokio::time::sleep(WAITING_TIME).await;
        let overdue = {
            let mut waiting = held(&scanners.waiting);
            let overdue = waiting.overdue(Instant::now());
            waiting.is_swept = !waiting.of.is_empty();
            if !waiting.is_swept {
                drop(waiting);
                return end(overdue);
            }
            overdue
        };
        end(overdue);
    }
}

fn hire(staff: &Staff) -> Result<Worker, Lost> {
    let hired: Result<(Worker, Started), String> = staff.hire(SCANNER, &Load::Scanner)?;
    let (worker, _) = hired.map_err(|why| Lost::Unstarted(clipped(&why)))?;
    Ok(worker)
}

/// What it means for an object that its last try ended so.
fn failure(lost: &Lost) -> ScanFailure {
    match lost {
        Lost::Killed | Lost::Unstarted(_) => ScanFailure::Unavailable(lost.to_string()),
        Lost::Late(_) | Lost::Ended(_) | Lost::Broke(_) => ScanFailure::Malformed(format!(
            "each of {TRIES_MAX} scanners was lost over it: {lost}"
        )),
    }
}

/// How a scanner ended that failed.
async fn ended(scanner: Option<Scanner>, error: ChannelError, timeout: Duration) -> Lost {
    let how = move || {
        let Some(scanner) = scanner else {
            return Lost::Unstarted("there is no scanner".into());
        };
        scanner.worker.lost(&error, timeout)
    };
    let how = tokio::task::spawn_blocking(how).await;
    how.unwrap_or_else(|error| Lost::Unstarted(error.to_string()))
}

/// Ends scanners, and waits for it where nobody else waits.
fn end(scanners: impl IntoIterator<Item = Scanner>) {
    let scanners: Vec<_> = scanners.into_iter().collect();
    if scanners.is_empty() {
        return;
    }
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(scanners))),
        Err(_) => drop(scanners),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_blamed_only_for_what_it_may_have_done() {
        for lost in [Lost::Killed, Lost::Unstarted("no memory".into())] {
            assert!(matches!(failure(&lost), ScanFailure::Unavailable(_)));
        }
        for lost in [
            Lost::Late(30),
            Lost::Ended("it touched memory that is not its own (signal 11)".into()),
            Lost::Broke("what came is not a message that was due".into()),
        ] {
            assert!(
                matches!(failure(&lost), ScanFailure::Malformed(why) if why.contains("each of 2"))
            );
        }
    }
}

//! The parent's side: a worker process, started with nothing, fed, watched, ended.

use crate::channel::{Channel, ChannelError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// The program that workers are: this one, told to be a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file to run; `/proc/self/exe` is this very program, even after an upgrade has replaced its file.
    pub path: PathBuf,
    /// What makes it a worker; the kind follows.
    pub arguments: Vec<OsString>,
    /// All that stands in its environment: names and values. Nothing is inherited.
    pub environment: Vec<(OsString, OsString)>,
}

/// A worker process. Ended when dropped.
#[derive(Debug)]
pub struct Worker {
    channel: Channel,
    leash: Leash,
}

/// What ends a worker from any thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leash {
    child: Arc<Mutex<Child>>,
    pid: u32,
}

/// What one request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest that it may take.
    pub time: Duration,
    /// The longest that all its threads together may compute.
    pub cpu: Duration,
}

/// How a worker was lost. Every text says what was seen from outside; nothing a worker wrote is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It could not be started.
    #[error("it could not be started: {0}")]
    Unstarted(String),
    /// It took longer than it may.
    #[error("it took longer than {0} s and was ended")]
    Late(u64),
    /// It ended.
    #[error("{0}")]
    Ended(String),
    /// It was ended by somebody else: whatever it was asked, this says nothing about it.
    #[error("it was killed from outside, or the machine ran out of memory (signal 9)")]
    Killed,
    /// It answered with what was not due.
    #[error("it broke its protocol and was ended: {0}")]
    Broke(String),
}

impl Program {
    /// Starts a worker of this kind: the environment that is said and no other, no descriptor but its end of the
    /// conversation, `/` as its folder.
    ///
    /// # Errors
    /// [`Lost::Unstarted`] when the system starts no process.
    pub fn start(&self, kind: &str) -> Result<Worker, Lost> {
        let unstarted = |error: io::Error| Lost::Unstarted(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(unstarted)?;
        let mut command = Command::new(&self.path);
        // What a library or a panic prints may hold a patient's text: how a worker ended is seen from outside.
        command
            .args(&self.arguments)
            .arg(kind)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = born(command).map_err(unstarted)?;
        let pid = child.id();
        Ok(Worker {
            channel: Channel::new(ours),
            leash: Leash {
                child: Arc::new(Mutex::new(child)),
                pid,
            },
        })
    }
}

impl Worker {
    /// Asks, and waits for the answer. After a loss the worker is dead.
    ///
    /// # Errors
    /// See [`Lost`].
    pub fn ask<A: DeserializeOwned>(
        &mut self,
        question: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        limits: Limits,
    ) -> Result<A, Lost> {
        self.leash.allow_cpu(limits.cpu);
        let end = Instant::now() + limits.time;
        let sent = self.channel.send_with(question, descriptors);
        let answer = match sent {
            Ok(()) => self.channel.receive_until(Some(end)),
            Err(error) => Err(error),
        };
        answer.map_err(|error| self.lost(&error, limits.time))
    }

    /// The conversation.
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// What ends it.
    #[must_use]
    pub const fn leash(&self) -> &Leash {
        &self.leash
    }

    /// Ends it, and says how it ended: by itself before this call, or by it.
    pub fn lost(&self, error: &ChannelError, time: Duration) -> Lost {
        match error {
            ChannelError::Late => {
                self.leash.kill();
                Lost::Late(time.as_secs())
            }
            ChannelError::Closed => self.leash.end_by_itself(),
            broken => {
                self.leash.kill();
                Lost::Broke(broken.to_string())
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.leash.kill();
    }
}

impl Leash {
    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// Ends it now and waits until its memory is back.
    pub fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill(); // it may have ended already
        let _ = child.wait();
    }

    /// How it ended; a worker that hung up its end but lives on is given no time.
    fn end_by_itself(&self) -> Lost {
        /// Between hanging up and being gone a process gives its memory back.
        const GOING_MS: u64 = 2000;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(GOING_MS) {
            if let Ok(Some(status)) = self.child().try_wait() {
                return told(status);
            }
            std::thread::sleep(Duration::from_millis(1)); // std has no wait with an end
        }
        self.kill();
        Lost::Ended("it hung up and was ended".to_owned())
    }

    /// So much more computing, from now on. Beyond it the kernel ends the worker (SIGXCPU).
    #[cfg(target_os = "linux")]
    fn allow_cpu(&self, more: Duration) {
        let (Some(used), Ok(pid)) = (self.cpu_used_s(), i32::try_from(self.pid)) else {
            return; // it has ended: the answer will say so
        };
        let limit = rustix::process::Rlimit {
            current: Some(used + more.as_secs().max(1) + 1),
            maximum: None,
        };
        // Not permitted is not possible for one's own child of one's own user; the deadline stands in any case.
        let _ = rustix::process::prlimit(
            rustix::process::Pid::from_raw(pid),
            rustix::process::Resource::Cpu,
            limit,
        );
    }

    #[cfg(not(target_os = "linux"))]
    fn allow_cpu(&self, _: Duration) {}

    /// Seconds that its threads have computed (proc(5): fields 14 and 15 of `stat`).
    #[cfg(target_os = "linux")]
    fn cpu_used_s(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let (_, after_name) = stat.rsplit_once(')')?;
        let mut fields = after_name.split_ascii_whitespace().skip(11);
        let (user, system): (u64, u64) =
            (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((user + system) / rustix::param::clock_ticks_per_second())
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        // Nothing in between leaves the handle in two minds.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an exit status means, in a sentence.
fn told(status: ExitStatus) -> Lost {
    const ABORT: i32 = 6;
    const KILL: i32 = 9;
    const SEGMENT: i32 = 11;
    const XCPU: i32 = 24;
    const SYSTEM_CALL: i32 = 31;
    let why = match status.signal() {
        Some(ABORT) => "it gave up, as when it asks for more memory than it may have",
        Some(KILL) => return Lost::Killed,
        Some(SEGMENT) => "it touched memory that is not its own",
        Some(XCPU) => "it computed for longer than it may",
        Some(SYSTEM_CALL) => "it tried what no worker may do",
        _ => "it ended by itself",
    };
    Lost::Ended(match (status.signal(), status.code()) {
        (Some(signal), _) => format!("{why} (signal {signal})"),
        (None, code) => format!("{why} (exit code {})", code.unwrap_or(-1)),
    })
}

/// Starts processes from a thread that lives as long as this process: the kernel ends a worker when the thread that
/// started it ends, and threads of a pool come and go.
fn born(command: Command) -> io::Result<Child> {
    type Birth = (Command, mpsc::SyncSender<io::Result<Child>>);
    static NURSERY: OnceLock<Mutex<mpsc::Sender<Birth>>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts workers is gone");
    let nursery = NURSERY.get_or_init(|| {
        let (births, waiting) = mpsc::channel::<Birth>();
        // Without the thread the channel is closed, and every start says so.
        let _ = std::thread::Builder::new()
            .name("nursery".into())
            .spawn(move || {
                for (mut command, answer) in waiting {
                    let _ = answer.send(command.spawn()); // whoever asked may have given up
                }
            });
        Mutex::new(births)
    });
    let (answer, child) = mpsc::sync_channel(1);
    nursery
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Worker {
        let program = Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: Vec::new(),
        };
        program.start("kind").unwrap()
    }

    fn limits(time: Duration) -> Limits {
        Limits {
            time,
            cpu: Duration::from_secs(60),
        }
    }

    #[test]
    fn ends_are_told() {
        for (script, due) in [
            ("exit 3", "exit code 3"),
            ("kill -ABRT $$", "more memory than it may have (signal 6)"),
            ("kill -SYS $$", "no worker may do (signal 31)"),
            ("kill -KILL $$", "killed from outside"),
            (
                "printf '\\001\\000\\000\\000\\011' >&0; sleep 60",
                "broke its protocol",
            ),
        ] {
            let lost = shell(script)
                .ask::<bool>(&0, &[], limits(Duration::from_secs(60)))
                .unwrap_err();
            assert!(lost.to_string().contains(due), "{lost} / {due}");
        }
        let none = Program {
            path: "/nonexistent".into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        assert!(matches!(none.start("kind"), Err(Lost::Unstarted(_))));
    }

    #[test]
    fn a_worker_that_hangs_is_ended_and_one_that_is_dropped_too() {
        let mut worker = shell("sleep 600");
        let lost = worker.ask::<bool>(&0, &[], limits(Duration::from_secs(1)));
        assert_eq!(lost.unwrap_err(), Lost::Late(1));
        let alive = |pid: u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        assert!(!alive(worker.leash().pid()));
        let worker = shell("sleep 600");
        let pid = worker.leash().pid();
        assert!(alive(pid));
        drop(worker);
        assert!(!alive(pid));
    }

    #[test]
    fn a_worker_inherits_nothing() {
        let mut worker = shell(
            "test -z \"$(env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=)\" && test \"$PWD\" = / && exit 7",
        );
        let lost = worker.ask::<bool>(&0, &[], limits(Duration::from_secs(60)));
        assert!(lost.unwrap_err().to_string().contains("exit code 7"));
    }
}

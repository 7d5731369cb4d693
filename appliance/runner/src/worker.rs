//! A worker's side: what `pericard worker KIND` does.

mod imaging;
mod language;
mod marker;
mod reader;
mod scanner;
mod show;

use crate::words::{Load, Started};
use pericard_confine::{Cell, Channel, Needs, attempts};
use pericard_domain::device::Device;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What a worker may have beside its model's budget: the program itself, its stacks, and copies of the largest input.
const BESIDE_BUDGET_BYTES: u64 = 4 << 30;
/// What the reader may have: one frame in every form on the way, or a volume's slices and the volume.
const READER_BYTES: u64 = 4 << 30;
/// What the scanner may have: the program itself, and what a header keeps.
const SCANNER_BYTES: u64 = 1 << 30;
/// The most that is mapped of what was handed over: the largest input and its output.
const SHARED_BYTES: u64 = 3 << 30;
/// Descriptors of a worker that works on one picture at a time.
const DESCRIPTORS: u64 = 64;
/// Descriptors of the reader: a volume's objects are open together.
const READER_DESCRIPTORS: u64 = 16_384;

/// Where the latest panic was, in the source. Its message is never kept: it may hold a patient's text.
static PANICKED_AT: Mutex<String> = Mutex::new(String::new());

/// Works as a worker of this kind until the appliance hangs up. With `attempting` it does no work, but tries what it is told
/// of [`attempts`]: first where its model would begin to load, and, once it was told [`LOAD`] and is locked, again. One for a
/// device asks for none: it is the walls that are tried, and they are to be tried where there is no such device too. Each is
/// denied, or harmless when it is not, so that the walls can be tried on the very machine where they have to stand. `reports` is what the environment of this process has under the name in
/// [`NO_REPORTS`](pericard_imaging::NO_REPORTS): ONNX Runtime is not loaded where it would report to its authors.
///
/// # Errors
/// A sentence for whoever started it by hand; the appliance gets it as the answer.
pub fn run(kind: &str, attempting: bool, reports: Option<&str>) -> Result<(), String> {
    note_panics();
    let (mut cell, channel) = Cell::enter().map_err(|e| e.to_string())?;
    let (load, _) = channel.receive_with::<Load>().map_err(|e| e.to_string())?;
    if kind_of(&load) != kind {
        return Err(format!(
            "a worker of the kind {kind:?} was told to be another"
        ));
    }
    let ready = cell
        .build(needs(&load))
        .map_err(|e| e.to_string())
        .and_then(|()| match attempting {
            true => try_before_loading(&channel, &cell),
            false => Ok(()),
        })
        .and_then(|()| {
            contained(|| Bench::load(load, &channel, (reports, attempting))).and_then(|bench| bench)
        });
    let ready = ready.and_then(|(bench, mut started)| {
        started.walls = cell.lock().map_err(|e| e.to_string())?;
        Ok((bench, started))
    });
    let (bench, started) = match ready {
        Ok(ready) => ready,
        Err(why) => {
            let refused: Result<Started, &str> = Err(&why);
            let _ = channel.send(&refused); // whoever is gone is told nothing
            return Err(why);
        }
    };
    channel
        .send(&Ok::<_, String>(started))
        .map_err(|e| e.to_string())?;
    if attempting {
        return try_what_is_told(&channel);
    }
    bench.work(&channel);
    Ok(())
}

/// What a worker works with.
enum Bench {
    Imaging(imaging::Spectacles),
    Language(language::Speaker),
    Reader(Box<reader::Desk>),
    Scanner,
    /// The answer was all.
    Trial,
}

impl Bench {
    fn load(
        load: Load,
        channel: &Channel,
        (reports, attempting): (Option<&str>, bool),
    ) -> Result<(Self, Started), String> {
        match load {
            Load::Imaging {
                library,
                package,
                threads,
                device,
            } => imaging::load((library.as_path(), device), &package, threads, reports)
                .map(|(bench, started)| (Self::Imaging(bench), started)),
            Load::Language {
                package,
                share,
                device,
            } => language::load(&package, (share, device), channel)
                .map(|(bench, started)| (Self::Language(bench), started)),
            Load::Device(device) if attempting => {
                Ok((Self::Trial, started(&device.to_string(), None)))
            }
            Load::Device(device) => pericard_language::try_device(device)
                .map(|()| (Self::Trial, started(&device.to_string(), None))),
            Load::Reader => Ok((Self::Reader(Box::default()), started("cpu", None))),
            Load::Scanner => Ok((Self::Scanner, started("cpu", None))),
        }
    }

    fn work(self, channel: &Channel) {
        match self {
            Self::Imaging(spectacles) => spectacles.work(channel),
            Self::Language(speaker) => speaker.work(channel),
            Self::Reader(desk) => desk.work(channel),
            Self::Scanner => scanner::work(channel),
            Self::Trial => {}
        }
    }
}

fn started(device: &str, context_tokens: Option<u32>) -> Started {
    Started {
        device: device.to_owned(),
        context_tokens,
        walls: pericard_confine::Walls::default(),
    }
}

fn kind_of(load: &Load) -> &'static str {
    match load {
        Load::Imaging { .. } => IMAGING,
        Load::Language { .. } => LANGUAGE,
        Load::Device(_) => DEVICE,
        Load::Reader => READER,
        Load::Scanner => SCANNER,
    }
}

pub(crate) const IMAGING: &str = "imaging";
pub(crate) const LANGUAGE: &str = "language";
pub(crate) const DEVICE: &str = "device";
pub(crate) const READER: &str = "dicom";
pub(crate) const SCANNER: &str = "scanner";

/// What a worker that attempts is told when it is to load and be locked. No attempt has this name.
pub(crate) const LOAD: &str = "load";

fn needs(load: &Load) -> Needs {
    let budget = |mib: u32| u64::from(mib) << 20;
    match load {
        Load::Imaging {
            library,
            package,
            device,
            ..
        } => Needs {
            readable: [vec![package.dir.clone()], folders_of(library)].concat(),
            memory_bytes: budget(package.manifest.budget.memory_mib) + BESIDE_BUDGET_BYTES,
            shared_bytes: SHARED_BYTES,
            descriptors: DESCRIPTORS,
            threads: false,
            device: device_of(*device),
        },
        Load::Language {
            package, device, ..
        } => Needs {
            readable: vec![package.dir.clone()],
            memory_bytes: budget(package.manifest.budget.memory_mib) + BESIDE_BUDGET_BYTES,
            shared_bytes: 0,
            descriptors: DESCRIPTORS,
            threads: false,
            device: device_of(*device),
        },
        Load::Device(device) => Needs {
            readable: Vec::new(),
            memory_bytes: BESIDE_BUDGET_BYTES,
            shared_bytes: 0,
            descriptors: DESCRIPTORS,
            threads: false,
            device: device_of(*device),
        },
        Load::Reader => Needs {
            readable: Vec::new(),
            memory_bytes: READER_BYTES,
            shared_bytes: SHARED_BYTES,
            descriptors: READER_DESCRIPTORS,
            threads: true,
            device: false,
        },
        Load::Scanner => Needs {
            readable: Vec::new(),
            memory_bytes: SCANNER_BYTES,
            shared_bytes: 0,
            descriptors: DESCRIPTORS,
            threads: false,
            device: false,
        },
    }
}

/// Whether a worker computes on something that a driver gives it.
const fn device_of(device: Device) -> bool {
    !matches!(device, Device::Cpu)
}

/// Where a library is, and where it really is when that is a link: what it loads in turn lies beside it.
fn folders_of(library: &Path) -> Vec<PathBuf> {
    let real = library.canonicalize().ok();
    let paths = [Some(library.to_owned()), real].into_iter().flatten();
    paths
        .filter_map(|path| path.parent().map(Path::to_owned))
        .collect()
}

/// Behind the first walls, which are all that holds a package that takes over its engine while it is loaded.
fn try_before_loading(channel: &Channel, cell: &Cell) -> Result<(), String> {
    let mut started = started("", None);
    started.walls = cell.walls().clone();
    let send = channel.send(&Ok::<_, String>(started));
    send.map_err(|e| e.to_string())?;
    try_what_is_told(channel)
}

/// Until it is told [`LOAD`], or nobody asks any more.
fn try_what_is_told(channel: &Channel) -> Result<(), String> {
    loop {
        match channel.receive_with::<String>() {
            Ok((name, _)) if name == LOAD => return Ok(()),
            Ok((name, handed)) => channel
                .send(&attempts::attempt(&name, channel, &handed))
                .map_err(|e| e.to_string())?,
            Err(_) => return Ok(()),
        }
    }
}

/// Panics never cross: one becomes a sentence that says where in the source it was.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // After a panic the engine is not used again: the worker ends.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        let place = PANICKED_AT.lock().map(|place| place.clone());
        format!("it panicked at {}", place.unwrap_or_default())
    })
}

fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(|at| format!("{}:{}", at.file(), at.line()));
        if let Ok(mut latest) = PANICKED_AT.lock() {
            *latest = place.unwrap_or_default();
        }
    }));
}

//! Linux: namespaces, capabilities, limits, Landlock, seccomp.

use super::{Needs, WallError, Walls, syscalls};
use crate::kernel;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What the loader and ONNX Runtime read beside what they load: libraries, and what the machine is.
const SYSTEM_READABLE: [&str; 10] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self/statm",
    "/sys/devices/system/cpu",
];
/// What NVIDIA's driver reads beside that.
const DRIVER_READABLE: [&str; 7] = [
    "/proc/driver/nvidia",
    "/proc/devices",
    "/proc/modules",
    "/proc/self/maps",
    "/sys/bus/pci",
    "/sys/devices",
    "/usr/local/cuda",
];
/// How its devices are called.
const DRIVER_DEVICES: &str = "nvidia";
/// What is there on every system and readable by everybody, for the self-test. Nothing below `/proc`: a unit may hide it.
const READABLE_BY_ALL: &str = "/";
const NETWORK: &str = "network namespace";

pub(super) fn close_inherited() -> io::Result<()> {
    kernel::close_inherited()
}

pub(super) fn build(needs: &Needs, walls: &mut Walls) -> Result<(), WallError> {
    leave_network(walls);
    drop_capabilities(walls)?;
    // Only now: leaving a user namespace and changing capabilities both reset the next two.
    let failed = |wall| move |e: rustix::io::Errno| error(wall, e);
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("dies with its parent"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("not dumpable"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("no new privileges"))?;
    walls.stands("no new privileges", "set");
    walls.stands("not dumpable", "set");
    limit(needs, walls)?;
    landlock(needs, walls)?;
    if !needs.device {
        // A GPU's driver does what it likes while it loads.
        let is_alone = walls.0.iter().any(|w| w.name == NETWORK && w.stands);
        syscalls::begin(is_alone).map_err(|why| error("seccomp", why))?;
    }
    Ok(())
}

pub(super) fn lock(needs: &Needs, walls: &mut Walls) -> Result<(), WallError> {
    // Anonymous shared memory is not counted as data, so the address space has its own cap above what is mapped by now.
    let mapped = mapped_bytes().map_err(|e| error("limits", e))?;
    if !needs.device {
        set(
            Resource::As,
            mapped + needs.memory_bytes + needs.shared_bytes,
        )?;
    }
    if !(needs.threads || needs.device) {
        set(Resource::Nproc, 0)?;
    }
    if walls.0.iter().any(|w| w.name == "landlock" && w.stands) {
        // What could be read to load cannot be read any more.
        ruleset()
            .and_then(|rules| rules.restrict_self())
            .map_err(|e| error("landlock", e))?;
        match File::open(READABLE_BY_ALL) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
            other => return Err(error("landlock", format!("it does not hold: {other:?}"))),
        }
    }
    syscalls::deny(needs.threads || needs.device, needs.device)
        .map_err(|why| error("seccomp", why))?;
    match File::open(READABLE_BY_ALL).map_err(|e| e.raw_os_error()) {
        Err(Some(libc::EPERM)) => walls.stands("seccomp", "allow-list on every thread, tried"),
        other => return Err(error("seccomp", format!("it does not hold: {other:?}"))),
    }
    Ok(())
}

/// A network namespace of its own has not even a loopback that is up. When no way is open (a container may forbid them
/// all), seccomp still denies every socket, and the self-test says that this wall is missing. What System V's calls reach is
/// left too where that may be: a systemd unit that allows one more kind of namespace counts as more exposed, and seccomp
/// denies those calls in any case.
fn leave_network(walls: &mut Walls) {
    const ALONE: &str = "its own";
    const AS_USER: &str = "its own, in its own user namespace";
    let (network, user) = (libc::CLONE_NEWNET, libc::CLONE_NEWUSER);
    let ways = [
        (network | libc::CLONE_NEWIPC, ALONE),
        (network | libc::CLONE_NEWIPC | user, AS_USER),
        (network, ALONE),
        (network | user, AS_USER),
    ];
    let mut why = String::new();
    for (flags, how) in ways {
        match kernel::unshare(flags) {
            Ok(()) => return walls.stands(NETWORK, how),
            Err(error) => why = error.to_string(),
        }
    }
    let detail = format!("not permitted here: {why}; sockets are denied by seccomp alone");
    walls.is_missing(NETWORK, detail);
}

fn drop_capabilities(walls: &mut Walls) -> Result<(), WallError> {
    const NAME: &str = "no capabilities";
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    rustix::thread::clear_ambient_capability_set().map_err(|e| error(NAME, e))?;
    rustix::thread::set_capabilities(None, sets).map_err(|e| error(NAME, e))?;
    walls.stands(NAME, "all dropped");
    Ok(())
}

fn limit(needs: &Needs, walls: &mut Walls) -> Result<(), WallError> {
    set(Resource::Core, 0)?;
    set(Resource::Fsize, 0)?;
    set(Resource::Memlock, 0)?;
    set(Resource::Msgqueue, 0)?;
    set(Resource::Nofile, needs.descriptors)?;
    if needs.device {
        walls.is_missing(
            "memory of its own",
            "a GPU's driver reserves more than there is",
        );
    } else {
        set(Resource::Data, needs.memory_bytes)?;
    }
    let mib = needs.memory_bytes >> 20;
    let files = needs.descriptors;
    let memory = match needs.device {
        true => String::new(),
        false => format!("{mib} MiB of memory, "),
    };
    let detail = format!("{memory}{files} descriptors, no core file, no file written");
    walls.stands("limits", detail);
    Ok(())
}

/// Sets both limits, never above what is allowed already.
fn set(resource: Resource, value: u64) -> Result<(), WallError> {
    let highest = rustix::process::getrlimit(resource).maximum;
    let value = highest.map_or(value, |highest| value.min(highest));
    let limit = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    rustix::process::setrlimit(resource, limit).map_err(|e| error("limits", e))
}

fn landlock(needs: &Needs, walls: &mut Walls) -> Result<(), WallError> {
    const NAME: &str = "landlock";
    let version = kernel::landlock_version();
    if version == 0 {
        walls.is_missing(NAME, "this kernel has none; seccomp alone denies files");
        return Ok(());
    }
    let paths = needs
        .readable
        .iter()
        .map(|path| path.as_path())
        .chain(SYSTEM_READABLE.iter().map(Path::new));
    // What is not there on this system is passed over: then there is nothing to read.
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let rules = path_beneath_rules(paths, read);
    let (driver, devices) = match needs.device {
        true => (
            DRIVER_READABLE.map(PathBuf::from).to_vec(),
            driver_devices(),
        ),
        false => (Vec::new(), Vec::new()),
    };
    let ask = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    ruleset()
        .and_then(|ruleset| ruleset.add_rules(rules))
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(driver, read)))
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(devices, ask)))
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(|e| error(NAME, e))?;
    walls.stands(NAME, format!("version {version}, tried"));
    Ok(())
}

/// The device nodes of NVIDIA's driver.
fn driver_devices() -> Vec<PathBuf> {
    let all = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let named = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        name.as_encoded_bytes()
            .starts_with(DRIVER_DEVICES.as_bytes())
    };
    all.filter(named).map(|entry| entry.path()).collect()
}

/// Every access that this kernel can deny, denied: files in any case, and what newer kernels know of network and signals.
fn ruleset() -> Result<landlock::RulesetCreated, RulesetError> {
    let newest = ABI::V6;
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()
}

/// What is mapped by now, bytes (proc(5): the first field of `statm`).
fn mapped_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split_ascii_whitespace()
        .next()
        .and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other("statm has no size"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

fn error(wall: &'static str, why: impl ToString) -> WallError {
    WallError {
        wall,
        why: why.to_string(),
    }
}

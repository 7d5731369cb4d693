//! No core dumps: what is in memory is patients'. The unit says so too (`LimitCORE=0`); here it holds whoever starts the
//! program, and also where the kernel hands dumps to a program, which no limit forbids.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids this process to be dumped, and those that it starts to write a dump. Done before anything is read.
///
/// # Errors
/// When the kernel refuses: then nothing may be read.
pub(crate) fn forbid() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    // Also closes this process's memory to other processes of its user (ptrace(2)).
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

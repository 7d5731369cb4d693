//! Root becomes the user whom the data belongs to: what root wrote there, the service could not write again.

use super::CommandError;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Starts this very command again as the owner of `data_dir`, when we are root and it belongs to another; then it does not
/// return. Else it does nothing.
pub(crate) fn become_owner(data_dir: &Path) -> Result<(), CommandError> {
    become_owner_in_group_of(data_dir, data_dir)
}

/// The same in the group that `shared` has: what the owner may read of others' is given to that group.
pub(crate) fn become_owner_in_group_of(data_dir: &Path, shared: &Path) -> Result<(), CommandError> {
    let is_root = rustix::process::geteuid().is_root();
    let Ok(data) = fs::metadata(data_dir) else {
        return Ok(()); // no data yet, nobody's
    };
    if !is_root || data.uid() == 0 {
        return Ok(());
    }
    let group = fs::metadata(shared).map_or_else(|_| data.gid(), |shared| shared.gid());
    let error = Command::new("/proc/self/exe")
        .arg0("pericard")
        .args(std::env::args_os().skip(1))
        .uid(data.uid())
        .gid(group)
        .exec(); // returns only when it failed
    Err(CommandError::Failed(format!(
        "cannot become the user that {} belongs to: {error}",
        data_dir.display()
    )))
}

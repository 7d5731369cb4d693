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
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let Ok(data) = fs::metadata(data_dir) else {
        return Ok(()); // no data yet, nobody's
    };
    if !is_root || data.uid() == 0 {
        return Ok(());
    }
    let error = Command::new("/proc/self/exe")
        .arg0("pericard")
        .args(std::env::args_os().skip(1))
        .uid(data.uid())
        .gid(data.gid())
        .exec(); // returns only when it failed
    Err(CommandError::Failed(format!(
        "cannot become the user that {} belongs to: {error}",
        data_dir.display()
    )))
}

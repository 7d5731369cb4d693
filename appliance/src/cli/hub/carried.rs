//! `pericard hub take`: frames that somebody carried here as files.

use crate::cli::{CommandError, output};
use pericard_hub::{Hub, Sent, Status, Way};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// More than any frame has: a larger file is seen to be one, and is not read.
const READ_BYTES_MAX: u64 = 4097;

/// Judges each file, and writes the reply to it beside it.
pub(super) fn take(hub: &Hub, files: &[PathBuf]) -> Result<(), CommandError> {
    let bytes: Vec<Vec<u8>> = files
        .iter()
        .map(|file| read(file))
        .collect::<Result<_, _>>()?;
    let sent = bytes.iter().map(|bytes| Sent {
        bytes,
        way: Way::Carried,
    });
    let replies = hub.ingest(&sent.collect::<Vec<_>>())?;
    let mut refused = 0;
    for (file, reply) in files.iter().zip(replies) {
        let beside = file.with_extension("reply");
        std::fs::write(&beside, reply.bytes()).map_err(|error| failed(&beside, &error))?;
        let (name, status) = (file.display(), reply.status());
        if status == Status::Refused {
            refused += 1;
            output::line(format!("{name}: refused: {}", reply.reason().meaning()));
        } else {
            output::line(format!("{name}: {}", status.meaning()));
        }
    }
    match refused {
        0 => Ok(()),
        some => Err(CommandError::Failed(format!(
            "{some} of {} frames were refused; the replies beside them say so to the appliance, too",
            files.len()
        ))),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    if file.extension().is_none_or(|kind| kind != "frame") {
        let name = file.display();
        let why =
            format!("{name} is not named as `pericard egress carry` names frames: NNNNNNNN.frame");
        return Err(CommandError::Usage(why));
    }
    let mut bytes = Vec::new();
    let opened = File::open(file);
    let done = opened.and_then(|file| file.take(READ_BYTES_MAX).read_to_end(&mut bytes));
    done.map_err(|error| failed(file, &error))?;
    Ok(bytes)
}

fn failed(file: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("{}: {error}", file.display()))
}

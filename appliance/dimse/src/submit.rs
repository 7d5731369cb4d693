//! Sending files by hand: what `pericard submit` does.

use crate::negotiation::CONTEXTS_MAX;
use crate::part10::FileHead;
use crate::peer::Peer;
use crate::request::{Call, CallError, Caller, Proposal};
use crate::sending::send_file;
use crate::status::Status;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// How deep folders are entered; links that lead in a circle end here.
const FOLDER_DEPTH_MAX: usize = 32;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOutcome {
    /// The peer has it.
    Stored {
        /// The peer's status: 0, or a warning.
        status: u16,
    },
    /// The peer does not take it.
    Refused {
        /// The peer's status; `None` when it did not accept this kind of object at all.
        status: Option<u16>,
        /// What it says.
        comment: String,
    },
    /// It was not sent.
    Skipped {
        /// Why.
        reason: String,
    },
    /// The association broke while it was being sent.
    Failed {
        /// How.
        reason: String,
    },
}

/// What happens while files are sent, in order.
#[derive(Debug, Clone, Copy)]
pub enum SubmitProgress<'a> {
    /// So many files were found, with so many bytes in all.
    Found {
        /// How many.
        files: usize,
        /// How many bytes.
        bytes: u64,
    },
    /// A file was dealt with.
    File {
        /// Which.
        path: &'a Path,
        /// What became of it.
        outcome: &'a FileOutcome,
    },
}

/// Sends files, and every file in folders, to a peer: as they are, each in its own transfer syntax.
///
/// Returns each file's outcome, in the order in which they were sent.
///
/// # Errors
/// When the peer cannot be called. What became of the files before that was told to `progress`.
pub async fn send_files(
    caller: &Caller,
    peer: &Peer,
    paths: &[PathBuf],
    mut progress: impl FnMut(SubmitProgress<'_>),
) -> Result<Vec<(PathBuf, FileOutcome)>, CallError> {
    let files = files_in(paths);
    let mut outcomes = Vec::with_capacity(files.len());
    let mut to_send = Vec::new();
    let bytes = files
        .iter()
        .filter_map(|p| p.metadata().ok())
        .map(|m| m.len())
        .sum();
    progress(SubmitProgress::Found {
        files: files.len(),
        bytes,
    });
    for path in files {
        match FileHead::of(&path) {
            Ok(head) => to_send.push((path, head)),
            Err(error) => {
                let outcome = FileOutcome::Skipped {
                    reason: error.to_string(),
                };
                progress(SubmitProgress::File {
                    path: &path,
                    outcome: &outcome,
                });
                outcomes.push((path, outcome));
            }
        }
    }
    let mut rest = to_send.as_slice();
    while !rest.is_empty() {
        let (batch, proposals) = batch(rest);
        let mut call = caller.call(peer, &proposals).await?;
        let mut sent = 0;
        let mut broken = false;
        for (path, head) in batch {
            let outcome = sent_one(&mut call, path, head).await;
            broken = matches!(outcome, FileOutcome::Failed { .. });
            progress(SubmitProgress::File {
                path,
                outcome: &outcome,
            });
            outcomes.push((path.clone(), outcome));
            sent += 1;
            if broken {
                break;
            }
        }
        if !broken {
            // Every file has its answer; how the peer ends the association changes none of them.
            let _ = call.association.release().await;
        }
        rest = &rest[sent..];
    }
    Ok(outcomes)
}

async fn sent_one(call: &mut Call, path: &Path, head: &FileHead) -> FileOutcome {
    let Some(context) = call.context(head.sop_class.as_str(), head.transfer_syntax.as_str()) else {
        return FileOutcome::Refused {
            status: None,
            comment: "the peer does not accept this kind of object in this transfer syntax".into(),
        };
    };
    match send_file(call, context, path, head).await {
        Ok(answer) if Status::is_done(answer.status) => FileOutcome::Stored {
            status: answer.status,
        },
        Ok(answer) => FileOutcome::Refused {
            status: Some(answer.status),
            comment: answer.comment,
        },
        Err(error) => FileOutcome::Failed {
            reason: error.to_string(),
        },
    }
}

/// What is proposed in order to submit a file: as it is, and in no other way.
pub(crate) fn proposal(head: &FileHead) -> Proposal {
    Proposal::new(head.sop_class.as_str(), head.transfer_syntax.as_str())
}

/// As many files from the front as fit one association, and what to propose for them.
fn batch(files: &[(PathBuf, FileHead)]) -> (&[(PathBuf, FileHead)], Vec<Proposal>) {
    let (mut seen, mut proposals) = (HashSet::new(), Vec::new());
    for (at, (_, head)) in files.iter().enumerate() {
        let proposal = proposal(head);
        if seen.contains(&proposal) {
            continue;
        }
        if proposals.len() == CONTEXTS_MAX {
            return (&files[..at], proposals);
        }
        seen.insert(proposal.clone());
        proposals.push(proposal);
    }
    (files, proposals)
}

/// Files as they were named, and those in folders by name.
fn files_in(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        enter(path, FOLDER_DEPTH_MAX, &mut found);
    }
    found
}

fn enter(path: &Path, depth_left: usize, found: &mut Vec<PathBuf>) {
    if !path.is_dir() {
        // One that does not exist is told about like any that cannot be read.
        found.push(path.to_owned());
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        found.push(path.to_owned());
        return;
    };
    let mut entries: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    entries.sort();
    if depth_left > 0 {
        for entry in &entries {
            enter(entry, depth_left - 1, found);
        }
    }
}

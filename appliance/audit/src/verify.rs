//! A whole log against a signed checkpoint, naming the first entry that is wrong.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::frontier::Frontier;
use crate::hash::{Hash, SALT_BYTES, commitment, leaf_of};
use crate::note::VerifierKey;

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, counted from 0, as kept with it.
    pub index: u64,
    /// Its leaf, as kept with it.
    pub leaf: Hash,
    /// What it says, or what is left of that.
    pub content: Content,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The record, and the salt that hides it in its leaf.
    Kept {
        /// The salt.
        salt: [u8; SALT_BYTES],
        /// The record.
        record: Vec<u8>,
    },
    /// Salt and record were erased after their retention. What the log holds of them stays, and says nothing.
    Erased {
        /// The [`commitment`] to them, computed when they were erased.
        commitment: [u8; 32],
    },
}

impl Content {
    /// What the log holds of it.
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        match self {
            Self::Kept { salt, record } => commitment(salt, record),
            Self::Erased { commitment } => *commitment,
        }
    }
}

/// The log is what was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// How many entries have had their content erased: only their commitments were verified.
    pub erased: u64,
}

/// The log is not what was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {index}: {what}")]
pub struct Broken {
    /// What is wrong.
    pub what: Fault,
    /// The first entry that is wrong, counted from 0; for [`Fault::Rewritten`], the first that may be.
    pub index: u64,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The signed checkpoint itself is not to be believed.
    #[error("the checkpoint cannot be believed: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Salt or record do not hash to the leaf.
    #[error("its record, its salt or its leaf was changed")]
    Changed,
    /// Another entry stands in its place: it was dropped, or the entries were reordered.
    #[error("missing: entry {found} stands in its place")]
    Missing {
        /// The entry found in its place.
        found: u64,
    },
    /// The log ends before what was signed.
    #[error("missing: the log ends here, and {signed} entries were signed")]
    Truncated {
        /// How many entries were signed.
        signed: u64,
    },
    /// An entry beyond what was signed.
    #[error("added: only {signed} entries were signed")]
    Added {
        /// How many entries were signed.
        signed: u64,
    },
    /// Every entry agrees with its own leaf, but together they are not what was signed.
    #[error("one of the entries from this one up to {before} was rewritten together with its leaf")]
    Rewritten {
        /// The entry before which the rewriting happened: the size that a checkpoint signed.
        before: u64,
    },
}

/// Verifies that the entries are the log that `signed` speaks of, signed by `key`.
///
/// # Errors
/// The first entry found wrong, and how.
pub fn verify<I>(entries: I, signed: &str, key: &VerifierKey) -> Result<Verified, Broken>
where
    I: IntoIterator<Item = Entry>,
{
    let mut verifier = Verifier::new(signed, key)?;
    for entry in entries {
        verifier.push(&entry)?;
    }
    verifier.finish()
}

/// The same, entry by entry: for a caller whose entries come from a source that can fail.
#[derive(Debug)]
pub struct Verifier {
    checkpoint: Checkpoint,
    /// Older checkpoints, latest first: they narrow down where a rewriting happened.
    older: Vec<Checkpoint>,
    frontier: Frontier,
    /// The log up to here is as an older checkpoint signed it.
    sound_up_to: u64,
    erased: u64,
}

impl Verifier {
    /// A verifier of the log that `signed` speaks of.
    ///
    /// # Errors
    /// When the checkpoint cannot be believed.
    pub fn new(signed: &str, key: &VerifierKey) -> Result<Self, Broken> {
        Ok(Self {
            checkpoint: open(signed, key)?,
            older: Vec::new(),
            frontier: Frontier::new(),
            sound_up_to: 0,
            erased: 0,
        })
    }

    /// Older checkpoints of the same log. They narrow down where a rewriting happened, and reveal one that was signed
    /// afresh with a stolen key.
    ///
    /// # Errors
    /// When one of them cannot be believed.
    pub fn with_older<'a, I>(mut self, signed: I, key: &VerifierKey) -> Result<Self, Broken>
    where
        I: IntoIterator<Item = &'a str>,
    {
        for note in signed {
            self.older.push(open(note, key)?);
        }
        self.older
            .sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.size));
        Ok(self)
    }

    /// Takes the next entry, in the order of the log.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Broken> {
        let index = self.frontier.size();
        let signed = self.checkpoint.size;
        self.compare()?;
        if entry.index != index {
            return broken(index, Fault::Missing { found: entry.index });
        }
        if index >= signed {
            return broken(index, Fault::Added { signed });
        }
        if leaf_of(&entry.content.commitment()) != entry.leaf {
            return broken(index, Fault::Changed);
        }
        self.erased += u64::from(matches!(entry.content, Content::Erased { .. }));
        self.frontier.append(entry.leaf);
        Ok(())
    }

    /// There are no more entries.
    ///
    /// # Errors
    /// When entries are missing, or all of them together are not what was signed.
    pub fn finish(mut self) -> Result<Verified, Broken> {
        self.compare()?;
        let (size, signed) = (self.frontier.size(), self.checkpoint.size);
        // An older checkpoint that is larger than the latest is a log rolled back and signed again.
        let signed = self.older.first().map_or(signed, |o| o.size.max(signed));
        if size < signed {
            return broken(size, Fault::Truncated { signed });
        }
        if self.frontier.root() != self.checkpoint.root {
            return self.rewritten();
        }
        Ok(Verified {
            checkpoint: self.checkpoint,
            erased: self.erased,
        })
    }

    fn compare(&mut self) -> Result<(), Broken> {
        while let Some(older) = self.older.pop_if(|o| o.size == self.frontier.size()) {
            if older.root != self.frontier.root() {
                return self.rewritten();
            }
            self.sound_up_to = older.size;
        }
        Ok(())
    }

    fn rewritten<T>(&self) -> Result<T, Broken> {
        let before = self.frontier.size();
        broken(self.sound_up_to, Fault::Rewritten { before })
    }
}

fn open(signed: &str, key: &VerifierKey) -> Result<Checkpoint, Broken> {
    Checkpoint::open(signed, key).map_err(|error| Broken {
        what: Fault::Checkpoint(error),
        index: 0,
    })
}

fn broken<T>(index: u64, what: Fault) -> Result<T, Broken> {
    Err(Broken { what, index })
}

//! A backup's manifest: one JSON object a line. The head says what was backed up, a line for every file names its content
//! by digest, and the last line vouches for all lines before it. It is written last; a backup without it is none.

use crate::StoreError;
use crate::files::put_on_disk;
use pericard_domain::digest::Digest;
use pericard_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Component, Path};

/// The format of this version.
const FORMAT: &str = "pericard-backup-1";
/// The longest line that is read, bytes. Paths are short.
const MAX_LINE_BYTES: u64 = 64 * 1024;
const READ: &str = "read the backup's manifest";

/// What was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) format: String,
    pub(crate) made_at: Timestamp,
    pub(crate) schema: i64,
    pub(crate) audit_origin: String,
}

impl Head {
    pub(crate) fn new(made_at: Timestamp, schema: i64, audit_origin: String) -> Self {
        let format = FORMAT.to_owned();
        Self {
            format,
            made_at,
            schema,
            audit_origin,
        }
    }
}

/// One file of the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// Within the data directory.
    pub(crate) path: String,
    pub(crate) sha256: Digest,
    pub(crate) size_bytes: u64,
    /// Its content is not in the backup: it was missing or altered in the data directory already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_lost: bool,
}

impl Item {
    /// Whether the path stays within the directory that it is put into: a manifest may come from anywhere.
    fn is_within(&self) -> bool {
        let mut parts = Path::new(&self.path).components();
        !self.path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Tail {
    files: u64,
    bytes: u64,
    lost: u64,
    /// SHA-256 of every byte before this line.
    sha256_above: Digest,
}

/// Writes a manifest.
pub(crate) struct Writer {
    out: BufWriter<File>,
    above: Sha256,
    tail: Tail,
}

impl Writer {
    pub(crate) fn begin(file: File, head: &Head) -> std::io::Result<Self> {
        let tail = Tail {
            files: 0,
            bytes: 0,
            lost: 0,
            sha256_above: Digest::new([0; 32]),
        };
        let mut writer = Self {
            out: BufWriter::new(file),
            above: Sha256::new(),
            tail,
        };
        writer.line(&serde_json::to_string(head)?)?;
        Ok(writer)
    }

    pub(crate) fn item(&mut self, item: &Item) -> std::io::Result<()> {
        self.tail.files += 1;
        self.tail.bytes += item.size_bytes;
        self.tail.lost += u64::from(item.is_lost);
        self.line(&serde_json::to_string(item)?)
    }

    /// Writes the last line and puts the file on disk.
    pub(crate) fn end(mut self) -> std::io::Result<()> {
        self.tail.sha256_above = Digest::new(self.above.clone().finalize().into());
        let tail = serde_json::to_string(&self.tail)?;
        self.line(&tail)?;
        let file = self.out.into_inner();
        put_on_disk(&file.map_err(|error| error.into_error())?)
    }

    fn line(&mut self, text: &str) -> std::io::Result<()> {
        let line = format!("{text}\n");
        self.above.update(&line);
        self.out.write_all(line.as_bytes())
    }
}

/// A manifest whose last line was there and right.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) head: Head,
    pub(crate) items: Vec<Item>,
}

impl Manifest {
    /// Reads it whole.
    ///
    /// # Errors
    /// When a byte of it was changed, its end is missing, or a path leads out of the directory.
    pub(crate) fn read(path: &Path) -> Result<Self, StoreError> {
        let broken = |why: String| StoreError::failed(READ, format!("{}: {why}", path.display()));
        let file = File::open(path).map_err(|error| broken(error.to_string()))?;
        let mut reader = BufReader::new(file);
        let (mut above, mut head, mut items) = (Sha256::new(), None, Vec::new());
        loop {
            let mut line = String::new();
            let limited = &mut std::io::Read::take(&mut reader, MAX_LINE_BYTES);
            limited
                .read_line(&mut line)
                .map_err(|error| broken(error.to_string()))?;
            let place = || {
                format!(
                    "line {} was changed or is of another format",
                    items.len() + 2
                )
            };
            if line.is_empty() {
                return Err(broken("it was cut off: its last line is missing".into()));
            }
            if head.is_none() {
                let read: Head = serde_json::from_str(&line)
                    .map_err(|_| broken("its first line was changed".into()))?;
                if read.format != FORMAT {
                    return Err(broken(format!(
                        "format {:?}; this version reads {FORMAT:?}",
                        read.format
                    )));
                }
                head = Some(read);
            } else if let Ok(item) = serde_json::from_str::<Item>(&line) {
                if !item.is_within() {
                    return Err(broken(place()));
                }
                items.push(item);
            } else {
                let tail: Tail = serde_json::from_str(&line).map_err(|_| broken(place()))?;
                let is_right = tail.sha256_above == Digest::new(above.finalize().into());
                let head = head.filter(|_| is_right && tail.files == items.len() as u64);
                let head = head.ok_or_else(|| broken("a byte of it was changed".into()))?;
                return Ok(Self { head, items });
            }
            above.update(&line);
        }
    }
}

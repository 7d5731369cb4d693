//! Zip archives from strangers. No name in one is ever used as a path, or repeated; how many entries there are and how
//! large they become is limited before and while they are read.

use bytes::Bytes;
use std::fs::File;
use std::io::Read;
use tokio::sync::mpsc;
use zip::read::Config;
use zip::unstable::read::ZipIterable;

/// How much is unpacked at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for the intake.
const PIECES_WAITING_MAX: usize = 4;

/// What every zip archive begins with: a local header, or the end of an empty one.
pub(super) const MAGICS: [&[u8; 4]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// What may come out of an archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) entries_max: usize,
    pub(super) inflated_max_bytes: u64,
}

/// What comes out of an archive, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// A file begins.
    Begin,
    /// Its next bytes.
    Piece(Bytes),
    /// It is whole.
    End,
    /// It cannot be unpacked: encrypted, of an unknown method, or damaged.
    Broken(String),
}

/// Why an archive is not unpacked further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArchiveError {
    #[error("the zip archive is damaged or is none")]
    Damaged,
    #[error("the zip archive has {found} entries; {max} are accepted")]
    TooManyEntries { found: usize, max: usize },
    #[error("the zip archive unpacks to more than the {max_bytes} bytes that are accepted")]
    TooLarge { max_bytes: u64 },
}

/// Unpacks an archive on a thread of its own, which ends when nobody listens any more.
pub(super) fn unpack(file: File, limits: Limits) -> mpsc::Receiver<Result<Unpacked, ArchiveError>> {
    let (told, hears) = mpsc::channel(PIECES_WAITING_MAX);
    tokio::task::spawn_blocking(move || {
        // Nobody listening is an end like any other.
        let tell = |unpacked| told.blocking_send(Ok(unpacked)).map_err(|_| Stop::Unheard);
        if let Err(Stop::Error(error)) = walk(&file, limits, &tell) {
            let _ = told.blocking_send(Err(error));
        }
    });
    hears
}

/// Unpacks an archive and forgets it: for the fuzz target.
pub(crate) fn unpack_and_forget(file: &File, entries_max: usize, inflated_max_bytes: u64) {
    let limits = Limits {
        entries_max,
        inflated_max_bytes,
    };
    let _ = walk(file, limits, &|_| Ok(()));
}

enum Stop {
    Unheard,
    Error(ArchiveError),
}

fn walk(
    file: &File,
    limits: Limits,
    tell: &dyn Fn(Unpacked) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let damaged = |_| Stop::Error(ArchiveError::Damaged);
    // Entry by entry: a list of all of them would be as large as a stranger likes.
    let mut archive = ZipIterable::try_new(file, Config::default()).map_err(damaged)?;
    let (found, max) = (archive.len(), limits.entries_max);
    if found > max {
        return Err(Stop::Error(ArchiveError::TooManyEntries { found, max }));
    }
    let mut left_bytes = limits.inflated_max_bytes;
    for entry in archive.files().map_err(damaged)? {
        // Its own view of the file: the place within it is set anew for every entry and every header.
        let mut reader = file;
        let entry = entry.map_err(damaged)?;
        if entry.is_dir() {
            continue;
        }
        tell(Unpacked::Begin)?;
        match entry.with_reader(&mut reader, zip::ZipReadOptions::default()) {
            Err(error) => tell(Unpacked::Broken(method_of(&error)))?,
            Ok(mut content) => {
                let max_bytes = limits.inflated_max_bytes;
                let ended = inflate(&mut content, &mut left_bytes, max_bytes, tell)?;
                tell(ended)?;
            }
        }
    }
    Ok(())
}

fn inflate(
    content: &mut impl Read,
    left_bytes: &mut u64,
    max_bytes: u64,
    tell: &dyn Fn(Unpacked) -> Result<(), Stop>,
) -> Result<Unpacked, Stop> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match content.read(&mut piece) {
            Ok(0) => return Ok(Unpacked::End),
            Ok(n) => {
                let Some(left) = left_bytes.checked_sub(n as u64) else {
                    return Err(Stop::Error(ArchiveError::TooLarge { max_bytes }));
                };
                *left_bytes = left;
                tell(Unpacked::Piece(Bytes::copy_from_slice(&piece[..n])))?;
            }
            Err(_) => {
                return Ok(Unpacked::Broken(
                    "its entry in the zip archive is damaged".into(),
                ));
            }
        }
    }
}

fn method_of(error: &zip::result::ZipError) -> String {
    let what = match error {
        zip::result::ZipError::UnsupportedArchive(_) => {
            "is encrypted, or compressed in another way than deflate"
        }
        _ => "is damaged",
    };
    format!("its entry in the zip archive {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};
    use zip::write::{SimpleFileOptions, ZipWriter};

    const LIMITS: Limits = Limits {
        entries_max: 10,
        inflated_max_bytes: 1 << 20,
    };

    fn archive(entries: &[(&str, &[u8])]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        let mut writer = ZipWriter::new(&mut file);
        for (name, content) in entries {
            writer
                .start_file(*name, SimpleFileOptions::default())
                .expect("a name");
            writer.write_all(content).expect("room");
        }
        writer.finish().expect("room");
        file.rewind().expect("a file");
        file
    }

    async fn read(
        file: File,
        limits: Limits,
    ) -> Result<Vec<Result<Vec<u8>, String>>, ArchiveError> {
        let mut hears = unpack(file, limits);
        let mut files = Vec::new();
        while let Some(unpacked) = hears.recv().await {
            match unpacked? {
                Unpacked::Begin => files.push(Ok(Vec::new())),
                Unpacked::Piece(piece) => match files.last_mut() {
                    Some(Ok(content)) => content.extend_from_slice(&piece),
                    _ => panic!("a piece of nothing"),
                },
                Unpacked::Broken(why) => *files.last_mut().expect("begun") = Err(why),
                Unpacked::End => {}
            }
        }
        Ok(files)
    }

    #[tokio::test]
    async fn names_mean_nothing() {
        let big = vec![7; 200_000];
        let file = archive(&[
            ("../../etc/passwd", b"a"),
            ("/root/b", &big),
            ("dir/", b""),
            ("c:\\d", b""),
        ]);
        let files = read(file, LIMITS).await.expect("a good archive");
        assert_eq!(files, [Ok(b"a".to_vec()), Ok(big), Ok(Vec::new())]);
    }

    #[tokio::test]
    async fn a_bomb_is_stopped_where_the_limit_is() {
        let zeros = vec![0; 3 << 20];
        let file = archive(&[("bomb", &zeros)]);
        assert!(file.metadata().expect("a file").len() < 10_000);
        let refused = read(file, LIMITS).await.expect_err("too large");
        assert_eq!(refused, ArchiveError::TooLarge { max_bytes: 1 << 20 });
    }

    #[tokio::test]
    async fn too_many_entries_are_refused_before_the_first() {
        let names: Vec<_> = (0..11).map(|i| i.to_string()).collect();
        let entries: Vec<_> = names.iter().map(|n| (n.as_str(), &b"x"[..])).collect();
        let refused = read(archive(&entries), LIMITS).await.expect_err("too many");
        assert_eq!(refused, ArchiveError::TooManyEntries { found: 11, max: 10 });
    }

    #[tokio::test]
    async fn what_is_no_archive_is_refused() {
        for bytes in [
            &b""[..],
            b"PK\x03\x04",
            b"PK\x05\x06 and then nothing",
            &[0; 70_000],
        ] {
            let mut file = tempfile::tempfile().expect("a temporary file");
            file.write_all(bytes).expect("room");
            assert_eq!(read(file, LIMITS).await, Err(ArchiveError::Damaged));
        }
    }

    #[tokio::test]
    async fn a_damaged_entry_costs_itself_only() {
        let content: Vec<u8> = (0..60_000_u32)
            .flat_map(|i| (i * i).to_le_bytes())
            .collect();
        let file = archive(&[("a", &content), ("b", b"whole")]);
        let mut bytes = Vec::new();
        let mut reader = file.try_clone().expect("a file");
        reader.read_to_end(&mut bytes).expect("a file");
        bytes[5_000] ^= 0xff;
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&bytes).expect("room");
        let files = read(file, LIMITS).await.expect("an archive");
        assert!(files[0].is_err(), "the checksum is wrong");
        assert_eq!(files[1], Ok(b"whole".to_vec()));
    }
}

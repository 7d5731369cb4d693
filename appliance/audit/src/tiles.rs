//! The log as static files (C2SP tlog-tiles v0.1), for whoever verifies it without us.
//!
//! | file | holds |
//! |---|---|
//! | `checkpoint` | the signed checkpoint |
//! | `tile/<L>/<N>` | 256 hashes of level L: leaves at level 0, then roots of whole tiles of the level below |
//! | `tile/entries/<N>` | 256 entries, each two bytes of length and the 32 bytes of its commitment |
//! | `records/<N>` | beside the format, for 256 entries: a line of salt (hex) and record (base64), or `erased` |
//!
//! The last, unfilled one of each kind has its width in its name: `tile/0/x001/067.p/5`.

use crate::hash::{Hash, leaf_of};
use crate::proof::root;
use crate::verify::{Content, Entry};
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// How many hashes or entries a whole tile holds.
pub const TILE_WIDTH: usize = 256;

/// Writes the log through `sink`, which is given each file's path and bytes once: a folder, an archive, an answer.
///
/// Only what the entries say is exported; whether it is true is for the verifier to find.
///
/// # Errors
/// The first error of the entries' source or of the sink.
pub fn export<I, S, E>(entries: I, checkpoint: &str, mut sink: S) -> Result<(), E>
where
    I: IntoIterator<Item = Result<Entry, E>>,
    S: FnMut(&str, &[u8]) -> Result<(), E>,
{
    let mut levels = Levels::default();
    let mut bundle = Bundle::default();
    for entry in entries {
        let entry = entry?;
        bundle.push(&entry.content);
        if bundle.count == TILE_WIDTH {
            bundle.write(&mut sink)?;
        }
        levels.push(leaf_of(&entry.content.commitment()), &mut sink)?;
    }
    bundle.write(&mut sink)?;
    levels.finish(&mut sink)?;
    sink("checkpoint", checkpoint.as_bytes())
}

/// Up to 256 entries on their way into two files.
#[derive(Default)]
struct Bundle {
    number: u64,
    count: usize,
    entries: Vec<u8>,
    records: String,
}

impl Bundle {
    fn push(&mut self, content: &Content) {
        let commitment = content.commitment();
        self.entries.extend(32_u16.to_be_bytes());
        self.entries.extend(commitment);
        match content {
            Content::Kept { salt, record } => {
                let (salt, record) = (hex::encode(salt), BASE64_STANDARD.encode(record));
                self.records.push_str(&format!("{salt} {record}\n"));
            }
            Content::Erased { .. } => self.records.push_str("erased\n"),
        }
        self.count += 1;
    }

    fn write<E>(&mut self, sink: &mut impl FnMut(&str, &[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.count == 0 {
            return Ok(());
        }
        let name = name(self.number, self.count);
        sink(&format!("tile/entries/{name}"), &self.entries)?;
        sink(&format!("records/{name}"), self.records.as_bytes())?;
        *self = Self {
            number: self.number + 1,
            ..Self::default()
        };
        Ok(())
    }
}

/// The unfilled tile of every level, and how many whole ones came before it.
#[derive(Default)]
struct Levels(Vec<(u64, Vec<Hash>)>);

impl Levels {
    fn push<E>(
        &mut self,
        leaf: Hash,
        sink: &mut impl FnMut(&str, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut carry = leaf;
        for level in 0.. {
            if level == self.0.len() {
                self.0.push((0, Vec::with_capacity(TILE_WIDTH)));
            }
            let (number, hashes) = &mut self.0[level];
            hashes.push(carry);
            if hashes.len() < TILE_WIDTH {
                break;
            }
            carry = root(hashes);
            write_tile(level, *number, hashes, sink)?;
            hashes.clear();
            *number += 1;
        }
        Ok(())
    }

    fn finish<E>(self, sink: &mut impl FnMut(&str, &[u8]) -> Result<(), E>) -> Result<(), E> {
        for (level, (number, hashes)) in self.0.into_iter().enumerate() {
            if !hashes.is_empty() {
                write_tile(level, number, &hashes, sink)?;
            }
        }
        Ok(())
    }
}

fn write_tile<E>(
    level: usize,
    number: u64,
    hashes: &[Hash],
    sink: &mut impl FnMut(&str, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let bytes: Vec<u8> = hashes.iter().flat_map(|h| *h.as_bytes()).collect();
    let name = name(number, hashes.len());
    sink(&format!("tile/{level}/{name}"), &bytes)
}

/// The format's name of a tile: three digits to a folder, all but the last with an `x` before them.
fn name(number: u64, width: usize) -> String {
    let mut name = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH {
        name.push_str(&format!(".p/{width}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_as_the_format_names_them() {
        assert_eq!(name(0, 256), "000");
        assert_eq!(name(67, 5), "067.p/5");
        assert_eq!(name(1_234_067, 256), "x001/x234/067");
        assert_eq!(name(1_000, 255), "x001/000.p/255");
    }

    #[test]
    fn a_log_of_66000_entries_has_the_tiles_that_the_format_counts() {
        let entry = |i: u64| Entry {
            index: i,
            leaf: leaf_of(&[]),
            content: Content::Erased {
                commitment: [i as u8; 32],
            },
        };
        let mut files = Vec::new();
        let sink = |path: &str, bytes: &[u8]| {
            files.push((path.to_owned(), bytes.len()));
            Ok::<_, ()>(())
        };
        export((0..66_000).map(|i| Ok(entry(i))), "note", sink).expect("written");
        let bytes_of = |path: &str| files.iter().find(|(p, _)| p == path).map(|(_, b)| *b);
        // 66000 = 257 * 256 + 208, and 257 = 256 + 1.
        assert_eq!(bytes_of("tile/0/256"), Some(256 * 32));
        assert_eq!(bytes_of("tile/0/257.p/208"), Some(208 * 32));
        assert_eq!(bytes_of("tile/1/000"), Some(256 * 32));
        assert_eq!(bytes_of("tile/1/001.p/1"), Some(32));
        assert_eq!(bytes_of("tile/2/000.p/1"), Some(32));
        assert_eq!(bytes_of("tile/entries/257.p/208"), Some(208 * 34));
        assert_eq!(bytes_of("checkpoint"), Some(4));
        let levels = files.iter().filter(|(p, _)| !p.contains("entries")).count();
        assert_eq!(levels, 258 + 2 + 1 + 258 + 1);
    }
}

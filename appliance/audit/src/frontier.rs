//! The right edge of the tree: all that is needed to append.

use crate::hash::{Hash, node};

/// The roots of the complete subtrees that the log is made of, largest first: one for each bit set in the size.
///
/// It is at most 64 hashes, so a store keeps it in one cell and extends it inside the transaction that adds the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// Stored bytes are not a frontier. The log must then be rebuilt from its leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found_bytes} bytes are not a log frontier; rebuild it from the leaves and compare with the latest checkpoint"
)]
pub struct FrontierError {
    /// How many bytes there were.
    pub found_bytes: usize,
}

impl Frontier {
    /// The frontier of the empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            peaks: Vec::new(),
        }
    }

    /// How many leaves the log has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf and gives its index.
    pub fn append(&mut self, leaf: Hash) -> u64 {
        let index = self.size;
        let mut carry = leaf;
        // Every trailing one of the old size is a complete subtree that the new leaf completes to one twice as large.
        for _ in 0..index.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                carry = node(&left, &carry);
            }
        }
        self.peaks.push(carry);
        self.size += 1;
        index
    }

    /// The hash of the whole log (RFC 6962 section 2.1).
    #[must_use]
    pub fn root(&self) -> Hash {
        self.peaks
            .iter()
            .rev()
            .copied()
            .reduce(|right, left| node(&left, &right))
            .unwrap_or_else(Hash::empty_root)
    }

    /// As bytes for keeping: the size, 8 bytes big-endian, then the hashes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        for peak in &self.peaks {
            bytes.extend_from_slice(peak.as_bytes());
        }
        bytes
    }

    /// From the bytes kept.
    ///
    /// # Errors
    /// When there are not as many hashes as the size needs.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrontierError> {
        let wrong = FrontierError {
            found_bytes: bytes.len(),
        };
        let (size, hashes) = bytes.split_first_chunk::<8>().ok_or(wrong)?;
        let size = u64::from_be_bytes(*size);
        let (hashes, rest) = hashes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != size.count_ones() as usize {
            return Err(wrong);
        }
        let peaks = hashes.iter().copied().map(Hash::new).collect();
        Ok(Self { size, peaks })
    }
}

impl Extend<Hash> for Frontier {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        for leaf in leaves {
            self.append(leaf);
        }
    }
}

impl FromIterator<Hash> for Frontier {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut frontier = Self::new();
        frontier.extend(leaves);
        frontier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_of;

    /// The eight inputs that the Certificate Transparency test suites share.
    const INPUTS: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_as_the_standard_defines_them() {
        let mut frontier = Frontier::new();
        assert_eq!(frontier.root(), Hash::empty_root());
        for (index, (input, root)) in INPUTS.into_iter().zip(ROOTS).enumerate() {
            assert_eq!(frontier.append(leaf_of(input)), index as u64);
            assert_eq!(frontier.root().to_string(), root, "size {}", index + 1);
        }
    }

    #[test]
    fn kept_and_taken_up_again_at_any_size() {
        let mut frontier = Frontier::new();
        for i in 0_u32..300 {
            let bytes = frontier.to_bytes();
            assert_eq!(Frontier::from_bytes(&bytes), Ok(frontier.clone()));
            let short = FrontierError { found_bytes: 7 };
            assert_eq!(Frontier::from_bytes(&bytes[..7]), Err(short));
            assert!(Frontier::from_bytes(&[&bytes[..], &[0; 32]].concat()).is_err());
            frontier.append(leaf_of(&i.to_be_bytes()));
        }
    }
}

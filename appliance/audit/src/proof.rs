//! Proofs: that one entry is in the log, and that one log continues another (RFC 6962 section 2.1, RFC 9162 section 2.1).
//!
//! Making a proof hashes the leaves it is given; checking one needs only the proof. A hub that witnesses a hospital's log
//! checks consistency and never sees an entry.

use crate::frontier::Frontier;
use crate::hash::{Hash, node};

/// A proof does not prove what it is offered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such entry, or no such earlier log.
    #[error("{asked} is outside a log of {size} entries")]
    OutOfRange {
        /// The index or the earlier size asked for.
        asked: u64,
        /// How many entries there are.
        size: u64,
    },
    /// The proof has too many or too few hashes for what it should prove.
    #[error("the proof has not the length that its claim needs")]
    Length,
    /// The hashes lead to another root.
    #[error(
        "the proof leads to another root: the entry is not in this log, or this log was rewritten"
    )]
    Root,
}

/// The proof that the leaf at `index` is in the log of these leaves.
///
/// # Errors
/// When there is no such leaf.
pub fn inclusion(leaves: &[Hash], index: u64) -> Result<Vec<Hash>, ProofError> {
    let at = in_range(index, leaves)?;
    if at == leaves.len() {
        return Err(out_of_range(index, leaves));
    }
    let mut path = Vec::new();
    let (mut leaves, mut at) = (leaves, at);
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
        let sibling;
        (leaves, sibling, at) = if at < left.len() {
            (left, right, at)
        } else {
            (right, left, at - left.len())
        };
        path.push(root(sibling));
    }
    path.reverse();
    Ok(path)
}

/// Checks that `leaf` stands at `index` of the log of `size` leaves with root `expected` (RFC 9162 section 2.1.3.2).
///
/// # Errors
/// When the proof does not prove it.
pub fn check_inclusion(
    leaf: Hash,
    index: u64,
    (size, expected): (u64, Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { asked: index, size });
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    same(hash, expected)
}

/// The proof that the log of these leaves continues the log of its first `earlier` leaves.
///
/// # Errors
/// When there are fewer leaves than that.
pub fn consistency(leaves: &[Hash], earlier: u64) -> Result<Vec<Hash>, ProofError> {
    let at = in_range(earlier, leaves)?;
    let mut path = Vec::new();
    if at == 0 || at == leaves.len() {
        return Ok(path); // every log continues the empty one and itself, without proof
    }
    let (mut leaves, mut at, mut whole) = (leaves, at, true);
    while at != leaves.len() {
        let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
        if at <= left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            (leaves, at, whole) = (right, at - left.len(), false);
        }
    }
    if !whole {
        path.push(root(leaves)); // else the checker has it: it is the earlier root
    }
    path.reverse();
    Ok(path)
}

/// Checks that the log `later` continues the log `earlier`, each a size and a root (RFC 9162 section 2.1.4.2).
///
/// # Errors
/// When the proof does not prove it.
pub fn check_consistency(
    earlier: (u64, Hash),
    later: (u64, Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    let ((first, first_root), (second, second_root)) = (earlier, later);
    if first > second {
        return Err(ProofError::OutOfRange {
            asked: first,
            size: second,
        });
    }
    if first == 0 || first == second {
        if !proof.is_empty() {
            return Err(ProofError::Length);
        }
        let known = if first == 0 {
            Hash::empty_root()
        } else {
            second_root
        };
        return same(first_root, known);
    }
    let mut proof = proof.iter();
    let start = if first.is_power_of_two() {
        first_root
    } else {
        *proof.next().ok_or(ProofError::Length)?
    };
    let shift = (first - 1).trailing_ones();
    let (mut at, mut last) = ((first - 1) >> shift, (second - 1) >> shift);
    let (mut old, mut new) = (start, start);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            (old, new) = (node(sibling, &old), node(sibling, &new));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new = node(&new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    same(old, first_root).and_then(|()| same(new, second_root))
}

fn same(found: Hash, expected: Hash) -> Result<(), ProofError> {
    if found == expected {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// The root of the log of these leaves.
pub(crate) fn root(leaves: &[Hash]) -> Hash {
    leaves.iter().copied().collect::<Frontier>().root()
}

fn in_range(asked: u64, leaves: &[Hash]) -> Result<usize, ProofError> {
    let at = usize::try_from(asked).ok().filter(|at| *at <= leaves.len());
    at.ok_or_else(|| out_of_range(asked, leaves))
}

const fn out_of_range(asked: u64, leaves: &[Hash]) -> ProofError {
    let size = leaves.len() as u64;
    ProofError::OutOfRange { asked, size }
}

/// The largest power of two below `len`, which is at least 2: where RFC 6962 parts a tree.
const fn largest_power_below(len: usize) -> usize {
    1 << (usize::BITS - 1 - (len - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_of;

    fn leaves(count: u32) -> Vec<Hash> {
        (0..count).map(|i| leaf_of(&i.to_be_bytes())).collect()
    }

    #[test]
    fn every_entry_of_every_small_log_is_proved_and_no_other() {
        for size in 1..=70 {
            let log = leaves(size);
            let (n, whole) = (u64::from(size), root(&log));
            for (index, &leaf) in (0_u64..).zip(&log) {
                let proof = inclusion(&log, index).expect("in range");
                assert_eq!(check_inclusion(leaf, index, (n, whole), &proof), Ok(()));
                let other = leaf_of(b"another");
                assert!(check_inclusion(other, index, (n, whole), &proof).is_err());
                let elsewhere = (index + 1) % n;
                if elsewhere != index {
                    assert!(check_inclusion(leaf, elsewhere, (n, whole), &proof).is_err());
                }
                let long = [&proof[..], &[leaf]].concat();
                assert!(check_inclusion(leaf, index, (n, whole), &long).is_err());
                if let Some((_, short)) = proof.split_last() {
                    assert!(check_inclusion(leaf, index, (n, whole), short).is_err());
                }
            }
            assert!(inclusion(&log, n).is_err());
        }
    }

    #[test]
    fn every_growth_of_every_small_log_is_proved_and_no_rewriting() {
        for size in 1..=70 {
            let log = leaves(size);
            let later = (u64::from(size), root(&log));
            for first in 0..=size {
                let earlier = (u64::from(first), root(&log[..first as usize]));
                let proof = consistency(&log, earlier.0).expect("in range");
                assert_eq!(check_consistency(earlier, later, &proof), Ok(()));
                let rewritten = (earlier.0, leaf_of(b"another"));
                assert!(check_consistency(rewritten, later, &proof).is_err());
                let long = [&proof[..], &[later.1]].concat();
                assert!(check_consistency(earlier, later, &long).is_err());
                if let Some((_, short)) = proof.split_last() {
                    assert!(check_consistency(earlier, later, short).is_err());
                }
                if first > 0 && first < size {
                    let forked = (later.0, leaf_of(b"another"));
                    assert!(check_consistency(earlier, forked, &proof).is_err());
                    assert!(check_consistency(later, earlier, &proof).is_err());
                }
            }
            assert!(consistency(&log, later.0 + 1).is_err());
        }
    }

    // The example of RFC 6962 section 2.1.3, seven leaves.
    #[test]
    fn proofs_are_the_paths_that_the_standard_draws() {
        let d = leaves(7);
        let (i, j) = (node(&d[2], &d[3]), d[6]);
        let g = node(&d[0], &d[1]);
        let h = i;
        let k = node(&node(&d[4], &d[5]), &j);
        let l = node(&node(&d[0], &d[1]), &node(&d[2], &d[3]));
        assert_eq!(inclusion(&d, 0), Ok(vec![d[1], h, k]));
        assert_eq!(inclusion(&d, 3), Ok(vec![d[2], g, k]));
        assert_eq!(inclusion(&d, 4), Ok(vec![d[5], j, l]));
        assert_eq!(inclusion(&d, 6), Ok(vec![node(&d[4], &d[5]), l]));
        assert_eq!(consistency(&d, 3), Ok(vec![d[2], d[3], g, k]));
        assert_eq!(consistency(&d, 4), Ok(vec![k]));
        assert_eq!(consistency(&d, 6), Ok(vec![node(&d[4], &d[5]), j, l]));
    }
}

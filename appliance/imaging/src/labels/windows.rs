//! A text that is longer than the network reads, in pieces that overlap.

use std::ops::Range;

/// Windows over `count` tokens: none has more than `room`, and each begins `overlap` before the one before it ends. `overlap` is less
/// than `room`.
pub(super) fn windows(
    count: usize,
    room: usize,
    overlap: usize,
) -> impl Iterator<Item = Range<usize>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next.filter(|start| *start < count)?;
        let end = count.min(start + room);
        next = (end < count).then(|| end - overlap);
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: usize, room: usize, overlap: usize) -> Vec<Range<usize>> {
        windows(count, room, overlap).collect()
    }

    #[test]
    fn windows_overlap_and_leave_nothing_out() {
        assert!(all(0, 4, 1).is_empty());
        assert_eq!(all(4, 4, 1).len(), 1);
        assert_eq!(all(5, 4, 1), [0..4, 3..5]);
        assert_eq!(all(10, 4, 2), [0..4, 2..6, 4..8, 6..10]);
        for count in 0..200 {
            let covered: std::collections::BTreeSet<usize> =
                windows(count, 14, 6).flatten().collect();
            assert_eq!(covered.len(), count);
        }
    }
}

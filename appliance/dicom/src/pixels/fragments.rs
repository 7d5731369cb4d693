//! Which fragments are which frame (PS3.5 section A.4).

use crate::header::Extent;
use std::ops::Range;

/// Bytes of an item's tag and length, which offsets count and extents do not.
const ITEM_BYTES: u64 = 8;

/// Why frames cannot be told apart.
const UNCLEAR: &str = "the fragments cannot be divided into Number of Frames";

/// The fragments of every frame.
///
/// `offsets` is what an offset table says, empty when there is none; `begins` tells whether a fragment begins with the
/// start marker of a compressed image, and is asked only when nothing else decides.
pub(crate) fn of_frames<E: From<&'static str>>(
    frames: u32,
    fragments: &[Extent],
    offsets: &[u64],
    mut begins: impl FnMut(Extent) -> Result<bool, E>,
) -> Result<Vec<Range<usize>>, E> {
    let frames = frames as usize;
    let count = fragments.len();
    if count < frames {
        return Err(E::from("there are fewer fragments than Number of Frames"));
    }
    let starts: Vec<usize> = if frames == 1 {
        vec![0]
    } else if count == frames {
        (0..count).collect()
    } else if offsets.len() == frames {
        by_offset(fragments, offsets).ok_or(UNCLEAR)?
    } else {
        let mut starts = Vec::with_capacity(frames);
        for (index, fragment) in fragments.iter().enumerate() {
            if begins(*fragment)? {
                starts.push(index);
            }
        }
        starts
    };
    if starts.len() != frames || starts.first() != Some(&0) {
        return Err(E::from(UNCLEAR));
    }
    let ends = starts[1..].iter().copied().chain([count]);
    Ok(starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(s, e)| s..e)
        .collect())
}

/// The fragment at each offset; offsets must go upwards and each name the beginning of a fragment.
fn by_offset(fragments: &[Extent], offsets: &[u64]) -> Option<Vec<usize>> {
    let base = fragments.first()?.offset - ITEM_BYTES;
    let mut starts: Vec<usize> = Vec::with_capacity(offsets.len());
    for offset in offsets {
        let at = base.checked_add(*offset)?.checked_add(ITEM_BYTES)?;
        let index = fragments.binary_search_by_key(&at, |f| f.offset).ok()?;
        if starts.last().is_some_and(|last| *last >= index) {
            return None;
        }
        starts.push(index);
    }
    Some(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_tell_frames_apart() {
        let fragments: Vec<Extent> = [100, 118, 136, 154]
            .map(|offset| Extent { offset, length: 10 })
            .to_vec();
        let of = |frames, offsets: &[u64], marked: &[u64]| {
            of_frames::<&'static str>(frames, &fragments, offsets, |f| {
                Ok(marked.contains(&f.offset))
            })
        };
        assert_eq!(of(1, &[], &[]).map(|f| f[0].clone()), Ok(0..4));
        assert_eq!(of(4, &[9, 9, 9, 9], &[]), Ok(vec![0..1, 1..2, 2..3, 3..4]));
        assert_eq!(of(2, &[0, 36], &[]), Ok(vec![0..2, 2..4]));
        assert_eq!(of(2, &[], &[100, 118]), Ok(vec![0..1, 1..4]));
        for (frames, offsets, marked) in [
            (5, &[][..], &[][..]),
            (2, &[0, 35], &[]),
            (2, &[36, 36], &[]),
            (2, &[18, 36], &[]),
            (2, &[0, u64::MAX], &[]),
            (2, &[], &[118, 136]),
            (2, &[], &[100]),
        ] {
            assert!(
                of(frames, offsets, marked).is_err(),
                "{frames} {offsets:?} {marked:?}"
            );
        }
    }
}

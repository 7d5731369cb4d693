//! The largest connected part of a mask.

/// Keeps the largest part whose voxels touch by a face; of equals, the first.
pub(crate) fn keep_largest(mask: &mut [u8], size: [usize; 3]) {
    let mut part_of = vec![0_u32; mask.len()];
    let (mut best, mut best_count, mut parts) = (0, 0, 0);
    let mut open = Vec::new();
    for start in 0..mask.len() {
        if mask[start] == 0 || part_of[start] != 0 {
            continue;
        }
        parts += 1;
        part_of[start] = parts;
        open.push(start);
        let mut count = 0_usize;
        while let Some(at) = open.pop() {
            count += 1;
            for next in neighbours(at, size) {
                if mask[next] != 0 && part_of[next] == 0 {
                    part_of[next] = parts;
                    open.push(next);
                }
            }
        }
        if count > best_count {
            (best, best_count) = (parts, count);
        }
    }
    for (voxel, part) in mask.iter_mut().zip(part_of) {
        *voxel = u8::from(part == best && part != 0);
    }
}

/// The voxels that share a face with one, the last axis running fastest.
fn neighbours(at: usize, size: [usize; 3]) -> impl Iterator<Item = usize> {
    let steps = [size[1] * size[2], size[2], 1];
    let place = [at / steps[0], at / steps[1] % size[1], at % size[2]];
    (0..3).flat_map(move |axis| {
        let below = (place[axis] > 0).then(|| at - steps[axis]);
        let above = (place[axis] + 1 < size[axis]).then(|| at + steps[axis]);
        below.into_iter().chain(above)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_part_stays() {
        let mut mask = vec![1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0, 0];
        keep_largest(&mut mask, [2, 2, 3]);
        assert_eq!(mask, [1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0]);
        let mut empty = vec![0; 12];
        keep_largest(&mut empty, [2, 2, 3]);
        assert_eq!(empty, vec![0; 12]);
    }
}

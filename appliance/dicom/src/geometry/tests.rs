use super::*;
use pericard_domain::image::{FrameRef, Volume};
use pericard_domain::uid::InstanceUid;
use proptest::prelude::*;

/// A stack as a scanner would send it: turned, anisotropic, in any order.
#[derive(Debug, Clone)]
struct Stack {
    origin: [f64; 3],
    row: [f64; 3],
    column: [f64; 3],
    spacing: [f64; 2],
    step: f64,
    count: usize,
}

const COLUMNS: usize = 3;
const ROWS: usize = 2;

impl Stack {
    fn normal(&self) -> [f64; 3] {
        place::cross(self.row, self.column)
    }

    fn slice(&self, k: usize) -> Slice {
        let position =
            std::array::from_fn(|n| self.origin[n] + k as f64 * self.step * self.normal()[n]);
        Slice {
            place: Place {
                source: FrameRef {
                    instance: InstanceUid::new(format!("1.2.{k}")).unwrap(),
                    frame: 1,
                },
                series: SeriesUid::new("1.2").unwrap(),
                frame_of_reference: Some("1.2.3".into()),
                position,
                row_direction: self.row,
                column_direction: self.column,
                spacing: self.spacing,
                rows: ROWS,
                columns: COLUMNS,
            },
            values: (0..ROWS * COLUMNS)
                .map(|i| (k * ROWS * COLUMNS + i) as f32)
                .collect(),
        }
    }

    fn slices(&self) -> Vec<Slice> {
        (0..self.count).map(|k| self.slice(k)).collect()
    }

    /// Where a voxel's centre is, by the standard's own formula (PS3.3 section C.7.6.2.1.1).
    fn at(&self, [i, j, k]: [usize; 3]) -> [f64; 3] {
        let place = self.slice(k).place;
        std::array::from_fn(|n| {
            place.position[n]
                + i as f64 * self.row[n] * self.spacing[1]
                + j as f64 * self.column[n] * self.spacing[0]
        })
    }
}

fn stacks() -> impl Strategy<Value = Stack> {
    let origin = proptest::array::uniform3(-300.0_f64..300.0);
    let angles = proptest::array::uniform3(-3.1_f64..3.1);
    let spacing = proptest::array::uniform2(0.1_f64..4.0);
    (origin, angles, spacing, 0.3_f64..8.0, 4_usize..40).prop_map(
        |(origin, [a, b, c], spacing, step, count)| {
            let turned = |v: [f64; 3]| {
                let [x, y, z] = v;
                let (x, y) = (a.cos() * x - a.sin() * y, a.sin() * x + a.cos() * y);
                let (y, z) = (b.cos() * y - b.sin() * z, b.sin() * y + b.cos() * z);
                [c.cos() * x - c.sin() * y, c.sin() * x + c.cos() * y, z]
            };
            let (row, column) = (turned([1.0, 0.0, 0.0]), turned([0.0, 1.0, 0.0]));
            Stack {
                origin,
                row,
                column,
                spacing,
                step,
                count,
            }
        },
    )
}

fn plain() -> Stack {
    Stack {
        origin: [0.0; 3],
        row: [1.0, 0.0, 0.0],
        column: [0.0, 1.0, 0.0],
        spacing: [1.0, 2.0],
        step: 3.0,
        count: 8,
    }
}

fn refused(slices: Vec<Slice>) -> GeometryError {
    assemble(slices, SLICES_MIN).unwrap_err()
}

fn centre(volume: &Volume, [i, j, k]: [usize; 3]) -> [f64; 3] {
    std::array::from_fn(|n| {
        volume.origin[n]
            + i as f64 * volume.column_step[n]
            + j as f64 * volume.row_step[n]
            + k as f64 * volume.slice_step[n]
    })
}

proptest! {
    #[test]
    fn the_order_of_arrival_changes_nothing(
        (stack, order) in stacks().prop_flat_map(|stack| {
            let order = Just((0..stack.count).collect::<Vec<_>>()).prop_shuffle();
            (Just(stack), order)
        })
    ) {
        let shuffled = order.into_iter().map(|k| stack.slice(k)).collect();
        prop_assert_eq!(assemble(shuffled, SLICES_MIN), assemble(stack.slices(), SLICES_MIN));
    }

    #[test]
    fn every_voxel_is_where_its_pixel_was(stack in stacks()) {
        let volume = assemble(stack.slices(), SLICES_MIN).unwrap();
        prop_assert_eq!(volume.size, [COLUMNS, ROWS, stack.count]);
        for k in 0..stack.count {
            prop_assert_eq!(&volume.slices[k], &stack.slice(k).place.source);
            for (j, i) in [(0, 0), (1, 0), (0, 2), (1, 2)] {
                let (ours, theirs) = (centre(&volume, [i, j, k]), stack.at([i, j, k]));
                prop_assert!((0..3).all(|n| (ours[n] - theirs[n]).abs() < 1e-6), "{ours:?} {theirs:?}");
                let value = volume.voxels[(k * ROWS + j) * COLUMNS + i];
                prop_assert_eq!(value, stack.slice(k).values[j * COLUMNS + i]);
            }
        }
        let voxel = stack.spacing[0] * stack.spacing[1] * stack.step;
        prop_assert!((volume.voxel_mm3() - voxel).abs() < 1e-6 * voxel);
    }

    #[test]
    fn a_dropped_slice_is_an_error(stack in stacks(), at in 0.0..1.0) {
        let inner = 1 + ((stack.count - 2) as f64 * at) as usize;
        let mut slices = stack.slices();
        slices.remove(inner);
        let error = refused(slices);
        let found = matches!(error, GeometryError::Gap(step) if step.before == inner);
        prop_assert!(found, "{error}");
    }

    #[test]
    fn a_doubled_slice_is_an_error(stack in stacks(), at in 0.0..1.0, beside in 0.0..0.2) {
        let doubled = (stack.count as f64 * at) as usize;
        let mut slices = stack.slices();
        let mut other = stack.slice(doubled);
        other.place.source.instance = InstanceUid::new("1.3").unwrap();
        for n in 0..3 {
            other.place.position[n] += beside * stack.step * stack.normal()[n];
        }
        slices.push(other);
        let error = refused(slices);
        prop_assert!(matches!(error, GeometryError::Doubled(_)), "{error}");
    }

    #[test]
    fn a_leaning_stack_is_an_error(stack in stacks(), degrees in 0.3_f64..40.0, backwards: bool) {
        let aside = stack.step * degrees.to_radians().tan() * if backwards { -1.0 } else { 1.0 };
        let mut slices = stack.slices();
        for (k, slice) in slices.iter_mut().enumerate() {
            for n in 0..3 {
                slice.place.position[n] += k as f64 * aside * stack.column[n];
            }
        }
        let error = refused(slices);
        let GeometryError::Leaning { degrees: found, .. } = error else { panic!("{error}") };
        prop_assert!((found - degrees).abs() < 1e-6);
    }
}

#[test]
fn what_differs_is_said_with_its_millimetres() {
    let stack = plain();
    let with = |change: &dyn Fn(&mut Slice)| {
        let mut slices = stack.slices();
        change(&mut slices[5]);
        refused(slices)
    };
    let text = |change: &dyn Fn(&mut Slice)| with(change).to_string();
    let series = with(&|s| s.place.series = SeriesUid::new("1.9").unwrap());
    assert!(matches!(series, GeometryError::MixedSeries(..)));
    assert_eq!(
        with(&|s| s.place.frame_of_reference = None),
        GeometryError::MixedFrameOfReference
    );
    assert!(text(&|s| s.place.rows = 7).contains("3x2 and 3x7"));
    assert!(text(&|s| s.place.spacing[0] = 1.01).contains("0.0100 mm"));
    let turned = text(&|s| s.place.row_direction = [0.6, 0.8, 0.0]);
    assert!(turned.contains("53.13 degrees"), "{turned}");
    let uneven = text(&|s| s.place.position[2] += 0.4);
    assert!(
        uneven.contains("not evenly spaced") && uneven.contains("3.400 mm between slices 5 and 6"),
        "{uneven}"
    );
    let beside = text(&|s| s.place.position[0] += 0.5);
    assert!(
        beside.contains("slice 6") && beside.contains("0.50 mm"),
        "{beside}"
    );
    assert_eq!(
        with(&|s| s.values.truncate(5)),
        GeometryError::ValueCount {
            found: 5,
            needed: 6
        }
    );
    let few = assemble(stack.slices(), 9).unwrap_err();
    assert_eq!(
        few,
        GeometryError::TooFew {
            found: 8,
            needed: 9
        }
    );
    assert_eq!(
        refused(Vec::new()),
        GeometryError::TooFew {
            found: 0,
            needed: SLICES_MIN
        }
    );
}

#[test]
fn every_slice_twice_is_an_error() {
    let stack = plain();
    let twice = stack.slices().into_iter().chain(stack.slices()).collect();
    assert!(matches!(refused(twice), GeometryError::Doubled(_)));
}

#[test]
fn rounding_by_the_sender_is_no_fault() {
    let third = 0.333_333_333;
    let mut slices = Stack {
        step: third,
        ..plain()
    }
    .slices();
    for (k, slice) in slices.iter_mut().enumerate() {
        slice.place.position[2] = (k as f64 / 3.0 * 1000.0).round() / 1000.0;
    }
    let volume = assemble(slices, SLICES_MIN).unwrap();
    assert!((volume.slice_step[2] - third).abs() < 1e-3);
}

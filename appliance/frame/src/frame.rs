//! The frame itself: drafted field by field, sealed once it has been checked, opened by the other end with the same check.

use crate::layout::{Field, LAYOUT, LAYOUT_VERSION, MAGIC, MARK, Spec, VERSION};
use crate::number::Number;
use core::fmt;

/// The size of every frame.
pub const FRAME_BYTES: usize = 4096;

/// A frame that keeps to the layout.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: [u8; FRAME_BYTES],
}

/// Bytes that do not keep to the layout, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A number outside the field's range.
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Which of its numbers.
        at: usize,
    },
    /// A byte that belongs to no field and is not zero.
    NotZero {
        /// Where it is.
        offset_bytes: usize,
    },
    /// More or fewer bytes than a frame has.
    Length {
        /// How many.
        found_bytes: usize,
    },
}

/// One number of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its field.
    pub spec: &'static Spec,
    /// Which of the field's numbers, counted from 0.
    pub at: usize,
    /// What it is.
    pub value: u64,
}

impl Frame {
    /// Takes bytes that somebody else says are a frame.
    ///
    /// # Errors
    /// When they do not keep to the layout.
    pub fn open(bytes: &[u8]) -> Result<Self, Fault> {
        let bytes = bytes.try_into().map_err(|_| Fault::Length {
            found_bytes: bytes.len(),
        })?;
        check(&bytes)?;
        Ok(Self { bytes })
    }

    /// The bytes that are sent.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; FRAME_BYTES] {
        &self.bytes
    }

    /// Every number in it, in the order of their places: a reader who has seen these has seen all.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        let numbers = |spec: &'static Spec| (0..spec.count).map(move |at| (spec, at));
        let all = LAYOUT.into_iter().flat_map(numbers);
        all.map(|(spec, at)| Line {
            spec,
            at,
            value: read(&self.bytes, spec, at),
        })
    }

    /// How many bytes at the end belong to no field. They are zero.
    #[must_use]
    pub fn padding_bytes() -> usize {
        FRAME_BYTES - fields_end_bytes()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.lines().filter(|line| line.value != 0);
        f.debug_list()
            .entries(told.map(|line| (line.spec.name, line.at, line.value)))
            .finish()
    }
}

/// A frame in the making: everything zero, but what every frame has.
pub struct Draft {
    bytes: [u8; FRAME_BYTES],
}

impl Draft {
    /// An empty draft.
    #[must_use]
    pub fn new() -> Self {
        let mut draft = Self {
            bytes: [0; FRAME_BYTES],
        };
        draft.put(&MARK, 0, MAGIC);
        draft.put(&LAYOUT_VERSION, 0, VERSION);
        draft
    }

    /// Puts a number into its place. One that the field does not have is passed over, since no caller can mean it.
    pub fn put<N: Number>(&mut self, field: &Field<N>, at: usize, value: N) {
        let spec = field.spec();
        if at < spec.count {
            let begin = spec.offset_bytes + at * spec.width_bytes;
            let value = value.into().to_le_bytes();
            self.bytes[begin..begin + spec.width_bytes].copy_from_slice(&value[..spec.width_bytes]);
        }
    }

    /// Checks it against the layout.
    ///
    /// # Errors
    /// When a number is outside its field's range.
    pub fn seal(self) -> Result<Frame, Fault> {
        check(&self.bytes)?;
        Ok(Frame { bytes: self.bytes })
    }
}

impl Default for Draft {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { field, at } => {
                write!(f, "number {at} of the field {field} is outside its range")
            }
            Self::NotZero { offset_bytes } => {
                write!(f, "byte {offset_bytes} belongs to no field and is not zero")
            }
            Self::Length { found_bytes } => {
                write!(
                    f,
                    "{found_bytes} bytes are not a frame, which has {FRAME_BYTES}"
                )
            }
        }
    }
}

impl core::error::Error for Fault {}

fn check(bytes: &[u8; FRAME_BYTES]) -> Result<(), Fault> {
    for spec in LAYOUT {
        for at in 0..spec.count {
            if !(spec.min..=spec.max).contains(&read(bytes, spec, at)) {
                let field = spec.name;
                return Err(Fault::OutOfRange { field, at });
            }
        }
    }
    let end = fields_end_bytes();
    match bytes[end..].iter().position(|byte| *byte != 0) {
        Some(at) => Err(Fault::NotZero {
            offset_bytes: end + at,
        }),
        None => Ok(()),
    }
}

fn read(bytes: &[u8; FRAME_BYTES], spec: &Spec, at: usize) -> u64 {
    let begin = spec.offset_bytes + at * spec.width_bytes;
    let number = &bytes[begin..begin + spec.width_bytes];
    number
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn fields_end_bytes() -> usize {
    LAYOUT
        .iter()
        .map(|spec| spec.end_bytes())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;

    #[test]
    fn fields_stand_one_after_the_other_and_fit() {
        let mut end = 0;
        for spec in LAYOUT {
            assert_eq!(spec.offset_bytes, end, "{}", spec.name);
            assert!(spec.min <= spec.max && spec.count > 0, "{}", spec.name);
            let widest = u64::MAX >> (64 - 8 * spec.width_bytes);
            assert!(spec.max <= widest, "{}", spec.name);
            end = spec.end_bytes();
        }
        assert!(Frame::padding_bytes() < FRAME_BYTES && end < FRAME_BYTES);
    }

    #[test]
    fn what_is_put_in_is_read_out_and_nothing_else() {
        let mut draft = Draft::new();
        draft.put(&layout::COUNTERS, 3, 77);
        draft.put(&layout::LOG_ROOT, 2, u64::MAX);
        draft.put(&layout::COUNTERS, 1_000_000, 5); // no such place
        let frame = draft.seal().expect("in range");
        let opened = Frame::open(frame.bytes()).expect("the same");
        let mut told = opened.lines().filter(|line| line.value != 0);
        let mut next = || {
            told.next()
                .map(|line| (line.spec.name, line.at, line.value))
        };
        assert_eq!(next(), Some(("mark", 0, u64::from(MAGIC))));
        assert_eq!(next(), Some(("layout", 0, u64::from(VERSION))));
        assert_eq!(next(), Some(("log_root", 2, u64::MAX)));
        assert_eq!(next(), Some(("count", 3, 77)));
        assert_eq!(next(), None);
    }

    #[test]
    fn both_ends_refuse_what_is_out_of_range() {
        for at in [0, 2] {
            let mut draft = Draft::new();
            draft.put(&layout::RELEASE, at, 1000);
            let field = "release";
            assert_eq!(draft.seal(), Err(Fault::OutOfRange { field, at }));
        }
        let frame = Draft::new().seal().expect("in range");
        let mut bytes = *frame.bytes();
        bytes[0] ^= 1;
        let (field, at) = ("mark", 0);
        assert_eq!(Frame::open(&bytes), Err(Fault::OutOfRange { field, at }));
    }

    #[test]
    fn every_byte_outside_the_fields_must_be_zero_and_is_checked() {
        let frame = Draft::new().seal().expect("in range");
        for offset_bytes in fields_end_bytes()..FRAME_BYTES {
            let mut bytes = *frame.bytes();
            bytes[offset_bytes] = 1;
            assert_eq!(Frame::open(&bytes), Err(Fault::NotZero { offset_bytes }));
        }
        for found_bytes in [0, FRAME_BYTES - 1] {
            let short = Frame::open(&frame.bytes()[..found_bytes]);
            assert_eq!(short, Err(Fault::Length { found_bytes }));
        }
    }
}

//! A page: 4096 bytes that keep to a table of numbers. The [`crate::Frame`] that leaves is one, the [`crate::Reply`] is
//! the other. Drafted field by field, sealed once it has been checked, opened by the other end with the same check.

use crate::layout::{Field, Spec};
use crate::number::Number;
use core::fmt;
use core::marker::PhantomData;

/// The size of every page, whatever it says: lengths tell nothing.
pub const PAGE_BYTES: usize = 4096;

/// What a page is a page of: its table. Nobody can add another.
pub trait Form: sealed::Sealed + Sized + 'static {
    /// Every field, in the order of its place.
    fn layout() -> &'static [&'static Spec];

    /// Puts in what every page of this form begins with.
    fn head(draft: &mut Draft<Self>);

    /// What no range of a single number can say.
    ///
    /// # Errors
    /// When two numbers contradict each other.
    fn agree(page: &Page<Self>) -> Result<(), Fault>;
}

pub(crate) mod sealed {
    /// Closes [`super::Form`].
    pub trait Sealed {}
}

/// Bytes that keep to the layout of their form.
pub struct Page<F: Form> {
    bytes: [u8; PAGE_BYTES],
    form: PhantomData<F>,
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
    /// A number where another says that there is none, or the other way round.
    Contradiction {
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
    /// More or fewer bytes than a page has.
    Length {
        /// How many.
        found_bytes: usize,
    },
}

/// One number of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its field.
    pub spec: &'static Spec,
    /// Which of the field's numbers, counted from 0.
    pub at: usize,
    /// What it is.
    pub value: u64,
}

impl<F: Form> Page<F> {
    /// Takes bytes that somebody else says are such a page.
    ///
    /// # Errors
    /// When they do not keep to the layout.
    pub fn open(bytes: &[u8]) -> Result<Self, Fault> {
        let bytes = bytes.try_into().map_err(|_| Fault::Length {
            found_bytes: bytes.len(),
        })?;
        Self::checked(bytes)
    }

    /// The bytes that are sent.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; PAGE_BYTES] {
        &self.bytes
    }

    /// One number; 0 where the field has none.
    #[must_use]
    pub fn get<N: Number>(&self, field: &Field<N, F>, at: usize) -> u64 {
        let spec = field.spec();
        if at < spec.count {
            read(&self.bytes, spec, at)
        } else {
            0
        }
    }

    /// Every number in it, in the order of their places: a reader who has seen these has seen all.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        let numbers = |spec: &'static Spec| (0..spec.count).map(move |at| (spec, at));
        let all = F::layout().iter().copied().flat_map(numbers);
        all.map(|(spec, at)| Line {
            spec,
            at,
            value: read(&self.bytes, spec, at),
        })
    }

    /// How many bytes at the end belong to no field. They are zero.
    #[must_use]
    pub fn padding_bytes() -> usize {
        PAGE_BYTES - fields_end_bytes::<F>()
    }

    fn checked(bytes: [u8; PAGE_BYTES]) -> Result<Self, Fault> {
        let out = |spec: &Spec, at| !(spec.min..=spec.max).contains(&read(&bytes, spec, at));
        for spec in F::layout() {
            if let Some(at) = (0..spec.count).find(|at| out(spec, *at)) {
                let field = spec.name;
                return Err(Fault::OutOfRange { field, at });
            }
        }
        let end = fields_end_bytes::<F>();
        if let Some(at) = bytes[end..].iter().position(|byte| *byte != 0) {
            let offset_bytes = end + at;
            return Err(Fault::NotZero { offset_bytes });
        }
        let page = Self {
            bytes,
            form: PhantomData,
        };
        F::agree(&page).map(|()| page)
    }
}

impl<F: Form> Clone for Page<F> {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes,
            form: PhantomData,
        }
    }
}

impl<F: Form> PartialEq for Page<F> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<F: Form> Eq for Page<F> {}

impl<F: Form> fmt::Debug for Page<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.lines().filter(|line| line.value != 0);
        f.debug_list()
            .entries(told.map(|line| (line.spec.name, line.at, line.value)))
            .finish()
    }
}

/// A page in the making: everything zero, but what every page of its form has.
pub struct Draft<F: Form> {
    bytes: [u8; PAGE_BYTES],
    form: PhantomData<F>,
}

impl<F: Form> Draft<F> {
    /// An empty draft.
    #[must_use]
    pub fn new() -> Self {
        let mut draft = Self {
            bytes: [0; PAGE_BYTES],
            form: PhantomData,
        };
        F::head(&mut draft);
        draft
    }

    /// A draft that begins as this page.
    #[must_use]
    pub fn from(page: &Page<F>) -> Self {
        Self {
            bytes: page.bytes,
            form: PhantomData,
        }
    }

    /// Puts a number into its place. One that the field does not have is passed over, since no caller can mean it.
    pub fn put<N: Number>(&mut self, field: &Field<N, F>, at: usize, value: N) {
        let spec = field.spec();
        if at < spec.count {
            let begin = spec.offset_bytes + at * spec.width_bytes;
            let value = value.into().to_le_bytes();
            self.bytes[begin..begin + spec.width_bytes].copy_from_slice(&value[..spec.width_bytes]);
        }
    }

    /// Puts numbers into the places of a field, from the one given on.
    pub fn put_all<N: Number>(
        &mut self,
        field: &Field<N, F>,
        from: usize,
        values: impl IntoIterator<Item = N>,
    ) {
        for (at, value) in values.into_iter().enumerate() {
            self.put(field, from + at, value);
        }
    }

    /// Checks it against the layout.
    ///
    /// # Errors
    /// When a number is outside its field's range, or contradicts another.
    pub fn seal(self) -> Result<Page<F>, Fault> {
        Page::checked(self.bytes)
    }
}

impl<F: Form> Default for Draft<F> {
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
            Self::Contradiction { field, at } => {
                write!(f, "number {at} of the field {field} contradicts another")
            }
            Self::NotZero { offset_bytes } => {
                write!(f, "byte {offset_bytes} belongs to no field and is not zero")
            }
            Self::Length { found_bytes } => {
                write!(f, "{found_bytes} bytes are no page, which has {PAGE_BYTES}")
            }
        }
    }
}

impl core::error::Error for Fault {}

fn read(bytes: &[u8; PAGE_BYTES], spec: &Spec, at: usize) -> u64 {
    let begin = spec.offset_bytes + at * spec.width_bytes;
    let number = &bytes[begin..begin + spec.width_bytes];
    number
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn fields_end_bytes<F: Form>() -> usize {
    F::layout().last().map_or(0, |spec| spec.end_bytes())
}

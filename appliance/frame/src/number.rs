//! What a field may hold: an unsigned integer of 8, 16, 32 or 64 bits. Nobody can add another.

/// An unsigned integer, as a field holds it.
pub trait Number: sealed::Sealed + Copy + Into<u64> {
    /// How many bytes it takes.
    const WIDTH_BYTES: usize;
}

impl Number for u8 {
    const WIDTH_BYTES: usize = 1;
}
impl Number for u16 {
    const WIDTH_BYTES: usize = 2;
}
impl Number for u32 {
    const WIDTH_BYTES: usize = 4;
}
impl Number for u64 {
    const WIDTH_BYTES: usize = 8;
}

mod sealed {
    /// Closes [`super::Number`].
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

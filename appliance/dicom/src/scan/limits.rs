//! How much of a stranger's object is believed before it is refused.

/// Deepest nesting of sequences that is followed. Real objects stay below 10; other parsers fall over at 1,000 to 10,000.
pub const NESTING_MAX: usize = 64;
/// Most data elements in one object. A large enhanced multi-frame object has some 250,000.
pub const ELEMENTS_MAX: u32 = 1_000_000;
/// Most sequence items in one object.
pub const ITEMS_MAX: u32 = 500_000;
/// Most fragments of encapsulated pixel data: a whole-slide image has some 150,000.
pub const FRAGMENTS_MAX: usize = 500_000;
/// Most bytes that a deflated data set may inflate to.
pub const INFLATED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Longest value among those that a header keeps. The longest legal one (a person's name in three scripts) has under 1,000.
pub const FACT_BYTES_MAX: u64 = 4096;
/// Longest single value that goes into a parsed object; longer ones (documents, waveforms, pixels) are left in the file.
pub const OBJECT_VALUE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most bytes of values that a parsed object holds in memory.
pub const OBJECT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The limits of one scan. [`Default`] is what the appliance runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanLimits {
    /// See [`NESTING_MAX`].
    pub nesting_max: usize,
    /// See [`ELEMENTS_MAX`].
    pub elements_max: u32,
    /// See [`ITEMS_MAX`].
    pub items_max: u32,
    /// See [`FRAGMENTS_MAX`].
    pub fragments_max: usize,
    /// See [`INFLATED_BYTES_MAX`].
    pub inflated_bytes_max: u64,
    /// See [`FACT_BYTES_MAX`].
    pub fact_bytes_max: u64,
    /// See [`OBJECT_VALUE_BYTES_MAX`].
    pub object_value_bytes_max: u64,
    /// See [`OBJECT_BYTES_MAX`].
    pub object_bytes_max: u64,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self {
            nesting_max: NESTING_MAX,
            elements_max: ELEMENTS_MAX,
            items_max: ITEMS_MAX,
            fragments_max: FRAGMENTS_MAX,
            inflated_bytes_max: INFLATED_BYTES_MAX,
            fact_bytes_max: FACT_BYTES_MAX,
            object_value_bytes_max: OBJECT_VALUE_BYTES_MAX,
            object_bytes_max: OBJECT_BYTES_MAX,
        }
    }
}

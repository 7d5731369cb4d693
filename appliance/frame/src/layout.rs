//! The fields of the frame: their places, their ranges and what they mean.
//!
//! All numbers are little-endian and stand one after the other, without gaps. What comes after the last field is zero.

use crate::counter::Counter;
use crate::frame::FRAME_BYTES;
use crate::number::Number;
use crate::stage::{BUCKETS, Stage};
use core::marker::PhantomData;

/// The version of this layout. Any change of this file or of the lists it counts is another version.
pub const VERSION: u16 = 1;
/// The first four bytes of every frame, read as a number.
pub const MAGIC: u32 = u32::from_le_bytes(*b"PCRD");
/// How many models a frame speaks of. The first place is for all that are in no catalogue.
pub const MODELS: usize = 32;
/// The largest number that is ever told of anything counted.
pub const MAX_COUNT: u32 = 1_000_000_000;
/// A latency is told only when there were at least this many to tell it of.
pub const MIN_TIMED: u64 = 200;

/// What a field is, without its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Where it begins.
    pub offset_bytes: usize,
    /// How wide one number of it is.
    pub width_bytes: usize,
    /// How many numbers it has.
    pub count: usize,
    /// The smallest that each may be.
    pub min: u64,
    /// The largest that each may be.
    pub max: u64,
}

impl Spec {
    /// Where it ends.
    #[must_use]
    pub const fn end_bytes(&self) -> usize {
        self.offset_bytes + self.width_bytes * self.count
    }
}

/// A field of the frame: one or more numbers of one type.
#[derive(Debug)]
pub struct Field<N: Number> {
    spec: Spec,
    number: PhantomData<N>,
}

impl<N: Number> Field<N> {
    /// What it is.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    const fn at(offset_bytes: usize, name: &'static str, meaning: &'static str) -> Self {
        let spec = Spec {
            name,
            meaning,
            offset_bytes,
            width_bytes: N::WIDTH_BYTES,
            count: 1,
            min: 0,
            max: 0,
        };
        let number = PhantomData;
        Self { spec, number }
    }

    const fn after(before: &Spec, name: &'static str, meaning: &'static str) -> Self {
        Self::at(before.end_bytes(), name, meaning)
    }

    const fn times(mut self, count: usize) -> Self {
        self.spec.count = count;
        self
    }

    const fn up_to(mut self, max: u64) -> Self {
        self.spec.max = max;
        self
    }

    const fn always(mut self, value: u64) -> Self {
        (self.spec.min, self.spec.max) = (value, value);
        self
    }
}

/// Declares fields one after the other, and the table of them all.
macro_rules! layout {
    ($first:ident: $type:ty = $name:literal, $meaning:expr $(, $rule:ident($value:expr))*;
     $($rest:tt)*) => {
        #[doc = $meaning]
        pub static $first: Field<$type> =
            Field::<$type>::at(0, $name, $meaning)$(.$rule($value))*;
        layout!(@next $first [$first] $($rest)*);
    };
    (@next $before:ident [$($all:ident)*] $field:ident: $type:ty = $name:literal, $meaning:expr $(, $rule:ident($value:expr))*;
     $($rest:tt)*) => {
        #[doc = $meaning]
        pub static $field: Field<$type> =
            Field::<$type>::after($before.spec(), $name, $meaning)$(.$rule($value))*;
        layout!(@next $field [$($all)* $field] $($rest)*);
    };
    (@next $before:ident [$($all:ident)*]) => {
        /// Every field, in the order of its place.
        pub static LAYOUT: [&Spec; [$(stringify!($all)),*].len()] = [$($all.spec()),*];

        // A layout that does not fit does not compile.
        const _: () = assert!($before.spec().end_bytes() <= FRAME_BYTES);
    };
}

layout! {
    MARK: u32 = "mark", "The same in every frame: this is one.", always(MAGIC as u64);
    LAYOUT_VERSION: u16 = "layout", "The version of the layout.", always(VERSION as u64);
    RELEASE: u16 = "release", "The appliance's version: major, minor, patch.", times(3), up_to(999);
    APPLIANCE: u32 = "appliance", "The number that the hub gave this appliance; 0 before it gave one.", up_to(u32::MAX as u64);
    SEQUENCE: u32 = "sequence", "The number of this frame among this appliance's.", up_to(u32::MAX as u64);
    WEEK: u16 = "week", "The week that is told of, counted from Monday 5 January 1970; 0 while it lasts.", up_to(9_999);
    LOG_SIZE: u64 = "log_size", "How many lines the audit log has.", up_to(u64::MAX);
    LOG_ROOT: u64 = "log_root", "The hash of the audit log at that size, as four numbers.", times(4), up_to(u64::MAX);
    LATENCY_P50: u8 = "latency_p50", "The bucket below which half of the durations lie, counted from 1; 0 when there were too few.", times(Stage::ALL.len()), up_to(BUCKETS as u64);
    LATENCY_P95: u8 = "latency_p95", "The same for 95 of 100.", times(Stage::ALL.len()), up_to(BUCKETS as u64);
    LATENCY_P99: u8 = "latency_p99", "The same for 99 of 100.", times(Stage::ALL.len()), up_to(BUCKETS as u64);
    MODEL: u16 = "model", "The catalogue's number of the model and its version; 0 for those in no catalogue.", times(MODELS), up_to(u16::MAX as u64);
    MODEL_DONE: u32 = "model_done", "Inferences that gave a result.", times(MODELS), up_to(MAX_COUNT as u64);
    MODEL_FAILED: u32 = "model_failed", "Inferences that gave none.", times(MODELS), up_to(MAX_COUNT as u64);
    MODEL_P50: u8 = "model_p50", "The bucket below which half of its durations lie, counted from 1; 0 when there were too few.", times(MODELS), up_to(BUCKETS as u64);
    MODEL_P95: u8 = "model_p95", "The same for 95 of 100.", times(MODELS), up_to(BUCKETS as u64);
    COUNTERS: u32 = "count", "The closed counters.", times(Counter::ALL.len()), up_to(MAX_COUNT as u64);
}

//! The fields of the frame and of the reply: their places, their ranges and what they mean.
//!
//! All numbers are little-endian and stand one after the other, without gaps. What comes after the last field is zero.

use crate::counter::Counter;
use crate::frame::ToHub;
use crate::number::Number;
use crate::page::{Form, PAGE_BYTES};
use crate::reply::FromHub;
use crate::stage::{BUCKETS, Stage};
use core::marker::PhantomData;

/// The version of this layout. Any change of this file or of the lists it counts is another version.
pub const VERSION: u16 = 3;
/// The first four bytes of every frame, read as a number.
pub const MAGIC: u32 = u32::from_le_bytes(*b"PCRD");
/// The first four bytes of every reply.
pub const REPLY_MAGIC: u32 = u32::from_le_bytes(*b"PCRR");
/// How many models a frame speaks of. The first place is for all that are in no catalogue.
pub const MODELS: usize = 32;
/// The largest number that is ever told of anything counted.
pub const MAX_COUNT: u32 = 1_000_000_000;
/// A latency is told only when there were at least this many to tell it of.
pub const MIN_TIMED: u64 = 200;

/// Of how many models a frame tells what is derived from patients, at most.
pub const TOLD_MODELS: usize = 8;
/// Into how many bins a model's scores are put: tenths, the last with 1.
pub const BINS: usize = 10;
/// The states of review: none, agreed, disagreed.
pub const REVIEWS: usize = 3;
/// The cells of one model's histogram.
pub const CELLS: usize = REVIEWS * BINS;
/// What is added to a noised count, which can be below zero.
pub const OFFSET: u16 = 8192;
/// The largest that a cell can hold.
pub const MAX_CELL: u16 = 16_383;
/// The longest consistency proof, hashes: enough for a log of 2^47 lines.
pub const PROOF_HASHES: usize = 48;
/// How many advisories a reply has place for.
pub const ADVISORIES: usize = 16;

/// Of how many evaluations a frame tells, at most.
pub const TOLD_EVALUATIONS: usize = 2;
/// The labels of an evaluation's cases: without the finding, with it.
pub const LABELS: usize = 2;
/// The cells of one evaluation.
pub const EVALUATION_CELLS: usize = LABELS * BINS;
/// How many evaluation plans a reply has place for.
pub const PLANS: usize = 4;

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

/// A field of a page: one or more numbers of one type. A field of a reply cannot be put into a frame.
pub struct Field<N: Number, F: Form = ToHub> {
    spec: Spec,
    /// A function's type, so that a field is as free to share as its table.
    kind: PhantomData<fn(N) -> F>,
}

impl<N: Number, F: Form> Field<N, F> {
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
        let kind = PhantomData;
        Self { spec, kind }
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
    ($form:ident, $table:ident:
     $first:ident: $type:ty = $name:literal, $meaning:expr $(, $rule:ident($value:expr))*;
     $($rest:tt)*) => {
        #[doc = $meaning]
        pub static $first: Field<$type, $form> =
            Field::<$type, $form>::at(0, $name, $meaning)$(.$rule($value))*;
        layout!(@next $form $table $first [$first] $($rest)*);
    };
    (@next $form:ident $table:ident $before:ident [$($all:ident)*] $field:ident: $type:ty = $name:literal, $meaning:expr $(, $rule:ident($value:expr))*;
     $($rest:tt)*) => {
        #[doc = $meaning]
        pub static $field: Field<$type, $form> =
            Field::<$type, $form>::after($before.spec(), $name, $meaning)$(.$rule($value))*;
        layout!(@next $form $table $field [$($all)* $field] $($rest)*);
    };
    (@next $form:ident $table:ident $before:ident [$($all:ident)*]) => {
        /// Every field, in the order of its place.
        pub static $table: [&Spec; [$(stringify!($all)),*].len()] = [$($all.spec()),*];

        // A layout that does not fit does not compile.
        const _: () = assert!($before.spec().end_bytes() <= PAGE_BYTES);
    };
}

layout! { ToHub, LAYOUT:
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
    UPTIME_H: u16 = "uptime_h", "Hours of the week in which the appliance ran.", up_to(168);
    CPU_BUCKET: u8 = "cpu_bucket", "How busy its processors were, in tenths.", up_to(10);
    GPU_BUCKET: u8 = "gpu_bucket", "How busy its GPU was, in tenths and one more; 0 without a GPU.", up_to(11);
    BUDGET_LEFT: u32 = "budget_left", "The privacy budget left in this year, in thousandths of epsilon.", up_to(1_000_000);
    DRIFT: u8 = "drift", "Whether a model's scores drift, judged here on exact numbers: 0 unknown, 1 stable, 2 watch, 3 drift.", times(MODELS), up_to(3);
    HIST_MODEL: u16 = "hist_model", "The catalogue's number of a model whose scores are told, with noise; 0 where the place is unused.", times(TOLD_MODELS), up_to(u16::MAX as u64);
    HIST_WEEKS: u8 = "hist_weeks", "How many weeks are told of together.", times(TOLD_MODELS), up_to(4);
    HIST_EPSILON: u16 = "hist_epsilon", "The privacy budget spent on it, in thousandths of epsilon.", times(TOLD_MODELS), up_to(1_000);
    HIST: u16 = "hist", "Inferences by review (none, agreed, disagreed) and tenth of the score, with noise, and 8192 added.", times(TOLD_MODELS * CELLS), up_to(MAX_CELL as u64);
    LOG_FROM: u64 = "log_from", "The size of the audit log that the hub has witnessed before; 0 for none.", up_to(u64::MAX);
    PROOF_LEN: u8 = "proof_len", "How many hashes prove that the log still holds what it held then.", up_to(PROOF_HASHES as u64);
    PROOF: u64 = "proof", "The hashes of the proof (RFC 6962, section 2.1.2), each as four numbers.", times(4 * PROOF_HASHES), up_to(u64::MAX);
    EVALUATION_PLAN: u32 = "evaluation_plan", "The number of the evaluation plan whose outcome is told, with noise; 0 where the place is unused.", times(TOLD_EVALUATIONS), up_to(u32::MAX as u64);
    EVALUATION_EPSILON: u16 = "evaluation_epsilon", "The privacy budget spent on it, in thousandths of epsilon.", times(TOLD_EVALUATIONS), up_to(1_000);
    EVALUATION: u16 = "evaluation", "Local cases by their label (without the finding, with it) and the tenth of the model's score, with noise, and 8192 added.", times(TOLD_EVALUATIONS * EVALUATION_CELLS), up_to(MAX_CELL as u64);
    SIGNATURE: u8 = "signature", "The appliance's signature (Ed25519) over all bytes before it.", times(64), up_to(u8::MAX as u64);
}

/// The fields of the reply.
pub mod reply {
    use super::{ADVISORIES, Field, FromHub, PAGE_BYTES, PLANS, REPLY_MAGIC, Spec, VERSION};
    use crate::plan::Metric;

    layout! { FromHub, REPLY_LAYOUT:
        MARK: u32 = "mark", "The same in every reply: this is one.", always(REPLY_MAGIC as u64);
        LAYOUT_VERSION: u16 = "layout", "The version of the layout.", always(VERSION as u64);
        STATUS: u8 = "status", "What became of the frame: 0 accepted, 1 already known, 2 refused.", up_to(2);
        REASON: u8 = "reason", "Why it was refused; 0 for none.", up_to(6);
        LOG_SIZE: u64 = "log_size", "The size of the audit log that is witnessed now.", up_to(u64::MAX);
        LOG_ROOT: u64 = "log_root", "The hash of the audit log at that size, as four numbers.", times(4), up_to(u64::MAX);
        COSIGNED_AT: u64 = "cosigned_at", "When the hub witnessed it, seconds since 1970; 0 when it did not.", up_to(u64::MAX);
        COSIGNATURE: u8 = "cosignature", "The hub's signature over that checkpoint.", times(64), up_to(u8::MAX as u64);
        ADVISORY_COUNT: u8 = "advisory_count", "How many recalls and advisories follow.", up_to(ADVISORIES as u64);
        NUMBER: u32 = "advisory_number", "The number of the advisory.", times(ADVISORIES), up_to(u32::MAX as u64);
        KIND: u8 = "advisory_kind", "1 recall, 2 advisory.", times(ADVISORIES), up_to(2);
        MODEL: u16 = "advisory_model", "The catalogue's number of the model.", times(ADVISORIES), up_to(u16::MAX as u64);
        MODEL_DIGEST: u64 = "advisory_model_digest", "SHA-256 of the model's manifest, as four numbers.", times(4 * ADVISORIES), up_to(u64::MAX);
        ISSUED: u64 = "advisory_issued", "When it was issued, seconds since 1970.", times(ADVISORIES), up_to(u64::MAX);
        REASON_CODE: u16 = "advisory_reason", "Why, from the closed list.", times(ADVISORIES), up_to(8);
        SIGNATURE: u8 = "advisory_signature", "The hub's signature (Ed25519) over the advisory.", times(64 * ADVISORIES), up_to(u8::MAX as u64);
        PLAN_COUNT: u8 = "plan_count", "How many evaluation plans follow.", up_to(PLANS as u64);
        PLAN_NUMBER: u32 = "plan_number", "The number of the plan.", times(PLANS), up_to(u32::MAX as u64);
        PLAN_MODEL: u16 = "plan_model", "The catalogue's number of the model to be evaluated.", times(PLANS), up_to(u16::MAX as u64);
        PLAN_MODEL_DIGEST: u64 = "plan_model_digest", "SHA-256 of the model's manifest, as four numbers.", times(4 * PLANS), up_to(u64::MAX);
        PLAN_METRICS: u16 = "plan_metrics", "What is to be computed of it, from the closed list, one bit each.", times(PLANS), up_to(Metric::EVERY as u64);
        PLAN_THRESHOLD: u8 = "plan_threshold", "From which tenth of the score on a case counts as positive.", times(PLANS), up_to(9);
        PLAN_CASES: u32 = "plan_cases", "With how many cases the outcome is told at least.", times(PLANS), up_to(1_000_000);
        PLAN_ISSUED: u64 = "plan_issued", "When it was issued, seconds since 1970.", times(PLANS), up_to(u64::MAX);
        PLAN_UNTIL: u64 = "plan_until", "Until when it may be carried out, seconds since 1970.", times(PLANS), up_to(u64::MAX);
        PLAN_SIGNATURE: u8 = "plan_signature", "The hub's signature (Ed25519) over the plan.", times(64 * PLANS), up_to(u8::MAX as u64);
    }
}

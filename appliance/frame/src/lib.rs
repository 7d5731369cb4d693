//! The egress frame: fixed size, unsigned integers only.
//!
//! Everything that ever leaves a hospital is one of these: 4096 bytes, always, most of them zero. What a frame can say is
//! the table [`LAYOUT`], and nothing else: no text, no bytes of unknown meaning, no number outside its stated range. Both
//! ends check all of that, and that every byte outside the table is zero.
//!
//! - [`layout`]: the fields, their places and their ranges.
//! - [`number`]: what a field may hold.
//! - [`page`]: what the frame and the reply have in common: drafted, sealed, opened.
//! - [`reply`]: what the hub answers: of the same size, numbers too.
//! - [`plan`]: what the hub asks hospitals to measure, in numbers.
//! - [`budget`]: what telling of patients costs.
//! - [`counter`]: the closed list of what is counted.
//! - [`stage`]: the closed list of what is timed, and the buckets of time.
//!
//! There is no allocator here and no standard library, so that there is no place where a text could be kept. A text is not
//! even a type that a field can have:
//!
//! ```compile_fail,E0277
//! let field: pericard_frame::Field<&'static str>;
//! ```
//! ```compile_fail,E0277
//! let field: pericard_frame::Field<f64>;
//! ```
//! ```compile_fail,E0277
//! let field: pericard_frame::Field<[u8; 16]>;
//! ```
//! ```compile_fail,E0277
//! let field: pericard_frame::Field<&'static [u8]>;
//! ```
//! ```compile_fail,E0277
//! let field: pericard_frame::Field<*const u8>;
//! ```
//! Nor can another crate make one:
//! ```compile_fail,E0603
//! struct Name;
//! impl pericard_frame::number::sealed::Sealed for Name {}
//! ```
//! Nor does a number of the reply fit into a frame:
//! ```compile_fail,E0308
//! let mut draft = pericard_frame::Draft::<pericard_frame::ToHub>::new();
//! draft.put(&pericard_frame::layout::reply::STATUS, 0, 1_u8);
//! ```
//! While this is what a field is:
//! ```
//! let field: &pericard_frame::Field<u32> = &pericard_frame::layout::COUNTERS;
//! assert_eq!(field.spec().name, "count");
//! ```

#![no_std]
#![forbid(unsafe_code)]

pub mod budget;
mod codes;
pub mod counter;
mod frame;
pub mod layout;
pub mod number;
pub mod page;
pub mod plan;
pub mod reply;
pub mod stage;

pub use counter::Counter;
pub use frame::{FRAME_BYTES, FRAME_SIGNED_AS, Frame, ToHub, cell, evaluation_cell};
pub use layout::{Field, LAYOUT, Spec};
pub use page::{Draft, Fault, Line};
pub use plan::{PLAN_SIGNED_AS, Plan};
pub use reply::{ADVISORY_SIGNED_AS, Advisory, FromHub, Reply};
pub use stage::Stage;

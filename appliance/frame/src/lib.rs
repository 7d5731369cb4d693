//! The egress frame: fixed size, unsigned integers only.
//!
//! Everything that ever leaves a hospital is one of these: 4096 bytes, always, most of them zero. What a frame can say is
//! the table [`LAYOUT`], and nothing else: no text, no bytes of unknown meaning, no number outside its stated range. Both
//! ends check all of that, and that every byte outside the table is zero.
//!
//! - [`layout`]: the fields, their places and their ranges.
//! - [`number`]: what a field may hold.
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
//! Nor can another crate make one:
//! ```compile_fail,E0603
//! struct Name;
//! impl pericard_frame::number::sealed::Sealed for Name {}
//! ```
//! While this is what a field is:
//! ```
//! let field: &pericard_frame::Field<u32> = &pericard_frame::layout::COUNTERS;
//! assert_eq!(field.spec().name, "count");
//! ```

#![no_std]
#![forbid(unsafe_code)]

pub mod counter;
mod frame;
pub mod layout;
pub mod number;
pub mod stage;

pub use counter::Counter;
pub use frame::{Draft, FRAME_BYTES, Fault, Frame, Line};
pub use layout::{Field, LAYOUT, Spec};
pub use stage::Stage;

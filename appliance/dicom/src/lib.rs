//! Bytes to domain objects and back: scanner, pixels, geometry, structured reports; no sockets.

pub mod agreement;
pub mod anew;
mod charset;
mod codec;
pub mod deidentify;
pub mod geometry;
pub mod header;
pub mod identifier;
pub mod json;
pub mod meta;
pub mod object;
pub mod pixels;
pub mod report;
pub mod scan;
pub mod segments;
pub mod source;
mod write;

//! Bytes to domain objects and back: scanner, pixels, geometry, structured reports; no sockets.

mod charset;
pub mod header;
pub mod meta;
pub mod scan;

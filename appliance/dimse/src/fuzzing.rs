//! Where the fuzz targets come in. Not for anybody else: nothing here is kept as it is.

use crate::command::CommandSet;
use crate::negotiation;
use bytes::Bytes;

/// Reads an association PDU, header and all, as it is once its length was checked.
pub fn association_pdu(bytes: &[u8]) {
    let _ = negotiation::decoded(Bytes::copy_from_slice(bytes));
}

/// Reads a command set and everything in it.
pub fn command_set(bytes: &[u8]) {
    if let Ok(read) = CommandSet::parse(Bytes::copy_from_slice(bytes)) {
        let _ = (
            read.field(),
            read.message_id(),
            read.has_data_set(),
            read.encode(),
        );
        for element in 0..0x1100 {
            let _ = (read.number(element), read.text(element));
        }
    }
}

//! Where the fuzz targets come in. Not for anybody else: nothing here is kept as it is.

use crate::association::{Association, Context, Heard, Roles};
use crate::command::CommandSet;
use crate::negotiation;
use crate::wire::Wire;
use bytes::Bytes;
use pericard_dicom::identifier::Identifier;
use pericard_domain::uid::TransferSyntaxUid;
use pericard_intake::Pace;
use std::time::Duration;

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

/// Reads what a peer says on an association once it is established: PDUs, their presentation data values, commands, and
/// data sets as identifiers. The first byte says how much the network brings at once.
pub async fn association(bytes: &[u8]) {
    // Everything is there at once, so nothing ever waits.
    const WAIT: Duration = Duration::from_secs(60);
    let [piece, stream @ ..] = bytes else { return };
    let stream = InPieces(stream, usize::from(*piece) + 1);
    let wire = Wire::new(tokio::io::join(stream, tokio::io::sink()), WAIT);
    let contexts: Vec<_> = [(1, "1.2.840.10008.1.2"), (3, "1.2.840.10008.1.2.1")]
        .into_iter()
        .filter_map(|(id, syntax)| context(id, syntax))
        .collect();
    let mut association = Association::new(wire, contexts, 16_384, (WAIT, Pace::new(0, WAIT)));
    while let Ok(Heard::Command(id, command)) = association.next(WAIT, "silence").await {
        if !command.has_data_set() {
            continue;
        }
        let Ok(data_set) = association.small_data_set(id).await else {
            return;
        };
        if let (Some(bytes), Some(context)) = (data_set, association.context(id)) {
            let _ = Identifier::read(&bytes, &context.transfer_syntax);
        }
    }
}

fn context(id: u8, syntax: &str) -> Option<Context> {
    Some(Context {
        id,
        abstract_syntax: "1.2.840.10008.5.1.4.1.2.2.1".into(),
        transfer_syntax: TransferSyntaxUid::new(syntax).ok()?,
        requestor: Roles::USER,
    })
}

/// Bytes of which no more than so many come at once.
struct InPieces<'b>(&'b [u8], usize);

impl tokio::io::AsyncRead for InPieces<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let size = self.1.min(self.0.len()).min(into.remaining());
        let (now, later) = self.0.split_at(size);
        into.put_slice(now);
        self.0 = later;
        std::task::Poll::Ready(Ok(()))
    }
}

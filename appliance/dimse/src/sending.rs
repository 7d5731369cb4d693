//! C-STORE as its user: one object after the other over a call (PS3.4 annex B).

use crate::command::{CommandSet, field, tag};
use crate::part10::FileHead;
use crate::request::{Answer, Call};
use crate::wire::LinkError;
use std::io::{Cursor, SeekFrom};
use std::path::Path;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

/// Priority (0000,0700): medium. Peers are not known to heed it.
const PRIORITY_MEDIUM: u16 = 0;

/// Sends the data set of a file as it is, in the context of its own transfer syntax.
pub(crate) async fn send_file(
    call: &mut Call,
    context: u8,
    path: &Path,
    head: &FileHead,
) -> Result<Answer, LinkError> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(head.data_offset)).await?;
    send(call, context, head, (&mut file, head.data_bytes)).await
}

/// Sends a data set that is in memory: one that had to be written anew in the context's transfer syntax.
pub(crate) async fn send_bytes(
    call: &mut Call,
    context: u8,
    head: &FileHead,
    data_set: &[u8],
) -> Result<Answer, LinkError> {
    let length = data_set.len() as u64;
    send(call, context, head, (&mut Cursor::new(data_set), length)).await
}

async fn send(
    call: &mut Call,
    context: u8,
    head: &FileHead,
    (data, mut left): (&mut (impl AsyncRead + Unpin), u64),
) -> Result<Answer, LinkError> {
    let request = CommandSet::request(field::C_STORE, call.next_message_id(), true)
        .with_uid(tag::AFFECTED_SOP_CLASS, head.sop_class.as_str())
        .with_uid(tag::AFFECTED_SOP_INSTANCE, head.instance.as_str())
        .with_number(tag::PRIORITY, PRIORITY_MEDIUM);
    call.association.send(context, &request).await?;
    let most = call.association.fragment_bytes_max();
    loop {
        // At most `most`, so it fits.
        let size = left.min(most as u64) as usize;
        let pdu = call.association.begin_fragment();
        let header = pdu.len();
        pdu.resize(header + size, 0);
        // A file that became shorter meanwhile is an error here, and the association is aborted: nothing half is stored.
        data.read_exact(&mut pdu[header..]).await?;
        left -= size as u64;
        call.association.send_data(context, left == 0).await?;
        if left == 0 {
            return call.answer(&request).await;
        }
    }
}

//! C-STORE as its user: one object after the other, over whichever association (PS3.4 annex B).

use crate::association::{Association, Context};
use crate::classes::{EXPLICIT_LE, IMPLICIT_LE};
use crate::command::{CommandSet, field, tag};
use crate::part10::FileHead;
use crate::request::{Answer, Call, Proposal};
use crate::wire::LinkError;
use pericard_domain::study::ObjectIdentity;
use pericard_domain::uid::InstanceUid;
use std::fmt::Debug;
use std::io::{Cursor, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite};

/// Priority (0000,0700): medium. Peers are not known to heed it.
const PRIORITY_MEDIUM: u16 = 0;
/// The largest object that is written anew for a peer that wants the other uncompressed syntax: it is done in memory.
const REWRITTEN_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A data set on its way: without its file header, in the syntax that was asked for; or why there is none.
pub type Rewritten = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// Writes objects anew for peers that take them only in the other uncompressed syntax. Nothing of an object is parsed in this
/// room: somebody is asked who can be lost over it.
pub trait Rewriting: Debug + Send + Sync + 'static {
    /// The data set of this object, whose file is at `path`, in Explicit or else Implicit VR Little Endian.
    fn rewritten(&self, instance: &InstanceUid, path: PathBuf, explicit: bool) -> Rewritten;
}

/// Who writes objects anew; without anybody they go only as they are.
pub(crate) type Rewriter<'a> = Option<&'a dyn Rewriting>;

/// On whose behalf an object is sent (PS3.7 section 9.1.1.1): of a C-MOVE.
pub(crate) struct Origin {
    pub(crate) title: String,
    pub(crate) message_id: u16,
}

/// How an object goes over an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Byte for byte, in this context.
    AsItIs(u8),
    /// Written anew in this context's transfer syntax: explicit, or else implicit, little endian.
    Anew { context: u8, explicit: bool },
}

/// The bytes to send and how many they are.
pub(crate) type Body = (Box<dyn AsyncRead + Unpin + Send>, u64);

impl Way {
    pub(crate) const fn context(self) -> u8 {
        match self {
            Self::AsItIs(context) | Self::Anew { context, .. } => context,
        }
    }
}

/// What to propose for an object: its own transfer syntax, and the other uncompressed one when it can be written anew.
pub(crate) fn proposals(
    identity: &ObjectIdentity,
    size_bytes: u64,
    rewriter: Rewriter<'_>,
) -> Vec<Proposal> {
    let own = identity.transfer_syntax.as_str();
    let may = rewriter.is_some() && size_bytes <= REWRITTEN_BYTES_MAX;
    let all = std::iter::once(own).chain(other(own).filter(|_| may));
    all.map(|transfer_syntax| Proposal::new(identity.sop_class.as_str(), transfer_syntax))
        .collect()
}

/// How the object can go over one of these contexts, as it is if at all possible.
pub(crate) fn way<'a>(
    contexts: impl Iterator<Item = &'a Context> + Clone,
    head: &FileHead,
    rewriter: Rewriter<'_>,
) -> Option<Way> {
    let own = head.transfer_syntax.as_str();
    let fitting = |syntax: &str| {
        let is = |c: &&Context| {
            c.abstract_syntax == head.sop_class.as_str() && c.transfer_syntax.as_str() == syntax
        };
        contexts.clone().find(is).map(|c| c.id)
    };
    let anew = || {
        let may = rewriter.is_some() && head.data_bytes <= REWRITTEN_BYTES_MAX;
        let syntax = other(own).filter(|_| may)?;
        fitting(syntax).map(|context| Way::Anew {
            context,
            explicit: syntax == EXPLICIT_LE,
        })
    };
    fitting(own).map(Way::AsItIs).or_else(anew)
}

/// The other of the two uncompressed syntaxes between which nothing but the elements' headers changes.
fn other(syntax: &str) -> Option<&'static str> {
    match syntax {
        EXPLICIT_LE => Some(IMPLICIT_LE),
        IMPLICIT_LE => Some(EXPLICIT_LE),
        _ => None,
    }
}

/// What to send; `None` when the object cannot be written anew.
pub(crate) async fn body(
    way: Way,
    path: PathBuf,
    head: &FileHead,
    rewriter: Rewriter<'_>,
) -> Result<Option<Body>, LinkError> {
    match (way, rewriter) {
        (Way::AsItIs(_), _) => {
            let mut file = File::open(path).await?;
            file.seek(SeekFrom::Start(head.data_offset)).await?;
            Ok(Some((Box::new(file), head.data_bytes)))
        }
        (Way::Anew { .. }, None) => Ok(None),
        (Way::Anew { explicit, .. }, Some(rewriter)) => {
            let anew = rewriter.rewritten(&head.instance, path, explicit).await;
            let anew =
                anew.inspect_err(|why| tracing::warn!("an object cannot be written anew: {why}"));
            Ok(anew.ok().map(|bytes| {
                let length = bytes.len() as u64;
                let body: Box<dyn AsyncRead + Unpin + Send> = Box::new(Cursor::new(bytes));
                (body, length)
            }))
        }
    }
}

/// A C-STORE-RQ.
pub(crate) fn request(message_id: u16, head: &FileHead, origin: Option<&Origin>) -> CommandSet {
    let request = CommandSet::request(field::C_STORE, message_id, true)
        .with_uid(tag::AFFECTED_SOP_CLASS, head.sop_class.as_str())
        .with_uid(tag::AFFECTED_SOP_INSTANCE, head.instance.as_str())
        .with_number(tag::PRIORITY, PRIORITY_MEDIUM);
    match origin {
        None => request,
        Some(origin) => request
            .with_text(tag::MOVE_ORIGINATOR, &origin.title)
            .with_number(tag::MOVE_ORIGINATOR_MESSAGE_ID, origin.message_id),
    }
}

/// Sends the data set of a file as it is, in the context of its own transfer syntax, and waits for the answer.
pub(crate) async fn send_file(
    call: &mut Call,
    context: u8,
    path: &Path,
    head: &FileHead,
) -> Result<Answer, LinkError> {
    let request = request(call.next_message_id(), head, None);
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(head.data_offset)).await?;
    let body: Body = (Box::new(file), head.data_bytes);
    put(&mut call.association, context, &request, body).await?;
    call.answer(&request).await
}

/// Sends a request and its data set.
pub(crate) async fn put<S: AsyncRead + AsyncWrite + Unpin>(
    association: &mut Association<S>,
    context: u8,
    request: &CommandSet,
    (mut data, mut left): Body,
) -> Result<(), LinkError> {
    association.send(context, request).await?;
    let most = association.fragment_bytes_max();
    loop {
        // At most `most`, so it fits.
        let size = left.min(most as u64) as usize;
        let pdu = association.begin_fragment();
        let header = pdu.len();
        pdu.resize(header + size, 0);
        // A file that became shorter meanwhile is an error here, and the association is aborted: nothing half is stored.
        data.read_exact(&mut pdu[header..]).await?;
        left -= size as u64;
        association.send_data(context, left == 0).await?;
        if left == 0 {
            return Ok(());
        }
    }
}

//! DIMSE messages over an association, for either end of it (PS3.7 section 6.3, PS3.8 annex E).

use crate::command::{COMMAND_BYTES_MAX, CommandSet};
use crate::wire::{AbortReason, LinkError, PDU_HEADER_BYTES, Pdu, Wire};
use bytes::{Buf, Bytes};
use pericard_domain::uid::TransferSyntaxUid;
use pericard_intake::Pace;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// Item length, presentation context id and message control header of a presentation data value.
const PDV_HEADER_BYTES: usize = 6;
/// The longest P-DATA-TF that is sent, whatever the peer allows.
const SENT_BYTES_MAX: usize = 1024 * 1024;
/// The shortest maximum that a peer may ask for: a header, and something to carry.
pub(crate) const PEER_PDU_BYTES_MIN: u32 = 128;
/// The longest identifier or list that is read: some ten thousand references. Objects have no such limit, but go to disk.
const IDENTIFIER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Message control header: the fragment is of a command, not of a data set.
const IS_COMMAND: u8 = 1;
/// Message control header: the fragment is the last of its command or data set.
const IS_LAST: u8 = 2;

/// A presentation context that both ends accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) id: u8,
    pub(crate) abstract_syntax: String,
    pub(crate) transfer_syntax: TransferSyntaxUid,
    /// The role of whoever asked for the association.
    pub(crate) requestor: Roles,
}

/// Which ends of a service an application entity takes (PS3.7 section D.3.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Roles {
    pub(crate) scu: bool,
    pub(crate) scp: bool,
}

impl Roles {
    /// Of a requestor that says nothing.
    pub(crate) const USER: Self = Self {
        scu: true,
        scp: false,
    };
    /// Of a requestor that offers the service instead of using it.
    pub(crate) const PROVIDER: Self = Self {
        scu: false,
        scp: true,
    };
}

/// What the other end says between two messages.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A command, in the presentation context of that id.
    Command(u8, CommandSet),
    /// It asks to end the association.
    Release,
}

/// An established association.
pub(crate) struct Association<S> {
    wire: Wire<S>,
    contexts: Vec<Context>,
    /// What is left of the P-DATA-TF that was read last.
    unread: Bytes,
    /// The longest PDU body that the peer takes.
    sent_bytes_max: usize,
    message_timeout: Duration,
    /// How slowly a message of the peer may come.
    pace: Pace,
    /// The PDU being made; kept so that it is not allocated anew for every PDU.
    outgoing: Vec<u8>,
}

struct Pdv {
    context: u8,
    control: u8,
    data: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Association<S> {
    /// `peer_pdu_bytes_max` as the peer said it: 0 is without limit.
    pub(crate) fn new(
        wire: Wire<S>,
        contexts: Vec<Context>,
        peer_pdu_bytes_max: u32,
        (message_timeout, pace): (Duration, Pace),
    ) -> Self {
        let sent_bytes_max = match peer_pdu_bytes_max {
            0 => SENT_BYTES_MAX,
            max => SENT_BYTES_MAX.min(max.max(PEER_PDU_BYTES_MIN) as usize),
        };
        Self {
            wire,
            contexts,
            unread: Bytes::new(),
            sent_bytes_max,
            message_timeout,
            pace,
            outgoing: Vec::new(),
        }
    }

    /// The accepted context of that id.
    pub(crate) fn context(&self, id: u8) -> Option<&Context> {
        self.contexts.iter().find(|c| c.id == id)
    }

    pub(crate) fn contexts(&self) -> &[Context] {
        &self.contexts
    }

    /// The next command, which must begin within `wait`.
    ///
    /// Cancel-safe while nothing of it has come.
    pub(crate) async fn next(
        &mut self,
        wait: Duration,
        what: &'static str,
    ) -> Result<Heard, LinkError> {
        if self.unread.is_empty() {
            match self.wire.next(wait, what).await? {
                Pdu::Data(data) => self.unread = data,
                Pdu::ReleaseRequest => return Ok(Heard::Release),
                Pdu::Associate(_) | Pdu::ReleaseReply => return Err(unexpected()),
            }
        }
        self.pace.begin();
        let (context, command) = self.command().await?;
        Ok(Heard::Command(context, command))
    }

    async fn command(&mut self) -> Result<(u8, CommandSet), LinkError> {
        let first = self.fragment().await?;
        let (context, mut last) = (first.context, first.control & IS_LAST != 0);
        check_command(&first, context)?;
        if last {
            return self.parsed(context, first.data);
        }
        let mut bytes = first.data.to_vec();
        while !last {
            let next = self.fragment().await?;
            check_command(&next, context)?;
            if bytes.len() + next.data.len() > COMMAND_BYTES_MAX {
                return Err(invalid("a command set longer than any"));
            }
            bytes.extend_from_slice(&next.data);
            last = next.control & IS_LAST != 0;
        }
        self.parsed(context, bytes.into())
    }

    fn parsed(&self, context: u8, bytes: Bytes) -> Result<(u8, CommandSet), LinkError> {
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(invalid("a command set longer than any"));
        }
        CommandSet::parse(bytes)
            .map(|set| (context, set))
            .map_err(|_| invalid("a malformed command set"))
    }

    /// Whether something of a message has come already; never waits.
    pub(crate) fn has_come(&mut self) -> Result<bool, LinkError> {
        Ok(!self.unread.is_empty() || self.wire.has_come()?)
    }

    /// Reads a data set that is small: an identifier, not an object. `None` when it is not that small; it is then read
    /// to its end all the same.
    pub(crate) async fn small_data_set(
        &mut self,
        context: u8,
    ) -> Result<Option<Vec<u8>>, LinkError> {
        let (mut bytes, mut fits) = (Vec::new(), true);
        let read = self.data_set(context, |piece| {
            fits = fits && bytes.len() + piece.len() <= IDENTIFIER_BYTES_MAX;
            if fits {
                bytes.extend_from_slice(piece);
            }
        });
        read.await?;
        Ok(fits.then_some(bytes))
    }

    /// Sends a command and the small data set that belongs to it.
    pub(crate) async fn send_both(
        &mut self,
        context: u8,
        command: &CommandSet,
        data_set: &[u8],
    ) -> Result<(), LinkError> {
        self.send(context, command).await?;
        let size = self.fragment_bytes_max();
        let count = data_set.len().div_ceil(size).max(1);
        for at in 0..count {
            let piece = &data_set[at * size..data_set.len().min((at + 1) * size)];
            self.begin_fragment().extend_from_slice(piece);
            self.send_data(context, at + 1 == count).await?;
        }
        Ok(())
    }

    /// Reads the data set that follows a command, giving each piece of it to `sink` as it comes.
    pub(crate) async fn data_set(
        &mut self,
        context: u8,
        mut sink: impl FnMut(&Bytes),
    ) -> Result<(), LinkError> {
        let limit = self.message_timeout;
        let pieces = async {
            loop {
                let piece = self.fragment().await?;
                if piece.control & IS_COMMAND != 0 {
                    return Err(LinkError::violation(
                        "a command within a data set",
                        AbortReason::UnexpectedPdu,
                    ));
                }
                if piece.context != context {
                    return Err(invalid("a data set that changes its presentation context"));
                }
                if !piece.data.is_empty() {
                    sink(&piece.data);
                }
                if piece.control & IS_LAST != 0 {
                    return Ok(());
                }
            }
        };
        timeout_at(Instant::now() + limit, pieces)
            .await
            .map_err(|_| LinkError::too_slow("a message", limit))?
    }

    /// The next presentation data value; a message has begun, so it must come within the PDU's time.
    async fn fragment(&mut self) -> Result<Pdv, LinkError> {
        while self.unread.is_empty() {
            if self.pace.is_too_slow() {
                return Err(LinkError::too_slow(
                    "so little of a message",
                    self.pace.over(),
                ));
            }
            let (wait, begun) = (self.wire.pdu_timeout(), Instant::now());
            self.unread = match self.wire.next(wait, "the rest of a message").await? {
                Pdu::Data(data) => data,
                Pdu::ReleaseRequest => {
                    return Err(LinkError::violation(
                        "a release in the middle of a message",
                        AbortReason::UnexpectedPdu,
                    ));
                }
                Pdu::Associate(_) | Pdu::ReleaseReply => return Err(unexpected()),
            };
            self.pace.came(self.unread.len(), begun.elapsed());
        }
        if self.unread.len() < PDV_HEADER_BYTES {
            return Err(invalid("a presentation data value that is cut"));
        }
        let length = self.unread.get_u32() as usize;
        if length < 2 || length > self.unread.len() {
            return Err(invalid("a presentation data value longer than its PDU"));
        }
        let (context, control) = (self.unread.get_u8(), self.unread.get_u8());
        if self.context(context).is_none() {
            return Err(invalid("a presentation context that was not accepted"));
        }
        let data = self.unread.split_to(length - 2);
        Ok(Pdv {
            context,
            control,
            data,
        })
    }

    /// Sends a command.
    pub(crate) async fn send(
        &mut self,
        context: u8,
        command: &CommandSet,
    ) -> Result<(), LinkError> {
        let bytes = command.encode();
        let size = self.fragment_bytes_max();
        let count = bytes.len().div_ceil(size);
        for (at, piece) in bytes.chunks(size).enumerate() {
            let last = if at + 1 == count { IS_LAST } else { 0 };
            self.begin_fragment();
            self.outgoing.extend_from_slice(piece);
            self.send_fragment(context, IS_COMMAND | last).await?;
        }
        Ok(())
    }

    /// The most bytes that one fragment may carry to this peer.
    pub(crate) fn fragment_bytes_max(&self) -> usize {
        self.sent_bytes_max - PDV_HEADER_BYTES
    }

    /// Begins a fragment of a data set: the caller puts at most [`Self::fragment_bytes_max`] bytes behind what is there.
    pub(crate) fn begin_fragment(&mut self) -> &mut Vec<u8> {
        self.outgoing.clear();
        self.outgoing.resize(PDU_HEADER_BYTES + PDV_HEADER_BYTES, 0);
        &mut self.outgoing
    }

    /// Sends the fragment of a data set that was begun.
    pub(crate) async fn send_data(&mut self, context: u8, is_last: bool) -> Result<(), LinkError> {
        self.send_fragment(context, if is_last { IS_LAST } else { 0 })
            .await
    }

    async fn send_fragment(&mut self, context: u8, control: u8) -> Result<(), LinkError> {
        let pdu = &mut self.outgoing;
        // At most SENT_BYTES_MAX, far below 4 GiB.
        let body = (pdu.len() - PDU_HEADER_BYTES) as u32;
        pdu[0] = 0x04;
        pdu[2..6].copy_from_slice(&body.to_be_bytes());
        pdu[6..10].copy_from_slice(&(body - 4).to_be_bytes());
        pdu[10] = context;
        pdu[11] = control;
        self.wire.send(&self.outgoing).await
    }

    /// Grants a release, and closes.
    pub(crate) async fn released(mut self, farewell: Duration) {
        if self.wire.send_release_reply().await.is_ok() {
            self.wire.close(farewell).await;
        }
    }

    /// Asks for a release, waits for it, and closes. What the peer sends meanwhile is let go.
    pub(crate) async fn release(mut self) -> Result<(), LinkError> {
        self.ask_release().await?;
        while self.before_release().await?.is_some() {}
        self.close().await;
        Ok(())
    }

    /// Asks for a release. From then on nothing may be sent but an abort: the peer would have to abort itself (PS3.8 table
    /// 9-10, state 8).
    pub(crate) async fn ask_release(&mut self) -> Result<(), LinkError> {
        self.wire.send_release_request().await
    }

    /// The next presentation data values that the peer sends before it grants the release that was asked for, which it may
    /// until then (PS3.8 table 9-10, state 7); `None` once it has granted it.
    async fn before_release(&mut self) -> Result<Option<Bytes>, LinkError> {
        let wait = self.wire.pdu_timeout();
        loop {
            match self.wire.next(wait, "the answer to a release").await? {
                Pdu::ReleaseReply => return Ok(None),
                // Both asked at once: the requestor answers and waits on (PS3.8 section 9.2, state 9).
                Pdu::ReleaseRequest => self.wire.send_release_reply().await?,
                Pdu::Data(data) => return Ok(Some(data)),
                Pdu::Associate(_) => return Err(unexpected()),
            }
        }
    }

    /// The next command that the peer sends before it grants the release that was asked for; `None` once it has.
    pub(crate) async fn next_before_release(
        &mut self,
    ) -> Result<Option<(u8, CommandSet)>, LinkError> {
        if self.unread.is_empty() {
            match self.before_release().await? {
                Some(data) => self.unread = data,
                None => return Ok(None),
            }
        }
        self.pace.begin();
        self.command().await.map(Some)
    }

    /// Closes an association that is released.
    pub(crate) async fn close(self) {
        self.wire.close(Duration::ZERO).await;
    }

    /// Aborts, and closes.
    pub(crate) async fn abort(self, reason: AbortReason, farewell: Duration) {
        self.wire.abort(reason, farewell).await;
    }
}

fn check_command(fragment: &Pdv, context: u8) -> Result<(), LinkError> {
    if fragment.control & IS_COMMAND == 0 {
        return Err(LinkError::violation(
            "a data set without its command",
            AbortReason::UnexpectedPdu,
        ));
    }
    if fragment.context != context {
        return Err(invalid("a command that changes its presentation context"));
    }
    // Nothing, not even the last of it, could otherwise be sent for ever.
    if fragment.data.is_empty() && fragment.control & IS_LAST == 0 {
        return Err(invalid("an empty fragment of a command"));
    }
    Ok(())
}

const fn unexpected() -> LinkError {
    LinkError::violation(
        "a PDU that does not belong here",
        AbortReason::UnexpectedPdu,
    )
}

const fn invalid(what: &'static str) -> LinkError {
    LinkError::violation(what, AbortReason::InvalidParameter)
}

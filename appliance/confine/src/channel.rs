//! Framed messages over a socket pair.
//!
//! A frame is the length of its body (4 bytes, little endian), then the body. Descriptors ride on the first byte of a
//! frame, and only towards the child: the parent never has room for one, so the kernel closes whatever a child smuggles in.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The largest body of a frame. Pixels and tensors cross by shared memory.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The most descriptors on one frame.
const DESCRIPTORS_MAX: usize = 2;
const HEAD_BYTES: usize = 4;

/// One end of the conversation.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
}

/// What has come of a message that is taken without waiting: see [`Channel::receive_now`].
#[derive(Debug, Default)]
pub struct Partial(Vec<u8>);

/// Why a message did not get through. Nothing of the message is repeated.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side is gone.
    #[error("the other side is gone")]
    Closed,
    /// Nothing came in time.
    #[error("nothing came in time")]
    Late,
    /// The message has more bytes than may cross.
    #[error("a message has {bytes} bytes, more than the limit of {bytes_max}")]
    TooLong {
        /// How many.
        bytes: usize,
        /// How many it may have.
        bytes_max: usize,
    },
    /// What came is no message of this conversation.
    #[error("what came is not a message that was due")]
    Malformed,
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] io::Error),
}

impl Channel {
    /// A conversation over this socket.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self { socket }
    }

    /// Another handle of the same end, so that one thread can read while another writes.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn again(&self) -> io::Result<Self> {
        self.socket.try_clone().map(Self::new)
    }

    /// The socket itself, for whoever waits in a way of its own until [`Channel::receive_now`] has something to take. From
    /// now on no other call of this conversation waits either.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn unwaited(&self) -> io::Result<UnixStream> {
        let socket = self.socket.try_clone()?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// The parent's side: sends a message with the descriptors that belong to it.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn send_with(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let frame = frame(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(ChannelError::Malformed);
        }
        let sent = retried(|| {
            sendmsg(
                &self.socket,
                &[IoSlice::new(&frame)],
                &mut control,
                SendFlags::NOSIGNAL,
            )
        })?;
        self.write_all(&frame[sent..])
    }

    /// Sends a message. A child can send only this way: it may not call `sendmsg`.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn send(&self, message: &impl Serialize) -> Result<(), ChannelError> {
        self.write_all(&frame(message)?)
    }

    /// Waits until a message begins, at most so long; `false` when none did.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn wait(&self, longest: Duration) -> Result<bool, ChannelError> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let longest = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut socket, Some(&longest)) {
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(ChannelError::Io(errno.into())),
            Ok(ready) => Ok(ready > 0),
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn receive<T: DeserializeOwned>(&self) -> Result<T, ChannelError> {
        self.receive_until(None)
    }

    /// The next message, if it comes before `end`. After an error the conversation is over: half a frame may be read.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn receive_until<T: DeserializeOwned>(
        &self,
        end: Option<Instant>,
    ) -> Result<T, ChannelError> {
        let mut head = [0; HEAD_BYTES];
        self.read_exact(&mut head, end)?;
        self.body(head, end)
    }

    /// Takes what has come of the next message, without waiting; `None` while it is not whole. For whoever waits for the
    /// socket in a way of its own. After an error the conversation is over.
    ///
    /// # Errors
    /// See [`ChannelError`]; of more than `bytes_max` bytes it takes none.
    pub fn receive_now<T: DeserializeOwned>(
        &self,
        so_far: &mut Partial,
        bytes_max: usize,
    ) -> Result<Option<T>, ChannelError> {
        let Partial(frame) = so_far;
        loop {
            let due = match frame.first_chunk::<HEAD_BYTES>() {
                Some(head) => HEAD_BYTES + length_of(*head, bytes_max)?,
                None => HEAD_BYTES,
            };
            let got = frame.len();
            if got >= HEAD_BYTES && got == due {
                return decoded(&std::mem::take(frame)[HEAD_BYTES..]).map(Some);
            }
            frame.resize(due, 0);
            let came =
                retried(
                    || match recv(&self.socket, &mut frame[got..], RecvFlags::DONTWAIT) {
                        Ok((_, came)) => Ok(Some(came)),
                        Err(Errno::AGAIN) => Ok(None),
                        Err(errno) => Err(errno),
                    },
                )?;
            frame.truncate(got + came.unwrap_or(0));
            match came {
                None => return Ok(None),
                Some(0) => return Err(ChannelError::Closed),
                Some(_) => {}
            }
        }
    }

    /// The child's side: the next message and the descriptors that came with it.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn receive_with<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), ChannelError> {
        let mut head = [0; HEAD_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = retried(|| {
            recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut head)],
                &mut control,
                CLOSED_ON_EXEC,
            )
        })?;
        if got.bytes == 0 {
            return Err(ChannelError::Closed);
        }
        if got.flags.contains(ReturnFlags::CTRUNC) {
            return Err(ChannelError::Malformed);
        }
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        });
        let descriptors = rights.flatten().collect();
        self.read_exact(&mut head[got.bytes..], None)?;
        Ok((self.body(head, None)?, descriptors))
    }

    fn body<T: DeserializeOwned>(
        &self,
        head: [u8; HEAD_BYTES],
        end: Option<Instant>,
    ) -> Result<T, ChannelError> {
        let mut body = vec![0; length_of(head, MESSAGE_BYTES_MAX)?];
        self.read_exact(&mut body, end)?;
        decoded(&body)
    }

    fn read_exact(&self, mut into: &mut [u8], end: Option<Instant>) -> Result<(), ChannelError> {
        while !into.is_empty() {
            if let Some(end) = end {
                let left = end.saturating_duration_since(Instant::now());
                // A timeout of nothing would mean none.
                self.socket
                    .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
                if left.is_zero() {
                    return Err(ChannelError::Late);
                }
            }
            match retried(|| rustix::io::read(&self.socket, &mut *into)) {
                Ok(0) => return Err(ChannelError::Closed),
                Ok(read) => into = &mut into[read..],
                Err(ChannelError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(ChannelError::Late);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_all(&self, mut from: &[u8]) -> Result<(), ChannelError> {
        while !from.is_empty() {
            let written = retried(|| rustix::io::write(&self.socket, from))?;
            from = &from[written..];
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(target_os = "linux")]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
/// Elsewhere there is no such flag; a worker starts no program.
#[cfg(not(target_os = "linux"))]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::empty();

fn frame(message: &impl Serialize) -> Result<Vec<u8>, ChannelError> {
    let frame = postcard::to_extend(message, vec![0; HEAD_BYTES]);
    let mut frame = frame.map_err(|_| ChannelError::Malformed)?;
    let bytes = frame.len() - HEAD_BYTES;
    match u32::try_from(bytes) {
        Ok(length) if bytes <= MESSAGE_BYTES_MAX => {
            frame[..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
            Ok(frame)
        }
        _ => Err(ChannelError::TooLong {
            bytes,
            bytes_max: MESSAGE_BYTES_MAX,
        }),
    }
}

/// How long the body is that follows this head.
fn length_of(head: [u8; HEAD_BYTES], bytes_max: usize) -> Result<usize, ChannelError> {
    let bytes = u32::from_le_bytes(head) as usize;
    if bytes > bytes_max {
        return Err(ChannelError::TooLong { bytes, bytes_max });
    }
    Ok(bytes)
}

fn decoded<T: DeserializeOwned>(body: &[u8]) -> Result<T, ChannelError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(ChannelError::Malformed),
    }
}

/// A signal in between is no failure, and a peer that went away is an end.
fn retried<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Result<T, ChannelError> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(ChannelError::Closed),
            Err(errno) => return Err(ChannelError::Io(errno.into())),
            Ok(done) => return Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsRawFd;

    fn pair() -> (Channel, Channel) {
        let (a, b) = UnixStream::pair().unwrap();
        (Channel::new(a), Channel::new(b))
    }

    #[test]
    fn messages_and_descriptors_come_as_they_were_sent() {
        let (parent, child) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"pixels").unwrap();
        let long = "x".repeat(1 << 20);
        let sender = std::thread::spawn(move || {
            parent.send_with(&(7_u32, long), &[file.as_fd()]).unwrap();
            parent.send(&"plain").unwrap();
        });
        let ((number, text), descriptors): ((u32, String), _) = child.receive_with().unwrap();
        assert_eq!((number, text.len()), (7, 1 << 20));
        let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
        let mut read = String::new();
        let mut file = std::fs::File::from(descriptor);
        file.rewind().unwrap();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "pixels");
        let (plain, none): (String, _) = child.receive_with().unwrap();
        assert_eq!((plain.as_str(), none.len()), ("plain", 0));
        sender.join().unwrap();
        assert!(matches!(child.receive::<u8>(), Err(ChannelError::Closed)));
    }

    #[test]
    fn the_parent_takes_no_descriptor() {
        let (parent, child) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        // Other tests open files beside this one: it is this file's descriptors that count.
        let named = |fd: &str| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        let own = named(&file.as_raw_fd().to_string());
        let count = || {
            let all = std::fs::read_dir("/proc/self/fd").unwrap();
            let names = all.map(|entry| entry.unwrap().file_name());
            names
                .filter(|fd| named(fd.to_str().unwrap()) == own)
                .count()
        };
        assert!(own.is_some() && count() == 1);
        child
            .send_with(&1_u8, &[file.as_fd(), file.as_fd()])
            .unwrap();
        assert_eq!(parent.receive::<u8>().unwrap(), 1);
        assert_eq!(count(), 1, "what was smuggled is closed");
    }

    #[test]
    fn a_message_is_taken_as_it_comes_without_waiting() {
        let (parent, child) = pair();
        let _socket = parent.unwaited().unwrap();
        let mut so_far = Partial::default();
        let mut take = |bytes_max| parent.receive_now::<(u16, String)>(&mut so_far, bytes_max);
        assert!(take(64).unwrap().is_none());
        let whole = frame(&(7_u16, "seven")).unwrap();
        for byte in &whole[..whole.len() - 1] {
            child.write_all(&[*byte]).unwrap();
            assert!(take(64).unwrap().is_none());
        }
        // The next one is there already, and is left for the next call.
        child.write_all(&whole[whole.len() - 1..]).unwrap();
        child.send(&(8_u16, "eight")).unwrap();
        assert_eq!(take(64).unwrap(), Some((7, "seven".to_owned())));
        assert_eq!(take(64).unwrap(), Some((8, "eight".to_owned())));
        child.send(&(9_u16, "longer than it may be")).unwrap();
        assert!(matches!(
            take(8),
            Err(ChannelError::TooLong { bytes_max: 8, .. })
        ));
        let (parent, child) = pair();
        child.write_all(&[0; HEAD_BYTES]).unwrap();
        let mut so_far = Partial::default();
        let nothing = parent.receive_now::<u8>(&mut so_far, 8);
        assert!(matches!(nothing, Err(ChannelError::Malformed)));
        drop(child);
        let gone = parent.receive_now::<u8>(&mut Partial::default(), 8);
        assert!(matches!(gone, Err(ChannelError::Closed)));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let long = (MESSAGE_BYTES_MAX as u32 + 1).to_le_bytes();
        for (bytes, due) in [
            (&long[..], "more than the limit"),
            (&[1, 0, 0, 0, 9], "not a message"),
            (&[2, 0, 0, 0, 1, 1], "not a message"), // something follows the message
            (&[8, 0, 0, 0, 1], "gone"),
        ] {
            let (parent, child) = pair();
            child.write_all(bytes).unwrap();
            drop(child);
            let error = parent.receive::<bool>().unwrap_err().to_string();
            assert!(error.contains(due), "{error} / {due}");
        }
        let (parent, _child) = pair();
        let end = Some(Instant::now() + Duration::from_millis(20));
        assert!(matches!(
            parent.receive_until::<bool>(end),
            Err(ChannelError::Late)
        ));
        assert!(matches!(
            parent.send(&vec![0_u8; MESSAGE_BYTES_MAX + 1]),
            Err(ChannelError::TooLong { .. })
        ));
    }
}

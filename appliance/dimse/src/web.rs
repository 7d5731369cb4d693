//! DICOMweb as its user: WADO-RS for studies (PS3.18 section 10.4) and QIDO-RS for how much there is of one (section 10.6).
//! Requests are written out by hand, since this binary links no HTTP client.
//!
//! HTTP/1.1 over TLS with the web server's own certificate or one for its name, or in plain to this very machine. A study is
//! `multipart/related`; each part is a file, which goes through the door as any other. Nothing of it is held in memory but a
//! buffer.

use crate::door::{Door, OpenParcel};
use crate::fetching::{Brought, Budget, Candidate, caller};
use crate::inquiry::Inquiry;
use crate::request::{CallError, Line};
use bytes::{Buf, Bytes, BytesMut};
use pericard_domain::actor::Actor;
use pericard_domain::settling::SeriesCounts;
use pericard_domain::uid::StudyUid;
use pericard_intake::Arrival;
use serde_json::Value;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

/// The longest head of an answer, and of a part.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long the service may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest boundary. RFC 2046 section 5.1.1 allows 70, and Orthanc takes 73.
const BOUNDARY_BYTES_MAX: usize = 200;
/// The longest answer to a query.
const QUERY_BYTES_MAX: usize = 16 << 20;

/// Where a DICOMweb service is: `https://host:port/path`, or `http://` on this very machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress {
    is_secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl std::str::FromStr for WebAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (is_secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://"))
        {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("begins with https:// or http://"),
        };
        let is_plain =
            |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'#' | b'?' | b'@');
        if !rest.bytes().all(is_plain) {
            return Err(
                "has neither a name and password, nor a query, nor other than printable ASCII characters",
            );
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (
                host,
                port.parse().map_err(|_| "has a port that is no number")?,
            ),
            None => (authority, if is_secure { 443 } else { 80 }),
        };
        // What no certificate can be for, nobody could be known by.
        if ServerName::try_from(host).is_err() {
            return Err("has a host that is a name or an IPv4 address");
        }
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !is_secure && !is_here {
            return Err("is https:// unless it is on this very machine");
        }
        Ok(Self {
            is_secure,
            host: host.to_owned(),
            port,
            path: path.trim_end_matches('/').to_owned(),
        })
    }
}

/// Brings a study, or as much of it as the budget allows.
pub(crate) async fn retrieve<D: Door>(
    inquiry: &Inquiry<D>,
    candidate: &Candidate,
    left: Budget,
) -> Result<Brought, CallError> {
    const FILES: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
    let unreachable = |reason| CallError::Unreachable {
        name: inquiry.peer.name.clone(),
        reason,
    };
    let path = format!("studies/{}", candidate.study);
    let (mut body, address) = asked(inquiry, &path, FILES).await?;
    let mut taking = Taking {
        door: inquiry.door.visited(),
        from: Actor::Peer {
            ae_title: inquiry.peer.ae_title.clone(),
            address,
        },
        left,
        brought: Brought::default(),
    };
    match taking.answer(&mut body).await {
        Ok(()) => Ok(taking.brought),
        // What came until then is here.
        Err(Ended::Line(reason)) => Ok(taking.brought.broken(&unreachable(reason))),
        Err(Ended::Over) => Ok(taking.brought.over()),
        Err(Ended::Answer(why)) => Ok(Brought {
            lacking: Some(why),
            ..taking.brought
        }),
    }
}

/// How much it has of each series of a study; empty when it has none of it, or does not say.
pub(crate) async fn counts<D: Door>(
    inquiry: &Inquiry<D>,
    study: &StudyUid,
) -> Result<SeriesCounts, CallError> {
    // Number of Series Related Instances: a service may leave it out where nobody asks for it.
    let path = format!("studies/{study}/series?includefield=00201209");
    let (mut body, _) = asked(inquiry, &path, "application/dicom+json").await?;
    let found = async {
        let head = body.head().await?;
        if head.code == "204" {
            return Ok(SeriesCounts::new());
        }
        head.good()?;
        let mut text = Vec::new();
        while let Some(piece) = body.next().await? {
            if text.len() + piece.len() > QUERY_BYTES_MAX {
                return Err(answered("the DICOMweb service's answer is too long"));
            }
            text.extend_from_slice(&piece);
        }
        let all: Vec<Value> = serde_json::from_slice(&text)
            .map_err(|_| answered("the DICOMweb service's answer is no DICOM JSON"))?;
        Ok(counted(&all))
    };
    found.await.map_err(|ended| CallError::Unreachable {
        name: inquiry.peer.name.clone(),
        reason: match ended {
            Ended::Line(reason) => reason,
            Ended::Answer(why) => io::Error::other(why),
            Ended::Over => io::ErrorKind::Other.into(),
        },
    })
}

/// The counts in an answer. One series of which it does not say how much: then it knows nothing of the whole.
fn counted(series: &[Value]) -> SeriesCounts {
    let of = |series: &Value| {
        let uid = series["0020000E"]["Value"][0].as_str()?.to_owned();
        let count = &series["00201209"]["Value"][0];
        let text = count.as_str().and_then(|text| text.trim().parse().ok());
        Some((uid, text.or_else(|| count.as_u64()?.try_into().ok())?))
    };
    let all: Option<SeriesCounts> = series.iter().map(of).collect();
    all.unwrap_or_default()
}

/// Asks for a resource; gives what is answered, and from where.
async fn asked<D: Door>(
    inquiry: &Inquiry<D>,
    path: &str,
    accept: &str,
) -> Result<(Body, IpAddr), CallError> {
    let name = || inquiry.peer.name.clone();
    let Some(web) = &inquiry.peer.web else {
        return Err(CallError::NoAddress { name: name() });
    };
    let unreachable = |reason| CallError::Unreachable {
        name: name(),
        reason,
    };
    let (mut line, address) = connected(inquiry, web).await?;
    let path = format!("/{}/{path}", web.path).replace("//", "/");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}:{}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n",
        web.host, web.port
    );
    line.write_all(request.as_bytes())
        .await
        .map_err(unreachable)?;
    line.flush().await.map_err(unreachable)?;
    Ok((Body::new(line), address))
}

async fn connected<D: Door>(
    inquiry: &Inquiry<D>,
    web: &WebAddress,
) -> Result<(Line, IpAddr), CallError> {
    let peer = &inquiry.peer;
    let caller = caller(inquiry);
    let name = || peer.name.clone();
    let unreachable = |reason| CallError::Unreachable {
        name: name(),
        reason,
    };
    let stream = TcpStream::connect((web.host.as_str(), web.port));
    let stream = timeout(caller.limits.connect_timeout, stream).await;
    let stream = stream
        .map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?
        .map_err(unreachable)?;
    let address = stream.peer_addr().map_err(unreachable)?.ip();
    if !web.is_secure {
        return Ok((Box::new(stream), address));
    }
    let Some(tls) = &caller.tls else {
        return Err(CallError::NoWebTls { name: name() });
    };
    let bound = peer.web_bound();
    let shaking = async {
        if bound.is_empty() {
            tls.connect_by_name(stream, &web.host).await
        } else {
            tls.connect(stream, &web.host, bound).await
        }
    };
    match timeout(caller.limits.connect_timeout, shaking).await {
        Ok(Ok(stream)) => Ok((Box::new(stream), address)),
        Ok(Err(reason)) => Err(CallError::WebNotSecured {
            name: name(),
            reason,
        }),
        Err(_) => Err(CallError::WebNotSecured {
            name: name(),
            reason: io::ErrorKind::TimedOut.into(),
        }),
    }
}

/// Why it ended before its end.
enum Ended {
    Line(io::Error),
    Answer(String),
    Over,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Line(error)
    }
}

fn answered(why: &str) -> Ended {
    Ended::Answer(why.to_owned())
}

/// The bytes of an answer, without their transfer coding.
struct Body {
    line: Line,
    /// What was read and not yet decoded.
    raw: BytesMut,
    coding: Coding,
}

/// How the end of the body is told (RFC 9112 section 6).
enum Coding {
    /// So many bytes are left.
    Length(u64),
    /// So many bytes of the chunk are left; before the first, none.
    Chunks {
        left: u64,
        is_first: bool,
    },
    /// By the end of the connection.
    Close,
    Over,
}

impl Body {
    fn new(line: Line) -> Self {
        Self {
            line,
            raw: BytesMut::new(),
            coding: Coding::Close,
        }
    }

    /// Reads more; `false` at the end of the connection.
    async fn more(&mut self) -> io::Result<bool> {
        self.raw.reserve(READ_BYTES);
        let read = timeout(SILENCE_MAX, self.line.read_buf(&mut self.raw)).await;
        match read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
            Ok(count) => Ok(count > 0),
            // A service may close without TLS's goodbye; whether that was the end, the body's own form says.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A line of a head, without its end.
    async fn head_line(&mut self) -> Result<String, Ended> {
        loop {
            if let Some(at) = self.raw.iter().position(|b| *b == b'\n') {
                let line = self.raw.split_to(at + 1);
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                return Ok(line);
            }
            if self.raw.len() > HEAD_BYTES_MAX || !self.more().await? {
                return Err(answered("the DICOMweb service's answer is no HTTP"));
            }
        }
    }

    /// The next bytes of the body; `None` at its end.
    async fn next(&mut self) -> Result<Option<Bytes>, Ended> {
        loop {
            let left = match &self.coding {
                Coding::Over => return Ok(None),
                Coding::Length(0) => {
                    self.coding = Coding::Over;
                    continue;
                }
                Coding::Chunks { left: 0, is_first } => {
                    let is_first = *is_first;
                    self.chunk(is_first).await?;
                    continue;
                }
                Coding::Length(left) | Coding::Chunks { left, .. } => *left,
                Coding::Close => u64::MAX,
            };
            if self.raw.is_empty() && !self.more().await? {
                return match self.coding {
                    Coding::Close => Ok(None),
                    _ => Err(answered("the DICOMweb service's answer was cut off")),
                };
            }
            let count = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.raw.len());
            if let Coding::Length(left) | Coding::Chunks { left, .. } = &mut self.coding {
                *left -= count as u64;
            }
            return Ok(Some(self.raw.split_to(count).freeze()));
        }
    }

    /// The head of the next chunk.
    async fn chunk(&mut self, is_first: bool) -> Result<(), Ended> {
        if !is_first {
            self.head_line().await?;
        }
        let line = self.head_line().await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let left = u64::from_str_radix(size, 16);
        let left = left.map_err(|_| answered("the DICOMweb service's answer is malformed"))?;
        self.coding = match left {
            0 => Coding::Over,
            left => Coding::Chunks {
                left,
                is_first: false,
            },
        };
        Ok(())
    }

    async fn head(&mut self) -> Result<Head, Ended> {
        let status = self.head_line().await?;
        let code = status.split(' ').nth(1).unwrap_or_default();
        let code: String = code.chars().take(3).collect();
        if code != "200" {
            let boundary = None; // what follows is not read
            return Ok(Head { code, boundary });
        }
        let (mut boundary, mut head_bytes) = (None, 0);
        loop {
            let line = self.head_line().await?;
            head_bytes += line.len();
            if line.is_empty() || head_bytes > HEAD_BYTES_MAX {
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => self.coding = Coding::Length(value.parse().unwrap_or(0)),
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                    self.coding = Coding::Chunks {
                        left: 0,
                        is_first: true,
                    };
                }
                "content-type" => boundary = boundary_of(value),
                _ => {}
            }
        }
        Ok(Head { code, boundary })
    }
}

/// What stands before a body.
struct Head {
    code: String,
    /// Between the parts, where it has parts.
    boundary: Option<Vec<u8>>,
}

impl Head {
    fn good(&self) -> Result<(), Ended> {
        match self.code.as_str() {
            "200" => Ok(()),
            code => Err(Ended::Answer(format!(
                "the DICOMweb service answers {code}"
            ))),
        }
    }

    fn parts(self) -> Result<Vec<u8>, Ended> {
        self.good()?;
        let none = || answered("the DICOMweb service's answer has no parts");
        self.boundary.ok_or_else(none)
    }
}

fn boundary_of(content_type: &str) -> Option<Vec<u8>> {
    let parameters = content_type.split(';').skip(1);
    let mut named = parameters.filter_map(|p| p.trim().split_once('='));
    let (_, value) = named.find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let value = value.trim_matches('"');
    (1..=BOUNDARY_BYTES_MAX)
        .contains(&value.len())
        .then(|| format!("\r\n--{value}").into_bytes())
}

struct Taking<D> {
    door: D,
    from: Actor,
    left: Budget,
    brought: Brought,
}

impl<D: Door> Taking<D> {
    /// Takes every part in.
    async fn answer(&mut self, body: &mut Body) -> Result<(), Ended> {
        let boundary = body.head().await?.parts()?;
        // The first boundary may begin the body, without the line's end before it.
        let mut parts = Parts {
            buffer: BytesMut::from(&b"\r\n"[..]),
            boundary,
        };
        if !parts.skip(body).await? {
            return Err(answered("the DICOMweb service's answer has no parts"));
        }
        while parts.begin(body).await? {
            if self.brought.objects >= self.left.objects || self.brought.bytes >= self.left.bytes {
                return Err(Ended::Over);
            }
            let parcel = self.door.begin(Arrival::File, self.from.clone());
            let refused = |why| Ended::Answer(format!("an object was not taken: {why}"));
            let mut parcel = parcel.map_err(|error| refused(error.to_string()))?;
            let mut bytes = 0;
            while let Some(piece) = parts.piece(body).await? {
                bytes += piece.len() as u64;
                if self.brought.bytes + bytes > self.left.bytes {
                    return Err(Ended::Over);
                }
                parcel
                    .write(&piece)
                    .map_err(|error| refused(error.to_string()))?;
            }
            parcel
                .admit()
                .await
                .map_err(|error| refused(error.to_string()))?;
            self.brought.objects += 1;
            self.brought.bytes += bytes;
        }
        Ok(())
    }
}

/// The parts of a body, one after the other.
struct Parts {
    buffer: BytesMut,
    /// With the line's end and the dashes before it.
    boundary: Vec<u8>,
}

impl Parts {
    /// Passes over what stands before the first boundary; `false` when there is none.
    async fn skip(&mut self, body: &mut Body) -> Result<bool, Ended> {
        loop {
            if let Some(at) = find(&self.buffer, &self.boundary) {
                self.buffer.advance(at + self.boundary.len());
                return Ok(true);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Ok(false);
            }
            match body.next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(false),
            }
        }
    }

    /// Reads the head of a part, after its boundary; `false` after the last.
    async fn begin(&mut self, body: &mut Body) -> Result<bool, Ended> {
        loop {
            if self.buffer.starts_with(b"--") {
                return Ok(false);
            }
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                self.buffer.advance(at + 4);
                return Ok(true);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(answered("the DICOMweb service's answer is malformed"));
            }
            match body.next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Err(answered("the DICOMweb service's answer was cut off")),
            }
        }
    }

    /// The next bytes of a part; `None` at its end, past the boundary.
    async fn piece(&mut self, body: &mut Body) -> Result<Option<Bytes>, Ended> {
        loop {
            match find(&self.buffer, &self.boundary) {
                Some(0) => {
                    self.buffer.advance(self.boundary.len());
                    return Ok(None);
                }
                Some(at) => return Ok(Some(self.buffer.split_to(at).freeze())),
                // What may be the beginning of a boundary waits for the rest of it.
                None if self.buffer.len() > self.boundary.len() => {
                    let count = self.buffer.len() - self.boundary.len();
                    return Ok(Some(self.buffer.split_to(count).freeze()));
                }
                None => {}
            }
            match body.next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Err(answered("the DICOMweb service's answer was cut off")),
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[test]
    fn what_is_an_address() {
        let of = |text: &str| text.parse::<WebAddress>();
        let found = of("https://pacs.example:8443/dicom-web/").unwrap();
        assert_eq!(
            (
                found.is_secure,
                found.host.as_str(),
                found.port,
                found.path.as_str()
            ),
            (true, "pacs.example", 8443, "dicom-web")
        );
        assert_eq!(of("http://127.0.0.1:8042/dicom-web").unwrap().port, 8042);
        for bad in [
            "http://pacs.example/x",
            "ftp://x",
            "https://u@h/",
            "https:///x",
            "https://[::1]:8443/x",
            "https://a..b/x",
            "https://h/?a",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    async fn parts_of(answer: &[u8], cut: usize) -> Result<Vec<Vec<u8>>, String> {
        let (here, mut there) = duplex(1 << 20);
        for piece in answer.chunks(cut) {
            there.write_all(piece).await.unwrap();
        }
        drop(there);
        let mut body = Body::new(Box::new(here));
        let read = async {
            let boundary = body.head().await?.parts()?;
            let mut parts = Parts {
                buffer: BytesMut::from(&b"\r\n"[..]),
                boundary,
            };
            let mut all = Vec::new();
            if !parts.skip(&mut body).await? {
                return Err(answered("none"));
            }
            while parts.begin(&mut body).await? {
                let mut part = Vec::new();
                while let Some(piece) = parts.piece(&mut body).await? {
                    part.extend_from_slice(&piece);
                }
                all.push(part);
            }
            Ok(all)
        };
        read.await.map_err(|ended| match ended {
            Ended::Line(error) => error.to_string(),
            Ended::Answer(why) => why,
            Ended::Over => "over".into(),
        })
    }

    #[tokio::test]
    async fn parts_come_out_of_every_coding() {
        let parts =
            "--b\r\nContent-Type: application/dicom\r\n\r\none\r\n-\r\n--b\r\n\r\ntwo\r\n--b--\r\n";
        let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/related; boundary=\"b\"\r\n";
        let plain = format!("{head}Content-Length: {}\r\n\r\n{parts}", parts.len());
        let closed = format!("{head}\r\n{parts}");
        let (a, b) = parts.split_at(40);
        let chunked = format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:X};x\r\n{b}\r\n0\r\n\r\n",
            a.len(),
            b.len()
        );
        for answer in [plain, closed, chunked] {
            for cut in [1, 7, 4096] {
                let found = parts_of(answer.as_bytes(), cut).await.unwrap();
                assert_eq!(found, [b"one\r\n-".to_vec(), b"two".to_vec()], "{answer}");
            }
        }
    }

    #[test]
    fn counts_are_numbers_or_texts_of_every_series() {
        let series = |uid: &str, count: Value| serde_json::json!({"0020000E": {"vr": "UI", "Value": [uid]}, "00201209": {"vr": "IS", "Value": [count]}});
        let both = counted(&[series("1.2", 3.into()), series("1.3", " 4".into())]);
        assert_eq!(
            both,
            SeriesCounts::from([("1.2".into(), 3), ("1.3".into(), 4)])
        );
        let unsaid = counted(&[series("1.2", 3.into()), series("1.3", Value::Null)]);
        assert_eq!(unsaid, SeriesCounts::new());
    }

    #[tokio::test]
    async fn what_is_no_answer_is_said() {
        for (answer, expected) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n", "answers 404"),
            (
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
                "no parts",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Type: multipart/related; boundary=b\r\nContent-Length: 99\r\n\r\n--b\r\n\r\nhalf",
                "cut off",
            ),
            ("SSH-2.0\r\n", "answers"),
            ("x", "no HTTP"),
        ] {
            let found = parts_of(answer.as_bytes(), 4096).await.unwrap_err();
            assert!(found.contains(expected), "{answer} -> {found}");
        }
    }
}

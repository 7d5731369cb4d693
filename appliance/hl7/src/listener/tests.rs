//! The door when it is full, over real sockets. Every address of 127.0.0.0/8 is this machine, so that several peers can call.

use super::*;
use pericard_domain::time::{StandingClock, Timestamp};
use pericard_store::StoreConfig;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts to find the place that was given up: the other end notices in its own time.
const AGAIN: Duration = Duration::from_millis(20);
const CONNECTIONS_MAX: usize = 4;
const PER_ADDRESS: usize = 2;
/// Nobody heeds it, and it is answered nevertheless.
const MESSAGE: &[u8] =
    b"\x0bMSH|^~\\&|RIS|H|PERICARD||20261129101500||SIU^S12|M1|P|2.5.1\rSCH|1\r\x1c\r";
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    _peers: watch::Sender<Arc<[Peer]>>,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = StoreConfig {
            dir: dir.path().to_owned(),
            audit_origin: "pericard.test/audit".into(),
            group_commit_window_us: 0,
            free_space_floor_mib: 1,
        };
        let clock: Arc<dyn Clock> = Arc::new(StandingClock::new(Timestamp::from_millis(0)));
        let store = Store::open(config, Arc::clone(&clock)).expect("a store");
        let (peers, heard) = watch::channel([FIRST, SECOND, THIRD].map(peer).into());
        let config = Hl7Config {
            us: Us {
                application: "PERICARD".into(),
                facility: String::new(),
            },
            peers: heard,
            limits: Limits {
                connections_max: CONNECTIONS_MAX,
                ..Limits::default()
            },
        };
        let listener = TcpListener::bind((FIRST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let doors = Doors {
            plain: Some(listener),
            tls: None,
        };
        let stop = CancellationToken::new();
        let serving = listen(doors, config, (store, clock), stop.clone());
        Self {
            address,
            serving: tokio::spawn(serving),
            stop,
            _peers: peers,
            _dir: dir,
        }
    }

    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of ours");
        socket.connect(self.address).await.expect("connected")
    }

    /// Connects, and is answered: only then it surely has its place.
    async fn heard(&self, from: Ipv4Addr) -> TcpStream {
        let mut stream = self.connect(from).await;
        assert!(is_answered(&mut stream).await, "{from}");
        stream
    }

    /// Connects until a place that was given up is found.
    async fn heard_soon(&self, from: Ipv4Addr) {
        let found = async {
            while !is_answered(&mut self.connect(from).await).await {
                sleep(AGAIN).await;
            }
        };
        timeout(PATIENCE, found).await.expect("a place again");
    }

    async fn stop(self) {
        self.stop.cancel();
        let ended = timeout(PATIENCE, self.serving).await;
        ended.expect("in time").expect("no panic");
    }
}

fn peer(address: Ipv4Addr) -> Peer {
    Peer {
        name: address.to_string(),
        address: address.into(),
        port: None,
        application: String::new(),
        facility: String::new(),
        certificates: Vec::new(),
        charset: "ASCII".parse().expect("a character set"),
    }
}

/// Whether a message is answered, or the other end closes without a word.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let _ = stream.write_all(MESSAGE).await; // closed by now: then nothing is read either
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = timeout(PATIENCE, stream.read(&mut piece));
        match read.await.expect("an answer or the end, in time") {
            Ok(0) | Err(_) => return false,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
        }
        if answer.ends_with(b"\x1c\r") {
            let text = String::from_utf8_lossy(&answer).into_owned();
            assert!(text.contains("\rMSA|") && text.contains("|M1"), "{text}");
            return true;
        }
    }
}

/// Closed without a word, and without a reset: a peer that is refused is told so by an end that is clean.
async fn is_closed(mut stream: TcpStream) {
    let read = timeout(PATIENCE, stream.read(&mut [0; 64])).await;
    assert_eq!(read.expect("closed in time").expect("no reset"), 0);
}

#[tokio::test]
async fn one_address_leaves_the_others_places_and_finds_its_own_again() {
    let served = Served::start().await;
    let mut held = Vec::new();
    for _ in 0..PER_ADDRESS {
        held.push(served.heard(FIRST).await);
    }
    is_closed(served.connect(FIRST).await).await;
    let other = served.heard(SECOND).await;
    for stream in &mut held {
        assert!(is_answered(stream).await, "those that are open go on");
    }
    drop(held.pop());
    served.heard_soon(FIRST).await;
    drop(other);
    served.stop().await;
}

#[tokio::test]
async fn a_full_door_refuses_one_more_and_a_freed_place_serves_again() {
    let served = Served::start().await;
    let mut held = Vec::new();
    for from in [FIRST, FIRST, SECOND, SECOND] {
        held.push(served.heard(from).await);
    }
    assert_eq!(held.len(), CONNECTIONS_MAX);
    is_closed(served.connect(THIRD).await).await;
    for stream in &mut held {
        assert!(is_answered(stream).await, "those that are open go on");
    }
    drop(held.pop());
    served.heard_soon(THIRD).await;
    served.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_gone_without_a_word_is_asked_for() {
    let listener = TcpListener::bind((FIRST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (called, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (called, (stream, _)) = (called.expect("connected"), accepted.expect("accepted"));
    assert_eq!(sockopt::socket_keepalive(&called), Ok(false), "by itself");
    ask_after(&stream).expect("asked for");
    assert_eq!(sockopt::socket_keepalive(&stream), Ok(true));
    assert_eq!(sockopt::tcp_keepidle(&stream), Ok(KEEPALIVE_IDLE));
    assert_eq!(sockopt::tcp_keepintvl(&stream), Ok(KEEPALIVE_INTERVAL));
    assert_eq!(sockopt::tcp_keepcnt(&stream), Ok(KEEPALIVE_PROBES));
}

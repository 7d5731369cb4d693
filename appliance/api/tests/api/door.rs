//! The accept loop over real TLS: refusals of the slow and the greedy, disconnects, drain.

use crate::site::{Site, object};
use pericard_api::{serve, tls_config};
use pericard_intake::{Quota, Quotas};
use rustls::RootCertStore;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Far below any limit on silence.
const BETWEEN_DRIPS: Duration = Duration::from_millis(100);
/// How long one that must wait is watched while it does.
const WAITING: Duration = Duration::from_millis(500);
/// Between two attempts to find the place that was given up: the other end notices in its own time.
const AGAIN: Duration = Duration::from_millis(20);
/// A request after which the connection stays open.
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// A served appliance.
pub(crate) struct Served {
    pub(crate) site: Site,
    pub(crate) address: SocketAddr,
    /// The certificate, PEM.
    pub(crate) ca: String,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    certificate: rustls::pki_types::CertificateDer<'static>,
}

impl Served {
    pub(crate) async fn start(site: Site) -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let certificate = made.cert.der().clone();
        let tls = tls_config(vec![certificate.clone()], key.into()).expect("a usable key");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let serving = serve(
            listener,
            tls,
            site.appliance(),
            site.config.clone(),
            stop.clone(),
        );
        Self {
            address,
            ca: made.cert.pem(),
            serving: tokio::spawn(serving),
            stop,
            site,
            certificate,
        }
    }

    pub(crate) async fn connect(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        self.try_connect(alpn, &[&rustls::version::TLS13])
            .await
            .expect("a handshake")
    }

    async fn try_connect(
        &self,
        alpn: &[u8],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.serving).await;
        ended
            .expect("in time")
            .expect("no panic")
            .expect("no error");
    }
}

/// What comes until the other end closes, however it closes.
async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    let _ = read.expect("closed in time"); // A reset is a close, too.
    String::from_utf8_lossy(&all).into_owned()
}

async fn ask(served: &Served, request: impl AsRef<[u8]>) -> String {
    let mut stream = served.connect(b"http/1.1").await;
    stream.write_all(request.as_ref()).await.expect("open");
    rest(&mut stream).await
}

/// Sends that, and then a byte now and then until the other end closes; gives what it said.
async fn dripped(served: &Served, begins: &str) -> String {
    let (mut hears, mut says) = tokio::io::split(served.connect(b"http/1.1").await);
    let drips = async {
        let mut next = begins.as_bytes();
        while says.write_all(next).await.is_ok() && says.flush().await.is_ok() {
            next = b"x";
            tokio::time::sleep(BETWEEN_DRIPS).await; // the drip is what is tried
        }
        std::future::pending::<()>().await;
    };
    let mut all = Vec::new();
    let heard = tokio::time::timeout(PATIENCE, hears.read_to_end(&mut all));
    tokio::select! {
        heard = heard => drop(heard.expect("closed in time")), // a reset is a close, too
        () = drips => {}
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn only_tls_1_3_is_spoken() {
    let served = Served::start(Site::new()).await;
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(ask(&served, health).await.starts_with("HTTP/1.1 200"));
    let older = served
        .try_connect(b"http/1.1", &[&rustls::version::TLS12])
        .await;
    assert!(older.is_err(), "TLS 1.2");
    let mut plain = TcpStream::connect(served.address).await.expect("open");
    plain.write_all(health.as_bytes()).await.expect("open");
    let mut all = Vec::new();
    let _ = plain.read_to_end(&mut all).await;
    assert!(
        !String::from_utf8_lossy(&all).contains("HTTP/1.1 200"),
        "without TLS"
    );
    served.stop().await;
}

#[tokio::test]
async fn slow_clients_are_cut() {
    let mut site = Site::new();
    site.config.tls_handshake_timeout_s = 1;
    site.config.header_timeout_s = 1;
    site.config.body_idle_timeout_s = 1;
    let secret = site.token(&pericard_domain::actor::Role::ALL).await;
    let served = Served::start(site).await;

    let mut silent = TcpStream::connect(served.address).await.expect("open");
    let ended = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 9])).await;
    assert!(
        matches!(ended.expect("in time"), Ok(0) | Err(_)),
        "no handshake"
    );

    for alpn in [&b"http/1.1"[..], b"h2"] {
        let mut silent = served.connect(alpn).await;
        rest(&mut silent).await; // Closed without a word from us.
    }
    let half = ask(&served, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-").await;
    assert!(!half.contains("200 OK"), "{half}");

    let body = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let answer = ask(&served, &body).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let refusals = served
        .site
        .audited()
        .await
        .into_iter()
        .filter(|(verb, _)| verb == "refuse")
        .count();
    assert_eq!(
        refusals, 2,
        "the handshake and the body are in the audit log"
    );
    served.stop().await;
}

/// The first lines of a request whose body is longer than it will ever become.
fn long(path: &str, secret: &str, media_type: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Type: {media_type}\r\n\
         Content-Length: 100000\r\n\r\n"
    )
}

/// A request with an object, whole.
fn submission(number: u32, secret: &str) -> Vec<u8> {
    let object = object(1, 1, number, 10);
    let mut request = format!(
        "POST /api/v1/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\
         Content-Type: application/dicom\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        object.len()
    )
    .into_bytes();
    request.extend(object);
    request
}

#[tokio::test]
async fn who_drips_is_ended_and_others_go_on_meanwhile() {
    let mut site = Site::new();
    site.config.body_idle_timeout_s = 3;
    site.config.json_timeout_s = 1;
    site.limit(Quotas {
        per_token: Quota {
            arriving_max: 2,
            ..Quota::default()
        },
        per_peer: Quota::default(),
    });
    let [dripping, other] = [
        site.token(&pericard_domain::actor::Role::ALL).await,
        site.token(&pericard_domain::actor::Role::ALL).await,
    ];
    let incoming = site.config.spool_dir.join("data/objects/incoming");
    let served = Served::start(site).await;
    let related = "multipart/related; type=\"application/dicom\"; boundary=b";
    let part = "--b\r\nContent-Type: application/dicom\r\n\r\n";
    let drips = [
        long("/dicomweb/studies", &dripping, related) + part,
        long("/api/v1/studies", &dripping, "application/dicom") + "no archive",
        long("/v1/chat/completions", &dripping, "application/json") + "{",
    ];
    let meanwhile = async {
        let begun = async {
            while std::fs::read_dir(&incoming).expect("a folder").count() < 2 {
                tokio::time::sleep(BETWEEN_DRIPS).await; // nothing tells when a file is there
            }
        };
        let begun = tokio::time::timeout(PATIENCE, begun);
        begun.await.expect("both uploads hold a place");
        let crowded = ask(&served, submission(1, &dripping)).await;
        (crowded, ask(&served, submission(2, &other)).await)
    };
    let (stow, upload, json, (crowded, meanwhile)) = tokio::join!(
        dripped(&served, &drips[0]),
        dripped(&served, &drips[1]),
        dripped(&served, &drips[2]),
        meanwhile
    );
    assert!(crowded.starts_with("HTTP/1.1 429"), "{crowded}");
    assert!(meanwhile.starts_with("HTTP/1.1 200"), "{meanwhile}");
    for (ended, why) in [(stow, "8 KiB/s"), (upload, "8 KiB/s"), (json, "1 s")] {
        assert!(ended.starts_with("HTTP/1.1 408"), "{ended}");
        assert!(ended.contains("too_slow"), "{ended}");
        assert!(ended.contains(why), "{why}: {ended}");
    }
    let after = ask(&served, submission(3, &dripping)).await;
    assert!(after.starts_with("HTTP/1.1 200"), "{after}");
    served.stop().await;
}

#[tokio::test]
async fn greedy_clients_are_refused() {
    let mut site = Site::new();
    site.config.connections_per_address_max = 2;
    let secret = site.token(&pericard_domain::actor::Role::ALL).await;
    let served = Served::start(site).await;

    let flood = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Flood: {}\r\n\r\n",
        "a".repeat(200_000)
    );
    let mut stream = served.connect(b"http/1.1").await;
    let _ = stream.write_all(flood.as_bytes()).await; // It may be cut while it floods.
    let answer = rest(&mut stream).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let many = "X-A: b\r\n".repeat(2_000);
    let answer = ask(
        &served,
        &format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let large = format!(
        "POST /dicomweb/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Length: 99999999999\r\n\
         Content-Type: multipart/related; type=\"application/dicom\"; boundary=b\r\nConnection: close\r\n\r\n"
    );
    let answer = ask(&served, &large).await;
    assert!(
        answer.starts_with("HTTP/1.1 413"),
        "before its body: {answer}"
    );

    let (_one, _two) = (
        served.connect(b"http/1.1").await,
        served.connect(b"http/1.1").await,
    );
    let third = served
        .try_connect(b"http/1.1", &[&rustls::version::TLS13])
        .await;
    assert!(third.is_err(), "more than its share of connections");
    served.stop().await;
}

/// Asks over a connection that is open and stays so.
async fn is_served(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(HEALTH).await.expect("open");
    let mut begins = [0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut begins));
    read.await.expect("in time").expect("an answer");
    assert_eq!(&begins, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_full_door_lets_one_more_wait_and_serves_it_in_the_place_that_is_freed() {
    let mut site = Site::new();
    site.config.connections_max = 2;
    let served = Served::start(site).await;
    let mut one = served.connect(b"http/1.1").await;
    let mut two = served.connect(b"http/1.1").await;
    let mut third = Box::pin(served.connect(b"http/1.1"));
    let waits = tokio::time::timeout(WAITING, third.as_mut()).await;
    assert!(waits.is_err(), "it was let in beyond connections_max");
    is_served(&mut one).await;
    drop(one);
    let third = tokio::time::timeout(PATIENCE, third).await;
    is_served(&mut third.expect("the place that was freed")).await;
    is_served(&mut two).await;
    served.stop().await;
}

#[tokio::test]
async fn an_address_that_gives_a_place_back_finds_it_again() {
    let mut site = Site::new();
    site.config.connections_per_address_max = 2;
    let served = Served::start(site).await;
    let one = served.connect(b"http/1.1").await;
    let mut two = served.connect(b"http/1.1").await;
    let tls_1_3 = [&rustls::version::TLS13];
    let third = served.try_connect(b"http/1.1", &tls_1_3).await;
    assert!(third.is_err(), "more than its share of connections");
    is_served(&mut two).await;
    drop(one);
    let found = async {
        loop {
            match served.try_connect(b"http/1.1", &tls_1_3).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    is_served(&mut found.expect("a place again")).await;
    served.stop().await;
}

/// A chat that never ends, as its first bytes arrive.
async fn endless(served: &Served, secret: &str, stream: bool) -> TlsStream<TcpStream> {
    let body = format!(
        r#"{{"model":"parrot","stream":{stream},"messages":[{{"role":"user","content":"forever"}}]}}"#
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = served.connect(b"http/1.1").await;
    connection
        .write_all(request.as_bytes())
        .await
        .expect("open");
    if stream {
        let mut first = [0; 8];
        connection
            .read_exact(&mut first)
            .await
            .expect("an answer begins");
        assert_eq!(&first, b"HTTP/1.1");
    }
    let begun = async {
        while served.site.scripted.open.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun)
        .await
        .expect("it begins");
    connection
}

#[tokio::test]
async fn a_client_that_goes_away_stops_its_answer() {
    let site = Site::new();
    let secret = site.token(&pericard_domain::actor::Role::ALL).await;
    let served = Served::start(site).await;
    for stream in [true, false] {
        let connection = endless(&served, &secret, stream).await;
        drop(connection);
        let closed = async {
            while served.site.scripted.open.load(Ordering::SeqCst) > 0 {
                served.site.scripted.closed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, closed)
            .await
            .expect("dropped at once");
    }
    let dropped = served
        .site
        .meter
        .counted(pericard_egress::Counter::ChatsDropped);
    assert_eq!(dropped, 2);
    served.stop().await;
}

#[tokio::test]
async fn the_end_waits_for_open_requests_and_not_for_ever() {
    let mut site = Site::new();
    site.config.drain_timeout_s = 1;
    let secret = site.token(&pericard_domain::actor::Role::ALL).await;
    let served = Served::start(site).await;
    let _idle = served.connect(b"http/1.1").await;
    let mut open = endless(&served, &secret, true).await;
    let address = served.address;
    served.stop().await;
    rest(&mut open).await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

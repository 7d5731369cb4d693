//! DICOM over TLS, in both directions, with DCMTK and pynetdicom at the other end.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{
    Address, CallError, Caller, Listeners, Peer, RequestLimits, Tls, TlsIdentity, Unlisted, echo,
    listen, send_files,
};
use pericard_domain::ae::AeTitle;
use pericard_domain::digest::Digest;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{MemoryDoor, config, free_port, outcome, python, run, secondary_capture_file, until};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Issued {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Issued {
    fn digest(&self) -> Digest {
        Digest::new(Sha256::digest(&self.certificate).into())
    }
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Test Authority");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `NAME.key` and `NAME.crt` for a certificate that is good for `host`.
    fn issue(&self, dir: &Path, name: &str, host: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.into()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.crt")), certificate.pem()).unwrap();
        Issued {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    fn identity(&self, own: &Issued) -> TlsIdentity {
        TlsIdentity {
            chain: vec![own.certificate.clone()],
            key: own.key.clone_key(),
            authorities: vec![self.0.der().clone()],
        }
    }
}

fn loopback(name: &str, title: &str, port: Option<u16>, certificates: &[Digest]) -> Peer {
    let (title, address) = (
        AeTitle::new(title).unwrap(),
        Address::Host("localhost".into()),
    );
    Peer {
        certificates: certificates.to_vec(),
        ..Peer::new(name, title, address, port)
    }
}

/// A door with both listeners, a `scanner` bound to `CT1`, `other` bound to `CT2`, and `MR1`, which is bound to nothing.
struct Secured {
    dir: tempfile::TempDir,
    authority: Authority,
    door: MemoryDoor,
    tls: Tls,
    plain_port: u16,
    tls_port: u16,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Secured {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        std::fs::write(dir.path().join("ca.crt"), authority.0.pem()).unwrap();
        let server = authority.issue(dir.path(), "server", "localhost");
        let scanner = authority.issue(dir.path(), "scanner", "scanner.example");
        let other = authority.issue(dir.path(), "other", "other.example");
        Authority::new().issue(dir.path(), "stranger", "stranger.example");
        let tls = Tls::new(authority.identity(&server)).unwrap();
        let mut config = config();
        config.unlisted = Unlisted::FromLoopback;
        config.peers = vec![
            loopback("ct", "CT1", None, &[scanner.digest()]),
            loopback("ct 2", "CT2", None, &[other.digest()]),
            loopback("mr", "MR1", None, &[]),
        ]
        .into();
        let bind = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let (plain, secured) = (bind().await, bind().await);
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let (plain_port, tls_port) = (port(&plain), port(&secured));
        let (door, stop) = (MemoryDoor::default(), CancellationToken::new());
        let listeners = Listeners {
            plain,
            tls: Some((secured, tls.clone())),
        };
        let ended = tokio::spawn(listen(listeners, config, door.clone(), stop.clone()));
        Self {
            dir,
            authority,
            door,
            tls,
            plain_port,
            tls_port,
            stop,
            ended,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A DCMTK client over TLS that shows this certificate.
    fn dcmtk(&self, program: &str, certificate: &str, calling: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("+tls")
            .arg(self.file(&format!("{certificate}.key")))
            .arg(self.file(&format!("{certificate}.crt")))
            .arg("+cf")
            .arg(self.file("ca.crt"))
            .args(["-aet", calling, "-aec", "PERICARD", "127.0.0.1"])
            .arg(self.tls_port.to_string());
        command
    }

    fn plain_echo(&self, calling: &str) -> Command {
        let mut command = Command::new("echoscu");
        command
            .args(["-aet", calling, "-aec", "PERICARD", "127.0.0.1"])
            .arg(self.plain_port.to_string());
        command
    }

    /// pynetdicom as `CT1`, over that version of TLS.
    fn pynetdicom(&self, version: &str) -> Pynetdicom {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls_client.py");
        let mut command = python();
        command
            .arg(script)
            .args([&self.tls_port.to_string(), "CT1"])
            .args(["scanner.key", "scanner.crt", "ca.crt"].map(|name| self.file(name)))
            .arg(version)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        Pynetdicom {
            say: process.stdin.take().unwrap(),
            hear: BufReader::new(process.stdout.take().unwrap()).lines(),
            _process: process,
        }
    }
}

struct Pynetdicom {
    say: ChildStdin,
    hear: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Pynetdicom {
    /// Does as it is told, and gives its answer.
    async fn told(&mut self, line: &str) -> String {
        self.say
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        let answer =
            tokio::time::timeout(std::time::Duration::from_secs(60), self.hear.next_line());
        answer.await.expect("an answer in time").unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_title_belongs_to_its_certificate() {
    let at = Secured::start().await;
    run(at.dcmtk("echoscu", "scanner", "CT1")).await;
    run(at.dcmtk("echoscu", "other", "CT2")).await;
    run(at.plain_echo("MR1")).await;
    run(at.plain_echo("ANYBODY")).await;
    let mut store = at.dcmtk("storescu", "scanner", "CT1");
    store.arg(secondary_capture_file(at.dir.path(), "1.2.8.1", 300));
    run(store).await;
    assert_eq!(
        at.door.kept.lock().unwrap()[0].bytes,
        support::secondary_capture("1.2.8.1", 300)
    );

    let refused = [
        ("another's title", at.dcmtk("echoscu", "other", "CT1")),
        (
            "a title bound to none",
            at.dcmtk("echoscu", "scanner", "MR1"),
        ),
        (
            "a title nobody has",
            at.dcmtk("echoscu", "scanner", "ANYBODY"),
        ),
        (
            "a foreign authority",
            at.dcmtk("echoscu", "stranger", "CT2"),
        ),
        ("a bound title in plain", at.plain_echo("CT1")),
    ];
    let cases = refused.len();
    for (what, mut call) in refused {
        let (taken, said) = outcome(&mut call).await;
        assert!(!taken, "{what} was taken:\n{said}");
    }
    let mut line = TcpStream::connect(("127.0.0.1", at.tls_port))
        .await
        .unwrap();
    line.write_all(&support::AssociateRequest::default().bytes())
        .await
        .unwrap();
    drop(line);
    until("all are audited", || {
        at.door.refusals.lock().unwrap().len() == cases + 1
    })
    .await;
    run(at.dcmtk("echoscu", "scanner", "CT1")).await;
    at.stop.cancel();
    at.ended.await.unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_drops_no_association() {
    let at = Secured::start().await;
    let file = secondary_capture_file(at.dir.path(), "1.2.8.2", 300);
    for (version, name) in [("TLSv1_2", "TLSv1.2"), ("TLSv1_3", "TLSv1.3")] {
        let mut client = at.pynetdicom(version);
        let before = client.told("open").await;
        assert!(before.starts_with(name), "{before}");
        assert_eq!(client.told("echo").await, "0000");

        let renewed = at.authority.issue(at.dir.path(), "renewed", "localhost");
        at.tls.renew(at.authority.identity(&renewed)).unwrap();
        assert_eq!(
            client.told(&format!("store {}", file.display())).await,
            "0000"
        );
        assert_eq!(client.told("release").await, "released");
        let after = client.told("open").await;
        assert_eq!(
            after,
            format!("{name} {}", renewed.digest()),
            "not {before}"
        );
        client.told("release").await;
    }
    // What cannot be used is not taken up.
    let (one, another) = (KeyPair::generate().unwrap(), Authority::new());
    let mut wrong = at
        .authority
        .identity(&another.issue(at.dir.path(), "wrong", "localhost"));
    wrong.key = PrivateKeyDer::try_from(one.serialize_der()).unwrap();
    assert!(at.tls.renew(wrong).is_err());
    run(at.dcmtk("echoscu", "scanner", "CT1")).await;
    at.stop.cancel();
    at.ended.await.unwrap();
}

#[tokio::test]
async fn results_leave_over_tls_for_the_bound_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, dir) = (Authority::new(), dir.path());
    std::fs::write(dir.join("ca.crt"), authority.0.pem()).unwrap();
    let own = authority.issue(dir, "own", "localhost");
    // Its certificate is for a name that the configuration does not use: the binding is what counts.
    let pacs = authority.issue(dir, "pacs", "pacs.example");
    let other = authority.issue(dir, "other", "other.example");
    let (port, received) = (free_port(), dir.join("received"));
    std::fs::create_dir(&received).unwrap();
    let mut storescp = Command::new("storescp");
    storescp
        .arg("+tls")
        .arg(dir.join("pacs.key"))
        .arg(dir.join("pacs.crt"));
    storescp
        .arg("+cf")
        .arg(dir.join("ca.crt"))
        .arg("+B")
        .arg("-od")
        .arg(&received);
    let _storescp = storescp
        .arg(port.to_string())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("storescp listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;

    let caller = |tls: Option<Tls>| Caller {
        ae_title: AeTitle::new("PERICARD").unwrap(),
        limits: RequestLimits::default(),
        tls,
    };
    let peer = |certificates: &[Digest]| loopback("pacs", "PACS", Some(port), certificates);
    let tls = Tls::new(authority.identity(&own)).unwrap();
    let known = caller(Some(tls));
    let bound = peer(&[other.digest(), pacs.digest()]);
    echo(&known, &bound).await.unwrap();
    let file = secondary_capture_file(dir, "1.2.8.3", 300);
    let sent = send_files(&known, &bound, &[file], |_| {}).await.unwrap();
    assert_eq!(sent.len(), 1);
    let kept = std::fs::read_dir(&received)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let kept = std::fs::read(kept.path()).unwrap();
    assert!(kept.ends_with(&support::secondary_capture("1.2.8.3", 300)));

    let wrong = echo(&known, &peer(&[other.digest()])).await;
    assert!(
        matches!(wrong, Err(CallError::NotSecured { .. })),
        "{wrong:?}"
    );
    let without = echo(&caller(None), &bound).await;
    assert!(
        matches!(without, Err(CallError::NoTls { .. })),
        "{without:?}"
    );
    let plain = echo(&known, &peer(&[])).await;
    assert!(matches!(plain, Err(CallError::Broken { .. })), "{plain:?}");
    // A server that an authority of ours did not sign, with the very certificate that is bound.
    let foreign = Tls::new(Authority::new().identity(&own)).unwrap();
    let foreign = echo(&caller(Some(foreign)), &bound).await;
    assert!(
        matches!(foreign, Err(CallError::NotSecured { .. })),
        "{foreign:?}"
    );
}

//! DICOM over TLS, with DCMTK as the client.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{TlsDoor, listen_tls};
use pericard_domain::ae::AeTitle;
use pericard_domain::digest::Digest;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::{MemoryDoor, config, outcome, run, secondary_capture_file, until};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

struct Authority(CertifiedIssuer<'static, KeyPair>);

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

    /// Writes `NAME.key` and `NAME.crt`; gives the certificate and the key.
    fn issue(&self, dir: &Path, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.crt")), certificate.pem()).unwrap();
        (
            certificate.der().clone(),
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
    }
}

fn dcmtk(program: &str, dir: &Path, client: &str, calling: &str, port: u16) -> Command {
    let file = |name: &str| -> PathBuf { dir.join(name) };
    let mut command = Command::new(program);
    command
        .arg("+tls")
        .arg(file(&format!("{client}.key")))
        .arg(file(&format!("{client}.crt")));
    command
        .arg("+cf")
        .arg(file("ca.crt"))
        .args(["-aet", calling, "-aec", "PERICARD", "127.0.0.1"]);
    command.arg(port.to_string());
    command
}

#[tokio::test]
async fn a_title_belongs_to_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, dir) = (Authority::new(), dir.path());
    std::fs::write(dir.join("ca.crt"), authority.0.pem()).unwrap();
    let (server, server_key) = authority.issue(dir, "server");
    let (scanner, _) = authority.issue(dir, "scanner");
    authority.issue(dir, "other");
    Authority::new().issue(dir, "stranger");

    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![server], server_key)
        .unwrap();
    let own = Digest::new(Sha256::digest(&scanner).into());
    let tls = TlsDoor::new(Arc::new(tls).into()).bind(AeTitle::new("CT1").unwrap(), own);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (door, stop) = (MemoryDoor::default(), CancellationToken::new());
    let ended = tokio::spawn(listen_tls(
        listener,
        tls,
        config(),
        door.clone(),
        stop.clone(),
    ));

    run(dcmtk("echoscu", dir, "scanner", "CT1", port)).await;
    run(dcmtk("echoscu", dir, "other", "CT2", port)).await;
    let mut store = dcmtk("storescu", dir, "scanner", "CT1", port);
    store.arg(secondary_capture_file(dir, "1.2.8.1", 300));
    run(store).await;
    assert_eq!(
        door.kept.lock().unwrap()[0].bytes,
        support::secondary_capture("1.2.8.1", 300)
    );

    // Another's title; a certificate of nobody we know; no TLS at all.
    assert!(
        !outcome(&mut dcmtk("echoscu", dir, "other", "CT1", port))
            .await
            .0
    );
    assert!(
        !outcome(&mut dcmtk("echoscu", dir, "stranger", "CT2", port))
            .await
            .0
    );
    let mut line = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    line.write_all(&support::AssociateRequest::default().bytes())
        .await
        .unwrap();
    drop(line);
    until("all three are audited", || {
        door.refusals.lock().unwrap().len() == 3
    })
    .await;
    run(dcmtk("echoscu", dir, "scanner", "CT1", port)).await;
    stop.cancel();
    ended.await.unwrap();
}

//! Every service over TLS in both roles, with pynetdicom at the other end: who has certificates is heard and called over TLS
//! only, whatever it asks.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use pericard_dimse::{
    Archive, CommitmentConfig, InquiryConfig, Listeners, Peer, Rights, Tls, TlsIdentity, commit,
    inquire, listen,
};
use pericard_domain::digest::Digest;
use pericard_domain::job::Priority;
use pericard_domain::time::Clock;
use pericard_domain::uid::StudyUid;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::archive::{Held, caller, listens, peer};
use support::{config, free_port, python, run, secondary_capture_file};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Issued {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// An authority in `dir`, and certificates that it signs: `NAME.crt` and `NAME.key`.
fn issued(dir: &Path, names: [&str; 2]) -> (CertificateDer<'static>, [Issued; 2]) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Test Authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.crt"), root.pem()).unwrap();
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &root).unwrap();
        std::fs::write(dir.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        Issued {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    };
    (root.der().clone(), names.map(issue))
}

#[tokio::test]
async fn every_service_goes_over_tls_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let (root, [own, theirs]) = issued(dir.path(), ["own", "peer"]);
    let digest = Digest::new(Sha256::digest(&theirs.certificate).into());
    let tls = Tls::new(TlsIdentity {
        chain: vec![own.certificate],
        key: own.key,
        authorities: vec![root],
    })
    .unwrap();
    let (pacs_port, ct) = (free_port(), peer("ct", "CT1", None, Rights::ALL));
    let bound = |peer: Peer| Peer {
        certificates: vec![digest],
        ..peer
    };
    let pacs = bound(Peer {
        worklist_every: Some(Duration::from_millis(200)),
        counts: true,
        ..peer("pacs", "PACS", Some(pacs_port), Rights::ALL)
    });
    let held = Held::start(vec![]).await;
    let image = secondary_capture_file(dir.path(), "1.2.88.9", 8);
    held.admit(&std::fs::read(image).unwrap()).await;

    // A door of its own, with TLS, in front of the same store.
    let caller = pericard_dimse::Caller {
        tls: Some(tls.clone()),
        ..caller()
    };
    let archive = Archive {
        store: held.store.clone(),
        caller,
    };
    let mut config = config();
    config.peers = vec![bound(ct), pacs.clone()].into();
    config.archive = Some(archive.clone());
    let bind = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let (plain, secured) = (bind().await, bind().await);
    let port = secured.local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let listeners = Listeners {
        plain,
        tls: Some((secured, tls)),
    };
    tokio::spawn(listen(listeners, config, held.intake.clone(), stop.clone()));
    let clock: Arc<dyn Clock> = held.clock.clone();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls_services.py");
    let told = |what: &str, port: u16, last: &str| {
        let mut command = python();
        command.arg(&script).args([what, &port.to_string()]);
        command.args(["peer.key", "peer.crt", "ca.crt"].map(|name| dir.path().join(name)));
        command.arg(last);
        command
    };
    let mut provider = told("provider", pacs_port, &clock.now().dicom_date());
    let _provider = provider.kill_on_drop(true).spawn().unwrap();
    listens("pynetdicom", pacs_port).await;

    let said = run(told("user", port, "PACS")).await;
    let said: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let instance = serde_json::json!(["1.2.88.9"]);
    assert_eq!(
        said["found"],
        serde_json::json!(["1.2.826.0.1.3680043.10.1"])
    );
    assert_eq!(
        (&said["got"], &said["told"]),
        (&instance, &instance),
        "{said}"
    );
    assert_eq!(
        (&said["get"], &said["move"], &said["commit"]),
        (&0.into(), &0.into(), &0.into())
    );

    // And the other way round: its worklist, and how much it has.
    let peers = vec![pacs];
    let door = (held.intake.clone(), Arc::clone(&clock));
    let hurried = InquiryConfig {
        count_again_after: Duration::ZERO,
        look_every: Duration::from_millis(50),
        ..InquiryConfig::default()
    };
    tokio::spawn(inquire(
        hurried,
        archive.clone(),
        door,
        peers.clone().into(),
        stop.clone(),
    ));
    tokio::spawn(commit(
        CommitmentConfig::default(),
        archive,
        peers.into(),
        clock,
        stop.clone(),
    ));
    let study = StudyUid::new("1.2.826.0.1.3680043.10.1").unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let orders = held.store.expected(10, 0).await.unwrap();
        let standing = held.store.standing(&study).await.unwrap().unwrap();
        let is_expected = orders
            .iter()
            .any(|o| o.order.priority == Some(Priority::Stat));
        if is_expected && standing.counts.contains_key("pacs") {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{orders:?} {:?}",
            standing.counts
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

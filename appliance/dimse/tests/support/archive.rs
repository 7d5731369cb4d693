//! An appliance with a real store behind its door, and Orthanc.

use super::line::Line;
use super::rewriting::RewrittenHere;
use super::scanning::ScannedHere;
use super::{EXPLICIT_LE, SECONDARY_CAPTURE, config, free_port, secondary_capture_file, until};
use pericard_dimse::{
    Archive, Caller, DimseConfig, Listeners, Peer, RequestLimits, Rights, listen,
};
use pericard_domain::ae::AeTitle;
use pericard_domain::digest::Digest;
use pericard_domain::finding::Report;
use pericard_domain::job::{Priority, Work};
use pericard_domain::model::ModelRef;
use pericard_domain::rule::ResultTerms;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::time::{Clock, StandingClock, Timestamp};
use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, StudyUid, TransferSyntaxUid};
use pericard_egress::Meter;
use pericard_intake::{Arrival, Intake, IntakeConfig, Judges, Settled, Settling};
use pericard_store::audit_log::AuditQuery;
use pericard_store::queue::{Conclusion, LeaseTerms, PlannedInference, ResultFile};
use pericard_store::{Store, StoreConfig};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_util::sync::{CancellationToken, DropGuard};

struct Never;

impl Settling for Never {
    fn settled(&self, _: &ObjectIdentity, _: &InstanceFacts, now: Timestamp) -> Settled {
        Settled {
            at: now.after(Duration::from_secs(3600)),
            priority: Priority::Routine,
        }
    }
}

/// A DICOM door with a store behind it.
pub(crate) struct Held {
    pub(crate) store: Store,
    pub(crate) intake: Intake,
    pub(crate) clock: Arc<StandingClock>,
    pub(crate) address: SocketAddr,
    pub(crate) caller: Caller,
    _stop: DropGuard,
    _dir: TempDir,
}

pub(crate) fn peer(name: &str, title: &str, port: Option<u16>, rights: Rights) -> Peer {
    let address = "127.0.0.1".parse().unwrap();
    let peer = Peer::new(name, AeTitle::new(title).unwrap(), address, port);
    Peer { rights, ..peer }
}

pub(crate) fn caller() -> Caller {
    Caller {
        ae_title: AeTitle::new("PERICARD").unwrap(),
        tls: None,
        limits: RequestLimits {
            connect_timeout: Duration::from_secs(5),
            pdu_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(20),
            pdu_bytes_max: 65536,
        },
    }
}

impl Held {
    /// Workstation WS may do everything, modality CT1 only send; `peers` are further ones.
    pub(crate) async fn start(peers: Vec<Peer>) -> Self {
        Self::start_with(peers, |_| {}).await
    }

    pub(crate) async fn start_with(
        peers: Vec<Peer>,
        change: impl FnOnce(&mut DimseConfig),
    ) -> Self {
        Self::start_as(&Line::plain(), peers, change).await
    }

    /// Over that line; the further peers are bound to it by the caller.
    pub(crate) async fn start_over(line: &Line, peers: Vec<Peer>) -> Self {
        Self::start_as(line, peers, |_| {}).await
    }

    async fn start_as(
        line: &Line,
        peers: Vec<Peer>,
        change: impl FnOnce(&mut DimseConfig),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(StandingClock::new(Timestamp::from_millis(
            1_800_000_000_000,
        )));
        let clock_of: Arc<dyn Clock> = clock.clone();
        let store_config = StoreConfig {
            dir: dir.path().to_owned(),
            audit_origin: "pericard.test/audit".into(),
            group_commit_window_us: 0,
            free_space_floor_mib: 1,
        };
        let store = Store::open(store_config, clock_of.clone()).unwrap();
        let limits = IntakeConfig {
            object_max_mib: 64,
            parcels_max: 64,
        };
        let intake = Intake::new(
            store.clone(),
            Judges {
                scanning: Arc::new(ScannedHere),
                settling: Arc::new(Never),
            },
            limits,
            Meter::in_memory(),
            clock_of,
        );
        let bind = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let plain = bind().await;
        let secured = match line.ours() {
            Some(tls) => Some((bind().await, tls)),
            None => None,
        };
        let door = secured.as_ref().map_or(&plain, |(secured, _)| secured);
        let address = door.local_addr().unwrap();
        let caller = Caller {
            tls: line.ours(),
            ..caller()
        };
        let mut config = config();
        let mut named = vec![
            line.bound(peer("workstation", "WS", None, Rights::ALL)),
            line.bound(peer("ct", "CT1", None, Rights::STORE)),
        ];
        named.extend(peers);
        config.peers = named.into();
        config.rewriting = Some(Arc::new(RewrittenHere));
        config.archive = Some(Archive {
            store: store.clone(),
            caller: caller.clone(),
        });
        change(&mut config);
        let stop = CancellationToken::new();
        let listeners = Listeners {
            plain,
            tls: secured,
        };
        tokio::spawn(listen(listeners, config, intake.clone(), stop.clone()));
        Self {
            store,
            intake,
            clock,
            address,
            caller,
            _stop: stop.drop_guard(),
            _dir: dir,
        }
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// Takes a Part 10 file in.
    pub(crate) async fn admit(&self, file: &[u8]) {
        let by = pericard_domain::actor::Actor::CommandLine;
        let mut parcel = self.intake.begin(Arrival::File, by).unwrap();
        parcel.write(&file.to_vec().into()).unwrap();
        parcel.admit().await.unwrap();
    }

    /// Takes in what pydicom's `script` writes into the folder that it is given.
    pub(crate) async fn admit_made(&self, script: &str) -> Vec<PathBuf> {
        let dir = tempfile::tempdir().unwrap().keep();
        let mut command = super::python();
        command.arg("-c").arg(script).arg(&dir);
        super::run(command).await;
        let files = files_in(&dir);
        for file in &files {
            self.admit(&std::fs::read(file).unwrap()).await;
        }
        files
    }

    pub(crate) async fn audited(&self) -> String {
        let query = AuditQuery {
            from: 0,
            limit: 10_000,
            ..AuditQuery::default()
        };
        serde_json::to_string(&self.store.audit(query).await.unwrap()).unwrap()
    }

    pub(crate) async fn count(&self, study: &str) -> usize {
        let study = StudyUid::new(study).unwrap();
        self.store.instances(&study).await.unwrap().len()
    }
}

pub(crate) fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    all.sort();
    all
}

/// DCMTK's storescp as PACS.
pub(crate) async fn storescp(port: u16, dir: &Path, options: &[&str]) -> Child {
    let mut command = Command::new("storescp");
    command.env("TCP_NODELAY", "1").kill_on_drop(true);
    command
        .args(["-aet", "PACS", "-od"])
        .arg(dir)
        .args(options)
        .arg(port.to_string());
    let child = command.spawn().expect("DCMTK is installed");
    listens("storescp", port).await;
    child
}

pub(crate) async fn listens(what: &str, port: u16) {
    until(what, || is_open(port)).await;
}

fn is_open(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// How often an Orthanc is started whose ports were taken meanwhile.
const STARTS_MAX: usize = 3;

/// Orthanc, which knows the appliance as `pericard`.
pub(crate) struct Orthanc {
    pub(crate) dicom: u16,
    pub(crate) http: u16,
    _child: Child,
    _dir: TempDir,
}

impl Orthanc {
    pub(crate) async fn start(appliance: u16) -> Self {
        Self::start_on(free_port(), appliance).await
    }

    pub(crate) async fn start_on(dicom: u16, appliance: u16) -> Self {
        Self::start_over(&Line::plain(), dicom, appliance).await
    }

    pub(crate) async fn start_over(line: &Line, dicom: u16, appliance: u16) -> Self {
        for _ in 0..STARTS_MAX {
            if let Some(orthanc) = Self::started(line, dicom, appliance).await {
                return orthanc;
            }
        }
        panic!("Orthanc ends each time that it is started");
    }

    /// `None` when it ended instead: a port that was free was another's by the time that it listened.
    async fn started(line: &Line, dicom: u16, appliance: u16) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let http = free_port();
        let db = dir.path().join("db");
        let mut config = serde_json::json!({
            "Name": "pacs", "StorageDirectory": db, "IndexDirectory": db, "DicomAet": "ORTHANC", "DicomPort": dicom,
            "HttpPort": http, "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "Plugins": [],
            "DicomAlwaysAllowStore": true, "DicomAlwaysAllowFind": true, "DicomAlwaysAllowMove": true,
            "DicomAlwaysAllowGet": true, "DicomCheckCalledAet": false,
            "DicomModalities": {"pericard": {"AET": "PERICARD", "Host": "127.0.0.1", "Port": appliance,
                "AllowStorageCommitment": true}},
        });
        if let [key, certificate, authorities] = line.files().as_slice() {
            config["DicomTlsEnabled"] = true.into();
            config["DicomTlsRemoteCertificateRequired"] = true.into();
            config["DicomTlsPrivateKey"] = serde_json::json!(key);
            config["DicomTlsCertificate"] = serde_json::json!(certificate);
            config["DicomTlsTrustedCertificates"] = serde_json::json!(authorities);
            config["DicomModalities"]["pericard"]["UseDicomTls"] = true.into();
        }
        let file = dir.path().join("orthanc.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let program = ["/usr/sbin/Orthanc", "/usr/bin/Orthanc"]
            .into_iter()
            .find(|p| Path::new(p).exists());
        let mut command = Command::new(program.expect("Orthanc is installed"));
        command
            .arg(&file)
            .kill_on_drop(true)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = command.spawn().unwrap();
        let mut has_ended = false;
        until("Orthanc's two ports", || {
            has_ended = child.try_wait().unwrap().is_some();
            has_ended || (is_open(dicom) && is_open(http))
        })
        .await;
        (!has_ended).then_some(Self {
            dicom,
            http,
            _child: child,
            _dir: dir,
        })
    }

    /// Asks its REST interface; `body` is posted.
    pub(crate) async fn asked(
        &self,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> serde_json::Value {
        let mut command = Command::new("curl");
        command.args([
            "-s",
            "--noproxy",
            "*",
            "--max-time",
            "60",
            "--fail-with-body",
        ]);
        if let Some(body) = body {
            command.args(["-X", "POST", "-d"]).arg(body.to_string());
        }
        command.arg(format!("http://127.0.0.1:{}{path}", self.http));
        let said = super::run(command).await;
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{path}: {e}: {said}"))
    }
}

/// A result of the study, which is to go to `destination`, of so many objects.
pub(crate) async fn result_for(held: &Held, destination: &str, instances: &[&str]) {
    held.clock.advance(Duration::from_secs(4000));
    let terms = LeaseTerms {
        lease: Duration::from_secs(60),
        attempts_max: 3,
    };
    let model = ModelRef {
        name: "text".into(),
        version: "1.0.0".into(),
        digest: Digest::new([7; 32]),
    };
    let assembly = held
        .store
        .lease(terms)
        .await
        .unwrap()
        .expect("an assembly is due");
    let planned = PlannedInference {
        model: model.clone(),
        rule: "all".into(),
        priority: Priority::Routine,
        destinations: vec![destination.into()],
        messages: Vec::new(),
        terms: ResultTerms::ordered(),
    };
    held.store
        .complete_study(&assembly, vec![planned])
        .await
        .unwrap();
    let job = held
        .store
        .lease(terms)
        .await
        .unwrap()
        .expect("an inference is due");
    let Work::Infer {
        study, revision, ..
    } = job.job.work.clone()
    else {
        panic!("not an inference: {job:?}");
    };
    let dir = tempfile::tempdir().unwrap();
    let object = |instance: &&str| {
        let file = std::fs::read(secondary_capture_file(dir.path(), instance, 8)).unwrap();
        let mut incoming = held.store.incoming().unwrap();
        incoming.write(&file).unwrap();
        let identity = ObjectIdentity {
            study: study.clone(),
            series: SeriesUid::new("1.2.826.0.1.3680043.10.2").unwrap(),
            instance: InstanceUid::new(*instance).unwrap(),
            sop_class: SopClassUid::new(SECONDARY_CAPTURE).unwrap(),
            transfer_syntax: TransferSyntaxUid::new(EXPLICIT_LE).unwrap(),
        };
        ResultFile {
            sealed: incoming.seal().unwrap(),
            identity,
            facts: InstanceFacts::default(),
        }
    };
    let objects = instances.iter().map(object).collect();
    let report = Report {
        study,
        revision,
        model,
        clinical_use: false,
        evidence: Vec::new(),
        findings: Vec::new(),
        device: "cpu".into(),
        at: held.clock.now(),
    };
    let conclusion = Conclusion { report, objects };
    held.store.conclude(&job, conclusion).await.unwrap();
}

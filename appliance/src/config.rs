//! `pericard.toml`: as written ([`Written`]), and as meant ([`Config`]).
//!
//! Unknown keys are refused, units stand in names, and every default is what a hospital can start with on loopback.
//! Secrets are never in the file. The shipped sample, `packaging/etc/pericard.toml`, is the manual and a test.

pub(crate) mod lines;

use crate::places::{ONNXRUNTIME_INSTALLED, Places};
use pericard_dimse::{Address, Fetch, Peer, Rights, Unlisted};
use pericard_domain::ae::AeTitle;
use pericard_domain::device::{Device, KvForm};
use pericard_domain::digest::{Digest, DigestError};
use pericard_domain::rule::{Match, Rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/pericard/pericard.toml";

/// The file, as written.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// What this appliance is called, and where it keeps its data.
    pub appliance: ApplianceSection,
    /// The HTTPS door.
    pub https: HttpsSection,
    /// The DICOM door.
    pub dicom: DicomSection,
    /// DICOM peers: who may call, and who gets results.
    pub peers: Vec<PeerSection>,
    /// The HL7 door.
    pub hl7: Hl7Section,
    /// HL7 peers: whose orders are heard, and who is told of results.
    pub hl7_peers: Vec<Hl7PeerSection>,
    /// What is kept, and how.
    pub storage: StorageSection,
    /// What is kept for how long; without an entry everything is kept.
    pub retention: Vec<RetentionSection>,
    /// How much one caller may bring.
    pub quotas: QuotasSection,
    /// Models and what they run on.
    pub models: ModelsSection,
    /// Work.
    pub jobs: JobsSection,
    /// What may leave.
    pub egress: EgressSection,
    /// Which studies go to which models.
    pub rules: Vec<Rule>,
}

/// `[appliance]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApplianceSection {
    /// Its name in results, in the audit log and in the journal.
    pub name: String,
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// How long work in hand may go on after SIGTERM.
    pub shutdown_grace_s: u32,
}

/// `[https]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpsSection {
    /// Address and port.
    pub listen: SocketAddr,
    /// The hospital's certificate chain, PEM. Without one, a certificate is made at the first start.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Further names and addresses for the certificate that is made at the first start.
    pub names: Vec<String>,
    /// How many connections may be open at once.
    pub connections_max: usize,
    /// How large one upload may be.
    pub upload_max_mib: u32,
    /// How much of an upload must come while it is waited for; 0 stands for no limit.
    pub upload_kib_per_s_min: u32,
}

/// `[dicom]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DicomSection {
    /// Address and port.
    pub listen: SocketAddr,
    /// What peers call us.
    pub ae_title: String,
    /// Whether a peer that calls us by another title is turned away.
    pub called_ae_must_match: bool,
    /// What happens to a peer that is not under `[[peers]]`: `refused` or, from this machine only, `loopback`.
    pub unlisted_peers: UnlistedPeers,
    /// How many associations may be open at once.
    pub associations_max: usize,
    /// The longest PDU that peers are told they may send.
    pub pdu_max_kib: u32,
    /// The DICOM door over TLS, and calls to peers over TLS.
    pub tls: DicomTlsSection,
}

/// `[dicom.tls]`: open once it is given all three files.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DicomTlsSection {
    /// Address and port.
    pub listen: SocketAddr,
    /// Our certificate chain, PEM: what we show to peers that call and to peers that we call.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// The authorities that sign the peers' certificates, PEM.
    pub authorities: Option<PathBuf>,
}

/// What happens to a DICOM peer that is not in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnlistedPeers {
    /// Its association is rejected.
    Refused,
    /// It is heard from this very machine, and rejected from anywhere else.
    Loopback,
}

/// One `[[peers]]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PeerSection {
    /// What rules call it.
    pub name: String,
    /// Its application entity title.
    pub ae_title: String,
    /// Its address, its network (as in `10.1.0.0/16`), or its host name.
    pub address: String,
    /// The port where it takes results, when it does.
    #[serde(default)]
    pub port: Option<u16>,
    /// What it may do here: `store`, `query`, `retrieve`. Everybody may ask whether we are there.
    #[serde(default = "PeerMay::unsaid")]
    pub may: Vec<PeerMay>,
    /// Whether it is asked to promise that it keeps the results it was sent (storage commitment).
    #[serde(default)]
    pub commit: bool,
    /// SHA-256 of the certificates that are its own, as `openssl x509 -noout -fingerprint -sha256` gives them. With any, it
    /// calls and is called over TLS only.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// How often its modality worklist is read; 0 stands for never.
    #[serde(default)]
    pub worklist_interval_s: u32,
    /// Whether it is asked how much it has of a study that arrives: an archive that gets the same studies.
    #[serde(default)]
    pub counts: bool,
    /// How earlier studies are fetched from it: `get`, `move`, `web`, in the order in which they are tried.
    #[serde(default = "FetchWay::unsaid")]
    pub fetch: Vec<FetchWay>,
    /// Where its DICOMweb service is, for `web` and for `counts`.
    #[serde(default)]
    pub web: Option<String>,
    /// SHA-256 of the certificates that its web server may show. Without any it shows one of `certificates`; without those
    /// either, one that `[dicom.tls]` `authorities` signed for the host's name.
    #[serde(default)]
    pub web_certificates: Vec<String>,
}

/// A way to fetch a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FetchWay {
    /// C-GET.
    Get,
    /// C-MOVE to ourselves.
    Move,
    /// WADO-RS.
    Web,
}

impl FetchWay {
    fn unsaid() -> Vec<Self> {
        vec![Self::Get, Self::Move]
    }
}

/// What a DICOM peer may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerMay {
    /// Send objects, and ask for their commitment.
    Store,
    /// Search what is held.
    Query,
    /// Have what is held sent to itself, or to another peer of this list.
    Retrieve,
}

impl PeerMay {
    fn unsaid() -> Vec<Self> {
        vec![Self::Store]
    }
}

/// `[hl7]`: HL7 v2 over MLLP. Open once it is given an address.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hl7Section {
    /// Address and port of the plain door.
    pub listen: Option<SocketAddr>,
    /// Address and port of the door over TLS, which shows the certificate of `[dicom.tls]`.
    pub listen_tls: Option<SocketAddr>,
    /// What we call ourselves in messages (MSH-3 and MSH-5).
    pub application: String,
    /// The facility that we are in (MSH-4 and MSH-6).
    pub facility: String,
    /// How many connections may be open at once; one address may hold half of them.
    pub connections_max: usize,
    /// How long a message may be.
    pub message_max_kib: u32,
}

impl Default for Hl7Section {
    fn default() -> Self {
        Self {
            listen: None,
            listen_tls: None,
            application: "PERICARD".into(),
            facility: String::new(),
            connections_max: 16,
            message_max_kib: 1024,
        }
    }
}

/// One `[[hl7_peers]]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hl7PeerSection {
    /// What rules call it.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The port where it takes results, when it does.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its application (MSH-3 of what it sends, MSH-5 of what it gets).
    #[serde(default)]
    pub application: String,
    /// Its facility (MSH-4, MSH-6).
    #[serde(default)]
    pub facility: String,
    /// SHA-256 of the certificates that are its own. With any, it calls and is called over TLS only.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// The character set of what it gets (MSH-18): `UNICODE UTF-8`, `8859/1`, or `ASCII`.
    #[serde(default = "Hl7PeerSection::unicode")]
    pub character_set: String,
}

impl Hl7PeerSection {
    fn unicode() -> String {
        "UNICODE UTF-8".into()
    }
}

/// `[storage]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSection {
    /// How long the writer waits for more changes to commit together.
    pub group_commit_window_us: u32,
    /// Below this much free space batch work is not taken, and retention hurries; 0 stands for three times the floor.
    pub free_space_low_mib: u32,
    /// Below this much free space nothing is accepted.
    pub free_space_floor_mib: u32,
    /// How large one object may be.
    pub object_max_mib: u32,
    /// How many objects may be arriving at once.
    pub arriving_max: usize,
    /// After how long without a new object a study that no rule matches counts as complete.
    pub idle_timeout_s: u32,
    /// How fast kept objects are read again against their checksums; 0 stands for never.
    pub scrub_mib_per_s: u32,
    /// How long after one such pass the next begins.
    pub scrub_interval_days: u32,
    /// How often retention looks for what is kept no longer.
    pub retention_interval_min: u32,
    /// After how long audit lines lose what they say; the log still verifies. 0 stands for never.
    pub audit_kept_days: u32,
}

/// One `[[retention]]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSection {
    /// A name for the audit log.
    pub name: String,
    /// Values of Modality, one of which the study must have; an empty list asks for nothing.
    #[serde(default)]
    pub modalities: Vec<String>,
    /// How long received objects are kept, counted from the study's latest one.
    pub images_kept_days: u32,
    /// How long our own results are kept, and with them everything about the study but the audit log; for ever when absent.
    #[serde(default)]
    pub results_kept_days: Option<u32>,
}

/// `[quotas]`: 0 stands for no limit.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotasSection {
    /// Objects arriving at once from one DICOM peer.
    pub peer_arriving_max: u32,
    /// Objects a minute from one DICOM peer.
    pub peer_objects_per_minute_max: u32,
    /// MiB arriving at once from one DICOM peer; an object that arrives alone may have `object_max_mib`.
    pub peer_in_flight_max_mib: u32,
    /// Objects arriving at once with one bearer token.
    pub token_arriving_max: u32,
    /// Objects a minute with one bearer token.
    pub token_objects_per_minute_max: u32,
    /// MiB arriving at once with one bearer token; an object that arrives alone may have `object_max_mib`.
    pub token_in_flight_max_mib: u32,
}

/// `[models]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsSection {
    /// ONNX Runtime's shared library.
    pub onnxruntime: PathBuf,
    /// What models compute on.
    pub device: Device,
    /// How many cores models may use together; 0 stands for all.
    pub cores: usize,
    /// How many chats may run at once.
    pub chats_max: usize,
    /// How many chats may wait.
    pub chats_waiting_max: usize,
    /// How the keys and values of language models are kept.
    pub kv_form: KvForm,
}

/// `[jobs]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsSection {
    /// How long a job may be silent before it is taken up again.
    pub lease_duration_s: u32,
    /// How many attempts a job has.
    pub attempts_max: u32,
    /// How many jobs may be in hand at once.
    pub concurrent_max: usize,
    /// With so many jobs waiting, no object is taken.
    pub jobs_waiting_max: u32,
    /// How long before a failed delivery is tried again, at first; it doubles with each attempt.
    pub delivery_retry_s: u32,
    /// The longest that it becomes.
    pub delivery_retry_max_s: u32,
}

/// `[egress]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressSection {
    /// Whether each week becomes a frame that may leave.
    pub weekly: bool,
    /// How much of the privacy budget may be spent on one patient in a year of 52 weeks, thousandths of epsilon.
    pub year_milli_epsilon: u32,
    /// The hub's catalogue of models.
    pub catalogue: Option<PathBuf>,
    /// Who signed it: the hub's verifier key.
    pub catalogue_key: Option<String>,
    /// How long a frame can be read and held back before it is sent, days.
    pub hold_days: u32,
    /// How far apart the gate's send slots are, minutes.
    pub slot_minutes: u32,
    /// The gate's own folder: its keys, the enrolment, the hub's replies.
    pub gate_dir: PathBuf,
    /// What a recall of the hub's does here.
    pub on_recall: OnRecall,
}

/// What a recall of the hub's does here, beyond being shown. Never more than stop a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRecall {
    /// Nothing: people decide.
    #[default]
    Show,
    /// The recalled version does no more work, as long as this stands here.
    Hold,
    /// The recalled version does no more work and is retired for good.
    Retire,
}

impl Default for EgressSection {
    fn default() -> Self {
        Self {
            weekly: false,
            year_milli_epsilon: 52_000,
            catalogue: None,
            catalogue_key: None,
            hold_days: 7,
            slot_minutes: 60,
            gate_dir: "/var/lib/pericard-egress".into(),
            on_recall: OnRecall::default(),
        }
    }
}

impl Default for ApplianceSection {
    fn default() -> Self {
        Self {
            name: "pericard".into(),
            data_dir: "/var/lib/pericard".into(),
            log_level: "info".into(),
            shutdown_grace_s: 30,
        }
    }
}

impl Default for HttpsSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            certificate: None,
            key: None,
            names: Vec::new(),
            connections_max: 1024,
            upload_max_mib: 8192,
            upload_kib_per_s_min: 8,
        }
    }
}

impl Default for DicomSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 11112)),
            ae_title: "PERICARD".into(),
            called_ae_must_match: true,
            unlisted_peers: UnlistedPeers::Refused,
            associations_max: 64,
            pdu_max_kib: 128,
            tls: DicomTlsSection::default(),
        }
    }
}

impl Default for DicomTlsSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 2762)),
            certificate: None,
            key: None,
            authorities: None,
        }
    }
}

impl Default for StorageSection {
    fn default() -> Self {
        Self {
            group_commit_window_us: 2000,
            free_space_low_mib: 0,
            free_space_floor_mib: 20 * 1024,
            object_max_mib: 4096,
            arriving_max: 256,
            idle_timeout_s: 60,
            scrub_mib_per_s: 20,
            scrub_interval_days: 7,
            retention_interval_min: 60,
            audit_kept_days: 0,
        }
    }
}

impl Default for QuotasSection {
    fn default() -> Self {
        Self {
            peer_arriving_max: 64,
            peer_objects_per_minute_max: 60_000,
            peer_in_flight_max_mib: 8192,
            token_arriving_max: 64,
            token_objects_per_minute_max: 60_000,
            token_in_flight_max_mib: 8192,
        }
    }
}

impl Default for ModelsSection {
    fn default() -> Self {
        Self {
            onnxruntime: ONNXRUNTIME_INSTALLED.into(),
            device: Device::Cpu,
            cores: 0,
            chats_max: 8,
            chats_waiting_max: 32,
            kv_form: KvForm::F16,
        }
    }
}

impl Default for JobsSection {
    fn default() -> Self {
        Self {
            lease_duration_s: 60,
            attempts_max: 3,
            concurrent_max: 2,
            jobs_waiting_max: 20_000,
            delivery_retry_s: 15,
            delivery_retry_max_s: 3600,
        }
    }
}

/// The configuration, as meant: every word checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// As written, with the defaults filled in.
    pub written: Written,
    /// What peers call us.
    pub ae_title: AeTitle,
    /// DICOM peers.
    pub peers: Vec<Peer>,
    /// HL7 peers.
    pub hl7_peers: Vec<pericard_hl7::Peer>,
    /// What happens to others.
    pub unlisted: Unlisted,
    /// The hospital's own certificate, when there is one.
    pub certificate: Option<crate::tls::CertificatePaths>,
    /// What the DICOM network knows us by, when DICOM goes over TLS.
    pub dicom_tls: Option<crate::tls::DicomTlsPaths>,
}

/// What is wrong with the configuration: one sentence for each mistake, each with its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {}", mistakes.join("\n"))]
pub struct ConfigError {
    /// Which file.
    pub file: String,
    /// What is wrong in it.
    pub mistakes: Vec<String>,
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, a key is unknown or of the wrong type (with its line), or a value makes no sense.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let error = |mistake: String| ConfigError {
            file: file.display().to_string(),
            mistakes: vec![mistake],
        };
        let text = std::fs::read_to_string(file).map_err(|e| error(e.to_string()))?;
        let written = toml::from_str(&text).map_err(|e| error(e.to_string()))?;
        let placed = |mistakes: Vec<String>| mistakes.into_iter().map(|m| lines::placed(&text, m));
        Self::meant(written).map_err(|mistakes| ConfigError {
            file: file.display().to_string(),
            mistakes: placed(mistakes).collect(),
        })
    }

    /// What was written, checked.
    ///
    /// # Errors
    /// Every mistake, not only the first.
    pub fn meant(written: Written) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        check_ranges(&written, &mut mistakes);
        check_rules(&written, &mut mistakes);
        check_retention(&written, &mut mistakes);
        let peers = written
            .peers
            .iter()
            .filter_map(|p| meant_peer(p).map_err(|e| mistakes.push(e)).ok())
            .collect();
        let hl7_peers = written
            .hl7_peers
            .iter()
            .filter_map(|p| meant_hl7_peer(p).map_err(|e| mistakes.push(e)).ok())
            .collect();
        check_hl7(&written, &mut mistakes);
        let dicom_tls = meant_dicom_tls(&written, &mut mistakes);
        let ae_title = AeTitle::new(&written.dicom.ae_title)
            .map_err(|e| mistakes.push(format!("dicom.ae_title: {e}")));
        let certificate = match (&written.https.certificate, &written.https.key) {
            (Some(certificate), Some(key)) => Some(crate::tls::CertificatePaths {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            (None, None) => None,
            _ => {
                mistakes.push(
                    "https: certificate and key belong together; give both or neither".into(),
                );
                None
            }
        };
        match ae_title {
            Ok(ae_title) if mistakes.is_empty() => {
                let unlisted = match written.dicom.unlisted_peers {
                    UnlistedPeers::Refused => Unlisted::Refused,
                    UnlistedPeers::Loopback => Unlisted::FromLoopback,
                };
                Ok(Self {
                    written,
                    ae_title,
                    peers,
                    hl7_peers,
                    unlisted,
                    certificate,
                    dicom_tls,
                })
            }
            _ => Err(mistakes),
        }
    }

    /// Why these doors may not be opened, when they may not: a door beyond loopback needs somebody to be known first.
    #[must_use]
    pub fn open_door(&self, tokens: usize) -> Option<String> {
        let beyond = |ip: IpAddr| !ip.is_loopback();
        if beyond(self.written.https.listen.ip()) && tokens == 0 {
            return Some(format!(
                "https.listen is {}, beyond loopback, but no token has been issued; run `pericard token issue` first",
                self.written.https.listen
            ));
        }
        if beyond(self.written.dicom.listen.ip()) && self.peers.is_empty() {
            return Some(format!(
                "dicom.listen is {}, beyond loopback, but there is no [[peers]] entry; name the peers that may call",
                self.written.dicom.listen
            ));
        }
        let hl7 = [self.written.hl7.listen, self.written.hl7.listen_tls];
        if let Some(listen) = hl7.into_iter().flatten().find(|at| beyond(at.ip()))
            && self.hl7_peers.is_empty()
        {
            return Some(format!(
                "hl7.listen is {listen}, beyond loopback, but there is no [[hl7_peers]] entry; name the systems that may call"
            ));
        }
        let is_bound = |peer: &Peer| !peer.certificates.is_empty();
        let tls = self.written.dicom.tls.listen;
        if self.dicom_tls.is_some() && beyond(tls.ip()) && !self.peers.iter().any(is_bound) {
            return Some(format!(
                "dicom.tls.listen is {tls}, beyond loopback, but no [[peers]] entry has certificates; without one nobody may call"
            ));
        }
        None
    }
}

impl StorageSection {
    /// The upper mark of free space.
    #[must_use]
    pub const fn low_mib(&self) -> u32 {
        match self.free_space_low_mib {
            0 => self.free_space_floor_mib.saturating_mul(3),
            low_mib => low_mib,
        }
    }
}

impl Written {
    /// What the demonstration runs on: loopback, data under `dir`, models and samples where they are found.
    #[must_use]
    pub fn for_demo(dir: &Path, places: &Places) -> Self {
        let mut written = Self::default();
        written.appliance.data_dir = dir.join("data");
        written.models.onnxruntime.clone_from(&places.onnxruntime);
        written.dicom.unlisted_peers = UnlistedPeers::Loopback;
        written.storage.free_space_floor_mib = 512;
        written.storage.idle_timeout_s = 2;
        written
    }
}

fn check_ranges(written: &Written, mistakes: &mut Vec<String>) {
    let (storage, jobs, models) = (&written.storage, &written.jobs, &written.models);
    let ranges = [
        (
            "appliance.shutdown_grace_s",
            written.appliance.shutdown_grace_s.into(),
            1,
            3600,
        ),
        (
            "https.connections_max",
            written.https.connections_max as u64,
            1,
            65_536,
        ),
        (
            "https.upload_max_mib",
            written.https.upload_max_mib.into(),
            1,
            1 << 20,
        ),
        (
            "https.upload_kib_per_s_min",
            written.https.upload_kib_per_s_min.into(),
            0,
            1 << 20,
        ),
        (
            "dicom.associations_max",
            written.dicom.associations_max as u64,
            1,
            4096,
        ),
        (
            "dicom.pdu_max_kib",
            written.dicom.pdu_max_kib.into(),
            4,
            1024,
        ),
        (
            "storage.group_commit_window_us",
            storage.group_commit_window_us.into(),
            0,
            100_000,
        ),
        (
            "storage.free_space_floor_mib",
            storage.free_space_floor_mib.into(),
            64,
            u64::from(u32::MAX),
        ),
        (
            "storage.scrub_mib_per_s",
            storage.scrub_mib_per_s.into(),
            0,
            10_000,
        ),
        (
            "storage.scrub_interval_days",
            storage.scrub_interval_days.into(),
            1,
            366,
        ),
        (
            "storage.retention_interval_min",
            storage.retention_interval_min.into(),
            1,
            24 * 60,
        ),
        (
            "jobs.jobs_waiting_max",
            jobs.jobs_waiting_max.into(),
            1,
            1_000_000,
        ),
        (
            "storage.object_max_mib",
            storage.object_max_mib.into(),
            1,
            1 << 20,
        ),
        (
            "storage.arriving_max",
            storage.arriving_max as u64,
            1,
            65_536,
        ),
        (
            "storage.idle_timeout_s",
            storage.idle_timeout_s.into(),
            1,
            86_400,
        ),
        (
            "egress.year_milli_epsilon",
            written.egress.year_milli_epsilon.into(),
            0,
            1_000_000,
        ),
        ("egress.hold_days", written.egress.hold_days.into(), 0, 365),
        (
            "egress.slot_minutes",
            written.egress.slot_minutes.into(),
            1,
            10_080,
        ),
        ("models.cores", models.cores as u64, 0, 4096),
        ("models.chats_max", models.chats_max as u64, 1, 4096),
        (
            "models.chats_waiting_max",
            models.chats_waiting_max as u64,
            0,
            65_536,
        ),
        (
            "jobs.lease_duration_s",
            jobs.lease_duration_s.into(),
            5,
            86_400,
        ),
        ("jobs.attempts_max", jobs.attempts_max.into(), 1, 100),
        ("jobs.concurrent_max", jobs.concurrent_max as u64, 1, 256),
        (
            "jobs.delivery_retry_s",
            jobs.delivery_retry_s.into(),
            1,
            86_400,
        ),
        (
            "jobs.delivery_retry_max_s",
            jobs.delivery_retry_max_s.into(),
            1,
            7 * 86_400,
        ),
    ];
    for (key, value, from, to) in ranges {
        if !(from..=to).contains(&value) {
            mistakes.push(format!("{key}: {value} is not between {from} and {to}"));
        }
    }
    if (1..storage.free_space_floor_mib).contains(&storage.free_space_low_mib) {
        let low_mib = storage.free_space_low_mib;
        mistakes.push(format!(
            "storage.free_space_low_mib: {low_mib} is below free_space_floor_mib; it must be above, or 0"
        ));
    }
    if models.kv_form == KvForm::Q8 && models.device != Device::Cpu {
        let device = models.device;
        mistakes.push(format!(
            "models.kv_form: `q8` is for the processor; on {device} it must be `f16`"
        ));
    }
    if written.egress.catalogue.is_some() != written.egress.catalogue_key.is_some() {
        let why = "a catalogue is believed only with the key of its signer";
        mistakes.push(format!(
            "egress: catalogue and catalogue_key go together: {why}"
        ));
    }
    if let Err(why) = crate::journal::filter(&written.appliance.log_level) {
        mistakes.push(format!("appliance.log_level: {why}"));
    }
    if !written.egress.gate_dir.is_absolute() {
        mistakes.push("egress.gate_dir: must be an absolute path".into());
    }
    if !written.appliance.data_dir.is_absolute() {
        mistakes.push("appliance.data_dir: must be an absolute path".into());
    }
    if written.appliance.name.is_empty()
        || !written.appliance.name.chars().all(|c| c.is_ascii_graphic())
    {
        mistakes.push("appliance.name: printable ASCII characters without spaces".into());
    }
}

fn check_rules(written: &Written, mistakes: &mut Vec<String>) {
    let (mut rules, mut peers) = (BTreeSet::new(), BTreeSet::new());
    for peer in &written.peers {
        if !peers.insert(peer.name.as_str()) {
            mistakes.push(format!("peers: two are called {:?}", peer.name));
        }
    }
    for rule in &written.rules {
        if !rules.insert(rule.name.as_str()) {
            mistakes.push(format!("rules: two are called {:?}", rule.name));
        }
        if rule.name.contains(',') {
            let why = "a name has no comma; the audit log puts one between two rules";
            mistakes.push(format!("rules {:?}: name: {why}", rule.name));
        }
        check_match(&rule.name, &rule.when, mistakes);
        if rule.models.is_empty() {
            mistakes.push(format!(
                "rules {:?}: models is empty, so the rule does nothing",
                rule.name
            ));
        }
        if !(1..=86_400).contains(&rule.idle_timeout_s) {
            mistakes.push(format!(
                "rules {:?}: idle_timeout_s is not between 1 and 86400",
                rule.name
            ));
        }
        check_waiting(rule, written, mistakes);
        for name in &rule.destinations {
            match written.peers.iter().find(|peer| peer.name == *name) {
                None => mistakes.push(format!(
                    "rules {:?}: there is no peer {name:?} under [[peers]]",
                    rule.name
                )),
                Some(peer) if peer.port.is_none() => {
                    mistakes.push(format!(
                        "rules {:?}: the peer {name:?} has no port to send to",
                        rule.name
                    ));
                }
                Some(_) => {}
            }
        }
    }
}

/// What a rule lets a study, or its models, wait for.
fn check_waiting(rule: &Rule, written: &Written, mistakes: &mut Vec<String>) {
    let mut say = |why: String| mistakes.push(format!("rules {:?}: {why}", rule.name));
    if !(1..=86_400).contains(&rule.wait_max_s) {
        say("wait_max_s: not between 1 and 86400".into());
    }
    for wanted in &rule.requires {
        let mut within = Vec::new();
        check_match(&rule.name, wanted, &mut within);
        mistakes.extend(within);
    }
    let mut say = |why: String| mistakes.push(format!("rules {:?}: {why}", rule.name));
    for name in &rule.messages {
        match written.hl7_peers.iter().find(|peer| peer.name == *name) {
            None => say(format!(
                "messages: there is no peer {name:?} under [[hl7_peers]]"
            )),
            Some(peer) if peer.port.is_none() => {
                say(format!(
                    "messages: the peer {name:?} has no port to send to"
                ));
            }
            Some(_) => {}
        }
    }
    let Some(priors) = &rule.priors else { return };
    match written.peers.iter().find(|peer| peer.name == priors.from) {
        None => say(format!(
            "priors: there is no peer {:?} under [[peers]]",
            priors.from
        )),
        Some(peer) if peer.port.is_none() => {
            say(format!(
                "priors: the peer {:?} has no port to ask at",
                priors.from
            ));
        }
        Some(_) => {}
    }
    if priors.studies_max == 0 || priors.objects_max == 0 || priors.size_max_mib == 0 {
        say("priors: a budget of nothing fetches nothing; leave priors out".into());
    }
    if !(1..=86_400).contains(&priors.wait_max_s) {
        say("priors: wait_max_s: not between 1 and 86400".into());
    }
}

fn check_match(rule: &str, wanted: &Match, mistakes: &mut Vec<String>) {
    let ranges = wanted.attributes.iter().map(|c| (c.from, c.to));
    for (from, to) in ranges.chain([(wanted.age_years.from, wanted.age_years.to)]) {
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            mistakes.push(format!(
                "rules {rule:?}: a range is from more to less, so nothing matches"
            ));
        }
    }
    for condition in &wanted.attributes {
        if condition.any_of.is_empty() && condition.from.is_none() && condition.to.is_none() {
            mistakes.push(format!(
                "rules {rule:?}: attributes {:?}: give any_of, from or to",
                condition.name
            ));
        }
    }
}

fn check_retention(written: &Written, mistakes: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for rule in &written.retention {
        if !names.insert(rule.name.as_str()) {
            mistakes.push(format!("retention: two are called {:?}", rule.name));
        }
        let is_shorter = |days| days < rule.images_kept_days;
        if rule.results_kept_days.is_some_and(is_shorter) {
            mistakes.push(format!(
                "retention {:?}: results_kept_days is less than images_kept_days; results outlive their images",
                rule.name
            ));
        }
    }
}

/// The three files of `[dicom.tls]`, or none; and no title that is bound in one place and free in another.
fn meant_dicom_tls(
    written: &Written,
    mistakes: &mut Vec<String>,
) -> Option<crate::tls::DicomTlsPaths> {
    let tls = &written.dicom.tls;
    let paths = match (&tls.certificate, &tls.key, &tls.authorities) {
        (Some(certificate), Some(key), Some(authorities)) => Some(crate::tls::DicomTlsPaths {
            own: crate::tls::CertificatePaths {
                certificate: certificate.clone(),
                key: key.clone(),
            },
            authorities: authorities.clone(),
        }),
        (None, None, None) => None,
        _ => {
            let why = "certificate, key and authorities belong together; give all three or none";
            mistakes.push(format!("dicom.tls: {why}"));
            return None;
        }
    };
    let is_https = |p: &&PeerSection| {
        p.web
            .as_ref()
            .is_some_and(|web| web.starts_with("https://"))
    };
    for peer in written.peers.iter().filter(is_https) {
        if paths.is_none() {
            mistakes.push(format!(
                "peers {:?}: web: an https:// address needs certificate, key and authorities under [dicom.tls]",
                peer.name
            ));
        }
    }
    for peer in written.peers.iter().filter(|p| !p.certificates.is_empty()) {
        let name = &peer.name;
        if paths.is_none() {
            mistakes.push(format!(
                "peers {name:?}: certificates: DICOM over TLS needs certificate, key and authorities under [dicom.tls]"
            ));
        }
        let is_free = |p: &&PeerSection| p.certificates.is_empty() && p.ae_title == peer.ae_title;
        if let Some(free) = written.peers.iter().find(is_free) {
            mistakes.push(format!(
                "peers {:?}: certificates: its title is bound to certificates under {name:?}; bind it here too",
                free.name
            ));
        }
    }
    paths
}

fn check_hl7(written: &Written, mistakes: &mut Vec<String>) {
    let (hl7, tls) = (&written.hl7, &written.dicom.tls);
    let has_tls = tls.certificate.is_some() && tls.key.is_some() && tls.authorities.is_some();
    let mut names = BTreeSet::new();
    for peer in &written.hl7_peers {
        if !names.insert(peer.name.as_str()) {
            mistakes.push(format!("hl7_peers: two are called {:?}", peer.name));
        }
        if !peer.certificates.is_empty() && !has_tls {
            mistakes.push(format!(
                "hl7_peers {:?}: certificates: HL7 over TLS needs certificate, key and authorities under [dicom.tls]",
                peer.name
            ));
        }
    }
    if hl7.listen_tls.is_some() && !has_tls {
        let why = "needs certificate, key and authorities under [dicom.tls]";
        mistakes.push(format!("hl7.listen_tls: {why}"));
    }
    if !(1..=1024).contains(&hl7.connections_max) {
        mistakes.push("hl7.connections_max: not between 1 and 1024".into());
    }
    if !(1..=65_536).contains(&hl7.message_max_kib) {
        mistakes.push("hl7.message_max_kib: not between 1 and 65536".into());
    }
    for (key, text) in [
        ("application", &hl7.application),
        ("facility", &hl7.facility),
    ] {
        if text.chars().any(|c| c.is_control()) || text.len() > 180 {
            let why = "at most 180 characters, none of them a control character";
            mistakes.push(format!("hl7.{key}: {why}"));
        }
    }
}

fn meant_hl7_peer(written: &Hl7PeerSection) -> Result<pericard_hl7::Peer, String> {
    let wrong = |key: &str, why: String| format!("hl7_peers {:?}: {key}: {why}", written.name);
    let certificates = digests(&written.certificates);
    let charset = written.character_set.parse();
    Ok(pericard_hl7::Peer {
        name: written.name.clone(),
        address: written.address,
        port: written.port,
        application: written.application.clone(),
        facility: written.facility.clone(),
        certificates: certificates.map_err(|e| wrong("certificates", e.to_string()))?,
        charset: charset
            .map_err(|e: pericard_hl7::UnknownCharset| wrong("character_set", e.to_string()))?,
    })
}

fn meant_peer(written: &PeerSection) -> Result<Peer, String> {
    let wrong = |key: &str, why: String| format!("peers {:?}: {key}: {why}", written.name);
    let ae_title = AeTitle::new(&written.ae_title).map_err(|e| wrong("ae_title", e.to_string()))?;
    let address: Address = written
        .address
        .parse()
        .map_err(|e: pericard_dimse::AddressError| wrong("address", e.to_string()))?;
    if written.port.is_some() && matches!(address, Address::Network { .. }) {
        return Err(wrong(
            "port",
            "a network has no port to send to; give an address or a host name".into(),
        ));
    }
    let may = |what| written.may.contains(&what);
    let rights = Rights {
        store: may(PeerMay::Store),
        query: may(PeerMay::Query),
        retrieve: may(PeerMay::Retrieve),
    };
    let peer = Peer::new(written.name.clone(), ae_title, address, written.port);
    if written.commit && !peer.is_callable() {
        return Err(wrong(
            "commit",
            "a peer without a port is sent nothing that it could commit to".into(),
        ));
    }
    let certificates = digests(&written.certificates);
    let peer = Peer {
        rights,
        commit: written.commit,
        certificates: certificates.map_err(|e| wrong("certificates", e.to_string()))?,
        ..peer
    };
    asked_peer(written, peer).map_err(|(key, why)| wrong(key, why))
}

/// What the peer is asked of our own accord.
fn asked_peer(written: &PeerSection, peer: Peer) -> Result<Peer, (&'static str, String)> {
    let cannot_be_asked = "a peer without a port cannot be asked anything";
    if written.worklist_interval_s > 0 && !peer.is_callable() {
        return Err(("worklist_interval_s", cannot_be_asked.into()));
    }
    if !(written.worklist_interval_s == 0 || (5..=86_400).contains(&written.worklist_interval_s)) {
        return Err((
            "worklist_interval_s",
            "not between 5 and 86400, nor 0".into(),
        ));
    }
    if written.counts && !peer.is_callable() {
        return Err(("counts", cannot_be_asked.into()));
    }
    let web = written.web.as_deref().map(str::parse).transpose();
    let web = web.map_err(|why: &str| ("web", format!("an address {why}")))?;
    if written.fetch.contains(&FetchWay::Web) && web.is_none() {
        return Err((
            "fetch",
            "\"web\" needs the address of its DICOMweb service under web".into(),
        ));
    }
    let way = |way: &FetchWay| match way {
        FetchWay::Get => Fetch::Get,
        FetchWay::Move => Fetch::Move,
        FetchWay::Web => Fetch::Web,
    };
    Ok(Peer {
        worklist_every: (written.worklist_interval_s > 0)
            .then(|| Duration::from_secs(written.worklist_interval_s.into())),
        counts: written.counts,
        fetch: written.fetch.iter().map(way).collect(),
        web,
        web_certificates: web_certificates(written)?,
        ..peer
    })
}

fn web_certificates(written: &PeerSection) -> Result<Vec<Digest>, (&'static str, String)> {
    if written.web_certificates.is_empty() {
        return Ok(Vec::new());
    }
    let is_secure = |web: &String| web.starts_with("https://");
    if !written.web.as_ref().is_some_and(is_secure) {
        let why = "no web address that begins with https:// shows one of them";
        return Err(("web_certificates", why.into()));
    }
    digests(&written.web_certificates).map_err(|e| ("web_certificates", e.to_string()))
}

/// Fingerprints as people have them: with colons, in capitals.
fn digests(texts: &[String]) -> Result<Vec<Digest>, DigestError> {
    let digest = |text: &String| text.replace(':', "").parse::<Digest>();
    texts.iter().map(digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../packaging/etc/pericard.toml");

    fn mistakes(text: &str) -> String {
        match toml::from_str::<Written>(text) {
            Err(error) => error.to_string(),
            Ok(written) => Config::meant(written).expect_err("a mistake").join("\n"),
        }
    }

    #[test]
    fn the_sample_is_the_defaults() {
        let sample: Written = toml::from_str(SAMPLE).unwrap();
        Config::meant(sample.clone()).unwrap();
        let (mut sample, defaults) = (toml::Value::try_from(sample).unwrap(), Written::default());
        // The sample shows peers and rules as comments; everything else it states is the default.
        let defaults = toml::Value::try_from(defaults).unwrap();
        sample
            .as_table_mut()
            .unwrap()
            .retain(|key, _| key != "rules");
        let mut expected = defaults;
        expected
            .as_table_mut()
            .unwrap()
            .retain(|key, _| key != "rules");
        assert_eq!(
            sample, expected,
            "packaging/etc/pericard.toml and the defaults in config.rs differ"
        );
    }

    #[test]
    fn the_sample_names_every_key() {
        let defaults = toml::Value::try_from(Written::default()).unwrap();
        for (section, keys) in defaults.as_table().unwrap() {
            assert_named(section, keys);
        }
    }

    fn assert_named(section: &str, keys: &toml::Value) {
        for (key, value) in keys.as_table().into_iter().flatten() {
            let named = if value.is_table() {
                assert_named(&format!("{section}.{key}"), value);
                format!("[{section}.{key}]")
            } else {
                format!("{key} =")
            };
            assert!(
                SAMPLE.contains(&named),
                "packaging/etc/pericard.toml does not name {section}.{key}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("[https]\nlisten = '127.0.0.1:8443'\nport = 1", "line 3"),
            ("[https]\nlisten = 'everywhere'", "line 2"),
            ("[jobs]\nattempts_max = 0", "jobs.attempts_max"),
            (
                "[storage]\nfree_space_low_mib = 100",
                "storage.free_space_low_mib",
            ),
            (
                "[[retention]]\nname = 'a'\nimages_kept_days = 90\nresults_kept_days = 30",
                "results outlive their images",
            ),
            (
                "[dicom]\nae_title = 'A NAME FAR TOO LONG'",
                "dicom.ae_title",
            ),
            ("[dicom.tls]\nkey = '/k'", "give all three or none"),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\ncertificates = ['ab']",
                "64 hexadecimal digits",
            ),
            ("[appliance]\ndata_dir = 'here'", "appliance.data_dir"),
            ("[appliance]\nlog_level = 'loud'", "appliance.log_level"),
            ("[https]\nkey = '/k'", "belong together"),
            (
                "[models]\ndevice = 'cuda:1'\nkv_form = 'q8'",
                "`q8` is for the processor; on cuda:1 it must be `f16`",
            ),
            ("[models]\nkv_form = 'q4'", "line 2"),
            (
                "[[rules]]\nname = 'a'\nmodels = []\nidle_timeout_s = 1",
                "does nothing",
            ),
            (
                "[[rules]]\nname = 'a'\nmodels = ['m']\nidle_timeout_s = 1\ndestinations = ['pacs']",
                "no peer \"pacs\"",
            ),
            (
                "[[rules]]\nname = 'a, b'\nmodels = ['m']\nidle_timeout_s = 1",
                "has no comma",
            ),
            (
                "[[rules]]\nname = 'a'\nmodels = ['m']\nidle_timeout_s = 1\nwhen.age_years = { from = 60, to = 18 }",
                "from more to less",
            ),
            (
                "[[rules]]\nname = 'a'\nmodels = ['m']\nidle_timeout_s = 1\nwhen.attributes = [{ name = 'Rows' }]",
                "give any_of, from or to",
            ),
            (
                "[[rules]]\nname = 'a'\nmodels = ['m']\nidle_timeout_s = 1\nwhen.attributes = [{ name = 'Row', from = 1 }]",
                "line 5",
            ),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.0/8'\nport = 104",
                "a network has no port",
            ),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\ncommit = true",
                "without a port",
            ),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\nworklist_interval_s = 60",
                "cannot be asked anything",
            ),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\nport = 104\nfetch = ['web']",
                "needs the address of its DICOMweb service",
            ),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\nport = 104\nweb = 'http://pacs/dicom-web'",
                "on this very machine",
            ),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\nport = 104\nweb = 'https://pacs/dicom-web'",
                "web: an https:// address needs certificate, key and authorities under [dicom.tls]",
            ),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\nport = 104\nweb = 'https://[::1]:443/dicom-web'",
                "a name or an IPv4 address",
            ),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\nport = 104\nweb = 'http://localhost/d'\nweb_certificates = ['ab']",
                "web_certificates: no web address",
            ),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\nport = 104\nweb = 'https://pacs/d'\nweb_certificates = ['ab']",
                "64 hexadecimal digits",
            ),
            (
                "[[rules]]\nname = 'a'\nmodels = ['m']\nidle_timeout_s = 1\npriors = { from = 'pacs' }",
                "no peer \"pacs\"",
            ),
            (
                "[[rules]]\nname = 'a'\nmodels = ['m']\nidle_timeout_s = 1\nmessages = ['ris']",
                "under [[hl7_peers]]",
            ),
            (
                "[[hl7_peers]]\nname = 'ris'\naddress = '10.0.0.1'\ncharacter_set = 'EBCDIC'",
                "table 0211",
            ),
            ("[hl7]\nlisten_tls = '127.0.0.1:2576'", "under [dicom.tls]"),
            (
                "[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'\nmay = ['delete']",
                "line 5",
            ),
        ] {
            let found = mistakes(text);
            assert!(found.contains(expected), "{text}\n-> {found}");
        }
    }

    #[test]
    fn a_title_is_bound_everywhere_or_nowhere() {
        let fingerprint = "AB:".repeat(31) + "AB";
        let peer = |name: &str, title: &str, certificates: &str| {
            format!(
                "[[peers]]\nname = '{name}'\nae_title = '{title}'\naddress = '10.0.0.1'\ncertificates = [{certificates}]\n"
            )
        };
        let bound = peer("ct", "CT1", &format!("'{fingerprint}'"));
        let tls = "[dicom.tls]\ncertificate = '/c'\nkey = '/k'\nauthorities = '/a'\n";
        let text = format!("{tls}{bound}{}", peer("old ct", "CT1", ""));
        assert!(mistakes(&text).contains("\"old ct\": certificates: its title is bound"));
        assert!(mistakes(&bound).contains("under [dicom.tls]"));
        let text = format!("{tls}{bound}{}", peer("mr", "MR1", ""));
        let config = Config::meant(toml::from_str(&text).unwrap()).unwrap();
        assert_eq!(config.peers[0].certificates.len(), 1);
        assert!(config.peers[1].certificates.is_empty());
    }

    #[test]
    fn no_door_beyond_loopback_without_somebody_known() {
        let open = |text: &str, tokens| {
            Config::meant(toml::from_str(text).unwrap())
                .unwrap()
                .open_door(tokens)
        };
        assert_eq!(open("", 0), None);
        assert!(
            open("[https]\nlisten = '0.0.0.0:8443'", 0)
                .unwrap()
                .contains("token issue")
        );
        assert_eq!(open("[https]\nlisten = '0.0.0.0:8443'", 1), None);
        assert!(
            open("[dicom]\nlisten = '[::]:104'", 1)
                .unwrap()
                .contains("[[peers]]")
        );
        let listed = "[dicom]\nlisten = '0.0.0.0:104'\n[[peers]]\nname = 'p'\nae_title = 'P'\naddress = '10.0.0.1'";
        assert_eq!(open(listed, 1), None);
    }
}

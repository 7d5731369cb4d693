//! A life of the whole appliance: its real rooms and doors, its real workers and models, on a machine whose time, chance and
//! load the test owns.
//!
//! Leaves of the audit log stand for themselves here and hold no line. What is shipped salts each line with 32 random bytes
//! that never leave, so that the root is as good as random to whoever has not the salts; the test puts that in its place,
//! and asks for everything else to be equal to the byte.

use crate::patients::{Image, drawn};
use crate::support::{needed, program, until};
use pericard::config::Config;
use pericard::load::{Load, Ticks};
use pericard::machine::{Chance, Machine, NoChance};
use pericard::serve::{Doors, Open, serve_on};
use pericard_audit::{Hash, leaf};
use pericard_domain::actor::{Actor, Role};
use pericard_domain::job::Work;
use pericard_domain::time::{Clock, Timestamp};
use pericard_frame::Plan;
use pericard_registry::Registry;
use pericard_store::Leaves;
use pericard_store::access::NewToken;
use pericard_store::queue::JobQuery;
use pericard_store::week::{FIRST_MONDAY_MS, Inference, WEEK_MS};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often it is asked whether a week is over.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// Ten minutes past midnight: a week is over.
const AFTER_MIDNIGHT_MS: i64 = 600_000;
/// What every draw grows from, until [`Life::draws_from`] says otherwise.
const CHANCE: u64 = 3;

/// A clock that is set. It goes on by itself, so that what waits for a moment comes to it.
#[derive(Debug)]
pub(crate) struct SetClock {
    begun: Instant,
    at_ms: AtomicI64,
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(0);
        Timestamp::from_millis(self.at_ms.load(Ordering::SeqCst) + passed)
    }

    fn utc_offset_min(&self, _: Timestamp) -> i32 {
        0
    }
}

impl SetClock {
    fn set(&self, at_ms: i64) {
        let passed = i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(0);
        self.at_ms.store(at_ms - passed, Ordering::SeqCst);
    }
}

/// The same draws for every life: from what they grow, and how many there were.
#[derive(Debug)]
struct SetChance(Mutex<(u64, u64)>);

impl Chance for SetChance {
    fn bytes(&self) -> Result<[u8; 32], NoChance> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.1 += 1;
        Ok(drawn(&[held.0, held.1]))
    }
}

/// A machine of which nobody says how busy it is: that would be told of the tests' neighbours.
struct Unseen;

impl Load for Unseen {
    fn processors(&self) -> Ticks {
        Ticks::default()
    }

    fn gpus(&self) -> Option<Ticks> {
        None
    }
}

#[derive(Debug)]
struct EmptyLeaves;

impl Leaves for EmptyLeaves {
    fn leaf(&self, index: u64, _: &[u8; 32], _: &[u8]) -> Hash {
        leaf(&drawn(&[index]), b"")
    }
}

/// What every life begins with.
pub(crate) struct Begin<'a> {
    /// The folder of this life: `desk` in it is the gate's, enrolled; `catalogue` the hub's.
    pub(crate) dir: &'a Path,
    pub(crate) catalogue_key: &'a str,
    /// Where results go.
    pub(crate) pacs: Option<SocketAddr>,
    /// Of what images the model looks at.
    pub(crate) modality: &'a str,
}

/// An appliance, alive in this process; its workers are processes of the program as it is shipped.
pub(crate) struct Life {
    dir: PathBuf,
    open: Open,
    clock: Arc<SetClock>,
    chance: Arc<SetChance>,
    https: SocketAddr,
    dicom: SocketAddr,
    token: String,
    stop: CancellationToken,
    runs: Option<JoinHandle<()>>,
    asks: tokio::runtime::Runtime,
}

impl Life {
    /// Begins one in week 0, in which nothing is told; [`Life::begin_week`] ends that.
    pub(crate) fn begin(begin: &Begin<'_>, models: &[&str]) -> Option<Self> {
        let dir = begin.dir.to_owned();
        let library = needed(crate::support::cache().join("onnxruntime/libonnxruntime.so"))?;
        let config = dir.join("pericard.toml");
        fs::write(&config, written(begin, &library)).expect("the configuration");
        // Not by the command line: what that writes into the audit log has the leaves of what is shipped.
        let registry = dir.join("data/registry");
        let registry = Registry::open(&registry).expect("a registry");
        for model in models {
            let package = needed(crate::support::cache().join("packages").join(model))?;
            let imported = registry.import(&package).expect("imported").model;
            let live = registry.activate(&imported.name, &imported.version);
            live.expect("activated");
        }
        let (https, dicom) = (door(), door());
        let at = [&https, &dicom].map(|door| door.local_addr().expect("an address"));
        let clock = Arc::new(SetClock {
            begun: Instant::now(),
            at_ms: AtomicI64::new(FIRST_MONDAY_MS),
        });
        let chance = Arc::new(SetChance(Mutex::new((CHANCE, 0))));
        let machine = Machine {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            chance: Arc::clone(&chance) as Arc<dyn Chance>,
            load: Arc::new(Unseen),
            leaves: Arc::new(EmptyLeaves),
            program: crate::support::PERICARD.into(),
            look_every: LOOK_EVERY,
        };
        let config = Config::read(&config).expect("a configuration");
        let stop = CancellationToken::new();
        let (opened, opening) = mpsc::channel();
        let runs = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    let doors = Doors {
                        https: tokio::net::TcpListener::from_std(https).expect("a door"),
                        dicom: tokio::net::TcpListener::from_std(dicom).expect("a door"),
                        dicom_tls: None,
                        hl7: None,
                        hl7_tls: None,
                    };
                    let tell = |open| opened.send(open).expect("the test");
                    let served = serve_on(machine, config, doors, stop, tell).await;
                    served.expect("served to the end");
                });
                runtime.shutdown_background();
            }
        });
        let open = opening.recv().expect("the appliance opens");
        let asks = tokio::runtime::Runtime::new().expect("a runtime");
        let minted = pericard_api::mint().expect("a token");
        let token = NewToken {
            label: "test".into(),
            roles: Role::ALL.to_vec(),
            secret_sha256: minted.sha256,
            expires_at: None,
        };
        let issued = asks.block_on(open.store.issue_token(token, Actor::CommandLine));
        issued.expect("issued");
        let loaded = models.len();
        until("the models", || {
            (open.runner.loaded().len() == loaded).then_some(())
        });
        Some(Self {
            dir,
            open,
            clock,
            chance,
            https: at[0],
            dicom: at[1],
            token: minted.secret,
            stop,
            runs: Some(runs),
            asks,
        })
    }

    /// From now on noise and keys grow from this. To be said after one week's end and before the next one's.
    pub(crate) fn draws_from(&self, seed: u64) {
        let held = self.chance.0.lock();
        *held.unwrap_or_else(PoisonError::into_inner) = (seed, 0);
    }

    /// Goes to the first minutes of this week, and gives the frame that tells of the one before.
    pub(crate) fn begin_week(&self, week: u16, sequence: u32) -> Vec<u8> {
        self.clock
            .set(FIRST_MONDAY_MS + i64::from(week) * WEEK_MS + AFTER_MIDNIGHT_MS);
        let frame = self
            .dir
            .join(format!("data/egress/frames/{sequence:08}.frame"));
        // The line of the ledger in the audit log is the last that is written of a week's end.
        let said = format!("week {}, frame {sequence}", week - 1);
        self.until_said("a week's frame", "tell week", &said);
        assert!(frame.exists(), "it is said of a frame that is there");
        fs::read(&frame).expect("a frame")
    }

    /// Sends by C-STORE, all in one association.
    pub(crate) fn store(&self, images: &[Image<'_>]) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program("storescu").expect("storescu"));
        command
            .env("TCP_NODELAY", "1")
            .args(["-aec", "PERICARD", "-aet", "MODALITY"])
            .args([self.dicom.ip().to_string(), self.dicom.port().to_string()]);
        for image in images {
            // The patient is in the name of the file too.
            let name = format!("{}_{}.dcm", image.patient.name, image.image);
            let path = folder.path().join(name);
            fs::write(&path, image.file()).expect("written");
            command.arg(path);
        }
        crate::support::run(&mut command);
    }

    /// POSTs a body and gives the status.
    pub(crate) fn post(&self, path: &str, kind: &str, body: &[u8]) -> u16 {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("body");
        fs::write(&file, body).expect("written");
        let data = format!("@{}", file.display());
        let kind = format!("Content-Type: {kind}");
        self.curl(&["--data-binary", &data, "-H", &kind], path, &self.token)
    }

    /// A request with this token; gives the status.
    pub(crate) fn curl(&self, args: &[&str], path: &str, token: &str) -> u16 {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--insecure",
                "--noproxy",
                "*",
                "--max-time",
                "120",
            ])
            .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
            .args(["-H", &format!("Authorization: Bearer {token}")])
            .args(args)
            .arg(format!("https://{}{path}", self.https))
            .stdin(Stdio::null())
            .output()
            .expect("curl");
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        status.trim().parse().unwrap_or(0)
    }

    /// The token that may do everything.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Accepts an evaluation plan as an officer does, with these labels, and waits until it is carried out and said. What the
    /// command writes is written here: the audit log's line of the command itself has the leaves of what is shipped.
    pub(crate) fn evaluates(&self, plan: &Plan, labels: &[(String, bool)]) {
        let plans = self.dir.join("data/egress/plans");
        fs::create_dir_all(&plans).expect("made");
        let accepted = serde_json::json!({
            "plan": plan.number,
            "cases_min": plan.cases_min,
            "model_digest": plan.model_digest,
            "labels": labels,
        });
        let written = plans.join("written");
        fs::write(&written, accepted.to_string()).expect("written");
        let subject = format!("plan {}: {} labels", plan.number, labels.len());
        let said =
            self.open
                .store
                .note_access("accept evaluation plan", &subject, Actor::CommandLine);
        self.asks.block_on(said).expect("said");
        let path = plans.join(format!("{:08}.accepted", plan.number));
        fs::rename(written, path).expect("accepted");
        self.until_said(
            "the evaluation",
            "evaluate model",
            &format!("plan {}:", plan.number),
        );
    }

    /// Waits for a line of the audit log.
    fn until_said(&self, what: &str, verb: &str, subject: &str) {
        until(what, || {
            let lines = pericard_store::audit_log::AuditQuery {
                verb: Some(verb.to_owned()),
                subject: Some(subject.to_owned()),
                limit: 1,
                ..Default::default()
            };
            let said = self.asks.block_on(self.open.store.audit(lines));
            (!said.expect("the audit log").is_empty()).then_some(())
        });
    }

    /// Waits until nothing is left to be done.
    pub(crate) fn settle(&self) {
        until("an empty queue", || {
            let depth = self
                .asks
                .block_on(self.open.store.depth())
                .expect("counted");
            let open: u64 = depth.open_jobs.values().sum();
            (open + depth.undelivered == 0).then_some(())
        });
    }

    /// The inference of this study.
    pub(crate) fn inference_of(&self, study: &str) -> u64 {
        let query = JobQuery {
            study: Some(study.parse().expect("a UID")),
            ..JobQuery::default()
        };
        let jobs = self
            .asks
            .block_on(self.open.store.jobs(query))
            .expect("jobs");
        let infers = jobs
            .iter()
            .find(|job| matches!(job.work, Work::Infer { .. }));
        u64::try_from(infers.expect("an inference").id.0).expect("a number")
    }

    /// Every text that was read in pixels.
    pub(crate) fn texts(&self) -> std::collections::BTreeSet<String> {
        let studies = self
            .asks
            .block_on(self.open.store.studies(10_000, 0))
            .expect("studies");
        let reports = |study: &pericard_domain::study::Study| {
            let kept = self
                .asks
                .block_on(self.open.store.reports(&study.study))
                .expect("reports");
            kept.into_iter().flat_map(|kept| kept.report.findings)
        };
        let findings = studies.iter().flat_map(reports);
        findings.map(|finding| format!("{finding:?}")).collect()
    }

    /// What was inferred in a week: whose, and with what score.
    pub(crate) fn inferences(&self, week: u16) -> Vec<Inference> {
        let at = |week: u16| Timestamp::from_millis(FIRST_MONDAY_MS + i64::from(week) * WEEK_MS);
        let asked = self.open.store.inferences(at(week), at(week + 1));
        self.asks.block_on(asked).expect("inferences")
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runs) = self.runs.take() {
            let ended = runs.join();
            assert!(ended.is_ok() || std::thread::panicking(), "it fell");
        }
    }
}

fn door() -> TcpListener {
    let door = TcpListener::bind("127.0.0.1:0").expect("a port");
    door.set_nonblocking(true).expect("a door for many");
    door
}

fn written(begin: &Begin<'_>, library: &Path) -> String {
    let dir = begin.dir.display();
    let peer = begin.pacs.map_or_else(String::new, |at| {
        format!(
            "[[peers]]\nname = 'pacs'\nae_title = 'PACS'\naddress = '{}'\nport = {}\nmay = ['store']\n",
            at.ip(),
            at.port()
        )
    });
    let to = if begin.pacs.is_some() { "'pacs'" } else { "" };
    format!(
        "[appliance]\nname = 'test'\ndata_dir = '{dir}/data'\nshutdown_grace_s = 20\n\
         [https]\nlisten = '127.0.0.1:8443'\n[dicom]\nlisten = '127.0.0.1:11112'\nunlisted_peers = 'loopback'\n\
         [storage]\nfree_space_floor_mib = 64\nidle_timeout_s = 1\nscrub_mib_per_s = 0\n\
         [models]\nonnxruntime = '{library}'\n[jobs]\nlease_duration_s = 120\n\
         [egress]\nweekly = true\nhold_days = 7\ngate_dir = '{dir}/desk'\ncatalogue = '{dir}/catalogue'\n\
         catalogue_key = '{key}'\n\
         {peer}[[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n\
         destinations = [{to}]\n[rules.when]\nmodalities = ['{modality}']\n",
        library = library.display(),
        key = begin.catalogue_key,
        modality = begin.modality,
    )
}

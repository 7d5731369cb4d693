//! An appliance to test: its process, its configuration, its peers.

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen, seconds. Never a measurement: only when to give up.
pub(crate) const PATIENCE_S: u64 = 240;
/// Between two questions of the same kind. Each is a `curl` of its own, which takes the processor from what is waited for.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);

/// The binary under test.
pub(crate) const PERICARD: &str = env!("CARGO_BIN_EXE_pericard");

/// The build helper's cache: models, ONNX Runtime, samples, the Python environment.
pub(crate) fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home);
    cache.expect("HOME or XDG_CACHE_HOME").join("pericard")
}

/// A file or program that a test needs. `None`, with a word on stderr, when it is missing; with `CI=true` a failure.
pub(crate) fn needed(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing; `cargo xtask test` installs it",
        path.display()
    );
    eprintln!(
        "passed over: {} is missing; `cargo xtask test` installs it",
        path.display()
    );
    None
}

/// A program on the PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    // Debian puts servers where only root looks.
    let found =
        found.or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|file| file.is_file()));
    found.or_else(|| needed(Path::new("/usr/bin").join(name)))
}

/// A program of the Python environment that holds the peers.
pub(crate) fn venv(name: &str) -> Option<PathBuf> {
    let venv =
        std::env::var_os("PERICARD_PEERS_VENV").map_or_else(|| cache().join("venv"), PathBuf::from);
    needed(venv.join("bin").join(name))
}

/// The sample study of that name.
pub(crate) fn sample(name: &str) -> Option<PathBuf> {
    needed(cache().join("samples").join(name))
}

/// Runs to the end and gives what was printed; a failure shows it.
pub(crate) fn run(command: &mut Command) -> String {
    let output = ended(command);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}\n{}\nstdout: {out}\nstderr: {err}",
        output.status
    );
    out.into_owned()
}

/// Runs to the end, however it ends.
pub(crate) fn ended(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(PATIENCE_S),
            "{what}: not within {PATIENCE_S} s"
        );
        std::thread::sleep(BETWEEN_QUESTIONS); // to another process there is nothing to await
    }
}

/// The study that a DICOM file belongs to.
pub(crate) fn study_of(file: &Path) -> String {
    identity_of(file).study.to_string()
}

/// The object that a DICOM file is.
pub(crate) fn instance_of(file: &Path) -> String {
    identity_of(file).instance.to_string()
}

fn identity_of(file: &Path) -> pericard_domain::study::ObjectIdentity {
    let mut reader = std::io::BufReader::new(fs::File::open(file).expect("the file"));
    let scanned =
        pericard_dicom::scan::scan_file(&mut reader, &pericard_dicom::scan::ScanLimits::default());
    scanned
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
        .identity
}

/// What a folder holds, sorted.
pub(crate) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").path())
        .collect();
    files.sort();
    files
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// A process that does not outlive the test, however the test ends.
pub(crate) struct Process(Child);

impl Process {
    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }

    pub(crate) fn start(program: &Path, args: &[&str], log: &Path) -> Self {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log file");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(args)
            .stdin(Stdio::null());
        command
            .stdout(log.try_clone().expect("the log file"))
            .stderr(log);
        Self(born(command))
    }

    pub(crate) fn signal(&self, signal: &str) {
        run(Command::new("kill").args([&format!("-{signal}"), &self.0.id().to_string()]));
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("the process").is_none()
    }

    /// Waits for its end and gives the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        until("the end of the process", || {
            self.0.try_wait().expect("the process")
        })
        .code()
    }
}

/// Starts a process from a thread that lives as long as the tests: a process is told of the death of the thread that
/// started it, and a test's own thread ends with the test.
fn born(command: Command) -> Child {
    type Birth = (Command, mpsc::SyncSender<std::io::Result<Child>>);
    static NURSERY: OnceLock<mpsc::SyncSender<Birth>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (births, waiting) = mpsc::sync_channel::<Birth>(16);
        std::thread::spawn(move || {
            for (mut command, answer) in waiting {
                let _ = answer.send(command.spawn()); // a test that has ended does not ask any more
            }
        });
        births
    });
    let (answer, child) = mpsc::sync_channel(1);
    nursery.send((command, answer)).expect("the nursery");
    child.recv().expect("the nursery").expect("a process")
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An appliance, running.
pub(crate) struct Appliance {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) https: SocketAddr,
    pub(crate) dicom: SocketAddr,
    pub(crate) token: String,
    process: Option<Process>,
}

/// What an appliance is given beside the defaults of a test.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    /// More TOML.
    pub(crate) toml: &'a str,
    /// The models to import, by name.
    pub(crate) models: &'a [&'a str],
}

impl Appliance {
    /// Starts one; `None` when a model or ONNX Runtime is missing.
    pub(crate) fn start(given: Given<'_>) -> Option<Self> {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), given)
    }

    /// Starts one that keeps everything in that directory.
    pub(crate) fn start_in(dir: tempfile::TempDir, given: Given<'_>) -> Option<Self> {
        let mut appliance = Self::prepare_in(dir, given)?;
        appliance.restart();
        Some(appliance)
    }

    /// One that could be started: its configuration, its models, a token.
    pub(crate) fn prepare_in(dir: tempfile::TempDir, given: Given<'_>) -> Option<Self> {
        let library = needed(cache().join("onnxruntime/libonnxruntime.so"))?;
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (https, dicom) = (at(free_port()), at(free_port()));
        let text = format!(
            "[appliance]\nname = 'test'\ndata_dir = '{data}'\nlog_level = 'info'\nshutdown_grace_s = 20\n\
             [https]\nlisten = '{https}'\n[dicom]\nlisten = '{dicom}'\nunlisted_peers = 'loopback'\n\
             [storage]\nfree_space_floor_mib = 64\nidle_timeout_s = 1\n\
             [models]\nonnxruntime = '{library}'\n[jobs]\nlease_duration_s = 30\ndelivery_retry_s = 1\n{more}\n",
            data = dir.path().join("data").display(),
            library = library.display(),
            more = given.toml,
        );
        fs::write(dir.path().join("pericard.toml"), text).expect("the configuration");
        let mut appliance = Self {
            dir,
            https,
            dicom,
            token: String::new(),
            process: None,
        };
        for model in given.models {
            let package = needed(cache().join("packages").join(model))?;
            let package = package.to_str().expect("a path in UTF-8");
            appliance.pericard(&["model", "import", "--activate", package]);
        }
        let roles = "clinician,modality,ml-admin,auditor,security-admin";
        appliance.token = appliance.issue(roles);
        Some(appliance)
    }

    /// Kills it, if it runs, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it, or starts it again, and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.begin();
        let begun = Instant::now();
        while self.get("/readyz").0 != 200 {
            let runs = self.process().is_running();
            assert!(runs, "the appliance ended:\n{}", self.log());
            assert!(
                begun.elapsed() < Duration::from_secs(PATIENCE_S),
                "not ready within {PATIENCE_S} s: {:?}\n{}",
                self.get("/readyz"),
                self.log()
            );
            std::thread::sleep(BETWEEN_QUESTIONS); // to another process there is nothing to await
        }
    }

    /// Starts it, or starts it again, and does not wait.
    pub(crate) fn begin(&mut self) {
        self.kill();
        let log = self.dir.path().join("log");
        let config = self.config();
        let args = [
            "serve",
            "--config",
            config.to_str().expect("a path in UTF-8"),
        ];
        self.process = Some(Process::start(Path::new(PERICARD), &args, &log));
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("pericard.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.data().join("tls/ca.pem")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running appliance")
    }

    /// Runs the command line beside it.
    pub(crate) fn pericard(&self, args: &[&str]) -> String {
        run(&mut self.command(args))
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PERICARD);
        let alone = ["submit", "check", "deidentify"];
        let (verbs, rest) = args.split_at(if alone.contains(&args[0]) { 1 } else { 2 });
        command
            .args(verbs)
            .arg("--config")
            .arg(self.config())
            .args(rest);
        command
    }

    /// A token with these roles.
    pub(crate) fn issue(&self, roles: &str) -> String {
        self.pericard(&["token", "issue", "--label", "test", "--role", roles])
            .trim()
            .to_owned()
    }

    /// GET with the token: the status and the body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.curl(
            &["-H", &format!("Authorization: Bearer {}", self.token)],
            path,
        )
    }

    /// GET as JSON, which must succeed.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
    }

    /// A request by curl: the status (0 when there was none) and the body.
    pub(crate) fn curl(&self, args: &[&str], path: &str) -> (u16, String) {
        let url = format!("https://{}{path}", self.https);
        let output = Command::new("curl")
            .args([
                "--silent",
                "--noproxy",
                "*",
                "--max-time",
                "120",
                "--write-out",
                "\n%{http_code}",
                "--cacert",
            ])
            .arg(self.ca())
            .args(args)
            .arg(url)
            .stdin(Stdio::null())
            .output()
            .expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or((&text, "0"));
        (status.trim().parse().unwrap_or(0), body.to_owned())
    }

    /// Sends by DCMTK's storescu.
    pub(crate) fn storescu(&self, args: &[&str], paths: &[&Path]) -> Output {
        let mut command = Command::new(program("storescu").expect("storescu"));
        command
            .env("TCP_NODELAY", "1")
            .args(["-aec", "PERICARD"])
            .args(args);
        command
            .args([self.dicom.ip().to_string(), self.dicom.port().to_string()])
            .args(paths);
        ended(&mut command)
    }

    /// Waits until every job of the study has ended, and gives the jobs.
    pub(crate) fn jobs_ended(&self, study: &str) -> Vec<Value> {
        until("the study's jobs", || {
            let jobs = self.json(&format!("/api/v1/jobs?study={study}"));
            let jobs = jobs["jobs"].as_array().cloned().expect("a list of jobs");
            let ended = |job: &Value| !matches!(job["state"].as_str(), Some("waiting" | "leased"));
            let inferred = jobs.iter().any(|job| job["work"]["kind"] == "infer");
            (inferred && jobs.iter().all(ended)).then_some(jobs)
        })
    }

    /// What was found in the study.
    pub(crate) fn reports(&self, study: &str) -> Vec<Value> {
        let results = self.json(&format!("/api/v1/studies/{study}/results"));
        results["reports"]
            .as_array()
            .cloned()
            .expect("a list of reports")
    }
}

/// A script of `tests/it/peers`, run by the Python environment.
pub(crate) fn python(script: &str, args: &[&str]) -> Option<String> {
    let python = venv("python")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/peers")
        .join(script);
    // The machine's own certificates and proxies are not to be asked about a test's loopback server.
    let mut command = Command::new(python);
    command
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("SSL_CERT_FILE")
        .env("NO_PROXY", "*");
    Some(run(command.arg(script).args(args)))
}

/// Writes bytes to the DICOM port and reads what comes back until the other side closes or is silent.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the port");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let _ = stream.write_all(bytes); // the other side may close on the way: that is an answer too
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// The appliance that most tests share, with every model. It is one test's at a time.
pub(crate) fn shared() -> Option<MutexGuard<'static, Appliance>> {
    static SHARED: OnceLock<Option<Mutex<Appliance>>> = OnceLock::new();
    let start = || {
        Appliance::start(Given {
            toml: RULES,
            models: &[
                "burned-in-text",
                "brain-extraction",
                "smollm2-135m-instruct",
                "all-minilm-l6-v2",
                "rampart",
            ],
        })
    };
    let shared = SHARED.get_or_init(|| start().map(Mutex::new)).as_ref()?;
    Some(shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Rules that send every kind of sample to its model; results go nowhere but into the study.
pub(crate) const RULES: &str = "
[[rules]]
name = 'text'
models = ['burned-in-text']
idle_timeout_s = 1
when = { modalities = ['US', 'CR', 'DX', 'SC', 'OT', 'CT'] }
[[rules]]
name = 'brain'
models = ['brain-extraction']
idle_timeout_s = 1
when = { modalities = ['MR'] }
";

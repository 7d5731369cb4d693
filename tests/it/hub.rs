//! The national side: by its commands, with the gate that hospitals run, and its dashboard in Chromium.

use crate::nation;
use crate::support::*;
use pericard_egress::{Books, Closing, Identity, Log, Meter, Rules, Seed, Week};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A hub, and the folder that all of it lies in.
struct National {
    dir: tempfile::TempDir,
    at: SocketAddr,
    process: Option<Process>,
}

impl National {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let hub = Self {
            dir,
            at,
            process: None,
        };
        let data = hub.data();
        let text = format!(
            "[hub]\nname = 'hub.test'\ndata_dir = '{}'\n[https]\nlisten = '{at}'\n",
            data.display()
        );
        fs::write(hub.path("hub.toml"), text).expect("written");
        hub
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("hub")
    }

    fn serve(&mut self) {
        let config = self.path("hub.toml");
        let args = ["hub", "serve", "--config", config.to_str().expect("a path")];
        let log = self.path("log");
        let mut process = Process::start(Path::new(PERICARD), &args, &log);
        until("the hub's door", || {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(process.is_running(), "the hub ended:\n{}", said());
            (self.get("", "/readyz").0 == 200).then_some(())
        });
        self.process = Some(process);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PERICARD);
        command
            .arg("hub")
            .args(args)
            .arg("--config")
            .arg(self.path("hub.toml"));
        command
    }

    fn run(&self, args: &[&str]) -> String {
        run(&mut self.command(args))
    }

    fn refused(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = ended(&mut self.command(args));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    }

    fn get(&self, token: &str, path: &str) -> (u16, String) {
        let output = self.curl(&["-H", &format!("Authorization: Bearer {token}")], path);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or((&text, "0"));
        (status.trim().parse().unwrap_or(0), body.to_owned())
    }

    /// A request for enrolment, by whoever was given one: no token is needed to ask.
    fn asks(&self, request: &str) -> (u16, Value) {
        self.posts(
            &["-H", "Content-Type: text/plain"],
            "/hub/v1/enrolments",
            request,
        )
    }

    fn posts(&self, args: &[&str], path: &str, body: &str) -> (u16, Value) {
        let file = self.path("posted");
        fs::write(&file, body).expect("written");
        let data = format!("@{}", file.display());
        let output = self.curl(&[&["--data-binary", &data], args].concat(), path);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or((&text, "0"));
        let said = serde_json::from_str(body).unwrap_or_default();
        (status.trim().parse().unwrap_or(0), said)
    }

    fn curl(&self, args: &[&str], path: &str) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--max-time", "60"])
            .args(["--write-out", "\n%{http_code}", "--cacert"])
            .arg(self.data().join("authority.pem"))
            .args(args)
            .arg(format!("https://{}{path}", self.at))
            .stdin(Stdio::null());
        curl.output().expect("curl")
    }
}

/// A hospital's egress: books and a gate, without the appliance around them.
struct Clinic {
    config: PathBuf,
    data: PathBuf,
}

impl Clinic {
    fn new(dir: &Path) -> Self {
        let (data, config) = (dir.join("clinic"), dir.join("pericard.toml"));
        let text = format!(
            "[appliance]\ndata_dir = '{}'\n[egress]\nhold_days = 0\ngate_dir = '{}'\n",
            data.display(),
            dir.join("gate").display()
        );
        fs::create_dir_all(&data).expect("made");
        fs::create_dir_all(dir.join("gate")).expect("made");
        fs::write(&config, text).expect("written");
        Self { config, data }
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new(PERICARD);
        command
            .arg("egress")
            .args(&args[..1])
            .arg("--config")
            .arg(&self.config);
        run(command.args(&args[1..]))
    }

    /// Closes a week, so that its frame waits for the gate.
    fn tell(&self, appliance: u32, week: u16) {
        let release = [0, 1, 0];
        let meter = Meter::open(self.data.join("counters"), Identity { appliance, release });
        let mut books = Books::open(self.data.join("egress"), Rules::default()).expect("books");
        let empty = pericard_audit::Hash::empty_root();
        let (words, _) = empty.as_bytes().as_chunks::<8>();
        let root = std::array::from_fn(|at| u64::from_be_bytes(words[at]));
        let closing = Closing {
            week,
            inferences: Week::of(&[]),
            log: Log {
                root,
                ..Log::default()
            },
            evaluations: Vec::new(),
            seed: Seed([1; 32]),
        };
        books
            .close(closing, &meter.expect("a meter"))
            .expect("closed");
    }
}

fn this_week() -> u16 {
    ((pericard::hub::now_s() - 4 * 86_400) / (7 * 86_400)) as u16
}

#[test]
fn the_national_side_by_its_commands() {
    let mut hub = National::new();
    assert!(hub.run(&["check"]).contains("ok"));
    let key = hub.run(&["key"]);
    let (code, _) = hub.refused(&["token", "issue", "--label", "x", "--role", "root"]);
    assert_eq!(code, Some(2));
    let issued = hub.run(&[
        "token", "issue", "--label", "press", "--role", "analyst", "--json",
    ]);
    let issued: Value = serde_json::from_str(&issued).expect("JSON");
    let secret = issued["secret"].as_str().expect("a secret");
    hub.serve();
    assert_eq!(hub.get(secret, "/hub/v1/hospitals"), (200, "[]".into()));

    // Enrolment: two files, carried by hand, and a key read out by telephone.
    let clinic = Clinic::new(hub.dir.path());
    let (request, granted) = (hub.path("request"), hub.path("enrolment"));
    fs::write(&request, clinic.run(&["enrol-request"])).expect("written");
    let request = request.to_str().expect("a path");
    let (code, said) = hub.refused(&["enrol", request, "--name", "A clinic", "extra"]);
    assert_eq!(code, Some(2), "{said}");
    let note = hub.run(&["enrol", request, "--name", "A clinic"]);
    fs::write(&granted, note).expect("written");
    clinic.run(&[
        "enrol",
        granted.to_str().expect("a path"),
        "--hub-key",
        key.trim(),
    ]);

    clinic.tell(1, this_week() - 3);
    assert!(clinic.run(&["run", "--once"]).contains("frame 1: accepted"));
    let listed: Value = serde_json::from_str(&hub.run(&["hospitals", "--json"])).expect("JSON");
    assert_eq!(listed[0]["name"], "A clinic");
    assert!(listed[0]["last_received_at_s"].is_u64(), "{listed}");

    // The catalogue, a recall that goes out with the next reply, and a frame that is carried.
    let digest = "ab".repeat(32);
    assert_eq!(
        hub.run(&["model", "add", "chest", "1.0", &digest]).trim(),
        "1"
    );
    let (code, said) = hub.refused(&["model", "add", "--id", "2", "chest", "1.0", &digest]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in the catalogue already"), "{said}");
    fs::write(hub.path("catalogue"), hub.run(&["model", "export"])).expect("written");
    let believed = pericard::catalogue::Catalogue::read(&hub.path("catalogue"), key.trim());
    believed.expect("signed by the hub");
    let recall = [
        "advisory", "issue", "--kind", "recall", "--model", "1", "--cause", "safety",
    ];
    assert_eq!(hub.run(&recall).trim(), "1");
    clinic.tell(1, this_week() - 2);
    let stick = hub.path("stick");
    fs::create_dir(&stick).expect("made");
    let folder = stick.to_str().expect("a path");
    let carried = clinic.run(&["carry", folder]);
    assert!(hub.run(&["take", carried.trim()]).contains("accepted"));
    let reply = carried.trim().replace(".frame", ".reply");
    assert!(clinic.run(&["take", &reply]).contains("frame 2: accepted"));
    assert!(clinic.run(&["ledger"]).contains("recall"));

    // Suspended is refused, in the running hub within a second.
    hub.run(&["suspend", "1"]);
    clinic.tell(1, this_week() - 1);
    let refused = clinic.run(&["run", "--once"]);
    assert!(refused.contains("refused"), "{refused}");
    hub.run(&["resume", "1"]);
    assert!(clinic.run(&["run", "--once"]).contains("frame 3: accepted"));
    let number = issued["token"]["number"].to_string();
    hub.run(&["token", "revoke", &number]);
    until("the end of the token", || {
        (hub.get(secret, "/hub/v1/hospitals").0 == 401).then_some(())
    });

    // The audit log, and a backup that is a hub's data.
    assert!(hub.run(&["audit", "verify"]).starts_with("ok: "));
    let copy = hub.path("copy");
    hub.run(&["backup", copy.to_str().expect("a path")]);
    let process = hub.process.as_mut().expect("a running hub");
    process.signal("TERM");
    assert_eq!(process.wait(), Some(0));
    fs::rename(hub.data(), hub.path("lost")).expect("moved");
    fs::rename(copy, hub.data()).expect("put back");
    assert_eq!(hub.run(&["key"]), key);
    assert!(hub.run(&["audit", "verify"]).starts_with("ok: "));
    hub.serve();
    clinic.run(&["run", "--once"]);
}

/// Enrolment without the hub's shell: the request goes over the door, an admin grants it there, and the log says who.
#[test]
fn an_admin_enrols_a_hospital_over_the_door() {
    let mut hub = National::new();
    let key = hub.run(&["key"]);
    let issue = |role: &str| {
        let issued = hub.run(&["token", "issue", "--label", role, "--role", role]);
        format!("Authorization: Bearer {}", issued.trim())
    };
    let (admin, analyst) = (issue("admin"), issue("analyst"));
    hub.serve();
    let clinic = Clinic::new(hub.dir.path());
    let (status, told) = hub.asks(&clinic.run(&["enrol-request"]));
    assert_eq!((status, &told["number"]), (202, &1.into()), "{told}");
    let listed = hub.run(&["hospitals", "--json"]);
    assert_eq!(listed.trim(), "[]", "nobody is enrolled for asking");

    let read = hub.curl(&["-H", &admin], "/hub/v1/enrolments");
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    let (waits, _) = read.rsplit_once('\n').expect("an answer");
    let waits: Value = serde_json::from_str(waits).expect("JSON");
    let granting = serde_json::json!({"name": "A clinic", "frame_key": waits[0]["frame_key"]});
    let grant = |who: &str| {
        let args = ["-H", who, "-H", "Content-Type: application/json"];
        hub.posts(&args, "/hub/v1/enrolments/1/grant", &granting.to_string())
    };
    assert_eq!(grant(&analyst).0, 403);
    let (status, granted) = grant(&admin);
    assert_eq!(status, 200, "{granted}");
    let note = hub.path("enrolment");
    fs::write(&note, granted["note"].as_str().expect("a note")).expect("written");
    let note = note.to_str().expect("a path");
    clinic.run(&["enrol", note, "--hub-key", key.trim()]);
    clinic.tell(1, this_week() - 2);
    assert!(clinic.run(&["run", "--once"]).contains("frame 1: accepted"));
    let log = hub.run(&["audit", "show"]);
    assert!(log.contains("1 by token 1, request 1"), "{log}");
    assert!(hub.run(&["audit", "verify"]).starts_with("ok: "));
}

#[test]
fn no_hub_opens_beyond_loopback_before_somebody_is_known() {
    let hub = National::new();
    let text = fs::read_to_string(hub.path("hub.toml")).expect("a configuration");
    let beyond = text.replace("127.0.0.1", "0.0.0.0");
    fs::write(hub.path("hub.toml"), beyond).expect("written");
    let (code, said) = hub.refused(&["serve"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("pericard hub token issue"), "{said}");
    fs::write(hub.path("hub.toml"), text + "port = 1\n").expect("written");
    let (code, said) = hub.refused(&["check"]);
    assert_eq!((code, said.contains("line 6")), (Some(2), true), "{said}");
}

#[test]
fn an_older_hub_leaves_a_newer_one_s_data_alone() {
    let hub = National::new();
    hub.run(&["key"]);
    let newer = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA user_version = 999'); db.close()";
    run(Command::new(program("python3").expect("python3"))
        .args(["-c", newer])
        .arg(hub.data().join(pericard::hub::DATABASE)));
    for command in ["serve", "hospitals"] {
        let (code, said) = hub.refused(&[command]);
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("written by a newer version") && said.contains("schema 999"),
            "{said}"
        );
    }
}

#[test]
fn every_page_of_the_dashboard_in_a_browser() {
    let (Some(chromium), Some(_)) = (program("chromium"), venv("python")) else {
        return;
    };
    let mut hub = National::new();
    let secret = hub.run(&["token", "issue", "--label", "test", "--role", "admin"]);
    // Half a year of the nation comes in before the door opens.
    let key = fs::read_to_string(hub.data().join("hub.key")).expect("a key");
    let key = pericard_audit::SigningKey::from_secret_text(&key).expect("a key");
    drop(nation::live(
        &hub.data().join("hub.db"),
        key,
        pericard::hub::now_s(),
    ));
    let own = format!("hospital {}", nation::BAD_CAMERA);
    let own = hub.run(&["token", "issue", "--label", "own", "--role", &own]);
    hub.serve();
    // A hospital that waits to be enrolled.
    let asked = Clinic::new(hub.dir.path()).run(&["enrol-request"]);
    assert_eq!(hub.asks(&asked).0, 202);
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hub");
    let frame = hub.path("1.frame");
    fs::write(&frame, [0; 4096]).expect("written");
    let profile = hub.path("browser");
    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    let printed = python(
        "hub_browser.py",
        &[
            &path(&chromium),
            &format!("https://{}", hub.at),
            secret.trim(),
            &path(&shots),
            &path(&profile),
            &nation::DRIFTING.to_string(),
            &nation::BAD_CAMERA.to_string(),
            &path(&frame),
            own.trim(),
        ],
    );
    let printed = printed.expect("python");
    eprintln!("{printed}screenshots: {}", shots.display());
    assert!(printed.ends_with("ok\n"), "{printed}");
    researchers_read(&hub, secret.trim());
}

/// The export by pyarrow: the Parquet file says what the CSV says, with types.
fn researchers_read(hub: &National, secret: &str) {
    let asked = "?from_week=0&model=301";
    let (status, csv) = hub.get(secret, &format!("/hub/v1/weeks.csv{asked}"));
    assert_eq!(status, 200);
    fs::write(hub.path("weeks.csv"), csv).expect("written");
    let parquet = hub.path("weeks.parquet");
    let bearer = format!("Authorization: Bearer {secret}");
    let to = parquet.to_str().expect("a path");
    hub.curl(
        &["-H", &bearer, "-o", to],
        &format!("/hub/v1/weeks.parquet{asked}"),
    );
    let printed = python(
        "weeks.py",
        &[to, hub.path("weeks.csv").to_str().expect("a path")],
    );
    let printed = printed.expect("python");
    assert!(printed.ends_with("ok\n"), "{printed}");
}

#[test]
fn the_demonstration_with_a_hub_shows_a_nation() {
    if needed(cache().join("onnxruntime/libonnxruntime.so")).is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (path, log) = (dir.path().to_str().expect("a path"), dir.path().join("log"));
    let args = ["demo", "--hub", "--dir", path, "--no-samples"];
    let mut demo = Process::start(Path::new(PERICARD), &args, &log);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    // Printed once all simulated hospitals have sent what they have.
    let address = until("the dashboard's address", || {
        assert!(demo.is_running(), "the demonstration ended:\n{}", said());
        let said = said();
        let (_, line) = said.split_once("  hub    ")?;
        line.split_ascii_whitespace().next().map(str::to_owned)
    });
    let shown = fs::read_to_string(dir.path().join("demo.json")).expect("demo.json");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let word = |key: &str| shown[key].as_str().expect("a text").to_owned();
    assert_eq!(address, format!("https://{}/", word("hub")));
    let get = |path: &str| {
        let bearer = format!("Authorization: Bearer {}", word("hub_token"));
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--fail",
            "--location",
            "--noproxy",
            "*",
            "--cacert",
        ]);
        curl.args([&word("hub_ca"), "-H", &bearer]);
        run(curl.arg(format!("{address}{path}")))
    };
    let read = |path: &str| serde_json::from_str::<Value>(&get(path)).expect("JSON");

    let hospitals = read("hub/v1/hospitals");
    let heard = |name: &str| {
        let hospitals = hospitals.as_array().expect("hospitals");
        let found = hospitals.iter().find(|hospital| hospital["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not enrolled: {hospitals:?}"))["last_week"]
            .clone()
    };
    let north = heard("North (simulated)");
    assert_eq!(north, this_week() - 1, "{hospitals}");
    assert_eq!(heard("Hill (simulated)"), this_week() - 8, "{hospitals}");
    assert!(heard("This appliance").is_null(), "{hospitals}");
    let models = read("hub/v1/models");
    let last = models
        .as_array()
        .and_then(|models| models.last())
        .expect("a model");
    let findings = read("hub/v1/findings");
    let found = |kind: &str| {
        let findings = findings.as_array().expect("findings").iter();
        findings
            .filter(|found| found["kind"] == kind)
            .collect::<Vec<_>>()
    };
    let (drift, silent) = (found("model_drift"), found("silent"));
    assert_eq!(drift.len(), 1, "{findings}");
    assert_eq!(drift[0]["model"], last["id"], "{findings}");
    assert_eq!(silent.len(), 1, "{findings}");
    assert!(
        get("").contains("<!DOCTYPE html>"),
        "the address is a page's"
    );

    demo.signal("TERM");
    assert_eq!(demo.wait(), Some(0), "{}", said());
}

//! What changes while associations are open, and what does not: SIGHUP, and a newer version's data.

use crate::support::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const RULE: &str = "[[rules]]\nname = 'text'\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n\
                    destinations = ['archive']\n";

/// What is said of an association at the level `debug` and not at `info`.
const DETAIL: &str = "association accepted";

/// CT2 as it calls from this machine, or from elsewhere.
fn scanner(address: &str) -> String {
    format!("[[peers]]\nname = 'ct'\nae_title = 'CT2'\naddress = '{address}'\n")
}

#[test]
fn rules_and_peers_are_read_again_while_an_association_stays_open() {
    let (Some(ultrasound), Some(python), Some(storescp), Some(_)) = (
        sample("us1"),
        venv("python"),
        program("storescp"),
        program("echoscu"),
    ) else {
        return;
    };
    let Some(mut appliance) = Appliance::start(Given {
        toml: &scanner("192.0.2.1"),
        models: &["burned-in-text"],
    }) else {
        return;
    };
    let text = fs::read_to_string(appliance.config()).expect("the configuration");
    let (file, port) = (&files_in(&ultrasound)[0], free_port());
    let mut held = Held::open(&python, appliance.dicom.port(), file);
    assert!(!scanner_is_heard(&appliance), "it calls from elsewhere");

    let archive = format!(
        "[[peers]]\nname = 'archive'\nae_title = 'ARCHIVE'\naddress = '127.0.0.1'\nport = {port}\n"
    );
    let good = text.replace("192.0.2.1", "127.0.0.1") + &archive + RULE;
    let good = good.replace("log_level = 'info'", "log_level = 'debug'");
    assert!(!appliance.log().contains(DETAIL), "that is for debugging");
    reload(&mut appliance, &good, "read again");
    assert!(scanner_is_heard(&appliance), "its new address is not known");
    until("what the new level lets through", || {
        appliance.log().contains(DETAIL).then_some(())
    });

    let moved = good.replace("127.0.0.1'\nport", "192.0.2.1'\nport");
    let unloaded = "[[rules]]\nname = 'x'\nmodels = ['gone']\nidle_timeout_s = 1\n";
    for (bad, reason) in [
        (
            moved.replace("lease_duration_s = 30", "lease_duration_s = 0"),
            "line 17: jobs.lease_duration_s",
        ),
        (moved.clone() + "wrong = 1\n", "unknown field `wrong`"),
        (moved + unloaded, "\"gone\" is not loaded"),
    ] {
        let begun = appliance.log().len();
        reload(&mut appliance, &bad, "not read again");
        let said = appliance.log().split_off(begun);
        assert!(said.contains(reason), "{reason}: {said}");
        assert!(scanner_is_heard(&appliance), "what was read before holds");
    }

    let audit = appliance.pericard(&["audit", "show", "--limit", "1000"]);
    let count = |verb: &str| audit.matches(verb).count();
    assert_eq!(count("reload configuration"), 1, "{audit}");
    assert_eq!(count("refuse configuration"), 3, "{audit}");

    let received = appliance.dir.path().join("received");
    fs::create_dir(&received).expect("a directory");
    let to = received.to_str().expect("a path");
    let args = ["+B", "-od", to, "-aet", "ARCHIVE", &port.to_string()];
    let _archive = Process::start(&storescp, &args, &appliance.dir.path().join("storescp"));
    assert_eq!(held.send(), "0 0", "the association did not live");
    let study = study_of(file);
    for job in appliance.jobs_ended(&study) {
        assert_eq!(job["state"], "done", "{job}");
    }
    until(
        "the delivery by a rule and to a peer that came with the reload",
        || (!files_in(&received).is_empty()).then_some(()),
    );
}

/// As `systemctl reload` runs it: a signal alone succeeds, whatever became of the file.
#[test]
fn whoever_asks_for_a_reload_is_told_what_became_of_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(appliance) = Appliance::prepare_in(dir, Given::default()) else {
        return;
    };
    let runtime = appliance.dir.path().join("run");
    fs::create_dir(&runtime).expect("a directory");
    let given = format!("RUNTIME_DIRECTORY={}", runtime.display());
    let config = appliance.config();
    let file = config.to_str().expect("a path");
    let log = appliance.dir.path().join("log");
    let args = [&*given, PERICARD, "serve", "--config", file];
    let mut process = Process::start(Path::new("/usr/bin/env"), &args, &log);
    until("the appliance", || {
        assert!(process.is_running(), "{}", appliance.log());
        (appliance.get("/readyz").0 == 200).then_some(())
    });
    let told = runtime.join("reload");
    assert!(!told.exists(), "nobody has asked yet");
    let pid = process.id().to_string();
    let reload = || {
        let mut command = Command::new(PERICARD);
        command.args(["reload", "--config", file, "--pid", &pid]);
        command.env("RUNTIME_DIRECTORY", &runtime);
        command
    };
    let ends = |mut command: Command| {
        let output = ended(&mut command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let text = fs::read_to_string(file).expect("the configuration");
    let unloaded = "[[rules]]\nname = 'x'\nmodels = ['gone']\nidle_timeout_s = 1\n";
    let digest = |text: &str| hex::encode(Sha256::digest(text));
    assert_eq!(ends(reload()), (Some(0), String::new()));
    for (bad, why) in [
        (text.clone() + unloaded, "\"gone\" is not loaded"),
        (text.clone() + "wrong = 1\n", "unknown field `wrong`"),
    ] {
        fs::write(file, &bad).expect("the configuration");
        // What an earlier one was told of the very same file is not what this one is told.
        let earlier = json!({"digest": digest(&bad), "refused": null});
        fs::write(&told, earlier.to_string()).expect("an outcome");
        let (code, said) = ends(reload());
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
    fs::write(file, &text).expect("the configuration");
    assert_eq!(ends(reload()), (Some(0), String::new()));

    fs::remove_file(&told).expect("it is told");
    process.signal("HUP");
    let digest = digest(&text);
    until("what became of it", || {
        let said: Value = serde_json::from_slice(&fs::read(&told).ok()?).ok()?;
        (said["digest"] == digest && said["refused"].is_null()).then_some(())
    });

    let mut elsewhere = reload();
    elsewhere.env_remove("RUNTIME_DIRECTORY");
    let (code, said) = ends(elsewhere);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the journal says"), "{said}");
    drop(process);
    let (code, said) = ends(reload());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&pid), "{said}");
}

/// Two certificates of the hospital's authority, the second in the place of the first, while a modality is at the door.
#[test]
fn a_renewed_certificate_is_served_while_an_association_stays_open() {
    let (Some(ultrasound), Some(python), Some(openssl)) =
        (sample("us1"), venv("python"), program("openssl"))
    else {
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certificates = Certificates {
        dir: dir.path().to_owned(),
        openssl,
    };
    certificates.authority();
    certificates.issue("first");
    certificates.put("first");
    let Some(mut appliance) = Appliance::prepare_in(dir, Given::default()) else {
        return;
    };
    let text = fs::read_to_string(appliance.config()).expect("the configuration");
    let listen = format!("listen = '{}'\n", appliance.https);
    let [chain, key] = ["served.pem", "served.key"].map(|name| certificates.dir.join(name));
    let named = format!(
        "{listen}certificate = '{}'\nkey = '{}'\n",
        chain.display(),
        key.display()
    );
    let text = text.replacen(&listen, &named, 1);
    fs::write(appliance.config(), &text).expect("the configuration");
    // What clients of the tests trust.
    fs::create_dir_all(appliance.data().join("tls")).expect("a folder");
    fs::copy(certificates.dir.join("authority.pem"), appliance.ca()).expect("the authority");
    appliance.restart();
    let first = certificates.served(&appliance);
    assert_eq!(first, certificates.fingerprint("first"));

    let file = &files_in(&ultrasound)[0];
    let mut held = Held::open(&python, appliance.dicom.port(), file);
    let process = appliance.process().id();
    certificates.issue("second");
    certificates.put("second");
    assert_eq!(
        certificates.served(&appliance),
        first,
        "nobody has said so yet"
    );
    reload(&mut appliance, &text, "read again");
    let second = certificates.served(&appliance);
    assert_eq!(second, certificates.fingerprint("second"));
    assert_ne!(first, second);
    assert_eq!(appliance.get("/readyz").0, 200, "clients go on");
    assert_eq!(held.send(), "0 0", "the association did not live");
    assert_eq!(appliance.process().id(), process);
    let study = study_of(file);
    let kept = appliance.json(&format!("/api/v1/studies/{study}"));
    assert_eq!(kept["instances"], 1, "{kept}");
}

/// An authority, and what it signed.
struct Certificates {
    dir: std::path::PathBuf,
    openssl: std::path::PathBuf,
}

impl Certificates {
    fn authority(&self) {
        self.run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=authority \
                  -keyout authority.key -out authority.pem");
        let names = "subjectAltName=IP:127.0.0.1\n";
        fs::write(self.dir.join("names"), names).expect("the names");
    }

    fn issue(&self, name: &str) {
        self.run(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.run(&format!(
            "x509 -req -in {name}.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 8 -extfile names \
             -out {name}.pem"
        ));
    }

    /// Where the configuration looks.
    fn put(&self, name: &str) {
        for ending in ["pem", "key"] {
            let from = self.dir.join(format!("{name}.{ending}"));
            fs::copy(from, self.dir.join(format!("served.{ending}"))).expect("put in place");
        }
    }

    fn fingerprint(&self, name: &str) -> String {
        self.run(&format!("x509 -in {name}.pem -noout -fingerprint -sha256"))
    }

    /// That of the certificate that the door shows.
    fn served(&self, appliance: &Appliance) -> String {
        let shown = self.run(&format!("s_client -connect {}", appliance.https));
        fs::write(self.dir.join("shown.pem"), shown).expect("what was shown");
        self.fingerprint("shown")
    }

    fn run(&self, words: &str) -> String {
        let mut command = Command::new(&self.openssl);
        run(command
            .args(words.split_whitespace())
            .current_dir(&self.dir))
    }
}

/// Writes the configuration, and waits until the journal says that about it.
fn reload(appliance: &mut Appliance, text: &str, said: &str) {
    fs::write(appliance.config(), text).expect("the configuration");
    let begun = appliance.log().len();
    appliance.process().signal("HUP");
    until(said, || {
        appliance.log()[begun..].contains(said).then_some(())
    });
}

fn scanner_is_heard(appliance: &Appliance) -> bool {
    let (ip, port) = (appliance.dicom.ip().to_string(), appliance.dicom.port());
    let titles = ["-aet", "CT2", "-aec", "PERICARD"];
    let mut echo = Command::new(program("echoscu").expect("echoscu"));
    ended(echo.args(titles).args([ip, port.to_string()]))
        .status
        .success()
}

/// An association of pynetdicom's that waits.
pub(crate) struct Held(Child);

impl Held {
    pub(crate) fn open(python: &Path, port: u16, file: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/held_open.py");
        let mut command = Command::new(python);
        command.arg(script).arg(port.to_string()).arg(file);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut held = Self(pipes.spawn().expect("python"));
        assert_eq!(held.line(), "open");
        held
    }

    /// Sends the file, and is released.
    fn send(&mut self) -> String {
        let said = self.send_and_stay();
        drop(self.0.stdin.take());
        said
    }

    /// Sends the file, and stays open.
    pub(crate) fn send_and_stay(&mut self) -> String {
        let stdin = self.0.stdin.as_mut().expect("its standard input");
        stdin.write_all(b"now\n").expect("it listens");
        self.line()
    }

    /// Is released.
    pub(crate) fn end(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("python").success());
    }

    fn line(&mut self) -> String {
        let out = self.0.stdout.as_mut().expect("its standard output");
        let mut line = String::new();
        // One byte at a time: what is read beyond the line would be lost with the reader.
        BufReader::with_capacity(1, out.by_ref())
            .read_line(&mut line)
            .expect("a line");
        line.trim().to_owned()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_older_version_leaves_a_newer_one_s_data_alone() {
    let Some(mut appliance) = Appliance::start(Given::default()) else {
        return;
    };
    appliance.process().signal("TERM");
    assert_eq!(appliance.process().wait(), Some(0));
    appliance.kill();
    let newer = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
                 db.execute('PRAGMA user_version = 999'); db.execute('PRAGMA wal_checkpoint(TRUNCATE)')";
    run(Command::new(program("python3").expect("python3"))
        .args(["-c", newer])
        .arg(appliance.data().join("pericard.db")));
    let digests = || {
        run(Command::new("sh")
            .args([
                "-c",
                "find . | sort; find . -type f -exec sha256sum {} + | sort",
            ])
            .current_dir(appliance.data()))
    };
    let before = digests();
    let config = appliance.config();
    let mut serve = Command::new(PERICARD);
    serve.arg("serve").arg("--config").arg(config);
    for mut command in [serve, appliance.command(&["jobs", "list"])] {
        let refused = ended(&mut command);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(
            said.contains("written by a newer version") && said.contains("schema 999"),
            "{said}"
        );
        assert_eq!(digests(), before, "{command:?}");
    }
}

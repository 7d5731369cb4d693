//! No process of the appliance leaves its memory behind when it crashes: whatever the shell that started it allows.

use crate::national::National;
use crate::support::{Appliance, Given, PERICARD, until};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// `signal(7)`: an abort. (Of an invalid memory reference the runtime takes the first for its own.)
const ABRT: i32 = 6;

/// Starts a program in a folder of its own, where dumps of any size are allowed.
fn allowed(dir: &Path, program: &str, args: &[&str]) -> Child {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh", program])
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("a process")
}

fn crashed(mut child: Child) -> ExitStatus {
    crash(child.id());
    child.wait().expect("its end")
}

fn crash(pid: u32) {
    crate::support::run(Command::new("kill").args(["-ABRT", &pid.to_string()]));
}

fn limit_of(pid: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    line.unwrap_or_default()
        .split_ascii_whitespace()
        .skip(4)
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether it is gone, or dead until whoever started it asks how it ended: the appliance does when it has work for it.
fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, after)| &after[..1]);
    matches!(state, None | Some("Z" | "X"))
}

/// Whether the kernel dumped this process, which nobody has asked yet how it ended (`proc_pid_stat(5)`: the last field,
/// `exit_code`, in the form of `waitpid(2)`).
fn was_dumped(pid: u32) -> bool {
    const DUMPED: u32 = 0x80;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let status = stat.split_ascii_whitespace().next_back();
    status
        .and_then(|status| status.parse::<u32>().ok())
        .unwrap_or(0)
        & DUMPED
        != 0
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = format!("/proc/{pid}/task");
    let threads = fs::read_dir(tasks).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
    let pids: Vec<u32> = lists
        .flat_map(|list| {
            let list = list.unwrap_or_default();
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    pids
}

/// What a worker works as: the last word of its command line.
fn kind_of(pid: u32) -> String {
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = words.trim_end_matches('\0').rsplit('\0').next();
    words.unwrap_or_default().to_owned()
}

/// Neither a limit nor the kernel lets it be dumped.
fn assert_forbidden(pid: u32) {
    assert_eq!(limit_of(pid), "0 0", "of {pid}");
    assert!(!is_dumpable(pid), "{pid} can be dumped");
}

#[test]
fn neither_the_gate_nor_the_hub_is_dumped_even_where_dumps_are_allowed() {
    let hub = National::new("info");
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("pericard.toml");
    let text = format!(
        "[appliance]\ndata_dir = '{at}/data'\n[egress]\ngate_dir = '{at}/gate'\n",
        at = dir.path().display()
    );
    fs::write(&config, text).expect("written");
    hub.enrol(&config);
    let [hub_config, config] =
        [hub.config(), config].map(|path| path.to_str().expect("a path").to_owned());
    let left = tempfile::tempdir().expect("a folder");
    let served = ["hub", "serve", "--config", &hub_config];
    let sends = ["egress", "run", "--config", &config];
    let mut processes = [&served, &sends].map(|args| allowed(left.path(), PERICARD, args));
    until("the hub's door", || hub.is_open().then_some(()));
    // The gate has no door: it is past its beginning once it holds what the limits are for.
    until("the gate", || {
        (limit_of(processes[1].id()) == "0 0").then_some(())
    });
    for process in &mut processes {
        assert!(process.try_wait().expect("a process").is_none(), "it ended");
        until("what forbids it", || {
            (!is_dumpable(process.id())).then_some(())
        });
        assert_forbidden(process.id());
    }
    for process in processes {
        let ended = crashed(process);
        assert_eq!((ended.signal(), ended.core_dumped()), (Some(ABRT), false));
    }
    let left = fs::read_dir(left.path()).expect("a folder").count();
    assert_eq!(left, 0, "nothing is left of them");
}

#[test]
fn no_process_of_it_is_dumped_even_where_dumps_are_allowed() {
    let dir = tempfile::tempdir().expect("a folder");
    // That a dump would be seen: of a program that does not forbid it.
    let other = crashed(allowed(dir.path(), "sleep", &["60"]));
    assert_eq!(other.signal(), Some(ABRT));
    let can_be_seen = other.core_dumped();
    if !can_be_seen {
        eprintln!(
            "this machine keeps no dumps: only the limits and the kernel's word are looked at"
        );
    }
    let given = Given {
        models: &["burned-in-text", "smollm2-135m-instruct"],
        ..Given::default()
    };
    let home = tempfile::tempdir().expect("a folder");
    let Some(appliance) = Appliance::prepare_in(home, given) else {
        return;
    };
    for file in fs::read_dir(dir.path()).expect("a folder").flatten() {
        fs::remove_file(file.path()).expect("removed"); // the other's dump
    }
    let config = appliance.config();
    let config = config.to_str().expect("a path in UTF-8");
    let server = allowed(dir.path(), PERICARD, &["serve", "--config", config]);
    until("readiness", || {
        (appliance.get("/readyz").0 == 200).then_some(())
    });
    let workers = until("workers of both kinds", || {
        let workers = children_of(server.id());
        let kinds: Vec<_> = workers.iter().map(|pid| kind_of(*pid)).collect();
        let has = |kind: &str| kinds.iter().any(|of| of == kind);
        (has("imaging") && has("language")).then_some(workers)
    });
    for pid in workers.iter().chain([&server.id()]) {
        assert_forbidden(*pid);
    }
    for pid in &workers {
        crash(*pid);
    }
    until("the workers' end", || {
        workers.iter().all(|pid| has_ended(*pid)).then_some(())
    });
    for pid in &workers {
        assert!(!was_dumped(*pid), "{pid} was dumped");
    }
    let ended = crashed(server);
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(ABRT), false));
    let left: Vec<_> = fs::read_dir(dir.path())
        .expect("a folder")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whether the kernel would dump it: what belongs to such a process in `/proc` belongs to its user, else to root
/// (proc(5)). Tests run as root mostly, where that says nothing; what is asked then is whether it is locked to others.
fn is_dumpable(pid: u32) -> bool {
    // A process without rights of its own over this one cannot look into it when it is not dumpable.
    let looked = Command::new("setpriv")
        .args([
            "--bounding-set",
            "-all",
            "--inh-caps",
            "-all",
            "--no-new-privs",
        ])
        .args(["cat", &format!("/proc/{pid}/maps")])
        .output()
        .expect("setpriv");
    looked.status.success() && !looked.stdout.is_empty()
}

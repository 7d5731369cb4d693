//! Workers under what the installed systemd unit leaves them: of `/proc` only processes (`ProcSubset=pid`), and no namespaces
//! but of users and networks (`RestrictNamespaces=user net`).

use crate::stage::{cached, config, package};

use pericard_runner::{Haste, Program, Runner, RunnerConfig, workers_of};
use std::ffi::OsString;
use std::fs::File;

/// The unit, and the lines of it that are imitated here.
const UNIT: &str = include_str!("../../packaging/systemd/pericard.service");
const IMITATED: [&str; 2] = ["ProcSubset=pid", "RestrictNamespaces=user net"];
/// Does so, and becomes the worker. Where a kind of namespace may not be made, its kernel's limit is 0.
const AS_THE_UNIT: &str = "set -e; echo 0 > /proc/sys/user/max_ipc_namespaces; \
    mount -t proc -o subset=pid proc /proc; exec \"$@\"";

/// The worker, as such a unit would have it started.
fn within_the_unit(worker: Program) -> Program {
    let shell = [
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        AS_THE_UNIT,
        "sh",
    ];
    let mut arguments: Vec<OsString> = shell.map(Into::into).into();
    arguments.push(worker.path.into());
    arguments.extend(worker.arguments);
    Program {
        path: "/usr/bin/unshare".into(),
        arguments,
        environment: worker
            .environment
            .into_iter()
            .chain([("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())])
            .collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wall_stands_and_every_kind_works_under_the_unit() {
    for line in IMITATED {
        assert!(UNIT.lines().any(|found| found == line), "{line}");
    }
    let (Some(config), Some(sample), Some(package)) = (
        config(),
        cached("samples/t1-head"),
        package("burned-in-text"),
    ) else {
        return;
    };
    let runner = Runner::new(RunnerConfig {
        worker: within_the_unit(workers_of(env!("CARGO_BIN_EXE_pericard"))),
        ..config
    });
    let testing = runner.clone();
    let walls = tokio::task::spawn_blocking(move || testing.test_walls());
    let walls = walls.await.expect("a task").expect("a reader starts");
    for wall in &walls.0 {
        assert!(wall.stands, "{wall:?}");
    }
    let names: Vec<_> = walls.0.iter().map(|wall| wall.name.as_str()).collect();
    for name in ["network namespace", "landlock", "seccomp", "limits"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let mut files = std::fs::read_dir(sample).expect("the sample");
    let file = files.next().expect("a file").expect("an entry").path();
    let scanned = runner.scan("a", File::open(file).expect("a file"), Haste::Soon);
    scanned.await.expect("it is whole");
    let loading = runner.clone();
    let loaded = tokio::task::spawn_blocking(move || loading.load(&package));
    let loaded = loaded.await.expect("a task");
    loaded.expect("a model loads, and its golden cases come out right");
}

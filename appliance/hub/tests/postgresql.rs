//! Everything that the hub promises of frames, and what its pages make of them, with its data in a PostgreSQL server that
//! this test starts.

mod dashboard;
mod ingest;
mod nation;

mod database {
    use pericard_hub::store::Place;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    /// A database of one test's own.
    pub(crate) struct Database {
        place: String,
    }

    impl Database {
        /// A new one; `None`, with a word on stderr, where there is no PostgreSQL.
        pub(crate) fn new() -> Option<Self> {
            static NAMES: AtomicU32 = AtomicU32::new(0);
            let socket = server()?;
            let name = format!("hub{}", NAMES.fetch_add(1, Ordering::Relaxed));
            let place =
                |name: &str| format!("host={} user=postgres dbname={name}", socket.display());
            let mut client =
                postgres::Client::connect(&place("postgres"), postgres::NoTls).expect("a server");
            client
                .batch_execute(&format!("CREATE DATABASE {name}"))
                .expect("made");
            Some(Self {
                place: place(&name),
            })
        }

        pub(crate) fn place(&self) -> Place<'_> {
            Place::Server(&self.place)
        }

        /// Somebody changes the data behind the hub's back.
        pub(crate) fn spoil(&self, sql: &str) {
            let mut client =
                postgres::Client::connect(&self.place, postgres::NoTls).expect("a server");
            client.batch_execute(sql).expect("spoiled");
        }
    }

    /// Where the server listens: a socket in a folder, and no port.
    fn server() -> Option<&'static Path> {
        static SERVER: OnceLock<Option<PathBuf>> = OnceLock::new();
        SERVER.get_or_init(started).as_deref()
    }

    fn started() -> Option<PathBuf> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os("CI").is_none(),
                "PostgreSQL is missing; `cargo xtask test` installs it"
            );
            eprintln!("passed over: PostgreSQL is missing; `cargo xtask test` installs it");
            return None;
        };
        // Below the system's own: the server's user cannot go through everybody's home.
        let folder = std::env::temp_dir().join(format!("pericard-postgres-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder); // of a process that had this number before
        fs::create_dir(&folder).expect("a folder");
        // PostgreSQL refuses to be root.
        let is_root = fs::metadata("/proc/self")
            .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        let other = match is_root {
            true => "setpriv --reuid=postgres --regid=postgres --clear-groups",
            false => "",
        };
        // It ends, and its folder goes, when our end of the pipe is closed: with this process, however that ends.
        let script = format!(
            "set -e; cd '{dir}'; chmod 0755 .; mkdir data; {owner}\
             {other} '{bin}/initdb' --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync data >initdb.log\n\
             {other} '{bin}/postgres' -D data -k '{dir}' -c listen_addresses= -c max_connections=40 >server.log 2>&1 &\n\
             server=$!; cat >/dev/null; kill -INT $server; wait $server || true; cd /; rm -rf '{dir}'",
            dir = folder.display(),
            bin = programs.display(),
            owner = if is_root {
                "chown postgres data .; "
            } else {
                ""
            },
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = shell.spawn().expect("a shell");
        std::mem::drop(thread::spawn(move || {
            let _open = child.stdin.take(); // for as long as this process lives
            let ended = child.wait();
            panic!("the PostgreSQL server ended: {ended:?}");
        }));
        let place = format!("host={} user=postgres dbname=postgres", folder.display());
        for _ in 0..600 {
            if postgres::Client::connect(&place, postgres::NoTls).is_ok() {
                return Some(folder);
            }
            thread::sleep(Duration::from_millis(100)); // between two questions to another process there is nothing to await
        }
        let log = fs::read_to_string(folder.join("server.log")).unwrap_or_default();
        panic!("the PostgreSQL server does not answer within a minute: {log}");
    }

    /// Where Debian keeps the server's own programs: the newest version's.
    fn programs() -> Option<PathBuf> {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        let mut found: Vec<PathBuf> = versions.map(|v| v.path().join("bin")).collect();
        found.retain(|bin| bin.join("postgres").exists());
        found.sort();
        found.pop()
    }
}

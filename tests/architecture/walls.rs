//! Who may name whom, and why.

/// A room, what it is, and the rooms that it may name.
pub(crate) struct Room {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) may: &'static [&'static str],
}

const fn room(name: &'static str, may: &'static [&'static str], what: &'static str) -> Room {
    Room { name, what, may }
}

#[rustfmt::skip] // a table
pub(crate) const ROOMS: &[Room] = &[
    room("domain", &[],
        "The words and state machines that all others speak. It names nobody, so that anybody can name it."),
    room("audit", &[],
        "Bytes into a Merkle log. It knows no medicine, so that the hub and other verifiers can use it."),
    room("frame", &[],
        "The egress frame. It names nobody and has no place for a text, so that nothing of a patient can get in."),
    room("dicom", &["domain"],
        "Bytes to domain objects and back. No sockets, so that it can be fuzzed and confined."),
    room("store", &["domain", "audit"],
        "The only SQL and the only object files, so that every change is a named transaction with its audit line."),
    room("registry", &["domain", "audit"],
        "Model packages and their verification. It never loads one, so that verifying runs no model code."),
    room("imaging", &["domain"],
        "ONNX models. No network, no disk beyond its package: it will run confined."),
    room("language", &["domain"],
        "GGUF models. No network, no disk beyond its package: it will run confined."),
    room("confine", &[],
        "Processes behind walls: the only one that starts them, and the only one that speaks to the kernel about what they \
         may do. It knows no medicine and no model, so that what it enforces cannot depend on them."),
    room("runner", &["domain", "confine", "dicom", "imaging", "language"],
        "The seam to the models and to the reader of strangers' pixels, so that neither engine's types show anywhere else \
         and all of them run behind walls."),
    room("scribe", &["domain"],
        "What a language model is asked about patients' texts, and what of its answers is believed. It can reach neither a model nor \
         what is kept, so that its checks rest on nothing but what they are given."),
    room("intake", &["domain", "dicom", "store", "egress"],
        "The one door in, so that both protocols keep the same promise."),
    room("jobs", &["domain", "dicom", "store", "registry", "runner", "egress"],
        "The only room with both data and model in hand."),
    room("dimse", &["domain", "dicom", "intake", "store", "egress"],
        "The DICOM network. Protocol only: it cannot reach a model."),
    room("hl7", &["domain", "store"],
        "HL7 v2 over MLLP. Protocol only, and of what is kept it names orders, patients' numbers and messages: no image."),
    room("door", &[],
        "An HTTPS door with its limits. The appliance and the hub open one each, and it knows neither."),
    room("api", &["domain", "door", "dicom", "intake", "store", "registry", "runner", "audit", "egress", "scribe"],
        "HTTPS. Protocol only: it cannot reach a job's insides or the DICOM network."),
    room("egress", &["frame"],
        "Closed counters. It cannot name a patient, because it knows no word for one."),
    room("gate", &["frame", "audit"],
        "The process that sends frames. It knows frames and signatures only, so that it has nothing else to send."),
    room("hub", &["frame", "audit", "door"],
        "The national side. It names no room of the hospital's, so that it can only know what a frame says."),
];

/// Outside crates that are kept in one place.
pub(crate) struct Key {
    pub(crate) crates: &'static [&'static str],
    /// Rooms; `src` is the composition root and `xtask` the build helper.
    pub(crate) keepers: &'static [&'static str],
    pub(crate) reason: &'static str,
}

#[rustfmt::skip] // a table
pub(crate) const KEYS: &[Key] = &[
    Key { crates: &["rusqlite", "libsqlite3-sys"], keepers: &["store", "hub"],
        reason: "a statement outside `store` is a change without a named transaction and an audit line; the hub is another \
                 product's data in another building, and keeps the same rule in its own `store`." },
    Key { crates: &["postgres", "tokio-postgres"], keepers: &["hub"],
        reason: "a nation's hub may keep its data in PostgreSQL, in the same `store` and by the same statements; a hospital's \
                 appliance speaks to no server." },
    Key { crates: &["parquet"], keepers: &["hub"],
        reason: "researchers read what the hub exports; nothing in a hospital writes or reads it." },
    Key { crates: &["axum", "axum-core", "hyper", "hyper-util", "tower-http"], keepers: &["door", "api", "hub"],
        reason: "HTTP is one door with one list of who may what; a second one would have none. The hub's is not in the \
                 hospital at all." },
    Key { crates: &["candle-core", "candle-nn", "tokenizers", "minijinja"], keepers: &["language"],
        reason: "tensors and templates stay on their side of the seam, so that the engine can move into a worker." },
    Key { crates: &["ort", "ort-sys"], keepers: &["imaging"],
        reason: "tensors stay on their side of the seam, so that the engine can move into a worker." },
    Key { crates: &["dicom-ul"], keepers: &["dimse"],
        reason: "associations are one door with one list of who may call." },
    Key { crates: &["dicom-parser", "dicom-pixeldata", "jpeg2k", "charls", "jpeg-decoder"], keepers: &["dicom"],
        reason: "untrusted bytes are parsed where the scanner stands before the parser." },
    Key { crates: &["dicom-object", "dicom-json"], keepers: &["dicom", "api"],
        reason: "a parser that believes lengths never meets a stranger's object in the process that serves." },
    Key { crates: &["dicom-core"], keepers: &["dicom", "dimse", "api"],
        reason: "what is not a protocol speaks of studies and findings in words of `domain`." },
    Key { crates: &["rustls", "tokio-rustls"], keepers: &["door", "api", "dimse", "gate", "hub", "src"],
        reason: "only doors are encrypted, and the gate's one way to the hub." },
    Key { crates: &["ed25519-dalek"], keepers: &["audit"],
        reason: "signatures are made and checked in one form, the signed note." },
    Key { crates: &["clap", "indicatif"], keepers: &["src", "xtask"],
        reason: "rooms do not talk to a terminal." },
    Key { crates: &["tracing-subscriber", "tracing-log", "systemd-journal-logger", "sd-notify"], keepers: &["src"],
        reason: "a room says what happens; where that goes is decided once, in the composition root." },
    Key { crates: &["landlock", "seccompiler"], keepers: &["confine"],
        reason: "what a worker may do is decided in one place, where every system call left to it has its line." },
    Key { crates: &["tokio-websockets"], keepers: &["api"],
        reason: "the channel of notifications is a route like any other, behind the same list of who may what." },
    Key { crates: &["rand", "prio"], keepers: &["egress"],
        reason: "noise is drawn in one place, under one ledger." },
];

/// What rooms may not reach by any road, however long.
pub(crate) struct Seal {
    pub(crate) rooms: &'static [&'static str],
    pub(crate) never: &'static [&'static str],
    pub(crate) reason: &'static str,
}

#[rustfmt::skip] // a table
pub(crate) const SEALED: &[Seal] = &[
    Seal { rooms: &["frame"], never: &["serde", "domain", "hex", "base64", "bytes"],
        reason: "the frame is numbers in fixed places; whatever can carry a text has no business in it." },
    Seal { rooms: &["egress"],
        never: &["domain", "store", "dicom", "dicom-object", "dicom-core", "tokio", "rusqlite", "hyper", "tracing", "log"],
        reason: "what cannot name a patient cannot let one out, not even into a log line." },
    Seal { rooms: &["gate"],
        never: &["domain", "store", "dicom", "egress", "tokio", "rusqlite", "hyper", "tracing", "log"],
        reason: "what sends must not be able to read what is kept: there is no road from a patient to the wire." },
    Seal { rooms: &["audit"], never: &["domain", "store", "dicom-object", "tokio", "rusqlite", "hyper"],
        reason: "a verifier of the log needs no hospital around it." },
    Seal { rooms: &["domain"], never: &["tokio", "rusqlite", "hyper", "dicom-object", "ort", "candle-core"],
        reason: "words have no IO." },
    Seal { rooms: &["dicom"], never: &["tokio", "hyper", "rusqlite", "dicom-ul", "ort", "candle-core"],
        reason: "the parser of untrusted bytes has no socket and no database to give away." },
    Seal { rooms: &["scribe"], never: &["tokio", "rusqlite", "hyper", "candle-core", "ort", "store", "runner", "language", "tracing", "log"],
        reason: "what checks a model's words must not be able to ask it again, nor to say a patient's text into a log." },
    Seal { rooms: &["imaging", "language"], never: &["hyper", "rusqlite", "axum", "reqwest", "ureq", "tokio", "dicom-ul", "rustls"],
        reason: "a model is somebody else's program: it has no network and no data but what it is handed." },
    Seal { rooms: &["store", "registry"], never: &["hyper", "axum", "dicom-ul", "ort", "candle-core", "rustls"],
        reason: "what keeps the data has no door of its own." },
];

/// Crates that call out, or send reports about us to others. In nothing that is shipped.
pub(crate) const NOBODY: &[&str] = &[
    "reqwest",
    "ureq",
    "isahc",
    "curl",
    "curl-sys",
    "attohttpc",
    "minreq",
    "surf",
    "hyper-tls",
    "hyper-rustls",
    "native-tls",
    "openssl-sys",
    "hf-hub",
    "opentelemetry",
    "sentry",
    "tokio-tungstenite",
    "hickory-resolver",
];

/// Crates that are a client too when a feature says so.
pub(crate) const NO_CLIENT: &[&str] = &["hyper", "hyper-util", "tokio-websockets"];

/// Words that only some may say, outside tests.
pub(crate) struct Word {
    pub(crate) texts: &'static [&'static str],
    /// `src` is the composition root.
    pub(crate) rooms: &'static [&'static str],
    pub(crate) reason: &'static str,
}

#[rustfmt::skip] // a table
pub(crate) const WORDS: &[Word] = &[
    Word { texts: &["env::var", "env::vars"], rooms: &["src"],
        reason: "a room is given its values. What reads the environment cannot be tested side by side, and hides a setting." },
    Word { texts: &["SystemTime::now", "Utc::now", "Local::now", "now_utc(", "now_local("], rooms: &["src"],
        reason: "a room is given a Clock, so that tests own the time. `Instant` is fine for how long something took." },
    Word { texts: &["TcpListener::bind", "UnixListener::bind"], rooms: &["src"],
        reason: "a door is opened in the composition root and passed in, so that tests own the ports." },
    Word { texts: &["TcpStream::connect", "TcpSocket::new", "UnixStream::connect"], rooms: &["src", "dimse", "hl7", "gate"],
        reason: "only `dimse` and `hl7` call a peer, and only one that the configuration names; `gate` calls the hub, and only the one that is enrolled." },
    Word { texts: &["lookup_host", "ToSocketAddrs"], rooms: &["dimse"],
        reason: "a name is looked up only to call a configured peer." },
    Word { texts: &["UdpSocket"], rooms: &[],
        reason: "a datagram leaves without anybody's consent." },
    Word { texts: &["Command::new"], rooms: &["src", "confine"],
        reason: "only `confine` starts processes, behind its walls." },
    Word { texts: &["process::exit", "process::abort"], rooms: &[],
        reason: "an end that skips destructors leaves parcels and leases behind: return to main." },
    Word { texts: &["todo!", "unimplemented!"], rooms: &[],
        reason: "what is not there yet is not called yet." },
];

/// Said in these files of what is shipped, and nowhere else: the seams by which a test owns the time, chance and the leaves
/// of the log. What is built by them in a test is in no program that is shipped: each trait has one implementation here, and
/// the one road to another machine than this one is called by nobody.
#[rustfmt::skip] // a table
pub(crate) const SEAMS: &[(&str, &[&str])] = &[
    (" Clock for ", &["appliance/src/clock.rs", "appliance/domain/src/time.rs"]),
    // For tests of every room; where it is said, no program makes one.
    ("StandingClock", &["appliance/domain/src/time.rs"]),
    (" Chance for ", &["appliance/src/machine.rs"]),
    (" Load for ", &["appliance/src/load.rs"]),
    (" Leaves for ", &["appliance/store/src/journal.rs"]),
    ("open_with(", &["appliance/store/src/store.rs", "appliance/src/serve.rs"]),
    ("serve_on(", &["appliance/src/serve.rs"]),
    // The demonstration's simulated hospitals draw noise too, for patients that nobody is.
    ("Seed(", &["appliance/egress/src/noise.rs", "appliance/src/demo/hub.rs", "appliance/src/weekly.rs"]),
];

/// What public functions of `egress` may take.
#[rustfmt::skip] // a table
pub(crate) const EGRESS_TAKES: &[&str] = &[
    "&self", "bool", "u8", "u16", "u32", "u64", "[u64; 4]", "Duration",
    "Counter", "Stage", "CatalogueId", "Outcome", "Identity",
    // A week: models by number, patients as hashes that nobody can turn back, and the frame that tells of it. None has
    // place for a text; `Closing` and `Rules` are made of these and of numbers.
    "&[CatalogueId]", "Pseudonym", "Review", "Rules", "Closing", "&Meter", "&Frame", "&mut self",
    // What a year still has to pay for: weeks, models and evaluation plans, by number.
    "&Expected",
];

/// Where it is told once, by the composition root, in which file to keep the counts, and in which books were restored.
pub(crate) const EGRESS_OPENS: &[(&str, &str)] = &[
    ("open", "PathBuf"),
    ("preview", "&Path"),
    ("preview_frame", "&Path"),
    ("mark", "&Path"),
    ("of", "&Path"),
    ("forecast", "&Path"),
];

/// What stands at the top, beside dot-files.
pub(crate) const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "appliance",
    "benches",
    "firmware-config",
    "models",
    "packaging",
    "tests",
];

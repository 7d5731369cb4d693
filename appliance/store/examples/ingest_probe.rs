//! How many objects a second are admitted durably, beside what the disk's own syncs allow.
//!
//! ```text
//! cargo run --release -p pericard-store --example ingest_probe -- [DIR] [OBJECTS] [OBJECT_KIB]
//! ```
//! Three rates for each number of concurrent senders: `floor` writes and syncs a file of the same size and nothing else;
//! `chain` is the shortest honest way for one object (write, sync, rename, sync directory, append to a log, sync that),
//! with nothing shared; `store` is this store. CPU time is the whole process's, for each admitted object.

#![allow(clippy::print_stdout)] // the figures are the data of the program

use pericard_domain::actor::Actor;
use pericard_domain::job::Priority;
use pericard_domain::study::{InstanceFacts, ObjectIdentity};
use pericard_domain::time::{StandingClock, Timestamp};
use pericard_domain::uid::{InstanceUid, SeriesUid, SopClassUid, StudyUid, TransferSyntaxUid};
use pericard_store::admission::NewObject;
use pericard_store::{Store, StoreConfig};
use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SENDERS: [u32; 4] = [1, 4, 8, 16];
/// What a DICOM peer sends at once.
const PDU_BYTES: usize = 128 * 1024;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "ingest-probe".into()));
    let objects: u32 = args.next().map_or(Ok(400), |n| n.parse())?;
    let object_kib: usize = args.next().map_or(Ok(512), |n| n.parse())?;
    let content = Arc::new(content(object_kib * 1024));
    println!("{objects} objects of {object_kib} KiB in {}", dir.display());
    println!("SHA-256: {:.0} MiB/s on one core", hash_rate(&content));
    println!("senders  floor/s  chain/s  store/s  p50 ms  p99 ms  CPU ms/object");
    for senders in SENDERS {
        let floor = files(&dir, senders, objects, &content, sync_only)?;
        let chain = files(&dir, senders, objects, &content, whole_chain)?;
        let store = store(&dir, senders, objects, &content)?;
        println!("{senders:>7}  {floor:>7.0}  {chain:>7.0}  {store}");
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Whether the processor's own SHA instructions are used shows here: about 300 MiB/s without, above 1000 with.
fn hash_rate(content: &[u8]) -> f64 {
    const ROUNDS: usize = 200;
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(Sha256::digest(content));
    }
    let bytes = (ROUNDS * content.len()) as f64;
    bytes / begun.elapsed().as_secs_f64() / f64::from(1 << 20)
}

fn content(bytes: usize) -> Vec<u8> {
    // Not compressible and not constant, so that no layer below can be clever.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8))
        .flat_map(|_| next())
        .take(bytes)
        .collect()
}

/// Objects a second when each of `senders` threads does `step` in turn.
fn files(
    dir: &Path,
    senders: u32,
    objects: u32,
    content: &Arc<Vec<u8>>,
    step: fn(&Path, u32, &[u8]) -> Outcome<()>,
) -> Outcome<f64> {
    let dir = dir.join("plain");
    std::fs::create_dir_all(&dir)?;
    let next = AtomicU32::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..senders)
            .map(|_| {
                scope.spawn(|| -> Outcome<()> {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= objects {
                            return Ok(());
                        }
                        step(&dir, n, content)?;
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    let rate = f64::from(objects) / begun.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&dir)?;
    Ok(rate)
}

fn sync_only(dir: &Path, n: u32, content: &[u8]) -> Outcome<()> {
    let mut file = File::create(dir.join(n.to_string()))?;
    file.write_all(content)?;
    Ok(file.sync_all()?)
}

fn whole_chain(dir: &Path, n: u32, content: &[u8]) -> Outcome<()> {
    let staged = dir.join(format!("{n}.staged"));
    let mut file = File::create(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&staged, dir.join(n.to_string()))?;
    File::open(dir)?.sync_all()?;
    let mut log = File::options()
        .append(true)
        .create(true)
        .open(dir.join("log"))?;
    log.write_all(&[0; 4096])?;
    Ok(log.sync_data()?)
}

fn store(dir: &Path, senders: u32, objects: u32, content: &Arc<Vec<u8>>) -> Outcome<String> {
    let dir = dir.join("store");
    let config = StoreConfig {
        dir: dir.clone(),
        audit_origin: "probe.example/audit".into(),
        group_commit_window_us: 2000,
        free_space_floor_mib: 1,
    };
    let clock = Arc::new(StandingClock::new(Timestamp::from_millis(
        1_795_456_800_000,
    )));
    let store = Store::open(config, clock)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (begun, cpu_before) = (Instant::now(), cpu_time());
    let next = Arc::new(AtomicU32::new(0));
    let mut waits = runtime.block_on(async {
        let tasks: Vec<_> = (0..senders)
            .map(|_| {
                let (store, next) = (store.clone(), Arc::clone(&next));
                tokio::spawn(send(store, next, objects, Arc::clone(content)))
            })
            .collect();
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await??);
        }
        Outcome::Ok(waits)
    })?;
    let (wall, cpu) = (begun.elapsed(), cpu_time() - cpu_before);
    drop(store);
    std::fs::remove_dir_all(&dir)?;
    waits.sort_unstable();
    let rate = f64::from(objects) / wall.as_secs_f64();
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let at = |percent: usize| ms(waits[(waits.len() - 1) * percent / 100]);
    let each = ms(cpu) / f64::from(objects);
    Ok(format!(
        "{rate:>7.0}  {:>6.1}  {:>6.1}  {each:>6.2}",
        at(50),
        at(99)
    ))
}

async fn send(
    store: Store,
    next: Arc<AtomicU32>,
    objects: u32,
    content: Arc<Vec<u8>>,
) -> Outcome<Vec<Duration>> {
    let mut waits = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= objects {
            return Ok(waits);
        }
        let begun = Instant::now();
        let mut incoming = store.incoming()?;
        incoming.write(&n.to_le_bytes())?;
        for pdu in content.chunks(PDU_BYTES) {
            incoming.write(pdu)?;
        }
        let object = NewObject {
            sealed: incoming.seal()?,
            identity: identity(n)?,
            facts: InstanceFacts::default(),
            assemble_at: Timestamp::from_millis(1_795_456_810_000),
            priority: Priority::Routine,
        };
        store.admit(object, Actor::room("probe")).await?;
        waits.push(begun.elapsed());
    }
}

fn identity(n: u32) -> Outcome<ObjectIdentity> {
    let study = n / 100;
    Ok(ObjectIdentity {
        study: StudyUid::new(format!("1.2.{study}"))?,
        series: SeriesUid::new(format!("1.2.{study}.1"))?,
        instance: InstanceUid::new(format!("1.2.{study}.1.{n}"))?,
        sop_class: SopClassUid::new("1.2.840.10008.5.1.4.1.1.2")?,
        transfer_syntax: TransferSyntaxUid::new("1.2.840.10008.1.2.1")?,
    })
}

/// User and system time of this process so far, from /proc, in the kernel's ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

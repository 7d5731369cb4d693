//! What process walls cost: starting a confined reader, one inference in a worker beside the same in this process, and
//! handing over pictures, and scanning what arrives. `cargo bench --bench walls`; one Markdown table on stdout, for `benches/runs/`. It fails when a budget
//! is missed.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // the table is what it is run for

#[allow(dead_code)] // shared with the tests of the workers, which use more of it
#[path = "../tests/workers/stage.rs"]
mod stage;

use pericard_dicom::scan::{ScanLimits, scan_file};
use pericard_domain::image::{Channels, Frame, FrameRef, ImagingInput};
use pericard_domain::model::Package;
use pericard_domain::uid::InstanceUid;
use pericard_imaging::{Model, Runtime};
use pericard_runner::{Haste, Kind, Picture, Prisoner, Runner, RunnerConfig};
use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

const STARTS: usize = 30;
const INFERENCES: usize = 15;
const HANDOVERS: usize = 15;
const SCANS: usize = 501;
const HANDOVER_SIDE_PIXELS: u32 = 2048;
/// What starting a reader may take, as the median.
const START_MS_MAX: f64 = 20.0;
/// What a worker may cost an inference beside the same in the process, medians.
const OVERHEAD_PERCENT_MAX: f64 = 5.0;

fn main() -> ExitCode {
    let (Some(config), Some(package)) = (stage::config(), stage::package("burned-in-text")) else {
        eprintln!("`cargo xtask peers` fetches ONNX Runtime and the model");
        return ExitCode::FAILURE;
    };
    let starts = times_ms(STARTS, || {
        drop(Prisoner::start(&config, Kind::Reader).expect("a reader"));
    });
    let handover = handover_input();
    let handovers = times_ms(HANDOVERS, || {
        drop(Picture::of(&handover).expect("shared memory"));
    });
    let [scanned_there, scanned_here] = scans(&config);
    let [outside, inside] = inferences(config, package);
    println!("| what | median ms | least ms | most ms |");
    println!("| --- | --- | --- | --- |");
    row("a reader, from nothing to behind walls and back", &starts);
    row("48 MiB of pixels into shared memory", &handovers);
    row("one slice of an MR scanned by a scanner", &scanned_there);
    row("the same in the process", &scanned_here);
    row("one inference in a worker", &outside);
    row("the same in the process", &inside);
    let overhead = (median(&outside) / median(&inside) - 1.0) * 100.0;
    println!("\nA worker costs an inference {overhead:+.1} % (medians; rounds in turns).\n");
    println!("| budget | at most | measured | |");
    println!("| --- | --- | --- | --- |");
    let kept = [
        held_to("starting a reader, ms", START_MS_MAX, median(&starts)),
        held_to(
            "what a worker costs an inference, %",
            OVERHEAD_PERCENT_MAX,
            overhead,
        ),
    ];
    if kept.contains(&false) {
        eprintln!("a budget is missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Says whether a budget is kept.
fn held_to(what: &str, at_most: f64, measured: f64) -> bool {
    let kept = measured <= at_most;
    let word = if kept { "pass" } else { "FAIL" };
    println!("| {what} | {at_most:.1} | {measured:.1} | {word} |");
    kept
}

/// The same object scanned behind walls and in this process, in turns.
fn scans(config: &RunnerConfig) -> [Vec<f64>; 2] {
    let sample = stage::cached("samples/t1-head").expect("the sample");
    let file = std::fs::read_dir(sample).expect("the sample").next();
    let file = file.expect("a file").expect("an entry").path();
    let opened = || File::open(&file).expect("a file");
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let runner = tokio.block_on(async { Runner::new(config.clone()) });
    let there = || {
        let scanned = tokio.block_on(runner.scan("a bench", opened(), Haste::Soon));
        scanned.expect("it is whole")
    };
    there(); // the process is hired once for many objects
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..SCANS {
        times[0].extend(times_ms(1, || drop(there())));
        times[1].extend(times_ms(1, || {
            let scanned = scan_file(&mut opened(), &ScanLimits::default());
            drop(scanned.expect("it is whole"));
        }));
    }
    times
}

/// The same inference in a worker and in this process, in turns, so that both meet the same machine.
fn inferences(config: RunnerConfig, package: Package) -> [Vec<f64>; 2] {
    let threads = (config.cores / 2).max(1);
    let path = package.dir.join(&package.manifest.golden[0].input);
    let frame = pericard_imaging::golden::read_frame(&path).expect("a golden frame");
    let input = ImagingInput::Frames(vec![frame]);
    let (name, value) = pericard_runner::LARGE_PAGES;
    assert!(
        std::env::var(name).as_deref() == Ok(value),
        "what computes here must have what a worker has: run it with {name}={value}"
    );
    let reports = std::env::var(pericard_imaging::NO_REPORTS.0).ok();
    let library = Runtime::load(&config.onnxruntime, reports.as_deref());
    let library = library.expect("the library");
    let mut here = Model::load(&library, &package, threads).expect("it loads");
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let runner = tokio.block_on(async { Runner::new(config) });
    let loading = (runner.clone(), package.clone());
    let loads = async { tokio::task::spawn_blocking(move || loading.0.load(&loading.1)).await };
    let loaded = tokio.block_on(loads);
    loaded.expect("a thread").expect("it loads");
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..INFERENCES {
        times[0].extend(times_ms(1, || {
            let answer = tokio.block_on(runner.infer(&package.model, input.clone()));
            answer.expect("text");
        }));
        times[1].extend(times_ms(1, || {
            here.infer(&input).expect("text");
        }));
    }
    times
}

fn handover_input() -> ImagingInput {
    let side = HANDOVER_SIDE_PIXELS;
    let frame = Frame {
        source: FrameRef {
            instance: InstanceUid::new("1.2.3").expect("a UID"),
            frame: 1,
        },
        width: side,
        height: side,
        channels: Channels::Rgb,
        samples: vec![7; (side * side * 3) as usize],
    };
    ImagingInput::Frames(vec![frame; 4])
}

fn times_ms(rounds: usize, mut work: impl FnMut()) -> Vec<f64> {
    let one = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64() * 1000.0
    };
    (0..rounds).map(one).collect()
}

fn row(what: &str, times_ms: &[f64]) {
    let mut sorted = times_ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    println!(
        "| {what} | {:.3} | {least:.3} | {most:.3} |",
        median(times_ms)
    );
}

fn median(times_ms: &[f64]) -> f64 {
    let mut sorted = times_ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

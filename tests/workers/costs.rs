//! What walls cost. Bounds are generous, as this may run beside others; the figures are printed.

use crate::stage::{config, package, s};
use pericard_domain::image::{Channels, Frame, FrameRef, ImagingInput};
use pericard_domain::uid::InstanceUid;
use pericard_runner::{Kind, Picture, Prisoner, Runner};
use std::time::Instant;

#[test]
fn a_reader_starts_quickly() {
    let Some(config) = config() else { return };
    let mut times_ms: Vec<_> = (0..15)
        .map(|_| {
            let begun = Instant::now();
            drop(Prisoner::start(&config, Kind::Reader).expect("a reader"));
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times_ms.sort_by(f64::total_cmp);
    eprintln!(
        "from nothing to behind walls and back: least {:.1} ms, median {:.1} ms, most {:.1} ms",
        times_ms[0], times_ms[7], times_ms[14]
    );
    // The least: what else runs on this machine is not the reader's.
    assert!(times_ms[0] <= 20.0, "{times_ms:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn handing_over_costs_little_beside_an_inference() {
    let (Some(config), Some(package)) = (config(), package("burned-in-text")) else {
        return;
    };
    let threads = (config.cores / 2).max(1);
    let library = config.onnxruntime.clone();
    let runner = Runner::new(config);
    let loading = (runner.clone(), package.clone());
    let path = package.dir.join(&package.manifest.golden[0].input);
    let frame = pericard_imaging::golden::read_frame(&path).expect("a golden frame");
    let input = ImagingInput::Frames(vec![frame]);
    let (mut inside, inside_input) = (package.clone(), input.clone());
    inside.manifest.golden.clear();
    tokio::task::spawn_blocking(move || loading.0.load(&loading.1))
        .await
        .expect("a thread")
        .expect("it loads");
    let mut outside_ms = f64::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        runner
            .infer(&package.model, input.clone())
            .await
            .expect("text");
        outside_ms = outside_ms.min(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let inside_ms = tokio::task::spawn_blocking(move || {
        let reports = std::env::var(pericard_imaging::NO_REPORTS.0).ok();
        let runtime = pericard_imaging::Runtime::load(&library, reports.as_deref());
        let runtime = runtime.expect("the library");
        let mut model =
            pericard_imaging::Model::load(&runtime, &inside, threads).expect("it loads");
        (0..5).fold(f64::MAX, |least, _| {
            let begun = Instant::now();
            model.infer(&inside_input).expect("text");
            least.min(begun.elapsed().as_secs_f64() * 1000.0)
        })
    });
    let inside_ms = inside_ms.await.expect("a thread");
    eprintln!(
        "one inference: {inside_ms:.1} ms in the process, {outside_ms:.1} ms in a worker ({:+.1} %)",
        (outside_ms / inside_ms - 1.0) * 100.0
    );
    assert!(outside_ms < inside_ms * 1.5 + 5.0);
}

#[test]
fn sharing_a_picture_is_one_copy() {
    let side = 2048_u32;
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
    let input = ImagingInput::Frames(vec![frame; 4]);
    let begun = Instant::now();
    let picture = Picture::of(&input).expect("shared memory");
    let elapsed = begun.elapsed();
    eprintln!(
        "48 MiB into shared memory: {:.1} ms",
        elapsed.as_secs_f64() * 1000.0
    );
    assert!(picture.frames() == 4 && elapsed < s(5));
}

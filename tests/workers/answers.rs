//! What a worker answers, beside what the same model answers without one.

use crate::stage::{config, package};
use pericard_domain::image::{Channels, Frame, FrameRef, ImagingInput};
use pericard_domain::uid::InstanceUid;
use pericard_runner::{Picture, Runner};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_answers_what_the_model_answers_in_the_process() {
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
    tokio::task::spawn_blocking(move || loading.0.load(&loading.1))
        .await
        .expect("a thread")
        .expect("it loads");
    let outside = runner.infer(&package.model, input.clone()).await;
    let inside = tokio::task::spawn_blocking(move || {
        let reports = std::env::var(pericard_imaging::NO_REPORTS.0).ok();
        let runtime = pericard_imaging::Runtime::load(&library, reports.as_deref());
        let runtime = runtime.expect("the library");
        let mut inside = package;
        inside.manifest.golden.clear();
        let model = pericard_imaging::Model::load(&runtime, &inside, threads);
        model.expect("it loads").infer(&input).expect("text")
    });
    assert_eq!(outside.expect("text"), inside.await.expect("a thread"));
}

#[test]
fn every_frame_of_a_picture_crosses() {
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
    let picture = Picture::of(&input).expect("shared memory");
    assert_eq!(picture.frames(), 4);
}

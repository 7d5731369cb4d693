//! What a worker answers, beside what the same model answers without one.

use crate::losses::signal;
use crate::stage::{cached, config, package};
use pericard_dicom::anew::written_anew;
use pericard_dicom::deidentify::{Keep, Key, Profile, Text, deidentify};
use pericard_dicom::scan::{ScanLimits, scan_file};
use pericard_dicom::source::Source;
use pericard_domain::image::{Channels, Frame, FrameRef, ImagingInput};
use pericard_domain::uid::InstanceUid;
use pericard_runner::{Picture, RunFailure, Runner};
use std::fs::File;
use std::io::BufReader;

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

/// Real objects of several makers: what a result is made from, and what a peer gets in the other uncompressed syntax, is what
/// it would be without a process in between.
#[test]
fn a_reader_hands_over_what_the_file_says() {
    const OBJECTS_MIN: usize = 8;
    const BYTES_MAX: u64 = 256 << 20;
    let (Some(config), Some(samples)) = (config(), cached("samples")) else {
        return;
    };
    let runner = Runner::new(config);
    let (mut objects, mut rewritten) = (0, 0);
    for folder in ["chest", "clean", "echo", "leg", "ob", "pelvis"] {
        for entry in std::fs::read_dir(samples.join(folder)).expect("a sample") {
            let path = entry.expect("an entry").path();
            let opened = || BufReader::new(File::open(&path).expect("a file"));
            let here = Source::read(&mut opened(), &ScanLimits::default()).expect("a source");
            let mut reader = runner.reader();
            let there = reader.source(here.instance(), &path).expect("a source");
            assert_eq!(there.to_bytes(), here.to_bytes(), "{path:?}");
            assert_eq!(
                (there.study(), there.frames()),
                (here.study(), here.frames())
            );
            let header = scan_file(&mut opened(), &ScanLimits::default()).expect("it is whole");
            let explicit = header.identity.transfer_syntax.as_str() == "1.2.840.10008.1.2";
            let here_anew = written_anew(&mut opened(), explicit, BYTES_MAX);
            let there_anew = reader.written_anew(here.instance(), &path, explicit);
            match (here_anew, there_anew) {
                (Ok(here), Ok(there)) => {
                    assert!(here == there, "{path:?}");
                    rewritten += 1;
                }
                (Err(here), Err(RunFailure::Undecodable(there))) => {
                    assert!(there.contains(&here.to_string()), "{there}");
                }
                (here, there) => panic!("{path:?}: {:?} {:?}", here.map(drop), there.map(drop)),
            }
            objects += 1;
        }
    }
    assert!(objects >= OBJECTS_MIN, "{objects}");
    assert!(
        rewritten > 0 && rewritten < objects,
        "of both kinds: {rewritten}"
    );
    let other = InstanceUid::new("1.2.3").expect("a UID");
    let path = samples.join("chest/RG1_UNCR.dcm");
    let refused = runner.reader().source(&other, &path).map(drop);
    assert!(
        matches!(&refused, Err(RunFailure::Lost(why)) if why.contains("another")),
        "a reader is not believed that gives another object: {refused:?}"
    );
}

/// What is taken out of an image behind walls is what would be taken out without them, and a lost reader costs its own image.
#[test]
fn a_reader_cleans_an_image_and_says_why_it_does_not() {
    let (Some(config), Some(samples)) = (config(), cached("samples")) else {
        return;
    };
    let runner = Runner::new(config);
    let profile = Profile {
        key: Key::new([7; 32]),
        keep: [Keep::ShiftedDates].into(),
    };
    let (mut cleaned, mut refused) = (0, 0);
    for folder in ["chest", "clean", "echo", "leg", "ob", "pelvis"] {
        for entry in std::fs::read_dir(samples.join(folder)).expect("a sample") {
            let path = entry.expect("an entry").path();
            let opened = || File::open(&path).expect("a file");
            let header = scan_file(&mut BufReader::new(opened()), &ScanLimits::default());
            let instance = header.expect("it is whole").identity.instance;
            for boxes in [None, Some([].as_slice())] {
                let looked = boxes.map_or(Text::NotLookedFor, Text::Found);
                let here = deidentify(opened(), &ScanLimits::default(), &profile, looked);
                let there = runner.reader().clean(&instance, &path, &profile, boxes);
                match (here, there) {
                    (Ok(here), Ok(there)) => {
                        let names = (there.study.as_str(), there.instance.as_str());
                        assert_eq!(names, (here.study.as_str(), here.instance.as_str()));
                        assert!(there.bytes == here.bytes, "{path:?}");
                        cleaned += 1;
                    }
                    (Err(here), Err(RunFailure::Unsuitable(there))) => {
                        assert_eq!(there, here.to_string(), "{path:?}");
                        refused += 1;
                    }
                    (here, there) => panic!("{path:?}: {:?} and {:?}", here.err(), there.err()),
                }
            }
            let mut lost = runner.reader();
            lost.open(&instance, &path).expect("it opens");
            signal(lost.pid().expect("a process"), "KILL");
            let failed = lost.clean(&instance, &path, &profile, None);
            assert!(matches!(failed, Err(RunFailure::Lost(_))), "{failed:?}");
        }
    }
    assert!(cleaned > 0 && refused > 0, "{cleaned} and {refused}");
}

//! The shipped packages on the real ONNX Runtime: golden cases, orientation, clips, refusals.
//!
//! What is fetched (the library, the weights of `burned-in-text`) is looked for in the cache, under
//! `$XDG_CACHE_HOME/pericard`; a test that lacks it says so and does nothing, except under `CI=true`, where it fails.

use pericard_domain::digest::Digest;
use pericard_domain::image::{
    Channels, Frame, FrameRef, ImagingInput, ImagingOutput, Mask, TextBox, Volume,
};
use pericard_domain::model::{Manifest, ModelRef, Package, Task};
use pericard_domain::uid::InstanceUid;
use pericard_imaging::{ImagingError, Model, NO_REPORTS, Runtime, golden};
use sha2::Digest as _;
use std::path::{Path, PathBuf};

const THREADS: usize = 2;

#[test]
fn every_golden_case_comes_out() {
    for name in ["burned-in-text", "brain-extraction"] {
        let Some((mut model, package)) = loaded(name) else {
            continue;
        };
        assert!(
            !package.manifest.golden.is_empty(),
            "{name} has no golden case"
        );
        for case in &package.manifest.golden {
            model.golden(case, &committed(name)).unwrap();
        }
    }
}

#[test]
fn a_golden_case_that_is_off_says_by_how_much() {
    let dir = tempfile::tempdir().unwrap();
    if let Some((mut model, package)) = loaded("burned-in-text") {
        let mut case = package.manifest.golden[0].clone();
        let expected =
            std::fs::read_to_string(committed("burned-in-text").join(&case.expected)).unwrap();
        std::fs::write(
            dir.path().join("moved.json"),
            expected.replace("[[169.0,", "[[160.0,"),
        )
        .unwrap();
        case.expected = dir.path().join("moved.json");
        let said = model
            .golden(&case, &committed("burned-in-text"))
            .unwrap_err()
            .to_string();
        assert!(said.contains("off by 9.0 pixels"), "{said}");
    }
    if let Some((mut model, package)) = loaded("brain-extraction") {
        let mut case = package.manifest.golden[0].clone();
        std::fs::write(
            dir.path().join("empty.json"),
            format!("{{\"mask_runs\": [{}]}}", 48 * 56 * 48),
        )
        .unwrap();
        case.expected = dir.path().join("empty.json");
        let said = model
            .golden(&case, &committed("brain-extraction"))
            .unwrap_err()
            .to_string();
        assert!(said.contains("Dice is 0.0000"), "{said}");
    }
}

#[test]
fn the_same_input_gives_the_same_bits() {
    let Some((mut first, _)) = loaded("burned-in-text") else {
        return;
    };
    let Some((mut second, _)) = loaded("burned-in-text") else {
        return;
    };
    let input = ImagingInput::Frames(vec![overlay()]);
    let once = first.infer(&input).unwrap();
    assert_eq!(once, first.infer(&input).unwrap());
    assert_eq!(once, second.infer(&input).unwrap());
    assert_eq!(first.device().to_string(), "cpu");
}

#[test]
fn slices_of_any_plane_give_the_same_mask() {
    let Some((mut model, _)) = loaded("brain-extraction") else {
        return;
    };
    let sagittal = phantom();
    let due = mask_of(&mut model, &sagittal);
    assert!(due.count() > 20_000, "{}", due.count());
    // Columns become slices, slices become columns backwards: other axes, another handedness, the same head.
    let [columns, rows, slices] = sagittal.size;
    let place = |i: usize, j: usize, k: usize| (k * rows + j) * columns + i;
    let mut other = Volume {
        size: [slices, rows, columns],
        voxels: Vec::new(),
        ..sagittal.clone()
    };
    other.column_step = sagittal.slice_step.map(|s| -s);
    other.slice_step = sagittal.column_step;
    let mut order = Vec::new();
    for k in 0..columns {
        for j in 0..rows {
            order.extend((0..slices).map(|i| place(k, j, slices - 1 - i)));
        }
    }
    other.voxels = order.iter().map(|at| sagittal.voxels[*at]).collect();
    let got = mask_of(&mut model, &other);
    assert_eq!(got.size, [slices, rows, columns]);
    assert!(
        order
            .iter()
            .zip(&got.voxels)
            .all(|(at, v)| due.voxels[*at] == *v)
    );
    // Twice the numbers are the same head: the scale is the largest value.
    let louder = Volume {
        voxels: sagittal.voxels.iter().map(|v| v * 2.0).collect(),
        ..sagittal
    };
    assert_eq!(mask_of(&mut model, &louder), due);
}

#[test]
fn a_clip_has_its_overlay_in_every_frame() {
    let Some((_, mut package)) = loaded("burned-in-text") else {
        return;
    };
    // Frames 1, 6, 12, 17, 23, 28, 34 and 40 are looked at.
    package
        .manifest
        .parameters
        .insert("frames_looked_at_max".into(), 8.0);
    let mut model = Model::load(&runtime().unwrap(), &package, THREADS).unwrap();
    let (still, count) = (overlay(), 40);
    let frames: Vec<Frame> = (1..=count).map(|n| moved(&still, n)).collect();
    let boxes = texts(&mut model, &ImagingInput::Frames(frames.clone()));
    for n in 1..=count {
        let read: Vec<&str> = boxes
            .iter()
            .filter(|b| b.source.frame == n)
            .map(|b| b.text.as_str())
            .collect();
        assert_eq!(
            read,
            ["DOEJANE", "1970-01-01", "ID4711-08", "MI 1.2"],
            "frame {n}"
        );
    }
    // Text that comes up in the midst of a clip is found while it stands, and not before.
    let mut frames = frames;
    let word = cut_of(&still, [0, 16, 80, 31]);
    frames
        .iter_mut()
        .skip(20)
        .for_each(|frame| paste(frame, &word, [120, 60]));
    let boxes = texts(&mut model, &ImagingInput::Frames(frames));
    let stands = |n: u32| {
        boxes
            .iter()
            .any(|b| b.source.frame == n && b.text == "ID4711-08" && b.corners[0][1] > 50.0)
    };
    assert!(!stands(1) && !stands(19), "it is found before it stands");
    assert!(
        stands(24) && stands(31) && stands(count),
        "it is not found while it stands"
    );
}

#[test]
fn what_it_does_not_take_is_refused() {
    let short = Frame {
        samples: vec![0; 3],
        ..overlay()
    };
    let none = Frame {
        width: 0,
        samples: Vec::new(),
        ..overlay()
    };
    let huge = Frame {
        width: 1 << 20,
        height: 1 << 20,
        samples: Vec::new(),
        ..overlay()
    };
    if let Some((mut model, _)) = loaded("burned-in-text") {
        for frame in [short, none, huge] {
            let said = model.infer(&ImagingInput::Frames(vec![frame])).unwrap_err();
            assert!(
                matches!(
                    said,
                    ImagingError::Input { .. } | ImagingError::TooLarge { .. }
                ),
                "{said}"
            );
        }
        assert!(model.infer(&ImagingInput::Volume(phantom())).is_err());
        assert_eq!(texts(&mut model, &ImagingInput::Frames(Vec::new())), []);
    }
    if let Some((mut model, _)) = loaded("brain-extraction") {
        let blank = Volume {
            voxels: vec![0.0; phantom().voxels.len()],
            ..phantom()
        };
        let mut broken = phantom();
        broken.voxels[7] = f32::NAN;
        let cut = Volume {
            voxels: vec![1.0; 5],
            ..phantom()
        };
        let flat = Volume {
            slice_step: [0.0; 3],
            ..phantom()
        };
        let huge = Volume {
            size: [usize::MAX, 2, 2],
            ..phantom()
        };
        for volume in [blank, broken, cut, flat, huge] {
            assert!(model.infer(&ImagingInput::Volume(volume)).is_err());
        }
        assert!(model.infer(&ImagingInput::Frames(vec![overlay()])).is_err());
    }
}

#[test]
fn what_may_not_be_loaded_is_refused() {
    let Some(runtime) = runtime() else { return };
    let refused = |change: &dyn Fn(&mut Package)| {
        let mut package = package("brain-extraction");
        change(&mut package);
        Model::load(&runtime, &package, 1).unwrap_err().to_string()
    };
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let network = std::fs::read(committed("brain-extraction").join("model.onnx")).unwrap();
    let pickle = file("pickle", b"\x80\x04\x95\x00\x00 not a model");
    let cut = file("cut", &network[..network.len() / 2]);
    // A second graph field: a tensor whose data lie in another file. Protobuf merges it into the first.
    let external = file(
        "external",
        &[&network[..], &[0x3a, 4, 0x2a, 2, 0x70, 1]].concat(),
    );
    for (path, why) in [
        (pickle, "not an ONNX file"),
        (cut, "cut short"),
        (external, "another file"),
    ] {
        let said = refused(&|p| p.manifest.parts = [("network".to_owned(), path.clone())].into());
        assert!(said.contains("is refused") && said.contains(why), "{said}");
    }
    let missing =
        refused(&|p| p.manifest.parts = [("network".to_owned(), "no-such-file".into())].into());
    assert!(missing.contains("cannot be read"), "{missing}");
    assert!(refused(&|p| p.manifest.parts.clear()).contains("`network`"));
    assert!(refused(&|p| p.manifest.task = Task::Chat).contains("another engine"));
    assert!(
        refused(&|p| {
            p.manifest.parameters.insert("treshold".into(), 0.5);
        })
        .contains("treshold")
    );
    assert!(
        refused(&|p| {
            p.manifest.parameters.remove("threshold");
        })
        .contains("missing")
    );
    // The text pipeline on a network that is none of its own.
    let unfit = refused(&|p| {
        p.manifest = package("burned-in-text").manifest;
        let parts = ["detector", "recogniser", "classifier"]
            .map(|part| (part.to_owned(), "model.onnx".into()));
        p.manifest.parts = parts.into();
    });
    assert!(unfit.contains("does not fit"), "{unfit}");
}

#[test]
fn one_process_holds_one_library() {
    let Some(library) = library() else { return };
    let load = |library: &Path| Runtime::load(library, reports().as_deref());
    let runtime = load(&library).unwrap();
    assert!(runtime.version().contains('.'), "{}", runtime.version());
    load(&library).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let absent = load(&dir.path().join("absent.so")).unwrap_err();
    assert!(matches!(absent, ImagingError::Library { .. }), "{absent}");
    let other = dir.path().join("other.so");
    std::fs::write(&other, b"no library").unwrap();
    assert!(matches!(
        load(&other).unwrap_err(),
        ImagingError::OtherLibrary { .. }
    ));
}

#[test]
fn manifests_name_what_is_committed_and_pinned() {
    for name in ["burned-in-text", "brain-extraction"] {
        let package = package(name);
        assert_eq!(package.manifest.name, name);
        assert!(
            !package.manifest.clinical_use,
            "{name} is not for clinical use"
        );
        let pinned =
            std::fs::read_to_string(committed(name).join("fetch.toml")).unwrap_or_default();
        for (file, digest) in &package.manifest.files {
            let path = committed(name).join(file);
            if path.exists() {
                let due = hex::encode(sha2::Sha256::digest(std::fs::read(&path).unwrap()));
                assert_eq!(
                    digest.to_string(),
                    due,
                    "{} changed: write its hash into the manifest",
                    path.display()
                );
            } else {
                let pin = format!("to = \"{}\"\nsha256 = \"{digest}\"", file.display());
                assert!(
                    pinned.contains(&pin),
                    "{name}: {} is neither committed nor pinned",
                    file.display()
                );
            }
        }
        let cases = package
            .manifest
            .golden
            .iter()
            .flat_map(|case| [&case.input, &case.expected]);
        for file in cases.chain(package.manifest.parts.values()) {
            assert!(
                package.manifest.files.contains_key(file),
                "{name}: {} has no hash",
                file.display()
            );
        }
    }
}

/// The directory of a package in the repository.
fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models")
        .join(name)
}

/// What was fetched for the appliance, or nothing with the reason printed.
fn fetched(path: &str) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .unwrap();
    let path = cache.join("pericard").join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{} is absent; fetch it: cargo xtask fetch",
        path.display()
    );
    eprintln!(
        "skipped: {} is absent; fetch it: cargo xtask fetch",
        path.display()
    );
    None
}

fn library() -> Option<PathBuf> {
    fetched("onnxruntime/libonnxruntime.so")
}

fn runtime() -> Option<Runtime> {
    library().map(|library| Runtime::load(&library, reports().as_deref()).unwrap())
}

/// What `.cargo/config.toml` sets for tests.
fn reports() -> Option<String> {
    std::env::var(NO_REPORTS.0).ok()
}

fn package(name: &str) -> Package {
    let text = std::fs::read_to_string(committed(name).join("pericard-model.toml")).unwrap();
    let manifest: Manifest = toml::from_str(&text).unwrap();
    let digest = Digest::new(sha2::Sha256::digest(text.as_bytes()).into());
    let model = ModelRef {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        digest,
    };
    Package {
        model,
        manifest,
        dir: committed(name),
    }
}

fn loaded(name: &str) -> Option<(Model, Package)> {
    let runtime = runtime()?;
    let mut package = package(name);
    if !package.part("network").is_some_and(|path| path.exists()) {
        package.dir = fetched(&format!("packages/{name}/detector.onnx"))?
            .parent()?
            .to_owned();
    }
    Some((Model::load(&runtime, &package, THREADS).unwrap(), package))
}

fn overlay() -> Frame {
    golden::read_frame(&committed("burned-in-text").join("golden/overlay.png")).unwrap()
}

fn phantom() -> Volume {
    golden::read_volume(&committed("brain-extraction").join("golden/phantom.nrrd")).unwrap()
}

fn mask_of(model: &mut Model, volume: &Volume) -> Mask {
    match model.infer(&ImagingInput::Volume(volume.clone())).unwrap() {
        ImagingOutput::Mask(mask) => mask,
        ImagingOutput::Text(_) => panic!("text from a segmenter"),
    }
}

fn texts(model: &mut Model, input: &ImagingInput) -> Vec<TextBox> {
    match model.infer(input).unwrap() {
        ImagingOutput::Text(boxes) => boxes,
        ImagingOutput::Mask(_) => panic!("a mask from a text spotter"),
    }
}

/// Frame `n` of a clip: the overlay stands, the picture below it moves.
fn moved(still: &Frame, n: u32) -> Frame {
    let mut frame = still.clone();
    frame.source = FrameRef {
        instance: InstanceUid::new("1.2.3.4").unwrap(),
        frame: n,
    };
    assert_eq!(frame.channels, Channels::Rgb);
    let width = frame.width as usize * 3;
    for (row, line) in frame
        .samples
        .chunks_exact_mut(width)
        .enumerate()
        .take(115)
        .skip(90)
    {
        for (column, sample) in line.iter_mut().enumerate().take(150 * 3).skip(60 * 3) {
            let phase = (column / 3 + row + 4 * n as usize) % 32;
            *sample = sample.saturating_add(2 * phase as u8);
        }
    }
    frame
}

/// Part of a frame: left, top, right, bottom.
fn cut_of(frame: &Frame, [left, top, right, bottom]: [usize; 4]) -> Vec<Vec<u8>> {
    let rows = frame.samples.chunks_exact(frame.width as usize * 3);
    rows.take(bottom)
        .skip(top)
        .map(|row| row[left * 3..right * 3].to_vec())
        .collect()
}

fn paste(frame: &mut Frame, part: &[Vec<u8>], [left, top]: [usize; 2]) {
    let rows = frame.samples.chunks_exact_mut(frame.width as usize * 3);
    for (row, line) in rows.skip(top).zip(part) {
        row[left * 3..left * 3 + line.len()].copy_from_slice(line);
    }
}

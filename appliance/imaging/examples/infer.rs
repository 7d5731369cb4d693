//! Runs one package on files, without the appliance: for comparisons with other implementations and for latency.
//!
//! `cargo run --release -p pericard-imaging --example infer -- LIBRARY PACKAGE THREADS REPEATS FILE...`
//!
//! Each FILE is a PNG (text spotting), a directory of PNGs (the frames of one clip, by name) or an NRRD (volume
//! segmentation), in the forms that golden cases have. One line of JSON a file: what was found, and the wall times of every repeat in milliseconds. The package is not verified here.
#![allow(clippy::print_stdout)] // data for a script

use pericard_domain::digest::Digest;
use pericard_domain::image::{ImagingInput, ImagingOutput};
use pericard_domain::model::{Manifest, ModelRef, Package};
use pericard_imaging::{Model, NO_REPORTS, Runtime, golden};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("LIBRARY PACKAGE THREADS REPEATS FILE...")
    };
    let (library, dir) = (PathBuf::from(next()?), PathBuf::from(next()?));
    let (threads, repeats): (usize, usize) = (next()?.parse()?, next()?.parse()?);
    let manifest: Manifest =
        toml::from_str(&std::fs::read_to_string(dir.join("pericard-model.toml"))?)?;
    let model = ModelRef {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        digest: Digest::new([0; 32]),
    };
    let package = Package {
        model,
        manifest,
        dir,
    };
    let reports = std::env::var(NO_REPORTS.0).ok();
    let runtime = Runtime::load(&library, reports.as_deref())?;
    let mut model = Model::load(&runtime, &package, threads)?;
    for file in arguments {
        let input = read(Path::new(&file))?;
        let mut times_ms = Vec::new();
        let mut output = None;
        for _ in 0..repeats.max(1) {
            let start = Instant::now();
            output = Some(model.infer(&input)?);
            times_ms.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        let found = output.map(described);
        println!(
            "{}",
            serde_json::json!({"file": file, "found": found, "times_ms": times_ms})
        );
    }
    Ok(())
}

fn read(path: &Path) -> Result<ImagingInput, Box<dyn std::error::Error>> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
        let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
        paths.sort();
        let mut frames = paths
            .iter()
            .map(|p| golden::read_frame(p))
            .collect::<Result<Vec<_>, _>>()?;
        frames
            .iter_mut()
            .zip(1..)
            .for_each(|(frame, number)| frame.source.frame = number);
        return Ok(ImagingInput::Frames(frames));
    }
    if path.extension().is_some_and(|e| e == "png") {
        return Ok(ImagingInput::Frames(vec![golden::read_frame(path)?]));
    }
    Ok(ImagingInput::Volume(golden::read_volume(path)?))
}

fn described(output: ImagingOutput) -> serde_json::Value {
    match output {
        ImagingOutput::Text(boxes) => {
            let boxes = boxes.iter().map(
                |b| serde_json::json!({"text": b.text, "score": b.score, "frame": b.source.frame, "corners": b.corners}),
            );
            serde_json::json!({"boxes": boxes.collect::<Vec<_>>()})
        }
        ImagingOutput::Mask(mask) => {
            let mut runs = vec![0_usize];
            let mut inside = 0;
            for voxel in &mask.voxels {
                if *voxel != inside {
                    runs.push(0);
                    inside = *voxel;
                }
                if let Some(run) = runs.last_mut() {
                    *run += 1;
                }
            }
            serde_json::json!({"voxels": mask.count(), "mask_runs": runs})
        }
    }
}

//! Agreement with pydicom on every file with pixels in its own test data. `golden/pixels.py` writes the table.

mod samples;

use pericard_dicom::pixels::{Pixels, Samples};
use pericard_dicom::scan::ScanLimits;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files that pydicom shows and this room does not, each with the reason.
const NOT_DECODED: &[(&str, &str)] = &[
    ("bad_sequence.dcm", "not a UID"),
    // An object that belongs to no study cannot be admitted; near-lossless JPEG-LS itself is tested beside its decoder.
    ("JPEGLSNearLossless_08.dcm", "missing or empty"),
    ("JPEGLSNearLossless_16.dcm", "missing or empty"),
    ("SC_rgb_jls_lossy_line.dcm", "missing or empty"),
    ("SC_rgb_jls_lossy_sample.dcm", "missing or empty"),
];

/// Files that other readers refuse too, and what must be said about them.
const REFUSED: &[(&str, &str)] = &[
    ("MR_truncated.dcm", "truncated"),
    ("no_meta.dcm", "not a DICOM file"),
];

#[derive(Deserialize)]
struct Golden {
    files: BTreeMap<String, File>,
}

#[derive(Deserialize)]
struct File {
    syntax: String,
    lossy: bool,
    /// From luminance and chrominance to RGB: rounding may differ by one.
    converted: bool,
    rows: usize,
    columns: usize,
    frames: BTreeMap<u32, Frame>,
}

#[derive(Deserialize)]
struct Frame {
    sha256: String,
    mean: f64,
    stored: Vec<f64>,
    values: Option<Vec<f64>>,
    grey: Option<Vec<f64>>,
    color: Option<Vec<f64>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/pixels.json")).expect("the table is JSON")
}

/// How far a stored value may be from pydicom's, in grey levels. Measured on these files: two decoders of one lossy
/// stream round differently, and interpolate thinned-out colour differently.
fn tolerance(file: &File) -> f64 {
    match file.syntax.as_str() {
        s if s.starts_with("JPEG Baseline") => 4.0,
        s if s.starts_with("JPEG Extended") => 2.0,
        s if s.starts_with("JPEG 2000") && file.lossy => 1.0,
        _ if file.converted => 1.0,
        _ => 0.0,
    }
}

#[test]
fn as_pydicom_decodes() {
    let Some(files) = samples::files() else {
        return;
    };
    let golden = golden();
    let mut problems = Vec::new();
    let mut absent = Vec::new();
    let mut compared = 0;
    for (name, file) in &golden.files {
        if NOT_DECODED.iter().any(|(n, _)| name.ends_with(n)) {
            continue;
        }
        let Some(path) = find(&files, name) else {
            absent.push(name.as_str());
            continue;
        };
        match compare(path, file) {
            Ok(()) => compared += 1,
            Err(problem) => problems.push(format!("{name} ({}): {problem}", file.syntax)),
        }
    }
    eprintln!("{compared} files agree with pydicom; not among the samples: {absent:?}");
    // A folder with other samples only says nothing about these.
    let complete = absent.is_empty() || std::env::var_os("CI").is_none();
    assert!(complete, "not among the samples: {absent:?}");
    assert!(
        problems.is_empty(),
        "{} files:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn what_is_not_decoded_says_why() {
    let Some(files) = samples::files() else {
        return;
    };
    for (name, expected) in NOT_DECODED.iter().chain(REFUSED) {
        let Some(path) = find(&files, name) else {
            continue;
        };
        let error = Pixels::open(path, &ScanLimits::default())
            .and_then(|mut p| p.frame(1))
            .expect_err(name)
            .to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn both_byte_orders_show_the_same_palette() {
    let Some(files) = samples::files() else {
        return;
    };
    let paths = ["data/OBXXXX1A.dcm", "data/OBXXXX1A_expb.dcm"].map(|name| find(&files, name));
    let [Some(little), Some(big)] = paths else {
        return;
    };
    let [little, big] = [little, big].map(|path| {
        let mut pixels = Pixels::open(path, &ScanLimits::default()).expect("opens");
        pixels.frame(1).expect("decodes").samples
    });
    assert_eq!(little, big);
}

fn find<'f>(files: &'f [PathBuf], name: &str) -> Option<&'f Path> {
    files
        .iter()
        .find(|f| f.ends_with(name))
        .map(PathBuf::as_path)
}

fn compare(path: &Path, file: &File) -> Result<(), String> {
    let mut pixels = Pixels::open(path, &ScanLimits::default()).map_err(|e| e.to_string())?;
    for (number, golden) in &file.frames {
        let stored = pixels.stored(*number).map_err(|e| e.to_string())?;
        if (stored.height, stored.width) != (file.rows, file.columns) {
            return Err("another size".to_owned());
        }
        let allowed = tolerance(file);
        if allowed == 0.0 && digest(&stored.samples) != golden.sha256 {
            let off = furthest(&real(&stored.samples), &golden.stored);
            return Err(format!(
                "frame {number} differs, by {off} at most at the probes"
            ));
        }
        let samples = real(&stored.samples);
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        if (mean - golden.mean).abs() > 0.5 * allowed + 1e-3 {
            return Err(format!(
                "frame {number}: mean {mean} instead of {}",
                golden.mean
            ));
        }
        near("stored", &samples, &golden.stored, allowed)?;
        if let Some(values) = &golden.values {
            let ours = pixels.values(*number).map_err(|e| e.to_string())?;
            let ours: Vec<f64> = ours.into_iter().map(f64::from).collect();
            let scale = values.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
            near("values", &ours, values, allowed.mul_add(2.0, scale * 1e-6))?;
        }
        let seen = pixels.frame(*number).map_err(|e| e.to_string())?;
        let seen: Vec<f64> = seen.samples.into_iter().map(f64::from).collect();
        if let Some(grey) = &golden.grey {
            near("grey levels", &seen, grey, 1.0 + 4.0 * allowed)?;
        }
        if let Some(color) = &golden.color {
            near("palette colours", &seen, color, 0.0)?;
        }
    }
    Ok(())
}

fn near(what: &str, ours: &[f64], probes: &[f64], allowed: f64) -> Result<(), String> {
    let off = furthest(ours, probes);
    if off > allowed {
        return Err(format!(
            "{what} off by {off} at the probes, {allowed} allowed"
        ));
    }
    Ok(())
}

/// The greatest distance at the probes, which lie where `numpy.linspace` puts them.
fn furthest(ours: &[f64], probes: &[f64]) -> f64 {
    let last = ours.len() - 1;
    let mut places: Vec<usize> = (0..64)
        .map(|i| (last as f64 / 63.0 * f64::from(i)) as usize)
        .collect();
    places[63] = last;
    places.dedup();
    assert_eq!(places.len(), probes.len(), "as many probes");
    let pairs = places.iter().zip(probes);
    pairs.map(|(p, v)| (ours[*p] - v).abs()).fold(0.0, f64::max)
}

fn real(samples: &Samples) -> Vec<f64> {
    match samples {
        Samples::Integer(v) => v.iter().map(|s| f64::from(*s)).collect(),
        Samples::Real(v) => v.clone(),
    }
}

fn digest(samples: &Samples) -> String {
    let bytes: Vec<u8> = match samples {
        Samples::Integer(v) => v.iter().flat_map(|s| s.to_le_bytes()).collect(),
        // As the table is hashed: floating point only where whole numbers do not fit.
        Samples::Real(v)
            if v.iter()
                .all(|s| s.fract() == 0.0 && *s <= f64::from(i32::MAX) && *s >= 0.0) =>
        {
            v.iter().flat_map(|s| (*s as i32).to_le_bytes()).collect()
        }
        Samples::Real(v) => v.iter().flat_map(|s| s.to_le_bytes()).collect(),
    };
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

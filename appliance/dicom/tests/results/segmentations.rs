//! Segmentations: pixel by pixel, and in the right place.

use crate::kinds::{MEASURED, PIXELMED_KNOWS_NO_ALGORITHM_OF_A_VOLUME, assert_nothing_new};
use crate::sources::{self, SIDE, Stack};
use crate::{Written, context, device, finding, frame, peers, report};
use pericard_dicom::geometry::{Slice, assemble, places, suitable_series};
use pericard_dicom::pixels::Pixels;
use pericard_dicom::report::{
    ReportContext, ReportError, Segmented, mask_shapes, segmentation, structured_report,
};
use pericard_dicom::scan::ScanLimits;
use pericard_dicom::segments::{marked, outlines};
use pericard_dicom::source::Source;
use pericard_domain::finding::{Code, Measurement, Region};
use pericard_domain::image::{Mask, Volume};
use serde_json::json;
use std::path::Path;

pub(crate) fn volume(sources: &[Source]) -> Volume {
    let places: Vec<_> = sources
        .iter()
        .flat_map(|source| places(source).unwrap())
        .collect();
    let slices = places.into_iter().map(|place| Slice {
        place,
        values: vec![0.0; SIDE * SIDE],
    });
    assemble(slices.collect(), 3).unwrap()
}

/// Scattered voxels, none in the first slice.
pub(crate) fn mask(volume: &Volume, seed: usize) -> Mask {
    let count = volume.size.iter().product::<usize>();
    let inside =
        |i: usize| i >= SIDE * SIDE && (i * (2 * seed + 3)).wrapping_mul(2_654_435_761) % 97 < 30;
    Mask {
        size: volume.size,
        voxels: (0..count).map(|i| u8::from(inside(i))).collect(),
    }
}

#[test]
fn in_axial_oblique_and_enhanced_images() {
    let series: [(&str, Vec<Source>, Stack); 4] = [
        ("axial", sources::ct(&sources::AXIAL), sources::AXIAL),
        (
            "oblique",
            sources::ct(&sources::oblique()),
            sources::oblique(),
        ),
        (
            "oblique MR",
            sources::mr(&sources::oblique()),
            sources::oblique(),
        ),
        (
            "enhanced",
            sources::enhanced_mr(&sources::oblique()),
            sources::oblique(),
        ),
    ];
    for (name, sources, stack) in &series {
        one(name, sources, stack);
    }
}

/// What we read of our own segmentation are the very outlines that would be drawn of its masks.
fn assert_read_back(path: &Path, volume: &Volume, segments: &[Segmented<'_>]) {
    let mut pixels = Pixels::open(path, &ScanLimits::default()).unwrap();
    assert_eq!(marked(&pixels).len(), 2 * (volume.slices.len() - 1));
    for source in &volume.slices {
        let read = outlines(&mut pixels, source).unwrap();
        for (segment, number) in segments.iter().zip(1..) {
            let ours = read.iter().filter(|outline| outline.segment == number);
            let drawn = mask_shapes(volume, segment).unwrap();
            let drawn = drawn.iter().filter(|shape| shape.source == *source);
            assert!(
                ours.map(|o| &o.corners).eq(drawn.map(|s| &s.corners)),
                "{source:?}"
            );
        }
    }
}

fn one(name: &str, sources: &[Source], stack: &Stack) {
    let device = device();
    let volume = volume(sources);
    for (axis, ours) in volume.origin.iter().enumerate() {
        assert!(
            (ours - stack.position(0)[axis]).abs() < 1e-6,
            "{name}: {ours}"
        );
    }
    let (first, second) = (mask(&volume, 1), mask(&volume, 2));
    let region = Region::Frames {
        sources: volume.slices.clone(),
    };
    let mut brain = finding("brain", region.clone());
    brain.measurements.push(Measurement {
        concept: Code::new("118565006", "SCT", "Volume"),
        value: first.count() as f64 * volume.voxel_mm3() / 1000.0,
        unit: Code::new("mL", "UCUM", "milliliter"),
    });
    let lesion = finding("lesion-1", region);
    let report = report(sources, vec![brain, lesion]);
    let category = Code::new("123037004", "SCT", "Anatomical Structure");
    let segments = [
        Segmented {
            finding: &report.findings[0],
            category: &category,
            mask: &first,
        },
        Segmented {
            finding: &report.findings[1],
            category: &category,
            mask: &second,
        },
    ];
    let context = context(sources, &device);
    let (object, placed) = segmentation(&report, &context, &volume, &segments).unwrap();
    let written = Written::new(&object);
    peers::assert_valid(&written.path);
    assert_eq!((placed[0].number, placed[1].number), (1, 2));
    assert_eq!(
        placed[0].sources.len(),
        stack.slices - 1,
        "the first slice is empty"
    );
    assert_read_back(&written.path, &volume, &segments);

    let folder = tempfile::tempdir().unwrap();
    let expected = folder.path().join("expected.json");
    // Where the images say that they are, not where we think so.
    let scaled = |direction: [f64; 3], by: f64| direction.map(|part| part * by);
    let steps = [
        scaled(stack.row, stack.spacing[1]),
        scaled(stack.column, stack.spacing[0]),
        scaled(stack.normal(), stack.step),
    ];
    let (size, origin) = ([SIDE, SIDE, stack.slices], stack.position(0));
    std::fs::write(
        &expected,
        json!({"size": size, "origin": origin, "steps": steps}).to_string(),
    )
    .unwrap();
    let masks = [folder.path().join("1.raw"), folder.path().join("2.raw")];
    for (path, mask) in masks.iter().zip([&first, &second]) {
        std::fs::write(path, &mask.voxels).unwrap();
    }
    let files: [&Path; 4] = [&written.path, &expected, &masks[0], &masks[1]];
    if let Some(said) = peers::read(&files) {
        assert_eq!(said["identical"], true, "{name}");
        assert!(
            said["worst_mm"].as_f64().unwrap() < 1e-6,
            "{name}: {}",
            said["worst_mm"]
        );
        assert_eq!(said["frames"], 2 * (stack.slices - 1));
        assert_eq!(said["voxels"], first.count() + second.count());
        assert_eq!(
            said["segments"][1],
            json!([
                "Brain",
                "lesion-1",
                report.findings[1].tracking_uid.as_str()
            ])
        );
        assert_eq!(
            said["sources"],
            if name == "enhanced" {
                1
            } else {
                stack.slices - 1
            }
        );
    }

    if let Some(said) = peers::read_by("dcmqi.py", &files) {
        assert_eq!(said["identical"], true, "{name}: {said}");
        assert!(said["worst_mm"].as_f64().unwrap() < 0.01, "{name}: {said}");
        assert_eq!(said["labels"], json!(["Brain", "Brain"]), "{name}");
    }

    // The structured report then refers to the segments.
    let context = ReportContext {
        segments: &placed,
        ..context
    };
    let object = structured_report(&report, &context).unwrap();
    let written = Written::new(&object);
    peers::assert_valid(&written.path);
    peers::assert_dumps(&written.path, &["Referenced Segment"]);
    // Of one image a slice, and of one for all: the validator takes seconds.
    if ["oblique", "enhanced"].contains(&name) {
        let known = PIXELMED_KNOWS_NO_ALGORITHM_OF_A_VOLUME;
        assert_nothing_new(name, &written.path, MEASURED, known);
    }
    if let Some(said) = peers::read(&[&written.path]) {
        assert_eq!(said["groups"][0]["template"], "1411");
        assert_eq!(
            said["evidence"].as_object().unwrap().len(),
            2,
            "images and segmentation"
        );
    }
    if let Some(said) = peers::read_by("dcmqi.py", &[&written.path]) {
        let [brain, lesion] = [0, 1].map(|n| report.findings[n].tracking_uid.as_str());
        let tracking = json!([["brain", brain], ["lesion-1", lesion]]);
        assert_eq!(said["tracking"], tracking, "{name}");
        assert_eq!(said["segments"], json!([1, 2]), "{name}");
        let volume = said["measured"][0][1].as_f64().unwrap();
        let ours = report.findings[0].measurements[0].value;
        assert!(
            (volume - ours).abs() < 1e-3 * ours,
            "{name}: {volume} {ours}"
        );
    }
}

#[test]
fn an_empty_mask_makes_one_empty_frame() {
    let (sources, device) = (sources::ct(&sources::AXIAL), device());
    let volume = volume(&sources);
    let empty = Mask {
        size: volume.size,
        voxels: vec![0; volume.voxels.len()],
    };
    let report = report(
        &sources,
        vec![finding(
            "x",
            Region::Frames {
                sources: vec![frame(&sources[0], 1)],
            },
        )],
    );
    let category = Code::new("123037004", "SCT", "Anatomical Structure");
    let segment = Segmented {
        finding: &report.findings[0],
        category: &category,
        mask: &empty,
    };
    let (object, _) =
        segmentation(&report, &context(&sources, &device), &volume, &[segment]).unwrap();
    peers::assert_valid(&Written::new(&object).path);

    let small = Mask {
        size: [1, 1, 1],
        voxels: vec![0],
    };
    let segment = Segmented {
        mask: &small,
        ..segment
    };
    let error =
        segmentation(&report, &context(&sources, &device), &volume, &[segment]).unwrap_err();
    assert!(matches!(error, ReportError::MaskSize { .. }), "{error}");
}

#[test]
fn the_series_of_most_slices_is_chosen_and_its_faults_are_errors() {
    let mut sources = sources::ct(&sources::AXIAL);
    sources.extend(sources::cr());
    sources.extend(sources::mr(&Stack {
        slices: 5,
        ..sources::AXIAL
    }));
    // Acquired in three dimensions counts before the number of slices.
    let chosen = suitable_series(&sources, 3).unwrap();
    assert_eq!(chosen.len(), 5);
    assert!(
        chosen
            .windows(2)
            .all(|pair| pair[0].position[2] < pair[1].position[2])
    );
    sources.retain(|source| source.instance() != &chosen[2].source.instance);
    let error = suitable_series(&sources, 3).unwrap_err().to_string();
    assert!(
        error.contains("3.000 mm between slices 2 and 3") && error.contains("1.500 mm"),
        "{error}"
    );
}

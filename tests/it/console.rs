//! The console in Chromium: pages that can be read, used by keys alone, and that no stranger's text gets into.

use crate::support::*;
use std::path::Path;

/// Gives an object a name, a description and a study of its own, as somebody with bad intentions would.
const HARM: &str = "\
import sys, pydicom
from pydicom.uid import generate_uid
data = pydicom.dcmread(sys.argv[1])
script = '\"><script>window.harmed = 1; alert(1)</script><img src=x onerror=\"window.harmed = 1\">'
data.PatientName, data.PatientID, data.StudyDescription = script[:64], script[:64], script[:64]
data.SeriesDescription, data.AccessionNumber = script[2:64], '\"><b>'
data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID = generate_uid(), generate_uid(), generate_uid()
data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
data.save_as(sys.argv[2])
";

#[test]
fn every_page_in_a_browser() {
    let (Some(chromium), Some(python_program)) = (program("chromium"), venv("python")) else {
        return;
    };
    let (Some(ultrasound), Some(head), Some(_)) =
        (sample("us1"), sample("t1-head"), program("storescu"))
    else {
        return;
    };
    let toml = "[egress]\nweekly = true\n\
        [[rules]]\nname = 'text'\nwhen = { modalities = ['US'] }\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n\
        [[rules]]\nname = 'brain'\nwhen = { modalities = ['MR'] }\nmodels = ['brain-extraction']\nidle_timeout_s = 3\n";
    let Some(appliance) = Appliance::start(Given {
        toml,
        models: &["burned-in-text", "brain-extraction"],
    }) else {
        return;
    };
    until("the frame of the week before", || {
        appliance
            .data()
            .join("egress/frames/00000001.frame")
            .exists()
            .then_some(())
    });
    let harmful = appliance.dir.path().join("harmful.dcm");
    let told = std::process::Command::new(python_program)
        .args(["-c", HARM])
        .args([first_in(&ultrasound), harmful.clone()])
        .status();
    assert!(told.expect("python").success());
    let sent = appliance.storescu(&["-R", "+sd", "+r"], &[&head]);
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    for path in [first_in(&ultrasound), harmful.clone()] {
        appliance.pericard(&["submit", path.to_str().expect("a path")]);
    }
    let studies = [first_in(&ultrasound), first_in(&head), harmful].map(|path| study_of(&path));
    for study in &studies {
        for job in appliance.jobs_ended(study) {
            assert_eq!(job["state"], "done", "{job}");
        }
    }
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
    let profile = appliance.dir.path().join("browser");
    let [text, mask, harm] = &studies;
    let printed = python(
        "browser.py",
        &[
            chromium.to_str().expect("a path"),
            &format!("https://{}", appliance.https),
            &appliance.token,
            shots.to_str().expect("a path"),
            profile.to_str().expect("a path"),
            text,
            mask,
            harm,
        ],
    );
    let printed = printed.expect("python");
    eprintln!("{printed}screenshots: {}", shots.display());
    assert!(printed.ends_with("ok\n"), "{printed}");

    // What was pressed in the browser, as the command line and the log see it.
    let held = appliance.data().join("egress/hold");
    assert_eq!(files_in(&held), [held.join("all")]);
    let audit = appliance.pericard(&["audit", "show", "--limit", "1000"]);
    for line in ["hold frame", "release frame"] {
        assert!(audit.contains(line), "{line}: {audit}");
    }
    assert_eq!(
        appliance.pericard(&["egress", "release"]),
        "all frames released\n"
    );
}

/// The first file in a folder of samples.
fn first_in(folder: &Path) -> std::path::PathBuf {
    if folder.is_file() {
        return folder.to_owned();
    }
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    first_in(paths.iter().min().expect("a file"))
}

/// OHIF as its makers built it, beside our DICOMweb: a brain's images with its segmentation and report, and an ultrasound
/// with its report and picture. The screenshots stay in the target folder.
#[test]
fn the_ohif_viewer_shows_images_and_results() {
    let (Some(chromium), Some(ohif)) = (program("chromium"), needed(cache().join("ohif/dist")))
    else {
        return;
    };
    let (Some(ultrasound), Some(head), Some(_)) =
        (sample("us1"), sample("t1-head"), program("storescu"))
    else {
        return;
    };
    let toml = "[[rules]]\nname = 'text'\nwhen = { modalities = ['US'] }\nmodels = ['burned-in-text']\nidle_timeout_s = 1\n\
        results = ['sr', 'sc']\n\
        [[rules]]\nname = 'brain'\nwhen = { modalities = ['MR'] }\nmodels = ['brain-extraction']\nidle_timeout_s = 3\n";
    let Some(appliance) = Appliance::start(Given {
        toml,
        models: &["burned-in-text", "brain-extraction"],
    }) else {
        return;
    };
    let sent = appliance.storescu(&["-R", "+sd", "+r"], &[&head]);
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    let picture = first_in(&ultrasound);
    appliance.pericard(&["submit", picture.to_str().expect("a path")]);
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ohif");
    let dicomweb = format!("https://{}/dicomweb", appliance.https);
    for (file, modalities) in [
        (first_in(&head), &["MR", "SEG", "SR"][..]),
        (picture, &["US", "SR", "OT"][..]),
    ] {
        let study = study_of(&file);
        for job in appliance.jobs_ended(&study) {
            assert_eq!(job["state"], "done", "{job}");
        }
        let disk = appliance.dir.path().join(modalities[0]);
        let (ca, text) = (appliance.ca(), |path: &Path| {
            path.to_str().expect("a path").to_owned()
        });
        let given = [&chromium, &ohif].map(|path| text(path));
        let [chromium, ohif] = &given;
        let (ca, shots, disk) = (text(&ca), text(&shots), text(&disk));
        let mut args = vec![
            chromium,
            ohif,
            &dicomweb,
            &appliance.token,
            &ca,
            &shots,
            &disk,
            &study,
        ];
        let modalities: Vec<String> = modalities.iter().map(|m| (*m).to_owned()).collect();
        args.extend(&modalities);
        let args: Vec<&str> = args.into_iter().map(String::as_str).collect();
        let Some(printed) = python("ohif.py", &args) else {
            return;
        };
        eprintln!("OHIF: {printed}screenshots: {shots}");
    }
}

//! More than there is room for: ten callers for each place, and callers over their quotas. Each hears its protocol's clean
//! transient refusal, the memory of the server does not grow with them, and who comes afterwards is served.

use crate::strangers::resident_kib;
use crate::support::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Objects that may be arriving at once, and associations that may be open.
const PLACES: u32 = 4;
const CALLERS: u32 = 10 * PLACES;
/// What each caller offers, one after the other.
const OBJECTS: u32 = 2;
const OBJECT_MIB: u32 = 2;
/// What all of it may cost the server: less than the objects of the callers that are turned away, 72 MiB at every moment.
const GROWTH_MAX_KIB: u64 = 48 * 1024;
/// Objects a minute, by title and by token; what each of the two offers.
const PEER_QUOTA: u64 = 3;
const TOKEN_QUOTA: u64 = 4;
const OFFERED: u64 = 12;
/// MiB that one peer may have under way, of two objects that each are smaller, and where both are stopped: so far that what
/// the sockets still hold does not bring them under the quota.
const IN_FLIGHT_MIB: u32 = 48;
const UNDER_WAY_MIB: u32 = 40;
const HALFWAY_MIB: u32 = 36;
/// All that a caller may hear.
const ANSWERS: [&str; 6] = [
    "C-STORE 0000",
    "C-STORE a701",
    "A-ASSOCIATE-RJ transient",
    "STOW 200",
    "STOW 503",
    "STOW 429",
];

/// How urgent an object is, by its modality, and whether it is taken below the upper mark of free space.
const URGENCIES: [(&str, &str, bool); 3] = [
    ("XA", "batch", false),
    ("CR", "routine", true),
    ("US", "stat", true),
];
/// More than any disk has free.
const LOW_MIB: u32 = u32::MAX;

fn offered(appliance: &Appliance, callers: u32, objects: u32, mib: u32) -> Option<Value> {
    let numbers = [
        u32::from(appliance.dicom.port()),
        u32::from(appliance.https.port()),
        callers,
        objects,
        mib,
    ]
    .map(|number| number.to_string());
    let [dicom, https, callers, objects, mib] = &numbers;
    let ca = appliance.ca();
    let ca = ca.to_str().expect("a path in UTF-8");
    let said = python(
        "pressure.py",
        &[dicom, https, ca, &appliance.token, callers, objects, mib],
    )?;
    Some(serde_json::from_str(&said).expect("JSON"))
}

fn answers(said: &Value) -> BTreeMap<String, u64> {
    assert_eq!(said["odd"], serde_json::json!([]), "each is answered");
    let answers = said["said"].as_object().expect("answers").iter();
    answers
        .map(|(answer, count)| (answer.clone(), count.as_u64().expect("a number")))
        .collect()
}

#[test]
fn ten_times_too_much_is_refused_cleanly_and_costs_no_memory() {
    let Some(mut appliance) = Appliance::start(Given::default()) else {
        return;
    };
    let text = std::fs::read_to_string(appliance.config()).expect("the configuration");
    let text = text
        .replace(
            "unlisted_peers = 'loopback'\n",
            &format!("unlisted_peers = 'loopback'\nassociations_max = {PLACES}\n"),
        )
        .replace(
            "idle_timeout_s = 1\n",
            &format!("idle_timeout_s = 1\narriving_max = {PLACES}\n"),
        );
    std::fs::write(appliance.config(), text).expect("the configuration");
    appliance.restart();
    // What one caller costs is not what is measured: buffers, threads and the certificate are there afterwards.
    if offered(&appliance, 2, 1, OBJECT_MIB).is_none() {
        return;
    }
    let pid = appliance.process().id();
    let before = resident_kib(pid);
    let said = offered(&appliance, CALLERS, OBJECTS, OBJECT_MIB).expect("python");
    let growth = resident_kib(pid).saturating_sub(before);
    assert!(appliance.process().is_running(), "{}", appliance.log());
    let heard = answers(&said);
    eprintln!("{CALLERS} callers for {PLACES} places: {heard:?}; {growth} KiB more at the most");
    for answer in heard.keys() {
        assert!(ANSWERS.contains(&answer.as_str()), "{answer}: {heard:?}");
    }
    let count = |answers: &[&str]| answers.iter().filter_map(|a| heard.get(*a)).sum::<u64>();
    assert!(
        count(&["C-STORE 0000"]) > 0 && count(&["STOW 200"]) > 0,
        "{heard:?}"
    );
    assert!(
        count(&["A-ASSOCIATE-RJ transient", "C-STORE a701"]) > 0,
        "{heard:?}"
    );
    assert!(count(&["STOW 503"]) > 0, "{heard:?}");
    assert!(growth < GROWTH_MAX_KIB, "{growth} KiB");
    let after = answers(&offered(&appliance, 2, 1, 1).expect("python"));
    assert!(
        after
            .keys()
            .all(|answer| answer == "C-STORE 0000" || answer == "STOW 200"),
        "two callers are served as ever: {after:?}"
    );
}

#[test]
fn who_brings_more_than_its_quota_waits() {
    let toml = format!(
        "[quotas]\npeer_objects_per_minute_max = {PEER_QUOTA}\ntoken_objects_per_minute_max = {TOKEN_QUOTA}\n"
    );
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &[],
    }) else {
        return;
    };
    let begun = Instant::now();
    let Some(said) = offered(&appliance, 2, OFFERED as u32, 1) else {
        return;
    };
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let heard = answers(&said);
    let count = |answer: &str| heard.get(answer).copied().unwrap_or(0);
    for (taken, refused, quota) in [
        ("C-STORE 0000", "C-STORE a701", PEER_QUOTA),
        ("STOW 200", "STOW 429", TOKEN_QUOTA),
    ] {
        // The quota at once, and then as much as fills up again: little, unless the machine is very slow.
        let most = quota + (quota as f64 * minutes).ceil() as u64;
        let taken = count(taken);
        assert!(
            (quota..=most).contains(&taken),
            "{taken} of {most}: {heard:?}"
        );
        assert_eq!(taken + count(refused), OFFERED, "{heard:?}");
    }
    let held = appliance.json("/api/v1/studies?limit=100");
    let held = held["studies"].as_array().map_or(0, Vec::len) as u64;
    let taken = count("C-STORE 0000") + count("STOW 200");
    assert_eq!(held, taken, "what was refused is not there");
}

#[test]
fn who_is_over_its_bytes_in_the_middle_of_an_object_is_refused_and_its_other_object_is_kept() {
    let toml = format!("[quotas]\npeer_in_flight_max_mib = {IN_FLIGHT_MIB}\n");
    let Some(appliance) = Appliance::start(Given {
        toml: &toml,
        models: &[],
    }) else {
        return;
    };
    let numbers = [
        u32::from(appliance.dicom.port()),
        UNDER_WAY_MIB,
        HALFWAY_MIB,
    ]
    .map(|number| number.to_string());
    let args = numbers.each_ref().map(String::as_str);
    let Some(said) = python("halfway.py", &args) else {
        return;
    };
    let said: Vec<_> = said.lines().collect();
    let [first, second, alone] = said.as_slice() else {
        panic!("three answers: {said:?}");
    };
    // Which of the two came too late is for the system to say.
    let both = BTreeSet::from([*first, *second]);
    assert_eq!(both, BTreeSet::from(["0000", "a701"]), "{said:?}");
    assert_eq!(*alone, "0000", "room again");
    let held = appliance.json("/api/v1/studies?limit=100");
    let held = held["studies"].as_array().map_or(0, Vec::len);
    assert_eq!(held, 2, "nothing of the refused one is kept");
    let incoming = appliance.data().join("objects/incoming");
    assert_eq!(files_in(&incoming), Vec::<PathBuf>::new());
    let audit = appliance.pericard(&["audit", "show"]);
    let why = "bytes that are arriving at once";
    assert_eq!(audit.matches(why).count(), 1, "{audit}");
}

/// A copy of a sample under UIDs of its own, of that modality.
fn copy(appliance: &Appliance, name: &str, modality: &str) -> Option<PathBuf> {
    let sample = files_in(&sample("us1")?).remove(0);
    let path = appliance.dir.path().join(name);
    std::fs::copy(sample, &path).expect("a copy");
    let modality = format!("Modality={modality}");
    let mut command = Command::new(program("dcmodify")?);
    command.args(["-nb", "-gst", "-gse", "-gin", "-m", &modality]);
    run(command.arg(&path));
    Some(path)
}

/// The status of an object submitted by HTTPS.
fn submitted(appliance: &Appliance, file: &Path) -> u16 {
    let token = format!("Authorization: Bearer {}", appliance.token);
    let data = format!("@{}", file.display());
    let kind = "Content-Type: application/dicom";
    let args = ["-H", &token, "-H", kind, "--data-binary", &data];
    appliance.curl(&args, "/api/v1/studies").0
}

#[test]
fn below_the_upper_mark_batch_work_waits_and_what_is_urgent_is_taken() {
    let rules = URGENCIES.map(|(modality, priority, _)| {
        format!(
            "[[rules]]\nname = '{priority}'\nmodels = ['burned-in-text']\npriority = '{priority}'\n\
             idle_timeout_s = 1\nwhen = {{ modalities = ['{modality}'] }}\n"
        )
    });
    let Some(mut appliance) = Appliance::start(Given {
        toml: &rules.concat(),
        models: &["burned-in-text"],
    }) else {
        return;
    };
    for is_low in [false, true] {
        if is_low {
            let text = std::fs::read_to_string(appliance.config()).expect("the configuration");
            let low = format!("idle_timeout_s = 1\nfree_space_low_mib = {LOW_MIB}\n");
            let text = text.replacen("idle_timeout_s = 1\n", &low, 1);
            std::fs::write(appliance.config(), text).expect("the configuration");
            appliance.restart();
        }
        for (modality, priority, is_urgent) in URGENCIES {
            let name = |door: &str| format!("{priority}-{is_low}-{door}");
            let Some(web) = copy(&appliance, &name("web"), modality) else {
                return;
            };
            let dicom = copy(&appliance, &name("dicom"), modality).expect("a copy");
            let is_taken = is_urgent || !is_low;
            let status = submitted(&appliance, &web);
            let expected = if is_taken { 200 } else { 507 };
            assert_eq!(status, expected, "{priority}, low: {is_low}");
            let sent = appliance.storescu(&["-R", "-v"], &[&dicom]);
            let said = String::from_utf8_lossy(&sent.stdout).into_owned()
                + &String::from_utf8_lossy(&sent.stderr);
            let refused = said.contains("OutOfResources") || said.contains("0xa700");
            assert_eq!(refused, !is_taken, "{priority}, low: {is_low}: {said}");
            let held = appliance
                .get(&format!("/api/v1/studies/{}", study_of(&dicom)))
                .0;
            let expected = if is_taken { 200 } else { 404 };
            assert_eq!(held, expected, "{priority}, low: {is_low}");
        }
        // A low disk is no reason to send people elsewhere.
        assert_eq!(appliance.get("/readyz").0, 200);
        let (_, figures) = appliance.get("/metrics");
        let level = format!("\npericard_disk_level {}\n", u8::from(is_low));
        assert!(figures.contains(&level), "{figures}");
    }
}

//! A recall of the hub's arrives in a reply, and does what the hospital's configuration lets it do: be shown, or stop the one
//! version that it names. Never more.

use crate::off::weeks_without_a_line;
use crate::support::{Appliance, Given, cache, needed, until};
use pericard_gate::{Desk, Gate, Rules, Spool};
use pericard_hub::records::Model;
use pericard_hub::{Cause, Hub, Keys, Kind, Sent, Shown, Warning, Way, enrolment};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const NOW_S: u64 = 1_795_600_000;
const MODEL: &str = "burned-in-text";

/// The gate's folder of a hospital that carried a frame to a hub which recalls two models: this one, and another.
fn recalled(dir: &Path, digest: [u8; 32]) {
    let names = Shown::Made(vec!["hub".into()]);
    let keys = Keys::open(&dir.join("hub"), "hub.example", &names, NOW_S).expect("keys");
    let clock = Arc::new(|| NOW_S);
    let hub = Hub::open(&dir.join("hub.db"), Arc::clone(keys.signing()), clock).expect("a hub");
    for (id, name, digest) in [(300, MODEL, digest), (301, "another", [7; 32])] {
        let (name, version) = (name.to_owned(), "1.0.0".to_owned());
        hub.add_model(&Model {
            id,
            name,
            version,
            digest,
        })
        .expect("in the catalogue");
        let (kind, cause, text) = (Kind::Recall, Cause::Safety, String::new());
        hub.issue(Warning {
            kind,
            model: id,
            cause,
            text,
            by: None,
        })
        .expect("issued");
    }
    let desk = Desk::at(dir.join("desk"));
    let asked = pericard_gate::request(&desk, &[4; 32]).expect("a request");
    let nowhere = ([192, 0, 2, 1], 9).into();
    let granted = enrolment::enrol((&hub, &keys), &asked, "A clinic", nowhere).expect("granted");
    let key = keys.signing().verifier().to_string();
    let enrolled = pericard_gate::accept(&desk, &granted.note, &key).expect("enrolled");
    weeks_without_a_line(&dir.join("spool"), enrolled.appliance, 1);
    let gate = Gate::open(Spool::at(dir.join("spool")), desk, Rules { hold_days: 0 });
    let gate = gate.expect("opened").expect("enrolled");
    assert_eq!(gate.carry(dir, NOW_S).expect("carried"), [1]);
    let bytes = fs::read(dir.join("00000001.frame")).expect("a frame");
    let way = Way::Carried;
    let replies = hub.ingest(&[Sent { bytes: &bytes, way }]).expect("durable");
    let reply = dir.join("00000001.reply");
    fs::write(&reply, replies[0].bytes()).expect("written");
    gate.take(&reply).expect("believed");
}

fn started(policy: &str, hub: &Path) -> Option<Appliance> {
    let toml = format!(
        "[egress]\ngate_dir = '{}'\non_recall = '{policy}'\n[[rules]]\nname = 'text'\nmodels = ['{MODEL}']\nidle_timeout_s = 1\n",
        hub.join("desk").display()
    );
    let models = &[MODEL];
    Appliance::start(Given {
        toml: &toml,
        models,
    })
}

fn standing(appliance: &Appliance) -> String {
    let listed = appliance.pericard(&["model", "list"]);
    listed
        .lines()
        .find(|line| line.contains(MODEL))
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_recall_is_shown_and_stops_what_the_configuration_lets_it_stop() {
    let package = cache().join("packages").join(MODEL);
    if needed(package.clone()).is_none() {
        return;
    }
    let manifest = fs::read(package.join("pericard-model.toml")).expect("a manifest");
    let hub = tempfile::tempdir().expect("a folder");
    recalled(
        hub.path(),
        <sha2::Sha256 as sha2::Digest>::digest(manifest).into(),
    );
    for (policy, stopped, retired, verb) in [
        ("show", false, false, None),
        ("hold", true, false, Some("hold model")),
        ("retire", true, true, Some("retire model")),
    ] {
        let Some(appliance) = started(policy, hub.path()) else {
            return;
        };
        let told = until("the recalls", || {
            let told = appliance.json("/api/v1/egress/advisories");
            told["advisories"]
                .as_array()
                .is_some_and(|all| all.len() == 2)
                .then_some(told)
        });
        let of = |name: Value| {
            told["advisories"]
                .as_array()
                .and_then(|all| all.iter().find(|n| n["model"]["name"] == name).cloned())
        };
        let ours = of(MODEL.into()).expect("the one that is here");
        assert_eq!(
            (&ours["stopped"], &ours["is_recall"]),
            (&stopped.into(), &true.into()),
            "{policy}"
        );
        let other = of(Value::Null).expect("the one that is not here");
        assert_eq!(other["stopped"], false);
        let models = appliance.json("/api/v1/models");
        assert_eq!(
            models["models"][0]["loaded"], !stopped,
            "{policy}: {models}"
        );
        assert_eq!(
            standing(&appliance).contains("retired"),
            retired,
            "{policy}: {}",
            standing(&appliance)
        );
        let ledger = appliance.pericard(&["egress", "ledger"]);
        assert!(
            ledger.contains("recall: stop using this model; number 1, model 300"),
            "{ledger}"
        );
        let audit = appliance.pericard(&["audit", "show", "--json"]);
        for named in ["hold model", "retire model"] {
            assert_eq!(
                audit.contains(named),
                verb == Some(named),
                "{policy}: {audit}"
            );
        }
        assert_eq!(
            appliance.get("/readyz").0,
            200,
            "{policy}: a stop on purpose is no trouble"
        );
    }
}

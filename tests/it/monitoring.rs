//! The alert rules and the dashboard that are shipped, held against what an appliance says of itself at `/metrics`.

use crate::support::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use time::{Duration, OffsetDateTime};

/// What a selector wants of a label: the expression, and whether it is a pattern.
type Wanted = (String, bool);

/// A metric that an expression names, and what it wants of each of its labels.
#[derive(Debug, PartialEq)]
struct Selector {
    metric: String,
    labels: Vec<(String, Wanted)>,
}

fn shipped(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/monitoring");
    fs::read_to_string(folder.join(name)).expect("it is shipped")
}

/// The expressions of the rules, each with its alert: one line under `expr: >-`.
fn rules() -> Vec<(String, String)> {
    let text = shipped("pericard-alerts.yml");
    let mut rules = Vec::new();
    let mut alert = String::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("- alert: ") {
            alert = name.to_owned();
        }
        if line.starts_with("expr:") {
            assert_eq!(
                line, "expr: >-",
                "{alert}: an expression stands on the next line"
            );
            rules.push((
                alert.clone(),
                lines.next().expect("an expression").to_owned(),
            ));
        }
    }
    rules
}

/// Every expression of the dashboard, and what labels its legends name.
fn panels(value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            if let Some(expression) = fields.get("expr").and_then(Value::as_str) {
                let legend = fields.get("legendFormat").and_then(Value::as_str);
                found.push((expression.to_owned(), legend.unwrap_or_default().to_owned()));
            }
            fields.values().for_each(|field| panels(field, found));
        }
        Value::Array(values) => values.iter().for_each(|value| panels(value, found)),
        _ => {}
    }
}

/// Every metric of ours in an expression.
fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find("pericard_") {
        rest = &rest[at..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (metric, after) = rest.split_at(end);
        let inside = after
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'));
        let labels = inside.map(|(inside, _)| inside.split(',').map(label).collect());
        found.push(Selector {
            metric: metric.to_owned(),
            labels: labels.unwrap_or_default(),
        });
        rest = inside.map_or(after, |(_, after)| after);
    }
    found
}

fn label(text: &str) -> (String, Wanted) {
    let (name, value) = text.split_once('=').expect("a label");
    let (value, is_pattern) = match value.strip_prefix('~') {
        Some(pattern) => (pattern, true),
        None => (value, false),
    };
    let value = value.trim().trim_matches('"').to_owned();
    (name.trim().to_owned(), (value, is_pattern))
}

/// The labels of one line of `/metrics`.
type Labels = BTreeMap<String, String>;

/// `/metrics`, by name.
fn said(page: &str) -> BTreeMap<String, Vec<Labels>> {
    let mut said: BTreeMap<String, Vec<Labels>> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let each = labels
            .trim_end_matches('}')
            .split(',')
            .filter(|l| !l.is_empty());
        let each = each.map(label).map(|(name, (value, _))| (name, value));
        said.entry(name.to_owned())
            .or_default()
            .push(each.collect());
    }
    said
}

/// Whether each alternative of a pattern is some value of the label, and a value that is said is one that there is.
fn is_there(series: &[Labels], name: &str, (value, is_pattern): &Wanted) -> bool {
    let values: BTreeSet<&str> = series
        .iter()
        .filter_map(|labels| labels.get(name))
        .map(String::as_str)
        .collect();
    let one = |wanted: &str| match wanted.strip_suffix(".*").filter(|_| *is_pattern) {
        Some(start) => values.iter().any(|value| value.starts_with(start)),
        None => values.contains(wanted),
    };
    match is_pattern {
        true => value.split('|').all(one),
        false => one(value),
    }
}

#[test]
fn every_name_and_class_of_the_alerts_and_the_dashboard_is_there() {
    let Some(appliance) = shared() else { return };
    let (status, page) = appliance.get("/metrics");
    assert_eq!(status, 200, "{page}");
    let said = said(&page);
    let mut expressions = rules();
    assert!(expressions.len() >= 18, "{} rules", expressions.len());
    let dashboard = serde_json::from_str(&shipped("grafana-pericard.json")).expect("JSON");
    let mut shown = Vec::new();
    panels(&dashboard, &mut shown);
    assert!(shown.len() >= 15, "{} expressions", shown.len());
    for (expression, legend) in &shown {
        for named in legend.split("{{").skip(1) {
            let named = named.split("}}").next().unwrap_or_default().trim();
            let used = selectors(expression);
            let has = |labels: &Labels| labels.contains_key(named);
            let all = used.iter().all(|s| {
                said.get(&s.metric)
                    .is_some_and(|series| series.iter().any(has))
            });
            assert!(all, "{expression}: no label {named}");
        }
    }
    let of_panels = shown.into_iter().map(|(expression, _)| expression);
    expressions.extend(of_panels.map(|expression| ("the dashboard".to_owned(), expression)));
    for (whose, expression) in &expressions {
        let used = selectors(expression);
        let is_scrape = expression.starts_with("up{");
        assert!(
            !used.is_empty() || is_scrape,
            "{whose}: {expression} names nothing of ours"
        );
        for Selector { metric, labels } in used {
            let series = said.get(&metric);
            let series = series.unwrap_or_else(|| panic!("{whose}: there is no {metric}"));
            for (name, wanted) in labels {
                let there = is_there(series, &name, &wanted);
                assert!(there, "{whose}: {metric} has no {name} {wanted:?}");
            }
        }
    }
    for alarm in [
        "pericard_damaged_objects",
        "pericard_files_set_aside",
        "pericard_disk_level",
        "pericard_messages",
        "pericard_undeliverable",
        "pericard_certificate_ends_time_seconds",
    ] {
        let watched = rules().iter().any(|(_, rule)| rule.contains(alarm));
        assert!(watched, "no rule watches {alarm}");
    }
}

#[test]
fn a_name_that_is_not_there_would_be_seen() {
    let found = selectors(
        "sum by (class) (rate(pericard_a_total{class=~\"x|y.*\",stage=\"s\"}[5m])) > pericard_b",
    );
    assert_eq!(found.len(), 2);
    assert_eq!(
        (&*found[0].metric, &*found[1].metric),
        ("pericard_a_total", "pericard_b")
    );
    let said = said("# TYPE x\npericard_a_total{class=\"x\",stage=\"s\"} 1\n");
    let series = &said["pericard_a_total"];
    let pattern = |text: &str| (text.to_owned(), true);
    assert!(is_there(series, "class", &pattern("x")));
    assert!(!is_there(series, "class", &pattern("x|y.*")));
    assert!(!is_there(series, "class", &("y".to_owned(), false)));
    assert!(!is_there(series, "other", &("x".to_owned(), false)));
}

/// Prometheus' own tool: what is shipped is what it reads, each alert comes when it has a reason and stays away when it has none.
#[test]
fn every_alert_comes_for_its_reason_and_for_nothing_else() {
    let Some(promtool) = program("promtool") else {
        return;
    };
    let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/alerts.yml");
    let told = fs::read_to_string(&given).expect("the series of a bad day and of a good one");
    for (alert, _) in rules() {
        assert!(told.contains(&alert), "{alert} is not tried");
    }
    let tried = ended(Command::new(&promtool).args(["test", "rules"]).arg(given));
    let said = String::from_utf8_lossy(&tried.stdout).into_owned();
    assert!(tried.status.success(), "{said}");
}

/// What Prometheus' own tool has to say of the page that it reads.
#[test]
fn the_metrics_are_as_prometheus_wants_them() {
    let (Some(promtool), Some(appliance)) = (program("promtool"), shared()) else {
        return;
    };
    let (_, page) = appliance.get("/metrics");
    let file = appliance.dir.path().join("metrics");
    fs::write(&file, page).expect("a file");
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]);
    let checked = ended(check.stdin(fs::File::open(file).expect("the page")));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{said}");
}

/// How long the certificate of the next test is good for.
const DAYS_LEFT: i64 = 10;

/// The hospital's authority, and a certificate of it that ends soon with its key: PEM.
fn ending_soon() -> [String; 3] {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "authority"); // another than the default, which is the certificate's
    let authority = params.self_signed(&key).expect("an authority").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    params.not_after = OffsetDateTime::now_utc() + Duration::days(DAYS_LEFT) + Duration::HOUR;
    let certificate = params
        .signed_by(&key, &issuer)
        .expect("a certificate")
        .pem();
    [authority, certificate, key.serialize_pem()]
}

#[test]
fn a_certificate_that_ends_soon_is_told_everywhere() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let pem = |name: &str| dir.path().join(format!("{name}.pem"));
    let [authority, certificate, key] = ["authority", "certificate", "key"].map(pem);
    for (path, text) in [&authority, &certificate, &key]
        .into_iter()
        .zip(ending_soon())
    {
        fs::write(path, text).expect("a file");
    }
    let named = format!(
        "certificate = '{}'\nkey = '{}'\n",
        certificate.display(),
        key.display()
    );
    let dicom = format!(
        "[dicom.tls]\nlisten = '127.0.0.1:{}'\n{named}authorities = '{}'\n",
        free_port(),
        authority.display()
    );
    let given = Given {
        toml: &dicom,
        models: &[],
    };
    let Some(mut appliance) = Appliance::prepare_in(dir, given) else {
        return;
    };
    let check = |appliance: &Appliance| {
        let output = ended(&mut appliance.command(&["check"]));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = check(&appliance);
    assert!(!said.contains("of HTTPS"), "there is none yet: {said}");
    let text = fs::read_to_string(appliance.config()).expect("the configuration");
    let listen = format!("listen = '{}'\n", appliance.https);
    let text = text.replacen(&listen, &format!("{listen}{named}"), 1);
    fs::write(appliance.config(), text).expect("the configuration");
    // What clients of the tests trust.
    fs::create_dir_all(appliance.data().join("tls")).expect("a folder");
    fs::copy(&authority, appliance.ca()).expect("the authority");
    appliance.restart();

    let due_s = (OffsetDateTime::now_utc() + Duration::days(30)).unix_timestamp();
    let (_, page) = appliance.get("/metrics");
    for door in ["https", "dicom"] {
        let series = format!("pericard_certificate_ends_time_seconds{{door=\"{door}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&series));
        let ends_s: i64 = line
            .and_then(|ends| ends.parse().ok())
            .expect("when it ends");
        assert!(
            ends_s < due_s && ends_s > due_s - 21 * 86_400,
            "{door}: {ends_s}"
        );
    }
    let alert = rules()
        .into_iter()
        .find(|(name, _)| name == "PericardCertificateEnds");
    let (_, expression) = alert.expect("an alert");
    assert_eq!(
        expression,
        "pericard_certificate_ends_time_seconds - time() < 30 * 86400"
    );
    let overview = overview(&appliance);
    let said = check(&appliance);
    for door in ["HTTPS", "DICOM over TLS"] {
        let warning = format!("The certificate of {door} ends in {DAYS_LEFT} days");
        assert!(overview.contains(&warning), "{warning}: {overview}");
        assert!(said.contains(&warning), "{warning}: {said}");
    }
}

/// The console's first page, as whoever logs in with the token sees it.
fn overview(appliance: &Appliance) -> String {
    let cookies = appliance.dir.path().join("cookies");
    let cookies = cookies.to_str().expect("a path");
    let token = format!("token={}", appliance.token);
    let (status, page) = appliance.curl(&["-c", cookies, "-d", &token], "/console/login");
    assert_eq!(status, 303, "{page}");
    let (status, page) = appliance.curl(&["-b", cookies], "/");
    assert_eq!(status, 200, "{page}");
    page
}

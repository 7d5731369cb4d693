//! Figures for the hospital's own monitoring, in Prometheus' text format. No label ever comes from an object.

use crate::appliance::Api;
use crate::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use pericard_domain::job::Priority;
use std::fmt::Write as _;

/// The format's media type.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4";

pub(crate) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let depth = api.rooms.store.depth().await?;
    let mut page = Page::default();
    let version = [("version", api.rooms.version.to_owned())];
    page.family("pericard_build_info", "gauge", "The appliance's version.");
    page.sample("pericard_build_info", &version, 1);
    page.family(
        "pericard_start_time_seconds",
        "gauge",
        "When it started, seconds since 1970.",
    );
    page.sample(
        "pericard_start_time_seconds",
        &[],
        api.started_at.as_millis() / 1000,
    );
    let name = "pericard_certificate_ends_time_seconds";
    let help = "When the certificate that a door shows ends, seconds since 1970.";
    page.family(name, "gauge", help);
    let certificates = api.rooms.certificates.borrow().clone();
    for shown in certificates.iter() {
        let labels = [("door", shown.door.name().to_owned())];
        page.sample(name, &labels, shown.ends_at.as_millis().div_euclid(1000));
    }
    page.family(
        "pericard_store_writable",
        "gauge",
        "1 while objects can be kept, 0 since a disk error or below the floor.",
    );
    page.sample(
        "pericard_store_writable",
        &[],
        i64::from(api.rooms.store.trouble().is_none()),
    );
    page.family(
        "pericard_open_jobs",
        "gauge",
        "Jobs waiting or at work, by priority.",
    );
    for priority in Priority::ALL {
        let open = depth.open_jobs.get(&priority).copied().unwrap_or(0);
        page.sample(
            "pericard_open_jobs",
            &[("priority", priority.name().to_owned())],
            open,
        );
    }
    for (name, help, value) in [
        (
            "pericard_failed_jobs",
            "Jobs that failed and were not retried.",
            depth.failed_jobs,
        ),
        (
            "pericard_undelivered",
            "Results that wait to be delivered.",
            depth.undelivered,
        ),
        (
            "pericard_undeliverable",
            "Deliveries given up for good.",
            depth.undeliverable,
        ),
    ] {
        page.family(name, "gauge", help);
        page.sample(name, &[], value);
    }
    kept(&mut page, &api).await?;
    expected(&mut page, &api).await?;
    page.family(
        "pericard_model_loaded",
        "gauge",
        "Whether a model is loaded, and on what it runs; nothing of one that a recall stopped.",
    );
    let loaded = api.rooms.talker.loaded();
    let notices = api.rooms.notices.borrow().clone();
    for package in api.rooms.packages.iter() {
        if notices.iter().any(|n| n.has_stopped(&package.model)) {
            continue; // as in /readyz: a model that stands still on purpose would be an alert for good
        }
        let running = loaded.iter().find(|l| l.model == package.model);
        let labels = [
            ("model", package.model.name.clone()),
            ("version", package.model.version.clone()),
            (
                "device",
                running.map(|r| r.device.clone()).unwrap_or_default(),
            ),
        ];
        page.sample(
            "pericard_model_loaded",
            &labels,
            i64::from(running.is_some()),
        );
    }
    super::language::figures(&mut page, &api).await?;
    let page = page.0 + &api.rooms.meter.prometheus();
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], page).into_response())
}

/// Orders, and messages to the hospital's information system.
async fn expected(page: &mut Page, api: &Api) -> Result<(), Problem> {
    let store = &api.rooms.store;
    let name = "pericard_orders";
    page.family(
        name,
        "gauge",
        "Orders of worklists and order messages, by where they stand.",
    );
    for (state, count) in store.expected_counts().await? {
        page.sample(name, &[("state", state.name().to_owned())], count);
    }
    let name = "pericard_messages";
    let help = "Results to be told by HL7: waiting, or given up for good.";
    page.family(name, "gauge", help);
    for (state, count) in store.message_counts().await? {
        page.sample(name, &[("state", state.to_owned())], count);
    }
    let name = "pericard_priors";
    let help = "Orders for earlier studies: open, or too late for their analysis.";
    page.family(name, "gauge", help);
    for (state, count) in store.prior_counts().await? {
        page.sample(name, &[("state", state.to_owned())], count);
    }
    Ok(())
}

/// The disk, and how what is kept fares.
async fn kept(page: &mut Page, api: &Api) -> Result<(), Problem> {
    let (disk, care) = (api.rooms.store.disk()?, api.rooms.store.care().await?);
    for (name, help, value) in [
        (
            "pericard_disk_free_bytes",
            "Free space for what is kept.",
            disk.free_bytes,
        ),
        (
            "pericard_disk_size_bytes",
            "The size of the file system for what is kept.",
            disk.total_bytes,
        ),
        (
            "pericard_disk_level",
            "0 with enough free space, 1 below the low mark (batch work is refused), 2 below the floor (all is refused).",
            disk.level as u64,
        ),
        (
            "pericard_damaged_objects",
            "Objects whose file is missing or altered: an alarm.",
            care.damaged,
        ),
        (
            "pericard_files_set_aside",
            "Files that no row names, for a person to look at: an alarm.",
            care.set_aside,
        ),
        (
            "pericard_files_to_remove",
            "Files that retention or erasure ordered to be removed and that are still there.",
            care.to_remove,
        ),
        (
            "pericard_scrub_ended_time_seconds",
            "When every checksum had been read for the latest time, seconds since 1970; 0 for never.",
            care.scrubbed_at
                .map_or(0, |at| at.as_millis().unsigned_abs() / 1000),
        ),
    ] {
        page.family(name, "gauge", help);
        page.sample(name, &[], value);
    }
    Ok(())
}

#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, String)],
        value: impl std::fmt::Display,
    ) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(n, v)| format!("{n}=\"{}\"", escaped(v)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out() {
        let mut page = Page::default();
        page.sample("m", &[("a", "x\"}\n\\".to_owned())], 3);
        assert_eq!(page.0, "m{a=\"x\\\"}\\n\\\\\"} 3\n");
    }
}

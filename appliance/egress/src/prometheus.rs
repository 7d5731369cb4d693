//! What was counted, for the hospital's own monitoring. It stays in the house, and has no more in it than the frame has:
//! labels come from closed enums and the catalogue's numbers.

use crate::tally::{Tally, Timed};
use pericard_frame::stage::{BUCKETS, bucket_end_ms};
use pericard_frame::{Counter, Stage};
use std::fmt::Write as _;

/// Prometheus text exposition format 0.0.4.
pub(crate) fn text(tally: &Tally) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = counters(&mut text, tally);
    let _ = models(&mut text, tally);
    let _ = stages(&mut text, tally);
    text
}

fn counters(text: &mut String, tally: &Tally) -> std::fmt::Result {
    let mut family = "";
    for counter in Counter::ALL {
        if counter.family() != family {
            family = counter.family();
            writeln!(text, "# TYPE pericard_{family}_total counter")?;
        }
        let (class, count) = (counter.class(), tally.counts[counter.place()]);
        writeln!(text, "pericard_{family}_total{{class=\"{class}\"}} {count}")?;
    }
    Ok(())
}

fn models(text: &mut String, tally: &Tally) -> std::fmt::Result {
    writeln!(text, "# TYPE pericard_inferences_total counter")?;
    for (at, model) in tally.models.iter().enumerate() {
        if at > 0 && model.id == 0 {
            continue; // an unused place
        }
        for (class, count) in [("done", model.done), ("failed", model.failed)] {
            let id = model.id;
            writeln!(
                text,
                "pericard_inferences_total{{catalogue_id=\"{id}\",class=\"{class}\"}} {count}"
            )?;
        }
    }
    Ok(())
}

fn stages(text: &mut String, tally: &Tally) -> std::fmt::Result {
    writeln!(text, "# TYPE pericard_stage_seconds histogram")?;
    for (stage, timed) in Stage::ALL.into_iter().zip(&tally.stages) {
        histogram(text, stage.name(), timed)?;
    }
    Ok(())
}

fn histogram(text: &mut String, stage: &str, timed: &Timed) -> std::fmt::Result {
    let mut below = 0;
    for at in 0..BUCKETS {
        below += timed.buckets[at];
        let end = bucket_end_ms(at).map_or("+Inf".to_owned(), seconds);
        writeln!(
            text,
            "pericard_stage_seconds_bucket{{stage=\"{stage}\",le=\"{end}\"}} {below}"
        )?;
    }
    let sum = seconds(timed.sum_ms);
    writeln!(
        text,
        "pericard_stage_seconds_sum{{stage=\"{stage}\"}} {sum}"
    )?;
    writeln!(
        text,
        "pericard_stage_seconds_count{{stage=\"{stage}\"}} {below}"
    )
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

#[cfg(test)]
mod tests {
    use crate::{CatalogueId, Counter, Meter, Outcome, Stage};
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn says_what_was_counted_in_the_format_that_is_scraped() {
        let meter = Meter::in_memory();
        meter.count_by(Counter::HttpRefused, 3);
        meter.inference(CatalogueId(7), Outcome::Failed, Duration::from_millis(1500));
        meter.observe(Stage::Admit, Duration::from_millis(3));
        meter.observe(Stage::Admit, Duration::from_secs(1_000_000));
        let text = meter.prometheus();
        for line in [
            "# TYPE pericard_http_requests_total counter",
            "pericard_http_requests_total{class=\"4xx\"} 3",
            "pericard_http_requests_total{class=\"5xx\"} 0",
            "pericard_inferences_total{catalogue_id=\"7\",class=\"failed\"} 1",
            "pericard_stage_seconds_bucket{stage=\"admit\",le=\"0.002\"} 0",
            "pericard_stage_seconds_bucket{stage=\"admit\",le=\"0.004\"} 1",
            "pericard_stage_seconds_bucket{stage=\"admit\",le=\"4194.304\"} 1",
            "pericard_stage_seconds_bucket{stage=\"admit\",le=\"+Inf\"} 2",
            "pericard_stage_seconds_sum{stage=\"admit\"} 1000000.003",
            "pericard_stage_seconds_count{stage=\"infer\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_family_stands_together_and_every_line_is_one() {
        let text = Meter::in_memory().prometheus();
        let types = text.lines().filter(|line| line.starts_with("# TYPE "));
        let types: Vec<_> = types.collect();
        let once: BTreeSet<_> = types.iter().collect();
        assert_eq!(types.len(), once.len(), "a family is in two places");
        let series = text.lines().filter_map(|line| line.rsplit_once(' '));
        let series: Vec<_> = series.map(|(series, _)| series).collect();
        let once: BTreeSet<_> = series.iter().collect();
        assert_eq!(series.len(), once.len(), "a line is there twice");
    }
}

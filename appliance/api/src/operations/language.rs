//! The language engines' figures in Prometheus' text format, with the meanings of vLLM's metrics, by model and class. There is no
//! text in them.

use super::metrics::Page;
use crate::appliance::Api;
use crate::openai::off_thread;
use crate::problem::Problem;
use pericard_domain::figures::{BOUNDS_S, ClassFigures, EngineFigures, Histogram};
use pericard_domain::job::Priority;
use pericard_runner::Loaded;

/// What every name begins with.
const PREFIX: &str = "pericard_language_";

type Engines = [(Loaded, EngineFigures)];
type OfClass<T> = fn(&ClassFigures) -> T;
type OfEngine = fn(&EngineFigures) -> u64;

#[rustfmt::skip] // a table
const TIMES: &[(&str, &str, OfClass<Histogram>)] = &[
    ("time_to_first_token_seconds", "From arrival to the first token.", |c| c.first_token),
    ("inter_token_latency_seconds", "From each step of an answer to the next.", |c| c.between_tokens),
    ("e2e_request_latency_seconds", "From arrival to the end.", |c| c.whole),
    ("request_queue_time_seconds", "From arrival to a place.", |c| c.queue),
    ("request_prefill_time_seconds", "From a place to the first token.", |c| c.prefill),
    ("request_decode_time_seconds", "From the first token to the last.", |c| c.decode),
];

#[rustfmt::skip] // a table
const NOW: &[(&str, &str, OfClass<u64>)] = &[
    ("num_requests_running", "Requests that have a place.", |c| c.running),
    ("num_requests_waiting", "Requests that wait for one.", |c| c.waiting),
];

#[rustfmt::skip] // a table
const TOTALS: &[(&str, &str, OfClass<u64>)] = &[
    ("prompt_tokens_total", "Tokens of prompts whose answers have begun.", |c| c.prompt_tokens),
    ("generation_tokens_total", "Tokens generated.", |c| c.generated_tokens),
    ("num_preemptions_total", "How often a request that advanced was paused or thrown out for another.", |c| c.preempted),
    ("admission_rejections_total", "Requests refused because there was too much work.", |c| c.refused),
];

#[rustfmt::skip] // a table
const ENDS: &[(&str, OfClass<u64>)] = &[
    ("stop", |c| c.stopped), ("length", |c| c.cut), ("abort", |c| c.abandoned), ("error", |c| c.failed),
];

#[rustfmt::skip] // a table
const ENGINE: &[(&str, &str, OfEngine)] = &[
    ("prefix_cache_queries_total", "Tokens of prompts that were looked for among what is kept.", |e| e.prefix_sought),
    ("prefix_cache_hits_total", "Those that were found.", |e| e.prefix_found),
    ("spec_decode_num_draft_tokens_total", "Tokens guessed from the text so far and computed beside the next.", |e| e.drafted),
    ("spec_decode_num_accepted_tokens_total", "Those that were right.", |e| e.drafts_accepted),
    ("steps_total", "Steps of the engine.", |e| e.steps),
];

pub(super) async fn figures(page: &mut Page, api: &Api) -> Result<(), Problem> {
    let talker = api.rooms.talker.clone();
    let engines = off_thread(move || talker.figures()).await?;
    write(page, &engines);
    Ok(())
}

fn write(page: &mut Page, engines: &Engines) {
    for (name, help, of) in TIMES {
        histogram(page, engines, (name, help), *of);
    }
    for (name, help, of) in NOW {
        by_class(page, engines, (name, help, "gauge"), *of);
    }
    for (name, help, of) in TOTALS {
        by_class(page, engines, (name, help, "counter"), *of);
    }
    ends(page, engines);
    let used = |e: &EngineFigures| e.kv_tokens as f64 / (e.kv_tokens_max.max(1)) as f64;
    let name = format!("{PREFIX}kv_cache_usage_perc");
    page.family(
        &name,
        "gauge",
        "Keys and values in use, of those that could be; 1 is all.",
    );
    for (loaded, engine) in engines {
        page.sample(&name, &[model(loaded)], used(engine));
    }
    for (name, help, of) in ENGINE {
        let name = format!("{PREFIX}{name}");
        page.family(&name, "counter", help);
        for (loaded, engine) in engines {
            page.sample(&name, &[model(loaded)], of(engine));
        }
    }
}

fn by_class(
    page: &mut Page,
    engines: &Engines,
    (name, help, kind): (&str, &str, &str),
    of: OfClass<u64>,
) {
    let name = format!("{PREFIX}{name}");
    page.family(&name, kind, help);
    for (loaded, class, figures) in classes(engines) {
        page.sample(&name, &[model(loaded), class], of(figures));
    }
}

fn ends(page: &mut Page, engines: &Engines) {
    let name = format!("{PREFIX}request_success_total");
    page.family(&name, "counter", "Requests that ended, by how.");
    for (loaded, class, figures) in classes(engines) {
        for (reason, of) in ENDS {
            let reason = ("finished_reason", (*reason).to_owned());
            page.sample(&name, &[model(loaded), class.clone(), reason], of(figures));
        }
    }
}

fn histogram(
    page: &mut Page,
    engines: &Engines,
    (name, help): (&str, &str),
    of: OfClass<Histogram>,
) {
    let name = format!("{PREFIX}{name}");
    page.family(&name, "histogram", help);
    for (loaded, class, figures) in classes(engines) {
        let (histogram, mut so_far) = (of(figures), 0);
        for (count, bound) in histogram.counts.iter().zip(BOUNDS_S) {
            so_far += count;
            let bound = ("le", bound.to_string());
            let labels = [model(loaded), class.clone(), bound];
            page.sample(&format!("{name}_bucket"), &labels, so_far);
        }
        let all = [model(loaded), class.clone(), ("le", "+Inf".to_owned())];
        page.sample(&format!("{name}_bucket"), &all, histogram.count());
        page.sample(&format!("{name}_sum"), &all[..2], histogram.sum_s);
        page.sample(&format!("{name}_count"), &all[..2], histogram.count());
    }
}

fn classes(
    engines: &Engines,
) -> impl Iterator<Item = (&Loaded, (&'static str, String), &ClassFigures)> {
    engines.iter().flat_map(|(loaded, engine)| {
        let named = Priority::ALL.into_iter().zip(&engine.classes);
        named.map(move |(class, figures)| (loaded, ("class", class.name().to_owned()), figures))
    })
}

fn model(loaded: &Loaded) -> (&'static str, String) {
    ("model_name", loaded.model.name.clone())
}

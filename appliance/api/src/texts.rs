//! Hospital tasks for a language model: a report structured, a text freed of what identifies, an impression drafted.
//!
//! What is asked and what is believed of the answer, `pericard-scribe` decides; this door carries it, notes it in the audit log and
//! puts beside every answer where it comes from. Each answer is a draft: there is no way to ask for anything else.

use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::id;
use crate::body;
use crate::clinical_use;
use crate::openai::fields::Fields;
use crate::openai::metered::Metered;
use crate::openai::{loaded, off_thread, own_scope, priority};
use crate::problem::Problem;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use pericard_domain::chat::{ChatEvent, ChatRequest, Finish, Prompt, Sampling};
use pericard_domain::digest::Digest;
use pericard_domain::job::Priority;
use pericard_domain::model::{ModelRef, Task};
use pericard_domain::study::Study;
use pericard_domain::uid::StudyUid;
use pericard_runner::{Loaded, RunFailure};
use pericard_scribe::deidentify::{self, Cleaned};
use pericard_scribe::impression::Facts;
use pericard_scribe::package::Package;
use pericard_scribe::structure::Report;
use pericard_scribe::{Refusal, STATEMENT, STATUS};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::iter::once;

/// When to come again while a model that finds names cannot be asked.
const MARKER_RETRY_AFTER_S: u32 = 5;

/// What a request says beside its text.
struct Asked {
    /// Which model; `None` is the only one.
    model: Option<String>,
    priority: Priority,
}

impl Asked {
    fn read(fields: &mut Fields) -> Result<Self, Problem> {
        let status: Option<String> = fields.take("status", "draft")?;
        if status.is_some_and(|status| status != STATUS) {
            let detail = "a model's words are a draft and nothing else: they are not given out as a diagnosis, a final or a \
                          verified report; leave \"status\" out";
            return Err(Problem {
                param: Some("status".to_owned()),
                ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "only_drafts", detail)
            });
        }
        Ok(Self {
            model: fields.take("model", "the name of a model of /v1/models")?,
            priority: priority(fields)?,
        })
    }

    /// The model that is meant.
    fn model(&self, api: &Api) -> Result<Loaded, Problem> {
        if let Some(name) = &self.model {
            return loaded(api, name);
        }
        let all = api.rooms.talker.loaded().into_iter();
        let mut talkers = all.filter(|model| model.task == Task::Chat);
        match (talkers.next(), talkers.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => {
                let detail = "no language model is loaded";
                Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "no_model",
                    detail,
                ))
            }
            (Some(_), Some(_)) => {
                let detail = "several language models are loaded: say which by \"model\"";
                Err(Problem::parameter("model", detail))
            }
        }
    }
}

/// The tasks, with the digests of their words.
pub(crate) async fn tasks() -> Json<Value> {
    Json(json!({"tasks": Package::all(), "status": STATUS, "statement": STATEMENT}))
}

pub(crate) async fn structure(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (asked, text) = report_of(fields(&api, request).await?)?;
    let model = asked.model(&api)?;
    note(&api, &caller, "structure report", &model).await?;
    let question = Report::read(&text).map_err(refused)?.question();
    let of = whose(&["text", &text]);
    let said = ask(&api, &caller, (&model, asked.priority), question, &of).await?;
    let structured = Report::read(&text).and_then(|report| report.check(&said));
    let structured = structured.map_err(refused)?;
    let package = Package::structure_report();
    Ok(answer(
        &api,
        json!(structured),
        provenance(&api, &package, (Some(&model), text.as_bytes())),
        &[&model],
    ))
}

pub(crate) async fn deidentify(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (asked, text, known) = text_of(fields(&api, request).await?)?;
    // Rules need no model: one is asked only when it is named.
    let model = asked
        .model
        .as_ref()
        .map(|_| asked.model(&api))
        .transpose()?;
    let markers = markers(&api)?;
    let took_part = markers.iter().chain(&model).map(|m| m.model.to_string());
    let took_part: Vec<String> = once("rules".to_owned()).chain(took_part).collect();
    api.note_access("deidentify text", &took_part.join(", "), &caller)
        .await?;
    let mut marked = Vec::new();
    for marker in &markers {
        let marks = api.rooms.talker.mark(&marker.model, text.clone()).await;
        marked.extend(marks.map_err(|failure| not_marked(marker, &failure))?);
    }
    let said = match &model {
        Some(model) => {
            let question = deidentify::question(&text);
            let of = whose(&["text", &text]);
            Some(ask(&api, &caller, (model, asked.priority), question, &of).await?)
        }
        None => None,
    };
    let cleaned = deidentify::clean(&text, &known, &marked, said.as_deref());
    let cleaned: Cleaned = cleaned.map_err(refused)?;
    let mut cleaned = json!(cleaned);
    let took_part: Vec<&ModelRef> = markers.iter().map(|marker| &marker.model).collect();
    cleaned["limits"] = json!(deidentify::limits(&took_part));
    let package = Package::deidentify_text();
    let models: Vec<&Loaded> = markers.iter().chain(&model).collect();
    let mut provenance = provenance(&api, &package, (model.as_ref(), text.as_bytes()));
    provenance["markers"] = json!(took_part);
    Ok(answer(&api, cleaned, provenance, &models))
}

/// The models trained to find names, every one that is active: all of them are asked.
fn markers(api: &Api) -> Result<Vec<Loaded>, Problem> {
    let is_marker = |task: Task| task == Task::TokenClassification;
    let mut loaded = api.rooms.talker.loaded();
    loaded.retain(|model| is_marker(model.task));
    let live = api.rooms.packages.iter();
    let mut live = live.filter(|package| is_marker(package.manifest.task));
    // Whoever made one live relies on it: a text without it must not look like one with it.
    let absent = live.find(|package| loaded.iter().all(|one| one.model != package.model));
    match absent {
        None => Ok(loaded),
        Some(package) => {
            let detail = format!(
                "the model {}, which finds names, is live and not loaded: the appliance's journal says why. Come again, or retire it",
                package.model
            );
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_model", detail);
            Err(problem.retry_after(MARKER_RETRY_AFTER_S))
        }
    }
}

/// A failure is told, and nothing is given out: a text must not pass for one that the model has read.
fn not_marked(marker: &Loaded, failure: &RunFailure) -> Problem {
    let model = &marker.model;
    if matches!(
        failure,
        RunFailure::Busy | RunFailure::Lost(_) | RunFailure::NotLoaded(_)
    ) {
        let detail = format!("the model {model}, which finds names, gave no answer: {failure}");
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "model_busy", detail)
            .retry_after(MARKER_RETRY_AFTER_S);
    }
    tracing::error!(%model, %failure, "a text was not marked");
    let detail = format!("the model {model}, which finds names, failed; the journal says why");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "model_failed", detail)
}

pub(crate) async fn impression(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let study: StudyUid = id("such study", &study)?;
    let mut fields = fields(&api, request).await?;
    let asked = Asked::read(&mut fields)?;
    fields.finish("")?;
    let model = asked.model(&api)?;
    let held = api.rooms.store.study(&study).await?;
    api.note_access("draft impression", study.as_str(), &caller)
        .await?;
    let reports = api.rooms.store.reports(&study).await?;
    let current = reports
        .iter()
        .filter(|kept| !kept.superseded)
        .map(|kept| &kept.report);
    let facts = Facts::of(current).map_err(refused)?;
    let (question, of) = (facts.question(), patient_of(&held));
    let said = ask(&api, &caller, (&model, asked.priority), question, &of).await?;
    let impression = facts.check(&said).map_err(refused)?;
    let mut drafted = json!(impression);
    drafted["study"] = json!(study);
    drafted["revision"] = json!(held.revision);
    drafted["facts"] = json!(facts.list());
    let given = json!(facts.list()).to_string();
    let package = Package::draft_impression();
    Ok(answer(
        &api,
        drafted,
        provenance(&api, &package, (Some(&model), given.as_bytes())),
        &[&model],
    ))
}

/// Reads what is asked of a text and keeps nothing: for the fuzz targets.
pub(crate) fn read(body: Value) {
    if let Ok((_, text)) = Fields::of(body.clone()).and_then(report_of) {
        let _ = Report::read(&text).map(|report| report.question());
    }
    if let Ok((_, text, known)) = Fields::of(body).and_then(text_of) {
        let _ = deidentify::clean(&text, &known, &[], None);
    }
}

/// A report that is to be structured.
fn report_of(mut fields: Fields) -> Result<(Asked, String), Problem> {
    let asked = Asked::read(&mut fields)?;
    let text = fields.require("report", "the text of a radiology report")?;
    fields.finish("")?;
    Ok((asked, text))
}

/// A text that is to be freed of what identifies, and what is known of it.
fn text_of(mut fields: Fields) -> Result<(Asked, String, Vec<String>), Problem> {
    let asked = Asked::read(&mut fields)?;
    let text: String = fields.require("text", "a text")?;
    let known: Vec<String> = fields.take("known", "a list of texts")?.unwrap_or_default();
    fields.finish("")?;
    deidentify::check(&text, &known).map_err(refused)?;
    Ok((asked, text, known))
}

async fn fields(api: &Api, request: Request) -> Result<Fields, Problem> {
    let (parts, body) = request.into_parts();
    Fields::of(body::json(&api.config, &parts.headers, body).await?)
}

async fn note(
    api: &Api,
    caller: &Caller,
    verb: &'static str,
    model: &Loaded,
) -> Result<(), Problem> {
    api.note_access(verb, &model.model.to_string(), caller)
        .await
}

/// Whose words a model reads, in a form that tells nobody who that is.
fn whose(parts: &[&str]) -> String {
    let told = json!(parts).to_string();
    Digest::new(Sha256::digest(told).into()).to_string()
}

/// Whose study it is; where that is not known, the study is a patient of its own. An ID alone is not enough: two senders may both have
/// given it.
fn patient_of(held: &Study) -> String {
    let facts = &held.facts;
    let Some(id) = &facts.patient_id else {
        return whose(&["study", held.study.as_str()]);
    };
    let [name, born] = [&facts.patient_name, &facts.patient_birth_date]
        .map(|told| told.as_deref().unwrap_or_default());
    whose(&["patient", id, name, born])
}

/// Asks a model, and hears it to its end. What is computed of the words is shared with nobody but those whose words they are.
async fn ask(
    api: &Api,
    caller: &Caller,
    (model, priority): (&Loaded, Priority),
    (prompt, sampling): (Prompt, Sampling),
    of: &str,
) -> Result<String, Problem> {
    let tenant = own_scope(&caller.actor);
    let request = ChatRequest {
        prompt,
        sampling,
        priority,
        scope: format!("{tenant} texts {of}"),
        tenant,
    };
    let (talker, name) = (api.rooms.talker.clone(), model.model.name.clone());
    let begun = off_thread(move || fitting(&*talker, &name, request)).await?;
    let mut speech = Metered::begin(begun, &api.rooms.meter)?;
    let mut said = String::new();
    loop {
        match speech.next().await {
            Some(ChatEvent::Text(piece)) => said.push_str(&piece),
            Some(ChatEvent::Chosen(_)) => {}
            Some(ChatEvent::Finished {
                finish: Finish::Stop,
                ..
            }) => return Ok(said),
            Some(ChatEvent::Finished {
                finish: Finish::Length,
                ..
            }) => {
                return Err(refused(Refusal::NotWhole));
            }
            Some(ChatEvent::Failed(_)) | None => {
                let detail = "the language model failed; the appliance's journal says why";
                return Err(Problem::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "model_failed",
                    detail,
                ));
            }
        }
    }
}

/// Asks for as long an answer as the task may have, or as the context has room for beside the text.
fn fitting(
    talker: &dyn crate::talker::Talker,
    name: &str,
    mut request: ChatRequest,
) -> Result<Box<dyn crate::talker::Speech>, pericard_domain::chat::ChatRefusal> {
    use pericard_domain::chat::ChatRefusal::DoesNotFit;
    match talker.chat(name, request.clone()) {
        Err(DoesNotFit {
            prompt_tokens,
            context_tokens,
            ..
        }) if prompt_tokens < context_tokens => {
            request.sampling.max_tokens = Some(context_tokens - prompt_tokens);
            talker.chat(name, request)
        }
        begun => begun,
    }
}

/// Where an answer comes from.
fn provenance(api: &Api, package: &Package, (model, given): (Option<&Loaded>, &[u8])) -> Value {
    json!({
        "task": package,
        "model": model.map(|m| &m.model),
        "device": model.map(|m| &m.device),
        "input_sha256": Digest::new(Sha256::digest(given).into()),
        "at": api.rooms.clock.now().rfc3339(),
        "appliance": api.rooms.version,
    })
}

/// What was found, what it is, and where it comes from. It is for treatment when every model that took part is; without a model it
/// is not.
fn answer(api: &Api, mut found: Value, mut provenance: Value, models: &[&Loaded]) -> Response {
    let is_for_treatment = models.iter().all(|model| clinical_use::of(api, model));
    let told = (!models.is_empty()).then_some(is_for_treatment);
    provenance["clinical_use"] = json!(told);
    found["status"] = json!(STATUS);
    found["verification"] = json!("UNVERIFIED");
    found["statement"] = json!(STATEMENT);
    found["provenance"] = provenance;
    let header = clinical_use::header(told.unwrap_or(false));
    ([header], Json(found)).into_response()
}

fn refused(refusal: Refusal) -> Problem {
    let code = match refusal {
        Refusal::Unsuitable(_) => "unsuitable_text",
        Refusal::NotWhole => "answer_not_whole",
        Refusal::NothingHolds { .. } => "answer_not_believed",
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, refusal.to_string())
}

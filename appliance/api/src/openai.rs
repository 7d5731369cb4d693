//! OpenAI's HTTP interface to language models, as its own client libraries speak it.
//!
//! A parameter that is not obeyed is refused by name; only those that cannot change an answer are passed over.

mod answer;
mod fields;
mod metered;
mod question;
mod thoughts;

use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::id;
use crate::body;
use crate::problem::Problem;
use answer::Answer;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::{Extension, Json};
use metered::Metered;
use pericard_domain::actor::Actor;
use pericard_domain::model::Task;
use pericard_runner::Loaded;
use question::{Form, Question};
use serde_json::{Value, json};

/// Reads a question of either form and keeps nothing: for the fuzz targets.
pub(crate) fn read(body: Value) {
    let _ = Question::read(Form::Text, body.clone());
    let _ = Question::read(Form::Chat, body);
}

pub(crate) async fn models(State(api): State<Api>) -> Json<Value> {
    let loaded = api.rooms.talker.loaded();
    let data: Vec<_> = loaded
        .iter()
        .filter(|m| m.task == Task::Chat)
        .map(|m| card(&api, m))
        .collect();
    Json(json!({"object": "list", "data": data}))
}

pub(crate) async fn model(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let name: String = id("model", &name)?;
    loaded(&api, &name).map(|model| Json(card(&api, &model)))
}

pub(crate) async fn chat_completions(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    complete(api, caller, request, Form::Chat).await
}

pub(crate) async fn completions(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    complete(api, caller, request, Form::Text).await
}

/// How many tokens a prompt has: `{"model", "prompt"}` or `{"model", "messages"}` in, `{"count", "max_model_len"}` out.
pub(crate) async fn tokenize(
    State(api): State<Api>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (parts, body) = request.into_parts();
    let body = body::json(&api.config, &parts.headers, body).await?;
    let (name, prompt) = question::prompt_alone(body)?;
    let model = loaded(&api, &name)?;
    let talker = api.rooms.talker.clone();
    let count = off_thread(move || talker.count_tokens(&name, &prompt)).await??;
    Ok(Json(
        json!({"count": count, "max_model_len": model.context_tokens}),
    ))
}

async fn complete(
    api: Api,
    caller: Caller,
    request: Request,
    form: Form,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = body::json(&api.config, &parts.headers, body).await?;
    let mut question = Question::read(form, body)?;
    // Whatever salt somebody chooses, nobody shares with another caller.
    question.ask.scope = format!("{} {}", own_scope(&caller.actor), question.ask.scope);
    let model = loaded(&api, &question.model)?;
    api.note_access("ask model", &model.model.to_string(), &caller)
        .await?;
    let (talker, name, ask) = (
        api.rooms.talker.clone(),
        question.model.clone(),
        question.ask.clone(),
    );
    let choices = question.choices;
    let begun = off_thread(move || {
        let each = (0..choices).map(|choice| {
            let mut ask = ask.clone();
            ask.sampling.seed = ask.sampling.seed.wrapping_add(choice);
            talker.chat(&name, ask)
        });
        each.collect::<Vec<_>>()
    });
    let begun = begun.await?.into_iter();
    let speeches = begun.map(|begun| Metered::begin(begun, &api.rooms.meter));
    let speeches = speeches.collect::<Result<Vec<_>, _>>()?;
    let answer = Answer::new(&question, &model, api.rooms.clock.now());
    if question.stream {
        Ok(answer.stream(speeches))
    } else {
        answer.whole(speeches).await
    }
}

/// Who shares with whom without a salt: requests with the same token, from wherever they come.
fn own_scope(actor: &Actor) -> String {
    match actor {
        Actor::Token { id, .. } => id.clone(),
        other => format!("{other:?}"),
    }
}

/// The loaded language model of that name.
fn loaded(api: &Api, name: &str) -> Result<Loaded, Problem> {
    let models = api.rooms.talker.loaded();
    let found = models
        .into_iter()
        .find(|m| m.task == Task::Chat && m.model.name == name);
    found.ok_or_else(|| pericard_domain::chat::ChatRefusal::UnknownModel(name.to_owned()).into())
}

fn card(api: &Api, loaded: &Loaded) -> Value {
    json!({
        "id": loaded.model.name,
        "object": "model",
        "created": api.started_at.as_millis() / 1000,
        "owned_by": "pericard",
        "version": loaded.model.version,
        "digest": loaded.model.digest,
        "device": loaded.device,
        "max_model_len": loaded.context_tokens,
    })
}

/// Tokenising a long prompt takes as long as answering many other requests: it happens elsewhere.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "the language model's tokeniser panicked");
        Problem::internal()
    })
}

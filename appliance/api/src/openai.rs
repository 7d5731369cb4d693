//! OpenAI's HTTP interface to language models, as its own client libraries speak it.
//!
//! A parameter that is not obeyed is refused by name; only those that cannot change an answer are passed over.

mod answer;
mod calls;
mod embeddings;
pub(crate) mod fields;
pub(crate) mod metered;
mod question;
mod thoughts;
mod tools;

pub(crate) use embeddings::embeddings;
pub(crate) use question::priority;

use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::id;
use crate::body;
use crate::clinical_use;
use crate::problem::Problem;
use answer::Answer;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::{Extension, Json};
use metered::Metered;
use pericard_domain::actor::Actor;
use pericard_domain::chat::ChatRefusal;
use pericard_domain::model::Task;
use pericard_runner::Loaded;
use question::{Form, Question};
use serde_json::{Value, json};

/// Reads a question of either form and keeps nothing: for the fuzz targets.
pub(crate) fn read(body: Value) {
    let _ = Question::read(Form::Text, body.clone());
    let _ = Question::read(Form::Chat, body);
}

/// The same for what is asked of embeddings.
pub(crate) fn read_embeddings(body: Value) {
    let _ = embeddings::Question::read(body);
}

/// The same for what is to be counted or written out.
pub(crate) fn read_alone(body: Value) {
    let _ = question::prompt_alone(body.clone());
    let _ = question::tokens_alone(body);
}

pub(crate) async fn models(State(api): State<Api>) -> Json<Value> {
    let loaded = api.rooms.talker.loaded();
    let data: Vec<_> = loaded
        .iter()
        .filter(|m| speaks(m.task))
        .map(|m| card(&api, m))
        .collect();
    Json(json!({"object": "list", "data": data}))
}

pub(crate) async fn model(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let name: String = id("model", &name)?;
    any_loaded(&api, &name).map(|model| Json(card(&api, &model)))
}

/// Whether a model has to do with texts.
const fn speaks(task: Task) -> bool {
    matches!(task, Task::Chat | Task::Embedding)
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

/// A prompt's tokens: `{"model", "prompt"}` or `{"model", "messages"}` in, `{"count", "max_model_len", "tokens"}` out.
pub(crate) async fn tokenize(
    State(api): State<Api>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (parts, body) = request.into_parts();
    let body = body::json(&api.config, &parts.headers, body).await?;
    let (name, prompt) = question::prompt_alone(body)?;
    let model = any_loaded(&api, &name)?;
    let talker = api.rooms.talker.clone();
    let tokens = off_thread(move || talker.tokens(&name, &prompt)).await??;
    Ok(Json(json!({
        "count": tokens.len(), "max_model_len": model.context_tokens, "tokens": tokens,
    })))
}

/// The text of tokens: `{"model", "tokens"}` in, `{"prompt"}` out.
pub(crate) async fn detokenize(
    State(api): State<Api>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (parts, body) = request.into_parts();
    let body = body::json(&api.config, &parts.headers, body).await?;
    let (name, tokens) = question::tokens_alone(body)?;
    any_loaded(&api, &name)?;
    let talker = api.rooms.talker.clone();
    let text = off_thread(move || talker.text(&name, &tokens)).await??;
    Ok(Json(json!({"prompt": text})))
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
    question.ask.tenant = own_scope(&caller.actor);
    question.ask.scope = format!("{} {}", question.ask.tenant, question.ask.scope);
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
    let answering = (&model, clinical_use::of(&api, &model));
    let answer = Answer::new(&question, answering, api.rooms.clock.now());
    if question.stream {
        Ok(answer.stream(speeches))
    } else {
        answer.whole(speeches).await
    }
}

/// Who asks, and so who shares with whom without a salt: requests with the same token, from wherever they come.
pub(crate) fn own_scope(actor: &Actor) -> String {
    match actor {
        Actor::Token { id, .. } => id.clone(),
        other => format!("{other:?}"),
    }
}

/// The loaded language model of that name that converses.
pub(crate) fn loaded(api: &Api, name: &str) -> Result<Loaded, Problem> {
    loaded_for(api, name, |task| task == Task::Chat)
}

fn any_loaded(api: &Api, name: &str) -> Result<Loaded, Problem> {
    loaded_for(api, name, speaks)
}

fn loaded_for(api: &Api, name: &str, does: impl Fn(Task) -> bool) -> Result<Loaded, Problem> {
    let mut models = api.rooms.talker.loaded();
    models.retain(|m| does(m.task));
    let found = models.iter().find(|m| m.model.name == name);
    found.cloned().ok_or_else(|| {
        let loaded = models.into_iter().map(|m| m.model.name).collect();
        ChatRefusal::UnknownModel { loaded }.into()
    })
}

fn card(api: &Api, loaded: &Loaded) -> Value {
    json!({
        "id": loaded.model.name,
        "object": "model",
        "task": loaded.task,
        "created": api.started_at.as_millis() / 1000,
        "owned_by": "pericard",
        "version": loaded.model.version,
        "digest": loaded.model.digest,
        "device": loaded.device,
        "max_model_len": loaded.context_tokens,
    })
}

/// Tokenising a long prompt takes as long as answering many other requests: it happens elsewhere.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "the language model's tokeniser panicked");
        Problem::internal()
    })
}

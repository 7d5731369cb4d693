//! `/v1/embeddings`: texts in, vectors out.

use super::fields::Fields;
use super::{answer, any_loaded, off_thread};
use crate::access::Caller;
use crate::appliance::Api;
use crate::body;
use crate::clinical_use;
use crate::problem::Problem;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pericard_domain::chat::Embeddings;
use serde_json::{Value, json};

/// Texts of one request.
const TEXTS_MAX: usize = 512;
/// Texts that are handed to the model at a time: between portions others come to their turn.
const TEXTS_PER_PORTION: usize = 8;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    model: String,
    texts: Vec<String>,
    /// Whether numbers are wanted as base64 of little-endian 32-bit floats, as OpenAI's own client asks for.
    packed: bool,
    dimensions: Option<usize>,
}

pub(crate) async fn embeddings(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = body::json(&api.config, &parts.headers, body).await?;
    let question = Question::read(body)?;
    let model = any_loaded(&api, &question.model)?;
    api.note_access("ask model", &model.model.to_string(), &caller)
        .await?;
    let embedded = embed(&api, &question).await?;
    question.check_dimensions(&embedded)?;
    let data = embedded.vectors.iter().enumerate();
    let data: Vec<Value> = data
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": question.shown(vector)}))
        .collect();
    let usage = json!({"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens});
    let header = clinical_use::header(clinical_use::of(&api, &model));
    let answer = json!({
        "object": "list", "data": data, "model": model.model.name, "usage": usage,
        "system_fingerprint": answer::fingerprint(&model),
    });
    Ok(([header], Json(answer)).into_response())
}

async fn embed(api: &Api, question: &Question) -> Result<Embeddings, Problem> {
    let mut all = Embeddings {
        vectors: Vec::new(),
        tokens: 0,
    };
    for (portion, texts) in question.texts.chunks(TEXTS_PER_PORTION).enumerate() {
        let (talker, model) = (api.rooms.talker.clone(), question.model.clone());
        let texts = texts.to_vec();
        let embedded = off_thread(move || talker.embed(&model, &texts)).await?;
        let embedded = embedded.map_err(|refusal| counted_from(portion, refusal))?;
        all.vectors.extend(embedded.vectors);
        all.tokens = all.tokens.saturating_add(embedded.tokens);
    }
    Ok(all)
}

/// The model counts within the portion; whoever asked counts within all texts.
fn counted_from(portion: usize, refusal: pericard_domain::chat::ChatRefusal) -> Problem {
    use pericard_domain::chat::ChatRefusal::TextTooLong;
    match refusal {
        TextTooLong {
            index,
            tokens,
            tokens_max,
        } => TextTooLong {
            index: index.saturating_add((portion * TEXTS_PER_PORTION) as u32), // within TEXTS_MAX
            tokens,
            tokens_max,
        }
        .into(),
        other => other.into(),
    }
}

impl Question {
    pub(super) fn read(body: Value) -> Result<Self, Problem> {
        let mut fields = Fields::of(body)?;
        let model = fields.require("model", "the name of a model of /v1/models")?;
        let texts = texts(&mut fields)?;
        let format: Option<String> = fields.take("encoding_format", "float or base64")?;
        let packed = match format.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => {
                let detail = "\"encoding_format\" must be float or base64";
                return Err(Problem::parameter("encoding_format", detail));
            }
        };
        let dimensions = fields.take("dimensions", "a whole number")?;
        fields.ignore(&["user"]);
        fields.finish("")?;
        Ok(Self {
            model,
            texts,
            packed,
            dimensions,
        })
    }

    /// A vector is given whole: one that was cut short would be another model's.
    fn check_dimensions(&self, embedded: &Embeddings) -> Result<(), Problem> {
        let has = embedded.vectors.first().map_or(0, Vec::len);
        match self.dimensions {
            Some(wanted) if wanted != has => Err(Problem::parameter(
                "dimensions",
                format!(
                    "this model's vectors have {has} dimensions, and are not cut; leave \"dimensions\" out"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn shown(&self, vector: &[f32]) -> Value {
        if self.packed {
            let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        }
    }
}

fn texts(fields: &mut Fields) -> Result<Vec<String>, Problem> {
    let expected = format!(
        "a text or a list of 1 to {TEXTS_MAX} texts, none of them empty; token ids are not taken"
    );
    let refused = || Problem::parameter("input", format!("\"input\" must be {expected}"));
    let texts = match fields.require::<Value>("input", &expected)? {
        Value::String(text) => vec![text],
        list => serde_json::from_value::<Vec<String>>(list).map_err(|_| refused())?,
    };
    if texts.is_empty() || texts.len() > TEXTS_MAX || texts.iter().any(String::is_empty) {
        return Err(refused());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_obeyed_is_refused_by_name() {
        for (body, param) in [
            (json!({"input": "x"}), "model"),
            (json!({"model": "m"}), "input"),
            (json!({"model": "m", "input": ""}), "input"),
            (json!({"model": "m", "input": []}), "input"),
            (json!({"model": "m", "input": ["x", ""]}), "input"),
            (json!({"model": "m", "input": [1, 2]}), "input"),
            (
                json!({"model": "m", "input": vec!["x"; TEXTS_MAX + 1]}),
                "input",
            ),
            (
                json!({"model": "m", "input": "x", "encoding_format": "int8"}),
                "encoding_format",
            ),
            (json!({"model": "m", "input": "x", "task": "query"}), "task"),
        ] {
            let refused = Question::read(body.clone()).expect_err("refused");
            assert_eq!(refused.param.as_deref(), Some(param), "{body}");
        }
        let question = json!({"model": "m", "input": ["x", "y"], "encoding_format": "base64", "user": "u", "dimensions": 2});
        let question = Question::read(question).expect("supported");
        assert_eq!(question.shown(&[1.0, -2.0]), json!("AACAPwAAAMA="));
        let embedded = |width: usize| Embeddings {
            vectors: vec![vec![0.0; width]; 2],
            tokens: 2,
        };
        assert!(question.check_dimensions(&embedded(2)).is_ok());
        let refused = question
            .check_dimensions(&embedded(3))
            .expect_err("refused");
        assert_eq!(refused.param.as_deref(), Some("dimensions"));
    }
}

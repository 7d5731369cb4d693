//! The fields of a JSON request, taken one by one, so that what is left over can be refused by name.

use crate::problem::Problem;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Fields of the protocol that may be left over. Others are not repeated in an answer: what stands there may be a patient's.
const UNSUPPORTED: &[&str] = &[
    "audio",
    "best_of",
    "dimensions",
    "echo",
    "encoding_format",
    "function_call",
    "functions",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "include_obfuscation",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "metadata",
    "min_p",
    "modalities",
    "name",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "refusal",
    "repetition_penalty",
    "safety_identifier",
    "schema",
    "store",
    "strict",
    "suffix",
    "task",
    "tool_call_id",
    "tool_calls",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "type",
    "user",
    "verbosity",
    "web_search_options",
];

/// A request's fields that have not been taken yet. `null` is the same as absent.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn of(value: Value) -> Result<Self, Problem> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Problem::bad_request("the body must be a JSON object")),
        }
    }

    /// A field's value, when it is there and has the right type.
    pub(crate) fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        let value = self.0.remove(name).filter(|value| !value.is_null());
        let wrong = |_| Problem::parameter(name, format!("{name:?} must be {expected}"));
        value
            .map(|value| serde_json::from_value(value).map_err(wrong))
            .transpose()
    }

    pub(crate) fn require<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<T, Problem> {
        let missing =
            || Problem::parameter(name, format!("{name:?} is missing; it must be {expected}"));
        self.take(name, expected)?.ok_or_else(missing)
    }

    /// A number within a range.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<f32>,
    ) -> Result<Option<f32>, Problem> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let number: Option<f32> = self.take(name, &expected)?;
        match number {
            Some(number) if !range.contains(&number) => Err(Problem::parameter(
                name,
                format!("{name:?} must be {expected}"),
            )),
            number => Ok(number),
        }
    }

    /// Passes over a field that cannot change the answer.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Passes over a field whose value asks for nothing but what is done anyway; any other value is refused below.
    pub(crate) fn ignore_when(&mut self, name: &str, asks_for_nothing: impl Fn(&Value) -> bool) {
        if self.0.get(name).is_some_and(asks_for_nothing) {
            self.0.remove(name);
        }
    }

    /// Refuses what is left over, and names it when it is a field of the protocol: any other name is whatever somebody wrote.
    pub(crate) fn finish(self, within: &str) -> Result<(), Problem> {
        match self.0.into_iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => {
                let known = UNSUPPORTED.contains(&name.as_str());
                let name = format!("{within}{}", if known { &name } else { "*" });
                let detail = if known {
                    format!("{name:?} with this value is not supported here; leave it out")
                } else {
                    format!("a field ({name}) is none that is known here; leave it out")
                };
                Err(Problem {
                    code: "unsupported_parameter",
                    ..Problem::parameter(&name, detail)
                })
            }
        }
    }
}

//! Tools that a model may call: read from a request, and told to the model.
//!
//! They are told in the words that Hermes and Qwen models were taught, in the first message, whatever the model's template
//! knows of tools: so the same request gives the same form of call from every model, and the engine's grammar holds each to
//! it. Calls and what came of them go back into the conversation in the same words.

use super::fields::Fields;
use crate::problem::Problem;
use pericard_domain::chat::{CALL_BEGINS, CALL_ENDS, Message, Shape, Tool};
use serde_json::{Value, json};

/// Tools of one request.
const TOOLS_MAX: usize = 64;
/// The longest name of a tool, as OpenAI has it.
const NAME_LETTERS_MAX: usize = 64;

/// What a request says of tools.
#[derive(Debug)]
pub(super) struct Offer {
    /// Each with its description as it is told to the model.
    tools: Vec<(Tool, Value)>,
    must: bool,
    several: bool,
}

/// A call in a message of the conversation.
#[derive(Debug)]
struct Called {
    name: String,
    arguments: Value,
}

impl Offer {
    /// Reads `tools`, `tool_choice` and `parallel_tool_calls`; `None` when nothing may be called.
    ///
    /// # Errors
    /// 400, naming what is wrong.
    pub(super) fn read(fields: &mut Fields) -> Result<Option<Self>, Problem> {
        let list: Option<Vec<Value>> = fields.take("tools", "a list of tools")?;
        let choice: Option<Value> = fields.take("tool_choice", CHOICES)?;
        let several = fields
            .take("parallel_tool_calls", "true or false")?
            .unwrap_or(true);
        let list = list.unwrap_or_default();
        if list.len() > TOOLS_MAX {
            let detail = format!("\"tools\" may hold at most {TOOLS_MAX} tools");
            return Err(Problem::parameter("tools", detail));
        }
        let tools = list.into_iter().enumerate().map(|(i, tool)| read(i, tool));
        let tools = tools.collect::<Result<Vec<_>, _>>()?;
        let offer = Self {
            tools,
            must: false,
            several,
        };
        offer.chosen(choice)
    }

    fn chosen(mut self, choice: Option<Value>) -> Result<Option<Self>, Problem> {
        let refused = |detail: String| Err(Problem::parameter("tool_choice", detail));
        match &choice {
            None => {}
            Some(Value::String(word)) => match word.as_str() {
                "none" => return Ok(None),
                "auto" => {}
                "required" => self.must = true,
                _ => return refused(format!("\"tool_choice\" must be {CHOICES}")),
            },
            Some(named) => {
                let name = named.pointer("/function/name").and_then(Value::as_str);
                let Some(name) = name.filter(|_| named["type"] == "function") else {
                    return refused(format!("\"tool_choice\" must be {CHOICES}"));
                };
                self.tools.retain(|(tool, _)| tool.name == name);
                (self.must, self.several) = (true, false);
            }
        }
        if self.must && self.tools.is_empty() {
            return refused("\"tool_choice\" asks for a tool that \"tools\" does not hold".into());
        }
        Ok((!self.tools.is_empty()).then_some(self))
    }

    /// What an answer must be that would be of `otherwise` without tools.
    pub(super) fn shape(&self, otherwise: Shape) -> Shape {
        Shape::Calls {
            tools: self.tools.iter().map(|(tool, _)| tool.clone()).collect(),
            must: self.must,
            several: self.several,
            otherwise: match otherwise {
                Shape::Schema(schema) => Some(schema),
                _ => None,
            },
        }
    }

    /// Tells the model of the tools, in the first message.
    pub(super) fn tell(&self, messages: &mut Vec<Message>) {
        let told = self.told();
        match messages.first_mut().filter(|first| first.role == "system") {
            Some(system) => system.content = format!("{}\n\n{told}", system.content),
            None => messages.insert(
                0,
                Message {
                    role: "system".to_owned(),
                    content: told,
                },
            ),
        }
    }

    fn told(&self) -> String {
        let tools: Vec<String> = self
            .tools
            .iter()
            .map(|(_, told)| told.to_string())
            .collect();
        format!(
            "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n\
             You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{}\n</tools>\n\n\
             For each function call, return a json object with function name and arguments within \
             {CALL_BEGINS}{CALL_ENDS} XML tags:\n{CALL_BEGINS}\n\
             {{\"name\": <function-name>, \"arguments\": <args-json-object>}}\n{CALL_ENDS}",
            tools.join("\n")
        )
    }
}

const CHOICES: &str =
    "none, auto, required, or {\"type\": \"function\", \"function\": {\"name\": ...}}";

fn read(index: usize, tool: Value) -> Result<(Tool, Value), Problem> {
    let at = |field: &str| format!("tools[{index}]{field}");
    let refused = |field: &str, detail: &str| Problem::parameter(&at(field), detail);
    if tool["type"] != "function" {
        return Err(refused(".type", "a tool's type must be function"));
    }
    let function = &tool["function"];
    let name = function["name"].as_str().unwrap_or_default();
    let letters = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if name.is_empty() || name.len() > NAME_LETTERS_MAX || !letters {
        let detail = "a function's name must be 1 to 64 letters, digits, hyphens and underscores";
        return Err(refused(".function.name", detail));
    }
    let mut parameters = match &function["parameters"] {
        Value::Null => json!({"type": "object", "properties": {}}),
        parameters => parameters.clone(),
    };
    let Some(schema) = parameters.as_object_mut() else {
        return Err(refused(
            ".function.parameters",
            "a function's parameters must be a JSON schema",
        ));
    };
    let kind = schema.entry("type").or_insert_with(|| json!("object"));
    if *kind != "object" {
        let detail = "a function's parameters must be a JSON schema of an object";
        return Err(refused(".function.parameters", detail));
    }
    // A schema that says nothing of further properties means none: a model would invent them.
    schema.entry("additionalProperties").or_insert(json!(false));
    let told = json!({"type": "function", "function": function});
    let (name, parameters) = (name.to_owned(), parameters.to_string());
    Ok((Tool { name, parameters }, told))
}

/// The words of an assistant's message that called tools.
///
/// # Errors
/// 400, naming what is wrong.
pub(super) fn called(within: &str, said: &str, calls: Vec<Value>) -> Result<String, Problem> {
    let mut lines: Vec<String> = (!said.is_empty())
        .then(|| said.to_owned())
        .into_iter()
        .collect();
    for (index, call) in calls.into_iter().enumerate() {
        let name = format!("{within}tool_calls[{index}]");
        let call = Called::read(&call).ok_or_else(|| {
            let detail = "a call must be a function with a name and with arguments, which are a JSON object as a text";
            Problem::parameter(&name, detail)
        })?;
        let called = json!({"name": call.name}).to_string();
        let called = called.trim_end_matches('}').replacen(':', ": ", 1);
        lines.push(format!(
            "{CALL_BEGINS}\n{called}, \"arguments\": {}}}\n{CALL_ENDS}",
            call.arguments
        ));
    }
    Ok(lines.join("\n"))
}

impl Called {
    fn read(call: &Value) -> Option<Self> {
        let function = call.get("function")?;
        let arguments = serde_json::from_str(function.get("arguments")?.as_str()?).ok()?;
        Some(Self {
            name: function.get("name")?.as_str()?.to_owned(),
            arguments: Some(arguments).filter(Value::is_object)?,
        })
    }
}

/// Adds what came of a call to the conversation: to the message before it, when that tells the same of another call.
pub(super) fn responded(messages: &mut Vec<Message>, content: &str) {
    let told = format!("<tool_response>\n{content}\n</tool_response>");
    match messages
        .last_mut()
        .filter(|last| last.role == "user" && last.content.ends_with("</tool_response>"))
    {
        Some(last) => last.content = format!("{}\n{told}", last.content),
        None => messages.push(Message {
            role: "user".to_owned(),
            content: told,
        }),
    }
}

//! The model's own chat template, from the GGUF, rendered with minijinja.
//!
//! Deliberately absent: `strftime_now`. A template that prints today's date makes the same question give another
//! answer tomorrow; templates that know the function ask whether it is defined and have a fixed date otherwise.

use crate::error::LoadError;
use crate::file::ModelFile;
use crate::tokenizer::Tokenizer;
use minijinja::{Environment, Error, ErrorKind, context};
use pericard_domain::chat::Message;
use serde::Serialize;

/// Steps that a template may take: a long conversation needs a few thousand, an endless loop never ends.
const TEMPLATE_STEPS_MAX: u64 = 5_000_000;
/// Roles that a message may have.
const ROLES: [&str; 3] = ["system", "user", "assistant"];
const NAME: &str = "chat";

/// A chat template.
pub(crate) struct Template {
    environment: Environment<'static>,
}

#[derive(Serialize)]
struct Line<'a> {
    role: &'a str,
    content: String,
}

impl Template {
    /// The template of a model, if it has one.
    pub(crate) fn new(file: &ModelFile, tokenizer: &Tokenizer) -> Result<Option<Self>, LoadError> {
        const KEY: &str = "tokenizer.chat_template";
        if !file.has(KEY) {
            return Ok(None);
        }
        let mut template = Self::parse(file.text(KEY)?)?;
        for (name, value) in tokenizer.special_names() {
            template.environment.add_global(*name, value.clone());
        }
        Ok(Some(template))
    }

    fn parse(source: &str) -> Result<Self, LoadError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(TEMPLATE_STEPS_MAX));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| LoadError::Template(error.to_string()))?;
        Ok(Self { environment })
    }

    /// The text of a conversation, up to where the assistant is to speak. What people wrote cannot become a special
    /// token.
    ///
    /// # Errors
    /// A sentence about what is wrong with the conversation.
    pub(crate) fn render(
        &self,
        messages: &[Message],
        tokenizer: &Tokenizer,
    ) -> Result<String, String> {
        if messages.is_empty() {
            return Err("a conversation needs at least one message".to_owned());
        }
        let lines = messages.iter().map(|message| {
            if !ROLES.contains(&message.role.as_str()) {
                return Err(format!(
                    "{:?} is not a role; system, user and assistant are",
                    message.role
                ));
            }
            Ok(Line {
                role: &message.role,
                content: tokenizer.guarded(&message.content)?,
            })
        });
        let lines = lines.collect::<Result<Vec<_>, String>>()?;
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|error| error.to_string())?;
        let rendered =
            template.render(context! { messages => lines, add_generation_prompt => true });
        // Only the kind and the template's own sentence: a debug print of the error could quote the conversation.
        rendered.map_err(|error| {
            format!(
                "the model's chat template refuses this conversation: {}",
                error.detail().unwrap_or("it does not render")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str) -> Result<String, String> {
        let template = Template::parse(source).expect("parses");
        let template = template.environment.get_template(NAME).expect("is there");
        template
            .render(context! { messages => [Line { role: "user", content: " Hi ".into() }] })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn templates_find_the_methods_of_their_home() {
        let text = rendered(
            "{% for m in messages %}\n    {{- m.content.strip() + m['role'].upper() }}\n{% endfor %}",
        );
        assert_eq!(text.as_deref(), Ok("HiUSER\n"));
        let refusal =
            rendered("{{ raise_exception('roles must alternate') }}").expect_err("raises");
        assert!(refusal.contains("roles must alternate"), "{refusal}");
        let date = rendered(
            "{% if strftime_now is defined %}{{ strftime_now('%d') }}{% else %}fixed{% endif %}",
        );
        assert_eq!(date.as_deref(), Ok("fixed"));
    }

    #[test]
    fn an_endless_template_ends() {
        assert!(
            rendered(
                "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}"
            )
            .is_err()
        );
    }
}

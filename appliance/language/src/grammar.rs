//! Answers that must be JSON of a given schema, or calls of tools: which tokens may come next. The grammar is llguidance's.
//!
//! A schema is a stranger's input: its size, the work of compiling it and the work of each token are bounded, and what is
//! wrong with it is said without quoting it.

use crate::tokenizer::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Matcher, ParserFactory};
use pericard_domain::chat::{CALL_BEGINS, CALL_ENDS, Tool};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// The longest schema, bytes of JSON.
const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// Makes grammars for one vocabulary.
pub(crate) struct Grammars {
    tokenizer: Arc<Tokenizer>,
    /// Built for the first request that needs it.
    factory: OnceLock<Option<ParserFactory>>,
}

/// What may come next in one answer.
pub(crate) struct Grammar {
    matcher: Matcher,
}

impl Grammars {
    pub(crate) fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self {
            tokenizer,
            factory: OnceLock::new(),
        }
    }

    /// The grammar of a JSON schema.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub(crate) fn of_schema(&self, schema: &str) -> Result<Grammar, String> {
        self.of(TopLevelGrammar::from_json_schema(read(schema)?))
    }

    /// The grammar of an answer that may call tools, or must.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub(crate) fn of_calls(&self, calls: &Calls<'_>) -> Result<Grammar, String> {
        self.of(TopLevelGrammar::from_lark(calls.lark()?))
    }

    fn of(&self, grammar: TopLevelGrammar) -> Result<Grammar, String> {
        let factory = self.factory.get_or_init(|| factory(&self.tokenizer));
        let factory = factory
            .as_ref()
            .ok_or("this model's vocabulary cannot be held to a schema")?;
        let parser = factory.create_parser(grammar);
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            None => Ok(Grammar { matcher }),
            Some(reason) => Err(format!(
                "the JSON schema is not supported: {}",
                first_line(&reason)
            )),
        }
    }
}

/// A schema, with what all of ours share.
fn read(schema: &str) -> Result<Value, String> {
    if schema.len() > SCHEMA_BYTES_MAX {
        return Err(format!(
            "the JSON schema has {} bytes; at most {SCHEMA_BYTES_MAX} are read",
            schema.len()
        ));
    }
    let mut schema: Value = serde_json::from_str(schema)
        .map_err(|_| "the schema of the answer is not JSON".to_owned())?;
    let Some(fields) = schema.as_object_mut() else {
        return Err("the schema of the answer must be a JSON object".to_owned());
    };
    // Where any space is allowed, a model may say nothing else for ever.
    let spaces =
        json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
    fields.insert("x-guidance".to_owned(), spaces);
    Ok(schema)
}

/// What an answer with tools may be: see [`pericard_domain::chat::Shape::Calls`].
pub(crate) struct Calls<'a> {
    pub(crate) tools: &'a [Tool],
    pub(crate) must: bool,
    pub(crate) several: bool,
    pub(crate) otherwise: Option<&'a str>,
}

impl Calls<'_> {
    /// The grammar. Each tool's schema is a root of its own, so that references within it hold.
    fn lark(&self) -> Result<String, String> {
        if self.tools.is_empty() {
            return Err("there is no tool to call".to_owned());
        }
        let (answer, rule) = match (self.must, self.otherwise) {
            (true, _) => ("", String::new()),
            // An answer that begins as a call does is one: the two can always be told apart.
            (false, None) => (
                " | TEXT",
                format!("TEXT: /(?s:.)+/ & ~/\\s*{CALL_BEGINS}(?s:.)*/\n"),
            ),
            (false, Some(schema)) => (" | answer", format!("answer: %json {}\n", read(schema)?)),
        };
        let more = if self.several { " (\"\\n\" call)*" } else { "" };
        let names: Vec<String> = (0..self.tools.len())
            .map(|at| format!("call_{at}"))
            .collect();
        let mut lark = format!(
            "start: calls{answer}\ncalls: call{more}\ncall: {}\n{rule}",
            names.join(" | ")
        );
        for (at, tool) in self.tools.iter().enumerate() {
            let begins = format!(
                "{CALL_BEGINS}\n{{\"name\": {}, \"arguments\": ",
                json!(tool.name)
            );
            let ends = format!("}}\n{CALL_ENDS}");
            let (begins, ends, schema) = (json!(begins), json!(ends), read(&tool.parameters)?);
            lark += &format!(
                "call_{at}: {begins} arguments_{at} {ends}\narguments_{at}: %json {schema}\n"
            );
        }
        Ok(lark)
    }
}

impl Grammar {
    /// Makes impossible what may not come next.
    ///
    /// # Errors
    /// When the work of a token exceeds its bound.
    pub(crate) fn allow(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let mask: SimpleVob = self
            .matcher
            .compute_mask_or_eos()
            .map_err(|error| first_line(&error.to_string()).to_owned())?;
        let known = mask.len().min(logits.len());
        logits[known..].fill(f32::NEG_INFINITY); // rows that fill up the matrix are no tokens
        mask.iter_unset_entries(|id| logits[id] = f32::NEG_INFINITY);
        Ok(())
    }

    /// What must be said next, whatever is chosen; empty where there is a choice.
    pub(crate) fn forced(&mut self) -> String {
        let bytes = self.matcher.compute_ff_bytes();
        let whole = bytes.utf8_chunks().next().map(|chunk| chunk.valid());
        whole.unwrap_or_default().to_owned()
    }

    /// Takes the token that was chosen. Whether nothing can follow.
    ///
    /// # Errors
    /// When it was not allowed.
    pub(crate) fn take(&mut self, token: u32) -> Result<bool, String> {
        self.matcher
            .consume_token(token)
            .map_err(|error| first_line(&error.to_string()).to_owned())?;
        Ok(self.matcher.is_stopped())
    }
}

/// Errors may go on with the grammar and what was said so far.
fn first_line(reason: &str) -> &str {
    const BYTES_MAX: usize = 200;
    let line = reason.lines().next().unwrap_or_default();
    &line[..line.floor_char_boundary(BYTES_MAX)]
}

fn factory(tokenizer: &Tokenizer) -> Option<ParserFactory> {
    let size = tokenizer.size();
    let end = tokenizer.first_end()?;
    // Tokens that are never text are hidden from every grammar.
    let words: Vec<Vec<u8>> = (0..size as u32)
        .map(|id| match tokenizer.bytes(id) {
            [] => format!("\u{FF}<{id}>").chars().map(|c| c as u8).collect(),
            bytes => bytes.to_vec(),
        })
        .collect();
    let trie = TokTrie::from(&TokRxInfo::new(size as u32, end), &words);
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let capabilities = InferenceCapabilities::default();
    // Tokens that go with any text of a string are kept as sets: without them most of the vocabulary is walked for each.
    let slices = SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&environment, capabilities, &slices).ok()?;
    *factory.limits_mut() = ParserLimits {
        verbose_errors: false,
        ..ParserLimits::default()
    };
    factory.quiet();
    Some(factory)
}

//! One request under way: its tokens, its pages, and what becomes of each new token.

use crate::generation::Sink;
use crate::kernels::attention::PAGE;
use crate::kernels::pages::{Cache, PageId};
use crate::prefix::{Beginning, Prefixes};
use crate::sampler::Sampler;
use crate::schedule::Candidate;
use crate::stop::StopWatch;
use crate::tokenizer::{Characters, Tokenizer};
use pericard_domain::chat::{ChatEvent, Finish, Sampling, Usage};
use pericard_domain::job::Priority;
use std::time::Duration;

/// What a request asks for, beside its prompt.
pub(crate) struct Asked {
    pub(crate) sampling: Sampling,
    pub(crate) class: Priority,
    pub(crate) scope: String,
}

/// A sequence.
pub(crate) struct Sequence {
    class: Priority,
    arrived: Duration,
    /// The prompt and what was generated.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    generated_max: usize,
    /// How many of the tokens have their keys and values in the pages.
    pub(crate) computed: usize,
    pub(crate) pages: Vec<PageId>,
    /// Who may share what is computed for it.
    scope: String,
    /// As far as its pages are full and known to others of its scope.
    beginning: Beginning,
    /// Tokens of the prompt that were found computed.
    cached_tokens: usize,
    sampler: Sampler,
    characters: Characters,
    stop: StopWatch,
    sink: Sink,
}

impl Sequence {
    /// `room` is what the context has beyond the prompt.
    pub(crate) fn new(prompt: Vec<u32>, room: usize, asked: Asked, sink: Sink) -> Self {
        let Asked {
            sampling,
            class,
            scope,
        } = asked;
        let asked = sampling.max_tokens.map_or(room, |max| max as usize);
        Self {
            class,
            arrived: Duration::ZERO,
            prompt_tokens: prompt.len(),
            tokens: prompt,
            generated_max: asked.min(room),
            computed: 0,
            pages: Vec::new(),
            beginning: Beginning::of(&scope),
            scope,
            cached_tokens: 0,
            sampler: Sampler::new(&sampling),
            characters: Characters::default(),
            stop: StopWatch::new(sampling.stop),
            sink,
        }
    }

    /// Notes when it arrived, since the engine began.
    pub(crate) fn arrive(&mut self, at: Duration) {
        self.arrived = at;
    }

    /// Takes over what others of its scope have computed of its beginning. Returns how many tokens that spares.
    pub(crate) fn resume(
        &mut self,
        prefixes: &mut Prefixes,
        now: Duration,
        cache: &mut Cache,
    ) -> usize {
        let nothing = Beginning::of(&self.scope);
        let (beginning, pages) = prefixes.find(nothing, &self.tokens, now, cache);
        self.beginning = beginning;
        self.computed = pages.len() * PAGE;
        self.cached_tokens = self.computed.min(self.prompt_tokens);
        self.pages = pages;
        self.computed
    }

    /// Lets others of its scope find the pages that are full by now.
    pub(crate) fn share(&mut self, prefixes: &mut Prefixes, now: Duration, cache: &mut Cache) {
        for full in self.beginning.pages()..self.computed / PAGE {
            self.beginning = self.beginning.then(&self.tokens[full * PAGE..][..PAGE]);
            prefixes.keep(self.beginning, self.pages[full], now, cache);
        }
    }

    /// Gives its pages back, to begin again or not at all.
    pub(crate) fn release(&mut self, cache: &mut Cache) {
        cache.give(self.pages.drain(..));
        self.computed = 0;
        self.beginning = Beginning::of(&self.scope);
    }

    /// As the schedule sees it.
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate {
            class: self.class,
            arrived: self.arrived,
            pending: self.pending().max(1),
        }
    }

    /// Tokens that are known but not computed.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// All tokens so far.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens of the prompt.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Tokens that may still be generated.
    pub(crate) fn generated_left(&self) -> usize {
        self.generated_max - self.generated()
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.sink.is_abandoned()
    }

    /// Chooses the next token and sends what became certain of the text. Returns whether this was the end.
    pub(crate) fn advance(&mut self, logits: &[f32], tokenizer: &Tokenizer) -> bool {
        let token = self.sampler.choose(logits);
        self.tokens.push(token);
        if tokenizer.is_end(token) {
            return self.end(Finish::Stop);
        }
        let piece = self.characters.push(tokenizer.bytes(token));
        let (text, stopped) = self.stop.push(&piece);
        self.say(text);
        if stopped {
            self.finished(Finish::Stop);
            return true;
        }
        self.generated_left() == 0 && self.end(Finish::Length)
    }

    /// Ends it without a result.
    pub(crate) fn fail(&self, reason: &str) {
        self.sink.send(ChatEvent::Failed(reason.to_owned()));
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_tokens
    }

    /// Sends what was held back, unless a stop text only now becomes whole, and then the end.
    fn end(&mut self, finish: Finish) -> bool {
        let rest = self.characters.finish();
        let (text, stopped) = self.stop.push(&rest);
        self.say(text);
        if !stopped {
            let held = self.stop.finish();
            self.say(held);
        }
        self.finished(finish);
        true
    }

    fn say(&self, text: String) {
        if !text.is_empty() {
            self.sink.send(ChatEvent::Text(text));
        }
    }

    fn finished(&self, finish: Finish) {
        let usage = Usage {
            prompt_tokens: self.prompt_tokens as u32, // both are within the context, which is a u32
            completion_tokens: self.generated() as u32,
            cached_tokens: self.cached_tokens as u32,
        };
        self.sink.send(ChatEvent::Finished { finish, usage });
    }
}

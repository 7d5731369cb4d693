//! One request under way: its tokens, its pages, and what becomes of each new token.

use crate::draft::Drafts;
use crate::fairness::Fairness;
use crate::forecast::Ahead;
use crate::generation::Sink;
use crate::grammar::Grammar;
use crate::kernels::attention::PAGE;
use crate::kernels::pages::{Cache, PageId};
use crate::prefix::{Beginning, Prefixes};
use crate::sampler::{Sampler, likeliest_of, log_probabilities};
use crate::schedule::Candidate;
use crate::stop::StopWatch;
use crate::thought::Thought;
use crate::timing::{Ending, Times};
use crate::tokenizer::{Characters, Tokenizer};
use pericard_domain::chat::{ChatEvent, Choice, Finish, Sampling, Usage};
use pericard_domain::figures::EngineFigures;
use pericard_domain::job::Priority;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What a request asks for, beside its prompt.
pub(crate) struct Asked {
    pub(crate) sampling: Sampling,
    pub(crate) class: Priority,
    pub(crate) tenant: String,
    pub(crate) scope: String,
    pub(crate) grammar: Option<Grammar>,
    /// Whether the template has begun the model's thoughts.
    pub(crate) thinks: bool,
    /// What ends thoughts that take too long.
    pub(crate) closing: Arc<[u32]>,
}

/// A sequence.
pub(crate) struct Sequence {
    class: Priority,
    tenant: String,
    times: Times,
    /// Why it is over, once it is.
    ending: Option<Ending>,
    /// The prompt and what was generated.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    generated_max: usize,
    /// The model may not end its turn before.
    generated_min: usize,
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
    grammar: Option<Grammar>,
    thought: Thought,
    closing: Arc<[u32]>,
    /// Tokens that come next whatever the model would say.
    forced: VecDeque<u32>,
    drafts: Drafts,
    /// What is computed beside the next token in this step.
    guess: Vec<u32>,
    /// Whether that is what the answer's shape demands.
    is_forced: bool,
    /// Whether it was among those that advance when a step was last planned.
    advances: bool,
    top_logprobs: Option<u8>,
    /// Logits that were changed before the choice.
    bent: Vec<f32>,
    characters: Characters,
    /// The characters that the latest token made whole.
    piece: String,
    stop: StopWatch,
    sink: Sink,
}

impl Sequence {
    /// `room` is what the context has beyond the prompt.
    pub(crate) fn new(prompt: Vec<u32>, room: usize, asked: Asked, sink: Sink) -> Self {
        let Asked {
            sampling,
            class,
            tenant,
            scope,
            grammar,
            thinks,
            closing,
        } = asked;
        let asked = sampling.max_tokens.map_or(room, |max| max as usize);
        Self {
            class,
            tenant,
            times: Times::default(),
            ending: None,
            prompt_tokens: prompt.len(),
            tokens: prompt,
            generated_max: asked.min(room),
            generated_min: sampling.min_tokens as usize,
            computed: 0,
            pages: Vec::new(),
            beginning: Beginning::of(&scope),
            scope,
            cached_tokens: 0,
            sampler: Sampler::new(&sampling),
            grammar,
            thought: Thought::new(thinks, sampling.thought_tokens_max),
            closing,
            forced: VecDeque::new(),
            drafts: Drafts::default(),
            guess: Vec::new(),
            is_forced: false,
            advances: false,
            top_logprobs: sampling.top_logprobs,
            bent: Vec::new(),
            characters: Characters::default(),
            piece: String::new(),
            stop: StopWatch::new(sampling.stop),
            sink,
        }
    }

    /// Notes when it arrived, since the engine began.
    pub(crate) fn arrive(&mut self, at: Duration) {
        self.times = Times::arrive(at, self.prompt_tokens);
    }

    /// Notes when it first had a place.
    pub(crate) fn place(&mut self, now: Duration, figures: &mut EngineFigures) {
        self.times.place(now, figures.of(self.class));
    }

    /// Notes that it is among those that advance.
    pub(crate) fn go_on(&mut self) {
        self.advances = true;
    }

    /// Notes that it is not any more, whether it keeps its pages or not. Counted once, however long it waits then.
    pub(crate) fn fall_out(&mut self, figures: &mut EngineFigures) {
        if std::mem::take(&mut self.advances) {
            figures.of(self.class).preempted += 1;
        }
    }

    /// Enters what became of it in a step into the figures.
    pub(crate) fn account(&mut self, said: usize, now: Duration, figures: &mut EngineFigures) {
        let figures = figures.of(self.class);
        self.times.say(said, now, figures);
        if let Some(ending) = self.ending {
            self.times.end(ending, figures);
        }
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
        // Once, so that no step has to.
        self.tokens.reserve(self.generated_left());
        let most = Cache::pages_for(self.tokens.len() + self.generated_left());
        self.pages.reserve(most.saturating_sub(self.pages.len()));
        self.computed
    }

    /// Goes on from what others of its scope have read of the same prompt since it had its place. Returns how many tokens that spares.
    pub(crate) fn catch_up(
        &mut self,
        prefixes: &mut Prefixes,
        now: Duration,
        cache: &mut Cache,
    ) -> usize {
        if self.pending() <= 1 {
            return 0;
        }
        let known = self.beginning.pages();
        let rest = &self.tokens[known * PAGE..];
        let (beginning, found) = prefixes.find(self.beginning, rest, now, cache);
        if found.is_empty() {
            return 0;
        }
        // What it has of the next page is in the one that was found, too.
        cache.give(self.pages.drain(known..));
        self.pages.extend(found);
        let spared = self.pages.len() * PAGE - self.computed;
        self.beginning = beginning;
        self.computed += spared;
        self.cached_tokens = (self.cached_tokens + spared).min(self.prompt_tokens);
        spared
    }

    /// The page that it reads next, as others of its scope will find it; `None` while it answers, and for the last token's.
    pub(crate) fn reads(&self) -> Option<Beginning> {
        let from = self.beginning.pages() * PAGE;
        let is_found = self.pending() > 1 && from + PAGE < self.tokens.len();
        is_found.then(|| self.beginning.then(&self.tokens[from..from + PAGE]))
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
        self.guess.clear();
        self.beginning = Beginning::of(&self.scope);
    }

    /// As the schedule sees it.
    pub(crate) fn candidate(&self, fairness: &Fairness) -> Candidate {
        Candidate {
            class: self.class,
            caller: fairness.number(&self.tenant),
            served: fairness.served(&self.tenant),
            arrived: self.times.arrived,
            pending: self.pending().max(1),
            reads: None,
        }
    }

    /// As those see it that come after it.
    pub(crate) fn ahead(&self, fairness: &Fairness) -> Ahead {
        Ahead {
            class: self.class,
            caller: fairness.number(&self.tenant),
            tokens: self.tokens.len(),
            pending: self.pending(),
            answer_max: self.generated_left(),
        }
    }

    pub(crate) fn class(&self) -> Priority {
        self.class
    }

    /// Who asked.
    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
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

    /// Guesses at most so many tokens after the next one, to be computed beside it. Only while it answers.
    pub(crate) fn draft(&mut self, most: usize, tokenizer: &Tokenizer) {
        let most = most.min(self.generated_left().saturating_sub(1));
        let thinks = self.thought.is_under_way() || !self.forced.is_empty();
        let grammar = self.grammar.as_mut().filter(|_| most > 0 && !thinks);
        let forced = grammar.map(Grammar::forced).unwrap_or_default();
        // The last token of what must be said may go on with what is said freely.
        let said = tokenizer.encode_said(&forced);
        let said = &said[..most.min(said.len().saturating_sub(1))];
        self.is_forced = !said.is_empty();
        self.guess.clear();
        self.guess.extend_from_slice(match self.is_forced {
            true => said,
            false => self.drafts.guess(&self.tokens, most),
        });
    }

    /// What is computed beside the next token.
    pub(crate) fn guess(&self) -> &[u32] {
        &self.guess
    }

    /// Computes nothing beside the next token.
    pub(crate) fn forget_guess(&mut self) {
        self.guess.clear();
    }

    /// Chooses tokens as long as the guesses are right: `rows` are the logits after the latest token and after each guess.
    /// Returns how many were chosen; whether it is over then, [`Self::is_over`] says.
    pub(crate) fn choose_through<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a [f32]>,
        tokenizer: &Tokenizer,
    ) -> usize {
        let mut guess = std::mem::take(&mut self.guess);
        let mut said: usize = 0;
        for (at, logits) in rows.enumerate() {
            // Beyond the first, a row is that of a guess that was right: its keys and values are there.
            self.computed += usize::from(at > 0);
            let over = self.advance(logits, tokenizer);
            said += 1;
            if over || guess.get(at) != self.tokens.last() {
                break;
            }
        }
        if !self.is_forced {
            self.drafts.learn(guess.len(), said.saturating_sub(1));
        }
        guess.clear();
        self.guess = guess; // only its room
        said
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.ending.is_some()
    }

    /// Chooses the next token and sends what became certain of the text. Returns whether this was the end.
    fn advance(&mut self, logits: &[f32], tokenizer: &Tokenizer) -> bool {
        let (token, is_whole) = match self.choose(logits, tokenizer) {
            Ok(chosen) => chosen,
            Err(_) => {
                self.fail("the answer cannot be held to its schema; simplify the schema");
                return true;
            }
        };
        self.tokens.push(token);
        if tokenizer.is_end(token) {
            return self.end(Finish::Stop);
        }
        self.tell(token, logits, tokenizer);
        self.piece.clear();
        self.characters
            .push(tokenizer.bytes(token), &mut self.piece);
        self.thought.take(&self.piece);
        let (text, stopped) = self.stop.push(&self.piece);
        self.say(text);
        if stopped {
            self.finished(Finish::Stop);
            return true;
        }
        if is_whole {
            return self.end(Finish::Stop);
        }
        self.generated_left() == 0 && self.end(Finish::Length)
    }

    /// The next token, and whether by its shape nothing can follow.
    fn choose(&mut self, logits: &[f32], tokenizer: &Tokenizer) -> Result<(u32, bool), String> {
        if self.forced.is_empty() && self.thought.is_spent() {
            self.forced.extend(self.closing.iter());
        }
        if let Some(token) = self.forced.pop_front() {
            return Ok((token, false));
        }
        let may_end = self.generated() >= self.generated_min;
        if self.grammar.is_none() && !self.sampler.penalises() && may_end {
            return Ok((self.sampler.choose(logits), false));
        }
        self.bent.clear();
        self.bent.extend_from_slice(logits);
        self.sampler.penalise(&mut self.bent);
        let thinks = self.thought.is_under_way();
        match &mut self.grammar {
            // What is to have a shape may not end before it has begun.
            Some(_) if thinks => tokenizer.forbid_end(&mut self.bent),
            Some(grammar) => grammar.allow(&mut self.bent)?,
            None if !may_end => tokenizer.forbid_end(&mut self.bent),
            None => {}
        }
        let token = self.sampler.choose(&self.bent);
        self.sampler.note(token);
        let grammar = self.grammar.as_mut().filter(|_| !thinks);
        let is_whole = grammar.map(|grammar| grammar.take(token));
        Ok((token, is_whole.transpose()?.unwrap_or(false)))
    }

    /// Tells how likely a token was, where that was asked for.
    fn tell(&self, token: u32, logits: &[f32], tokenizer: &Tokenizer) {
        let Some(count) = self.top_logprobs else {
            return;
        };
        let mut ids = likeliest_of(logits, count.into());
        ids.push(token);
        let mut told: Vec<(Vec<u8>, f32)> = ids
            .iter()
            .zip(log_probabilities(logits, &ids))
            .map(|(id, logprob)| (tokenizer.bytes(*id).to_vec(), logprob))
            .collect();
        if let Some((bytes, logprob)) = told.pop() {
            self.sink.send(ChatEvent::Chosen(Choice {
                bytes,
                logprob,
                likeliest: told,
            }));
        }
    }

    /// Ends it without a result.
    pub(crate) fn fail(&mut self, reason: &str) {
        self.ending = Some(Ending::Failed);
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

    fn finished(&mut self, finish: Finish) {
        self.ending = Some(match finish {
            Finish::Stop => Ending::Stopped,
            Finish::Length => Ending::Cut,
        });
        let usage = Usage {
            prompt_tokens: self.prompt_tokens as u32, // both are within the context, which is a u32
            completion_tokens: self.generated() as u32,
            cached_tokens: self.cached_tokens as u32,
            thought_tokens: self.thought.tokens(),
        };
        self.sink.send(ChatEvent::Finished { finish, usage });
    }
}

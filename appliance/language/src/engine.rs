//! The engine: what others hold of a loaded model.

use crate::architecture::Architecture;
use crate::backend::{Loaded, Model};
use crate::error::LoadError;
use crate::fairness::Fairness;
use crate::file::ModelFile;
use crate::forecast::{Ahead, Forecast, Queue};
use crate::generation::{self, Generation};
use crate::grammar::{Calls, Grammar, Grammars};
use crate::kernels::pages::Cache;
use crate::limits::EngineLimits;
use crate::sequence::{Asked, Sequence};
use crate::step::{self, Steps};
use crate::template::Template;
use crate::thought;
use crate::tokenizer::Tokenizer;
use pericard_domain::chat::{ChatEvent, ChatRefusal, ChatRequest, Prompt, Sampling, Shape};
use pericard_domain::device::Device;
use pericard_domain::figures::EngineFigures;
use pericard_domain::job::Priority;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// The most stop texts of a request.
const STOPS_MAX: usize = 16;
/// The longest stop text, bytes.
const STOP_BYTES_MAX: usize = 512;
/// Beyond this a temperature only means noise.
const TEMPERATURE_MAX: f32 = 10.0;
/// The largest penalty, as OpenAI has it.
const PENALTY_MAX: f32 = 2.0;
/// The most likeliest tokens that are told with each, as OpenAI has it.
const TOP_LOGPROBS_MAX: u8 = 20;

/// A loaded model: a handle that is cheap to clone. When the last handle goes, the engine takes no more requests,
/// finishes what it has and ends.
#[derive(Clone)]
pub struct Engine {
    door: Arc<Door>,
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// As in `general.architecture`.
    pub architecture: String,
    /// As in `general.name`; empty when the file has none.
    pub name: String,
    /// The longest context, tokens: the model's own, the limit given, or what the memory for keys and values holds.
    pub context_tokens: u32,
    /// The number of weights.
    pub parameters: u64,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// The size of the file, bytes.
    pub file_bytes: usize,
    /// Memory of the packed weights, bytes.
    pub weights_bytes: usize,
    /// What computes.
    pub device: Device,
    /// The instruction set in use.
    pub instructions: &'static str,
}

/// What an engine is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Sequences that have a place.
    pub running: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Tokens whose keys and values are kept.
    pub kv_tokens: usize,
    /// Tokens whose keys and values could be kept.
    pub kv_tokens_max: usize,
    /// Steps so far.
    pub steps: u64,
    /// Tokens of prompts computed so far, those of paused sequences again.
    pub prompt_tokens: u64,
    /// Tokens generated so far.
    pub generated_tokens: u64,
    /// Tokens of prompts that were looked for among what is kept, and those that were found, so far.
    pub prefix_tokens_sought: u64,
    /// See above.
    pub prefix_tokens_found: u64,
    /// Sequences that gave up their memory to more urgent ones and began again, so far.
    pub preempted: u64,
    /// Sequences that ended because nobody waited for them, so far.
    pub cancelled: u64,
}

/// What the handles share; its end closes the engine.
struct Door {
    shared: Arc<Shared>,
    tokenizer: Arc<Tokenizer>,
    template: Option<Template>,
    grammars: Grammars,
    /// The tokens that end thoughts that take too long.
    closing: Arc<[u32]>,
    info: ModelInfo,
    limits: EngineLimits,
}

/// What the handles and the engine's thread share.
pub(crate) struct Shared {
    board: Mutex<Board>,
    bell: Condvar,
    pub(crate) began: Instant,
}

/// The state that both sides see.
#[derive(Default)]
pub(crate) struct Board {
    /// Requests in order of arrival.
    pub(crate) waiting: Vec<Sequence>,
    /// Those that have a place, as those see them that come after.
    pub(crate) running: Vec<Ahead>,
    pub(crate) stats: EngineStats,
    pub(crate) figures: EngineFigures,
    pub(crate) fairness: Fairness,
    pub(crate) forecast: Forecast,
    pub(crate) closing: bool,
    pub(crate) ended: bool,
    /// Tests make the next step fail with this.
    #[cfg(test)]
    pub(crate) fault: bool,
}

impl Engine {
    /// Loads a model onto the processor and starts its threads. Blocks until the weights are packed.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the file or the limits.
    pub fn load(weights: &Path, limits: EngineLimits) -> Result<Self, LoadError> {
        Self::load_on(Device::Cpu, weights, limits)
    }

    /// Loads a model onto a device and starts its threads. Blocks until the weights are there.
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the device, the file or the limits. Another device is never taken instead.
    pub fn load_on(
        device: Device,
        weights: &Path,
        limits: EngineLimits,
    ) -> Result<Self, LoadError> {
        Self::open(weights, limits, device, |model| model.on(device))
    }

    /// What a device does, done by the processor in its place.
    #[cfg(test)]
    pub(crate) fn load_as_device(weights: &Path, limits: EngineLimits) -> Result<Self, LoadError> {
        let load = |model: Model<'_>| model.on_tensors(candle_core::Device::Cpu);
        let limits = EngineLimits {
            drafts: false,
            ..limits
        };
        Self::open(weights, limits, Device::Cpu, load)
    }

    fn open(
        weights: &Path,
        mut limits: EngineLimits,
        device: Device,
        load: impl FnOnce(Model<'_>) -> Result<Loaded, LoadError>,
    ) -> Result<Self, LoadError> {
        limits.check()?;
        // Guesses change no byte only where a row's arithmetic does not depend on the rows beside it: on the processor.
        limits.drafts &= device == Device::Cpu;
        let file = ModelFile::open(weights)?;
        let shape = Architecture::read(&file)?;
        let tokenizer = Tokenizer::new(&file)?;
        let template = Template::new(&file, &tokenizer)?;
        let (architecture, own_context) = (shape.name.clone(), shape.context_tokens);
        let loaded = load(Model {
            file: &file,
            shape,
            tokens: tokenizer.size(),
            limits: &limits,
        })?;
        let context = [
            own_context as usize,
            limits.context_tokens_max as usize,
            loaded.cache.tokens(),
        ];
        let context = context.into_iter().min().unwrap_or(0);
        if context < 2 {
            return Err(LoadError::Limit("kv_bytes_max"));
        }
        let info = ModelInfo {
            architecture,
            name: file.text("general.name").unwrap_or_default().to_owned(),
            context_tokens: context as u32, // no more than the model's own, which is a u32
            parameters: file.parameters(),
            vocabulary: tokenizer.size(),
            file_bytes: file.bytes(),
            weights_bytes: loaded.weights_bytes,
            device,
            instructions: loaded.instructions,
        };
        // Everything is where it is computed with: the mapping goes, and with it the second copy in memory.
        drop(file);
        let shared = Arc::new(Shared::new());
        let closing = tokenizer.encode(thought::CLOSING).unwrap_or_default();
        let tokenizer = Arc::new(tokenizer);
        let steps = Steps::new(
            Arc::clone(&shared),
            loaded.backend,
            loaded.cache,
            Arc::clone(&tokenizer),
            &limits,
        );
        let (runs, running) = mpsc::channel();
        std::thread::Builder::new()
            .name("language".to_owned())
            .spawn(move || {
                let _ = runs.send(());
                step::run(steps);
            })
            .map_err(LoadError::Thread)?;
        // As for the pool's threads: it runs before this returns.
        running.iter().take(1).for_each(drop);
        tracing::info!(
            architecture = info.architecture,
            parameters = info.parameters,
            context_tokens = info.context_tokens,
            device = %info.device,
            instructions = info.instructions,
            "language model loaded"
        );
        Ok(Self {
            door: Arc::new(Door {
                shared,
                grammars: Grammars::new(Arc::clone(&tokenizer)),
                tokenizer,
                template,
                closing: closing.into(),
                info,
                limits,
            }),
        })
    }

    /// Takes up a request. Quick: it tokenises and checks, and never waits for the model.
    ///
    /// # Errors
    /// [`ChatRefusal`] when the request makes no sense, does not fit, or there is too much work.
    pub fn submit(&self, request: ChatRequest) -> Result<Generation, ChatRefusal> {
        // What comes now, before there is a sequence, is part of what its caller waits for.
        let arrived = self.door.shared.began.elapsed();
        let ChatRequest {
            prompt,
            sampling,
            priority,
            tenant,
            scope,
        } = request;
        check(&sampling)?;
        let grammar = self.grammar(&sampling.shape)?;
        let (tokens, thinks) = self.tokens(&prompt)?;
        let context = self.door.info.context_tokens;
        let prompt_tokens = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        let asked = sampling.max_tokens.unwrap_or(1);
        if u64::from(prompt_tokens) + u64::from(asked) > u64::from(context) {
            return Err(ChatRefusal::DoesNotFit {
                prompt_tokens,
                max_tokens: asked,
                context_tokens: context,
            });
        }
        let room = context as usize - tokens.len();
        let most = sampling.max_tokens.map_or(room, |max| max as usize);
        let mut board = self.door.shared.lock();
        if board.closing {
            return Err(ChatRefusal::Closing);
        }
        let own = Ahead {
            class: priority,
            caller: board.fairness.number(&tenant),
            tokens: tokens.len(),
            pending: tokens.len(),
            answer_max: most.min(room),
        };
        if let Err(busy) = board.admit(&self.door.limits, own, &tenant) {
            board.figures.of(priority).refused += 1;
            return Err(busy);
        }
        let (sink, generation) = generation::channel();
        if thinks {
            sink.send(ChatEvent::Text(format!("{}\n", thought::OPEN)));
        }
        let asked = Asked {
            sampling,
            class: priority,
            tenant,
            scope,
            grammar,
            thinks,
            closing: Arc::clone(&self.door.closing),
        };
        let mut sequence = Sequence::new(tokens, room, asked, sink);
        sequence.arrive(arrived);
        board.fairness.arrive(sequence.tenant());
        board.waiting.push(sequence);
        board.stats.waiting = board.waiting.len();
        drop(board);
        self.door.shared.bell.notify_all();
        Ok(generation)
    }

    /// The ids of a prompt's tokens, template included.
    ///
    /// # Errors
    /// [`ChatRefusal::Invalid`] when it is no prompt.
    pub fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, ChatRefusal> {
        self.tokens(prompt).map(|(tokens, _)| tokens)
    }

    /// How many tokens a prompt has, template included.
    ///
    /// # Errors
    /// [`ChatRefusal::Invalid`] when it is no prompt.
    pub fn count_tokens(&self, prompt: &Prompt) -> Result<u32, ChatRefusal> {
        let tokens = self.prompt_tokens(prompt)?;
        Ok(u32::try_from(tokens.len()).unwrap_or(u32::MAX))
    }

    /// The ids of a text, as the model gets them; special tokens are recognised.
    ///
    /// # Errors
    /// [`ChatRefusal::Invalid`] when it is longer than a prompt may be.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, ChatRefusal> {
        self.check_length(text.len())?;
        self.door
            .tokenizer
            .encode(text)
            .map_err(ChatRefusal::Invalid)
    }

    /// The text of token ids; special tokens have none.
    #[must_use]
    pub fn detokenize(&self, ids: &[u32]) -> String {
        let bytes = ids
            .iter()
            .flat_map(|id| self.door.tokenizer.bytes(*id))
            .copied()
            .collect::<Vec<u8>>();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What is loaded.
    #[must_use]
    pub fn info(&self) -> ModelInfo {
        self.door.info.clone()
    }

    /// What it is doing.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.door.shared.lock().stats
    }

    /// What it counts, for the hospital's monitoring.
    #[must_use]
    pub fn figures(&self) -> EngineFigures {
        let board = self.door.shared.lock();
        let mut figures = EngineFigures {
            kv_tokens_max: board.stats.kv_tokens_max as u64,
            prefix_sought: board.stats.prefix_tokens_sought,
            prefix_found: board.stats.prefix_tokens_found,
            steps: board.stats.steps,
            ..board.figures
        };
        for ahead in &board.running {
            figures.of(ahead.class).running += 1;
        }
        for sequence in &board.waiting {
            figures.of(sequence.class()).waiting += 1;
        }
        figures
    }

    fn grammar(&self, shape: &Shape) -> Result<Option<Grammar>, ChatRefusal> {
        let grammars = &self.door.grammars;
        let grammar = match shape {
            Shape::Free => return Ok(None),
            Shape::Schema(schema) => grammars.of_schema(schema),
            Shape::Calls {
                tools,
                must,
                several,
                otherwise,
            } => grammars.of_calls(&Calls {
                tools,
                must: *must,
                several: *several,
                otherwise: otherwise.as_deref(),
            }),
        };
        grammar.map(Some).map_err(ChatRefusal::Invalid)
    }

    /// Refuses new requests from now on; what was taken up is finished, and then the threads end.
    pub fn close(&self) {
        self.door.shared.close();
    }

    /// Waits until the threads have ended after [`Self::close`]; `false` when they have not in time.
    #[must_use]
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        let board = self.door.shared.lock();
        let waited = self
            .door
            .shared
            .bell
            .wait_timeout_while(board, timeout, |board| !board.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    #[cfg(test)]
    pub(crate) fn fail_next_step(&self) {
        self.door.shared.lock().fault = true;
    }

    /// The prompt's tokens, and whether the template has already begun the model's thoughts: then the answer begins with
    /// that beginning, so that whoever takes answers apart sees where the thoughts are.
    fn tokens(&self, prompt: &Prompt) -> Result<(Vec<u32>, bool), ChatRefusal> {
        let tokenizer = &self.door.tokenizer;
        let text = match prompt {
            Prompt::Text(text) => {
                self.check_length(text.len())?;
                text.clone()
            }
            Prompt::Messages(messages) => {
                self.check_length(messages.iter().map(|message| message.content.len()).sum())?;
                let template = self.door.template.as_ref().ok_or_else(|| {
                    ChatRefusal::Invalid(
                        "this model has no chat template; send a plain prompt".to_owned(),
                    )
                })?;
                template
                    .render(messages, tokenizer)
                    .map_err(ChatRefusal::Invalid)?
            }
        };
        let tokens = tokenizer
            .encode_whole(&text)
            .map_err(ChatRefusal::Invalid)?;
        if tokens.is_empty() {
            return Err(ChatRefusal::Invalid("the prompt is empty".to_owned()));
        }
        let is_conversation = matches!(prompt, Prompt::Messages(_));
        Ok((
            tokens,
            is_conversation && text.trim_end().ends_with(thought::OPEN),
        ))
    }

    fn check_length(&self, bytes: usize) -> Result<(), ChatRefusal> {
        let max = self.door.limits.prompt_bytes_max;
        if bytes > max {
            return Err(ChatRefusal::Invalid(format!(
                "the prompt has {bytes} bytes; at most {max} are read"
            )));
        }
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Board {
    /// Whether one more request may come, by what goes before it: any amount of batch work leaves the queue open for STAT.
    /// One caller may have no more than its share, and nobody is let in who would wait for longer than is sensible.
    fn admit(&self, limits: &EngineLimits, own: Ahead, tenant: &str) -> Result<(), ChatRefusal> {
        let before = self.queue(limits, own.class);
        let (under_way, _) = self.fairness.under_way(tenant);
        // Each reason to wait has its end; it may come when all of them are over.
        let mut waits_s = Vec::new();
        let too_many = (under_way + 1).saturating_sub(limits.tenant_requests_max());
        if too_many > 0 && own.class != Priority::Stat {
            let all = self.queue(limits, Priority::Batch);
            let is_own = |ahead: &Ahead| ahead.caller == own.caller;
            waits_s.push(self.forecast.ends_s(&all, too_many, is_own));
        }
        let too_many = (before.requests.len() + 1).saturating_sub(limits.requests_max());
        if too_many > 0 {
            waits_s.push(self.forecast.ends_s(&before, too_many, |_| true));
        }
        let mut with_it = before;
        with_it.requests.push(own);
        let too_long_s = self.forecast.wait_s(&with_it) - f64::from(limits.wait_s_max);
        if too_long_s > 0.0 {
            waits_s.push(too_long_s);
        }
        match waits_s.into_iter().reduce(f64::max) {
            None => Ok(()),
            Some(wait_s) => Err(busy(wait_s)),
        }
    }

    /// What goes before one more request of a class, in the order in which it gets places.
    fn queue(&self, limits: &EngineLimits, class: Priority) -> Queue {
        let goes_before = |ahead: &Ahead| ahead.class <= class;
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|sequence| sequence.ahead(&self.fairness));
        let mut waiting: Vec<Ahead> = waiting.filter(goes_before).collect();
        waiting.sort_by_key(|ahead| ahead.class); // stable: within a class by arrival
        let mut requests = self.running.clone();
        requests.retain(goes_before);
        let running = requests.len();
        requests.extend(waiting);
        Queue {
            requests,
            running,
            places: limits.sequences_max,
            pages: Cache::pages_for(self.stats.kv_tokens_max),
        }
    }
}

fn busy(seconds: f64) -> ChatRefusal {
    ChatRefusal::Busy {
        retry_after_s: retry_after_s(seconds),
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            board: Mutex::new(Board::default()),
            bell: Condvar::new(),
            began: Instant::now(),
        }
    }

    /// The state that both sides see.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Board> {
        // Every change of the board is whole before anything that could panic.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there may be something to do, or until so much time has passed, once.
    pub(crate) fn wait<'a>(
        &self,
        board: MutexGuard<'a, Board>,
        no_longer_than: Option<Duration>,
    ) -> MutexGuard<'a, Board> {
        let Some(timeout) = no_longer_than else {
            let board = self.bell.wait(board);
            return board.unwrap_or_else(PoisonError::into_inner);
        };
        let waited = self.bell.wait_timeout(board, timeout);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Tells those who wait that the engine has ended.
    pub(crate) fn ended(&self) {
        let mut board = self.lock();
        board.closing = true;
        board.ended = true;
        board.waiting.clear();
        drop(board);
        self.bell.notify_all();
    }

    fn close(&self) {
        self.lock().closing = true;
        self.bell.notify_all();
    }
}

fn check(sampling: &Sampling) -> Result<(), ChatRefusal> {
    let refuse = |what: String| Err(ChatRefusal::Invalid(what));
    if !(0.0..=TEMPERATURE_MAX).contains(&sampling.temperature) {
        return refuse(format!(
            "the temperature must be from 0 to {TEMPERATURE_MAX}"
        ));
    }
    if !(0.0..=1.0).contains(&sampling.top_p) {
        return refuse("top_p must be from 0 to 1".to_owned());
    }
    let penalties = [sampling.presence_penalty, sampling.frequency_penalty];
    if penalties
        .iter()
        .any(|p| !(-PENALTY_MAX..=PENALTY_MAX).contains(p))
    {
        return refuse(format!(
            "penalties must be from -{PENALTY_MAX} to {PENALTY_MAX}"
        ));
    }
    if sampling
        .top_logprobs
        .is_some_and(|count| count > TOP_LOGPROBS_MAX)
    {
        return refuse(format!(
            "at most {TOP_LOGPROBS_MAX} of the likeliest tokens are told"
        ));
    }
    if sampling.max_tokens == Some(0) {
        return refuse("max_tokens must be at least 1".to_owned());
    }
    if sampling.stop.len() > STOPS_MAX
        || sampling
            .stop
            .iter()
            .any(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX)
    {
        return refuse(format!(
            "at most {STOPS_MAX} stop texts of 1 to {STOP_BYTES_MAX} bytes each are taken"
        ));
    }
    Ok(())
}

/// A whole number of seconds that a client can be told.
fn retry_after_s(seconds: f64) -> u32 {
    const LONGEST_S: f64 = 600.0;
    seconds.clamp(1.0, LONGEST_S).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package;

    fn request(text: &str, tokens: u32) -> ChatRequest {
        ChatRequest {
            prompt: Prompt::Text(text.to_owned()),
            sampling: Sampling {
                temperature: 0.0,
                max_tokens: Some(tokens),
                ..Sampling::default()
            },
            priority: Priority::Routine,
            tenant: String::new(),
            scope: String::new(),
        }
    }

    #[test]
    fn a_failing_step_costs_its_sequences_and_nothing_else() {
        let Some(weights) = package::weights() else {
            return;
        };
        let engine = Engine::load(&weights, EngineLimits::default()).expect("loads");
        engine.fail_next_step();
        let mut lost = engine.submit(request("The heart", 4)).expect("taken up");
        assert!(matches!(lost.recv(), Some(ChatEvent::Failed(_))));
        assert_eq!(lost.recv(), None);
        let mut next = engine.submit(request("The heart", 4)).expect("taken up");
        let events: Vec<ChatEvent> = std::iter::from_fn(|| next.recv()).collect();
        assert!(
            matches!(events.last(), Some(ChatEvent::Finished { .. })),
            "{events:?}"
        );
        engine.close();
        assert!(engine.wait_closed(Duration::from_secs(60)));
        assert!(matches!(
            engine.submit(request("x", 1)),
            Err(ChatRefusal::Closing)
        ));
        assert_eq!(engine.stats().kv_tokens, 0);
    }
}

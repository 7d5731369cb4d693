//! Language models: one process for each, with its own scheduler on the cores that are language's share.
//!
//! A keeper thread hears what the worker tells, notices when it is lost or stands still, and has it replaced. What was
//! under way fails with a word; what comes meanwhile is told to come again.

use crate::imaging::{held, rest_after};
use crate::runner::Loaded;
use crate::staff::Staff;
use crate::words::{Ask, Load, Share, Started, Tell, clipped};
use crate::worker::LANGUAGE;
use pericard_confine::{Channel, ChannelError, Lost, Worker};
use pericard_domain::chat::{ChatEvent, ChatRefusal, ChatRequest, Embeddings, Prompt};
use pericard_domain::device::Device;
use pericard_domain::figures::EngineFigures;
use pericard_domain::model::Package;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc as events;

/// How often a worker that is silent while it has something to do is asked how far it is.
const PULSE_S: u64 = 5;
/// The longest that an engine with work may stay at one step: a step is a fraction of a second.
const STANDSTILL_S: u64 = 120;
/// The longest that taking a request up may take: it is tokenised.
const ANSWER_TIMEOUT_S: u64 = 30;
/// A context that holds more is not believed.
const CONTEXT_TOKENS_MAX: u32 = 1 << 24;
/// Questions that may wait for one encoder.
const ASKED_MAX: usize = 32;
/// When to try again once as many wait.
const ASKED_S: u32 = 2;
/// When to try again while a lost worker is being replaced.
const REPLACING_S: u32 = 5;

pub(crate) struct Language {
    staff: Staff,
    share: Share,
    device: Device,
    seats: Mutex<BTreeMap<String, Arc<Seat>>>,
}

/// A loaded model, whether or not its worker lives at the moment.
struct Seat {
    staff: Staff,
    load: Load,
    loaded: Loaded,
    /// `None` while a lost worker is being replaced.
    line: Mutex<Option<Arc<Line>>>,
    closing: AtomicBool,
}

/// The conversation with one living worker.
struct Line {
    pid: u32,
    /// Whether the worker is still heard.
    open: AtomicBool,
    /// To the thread that writes: nobody else ever waits for the worker to read.
    asks: mpsc::Sender<Ask>,
    /// The longest that whoever asks waits to be answered.
    patience: Duration,
    next: AtomicU64,
    answers: Mutex<HashMap<u64, mpsc::SyncSender<Tell>>>,
    talks: Mutex<HashMap<u64, events::Sender<ChatEvent>>>,
    events_max: usize,
}

impl Language {
    pub(crate) fn new(staff: Staff, share: Share, device: Device) -> Self {
        Self {
            staff,
            share,
            device,
            seats: Mutex::default(),
        }
    }

    /// Loads a model. Where another version of it serves, that one serves until this one is ready, and then ends what it began: no
    /// request falls between them.
    pub(crate) fn load(&self, package: &Package) -> Result<Loaded, String> {
        let begun = Instant::now();
        let load = Load::Language {
            package: package.clone(),
            share: self.share,
            device: self.device,
        };
        let hired = self.staff.hire(LANGUAGE, &load);
        let (worker, started) = hired.map_err(|lost| lost.to_string())??;
        let loaded = Loaded {
            model: package.model.clone(),
            task: package.manifest.task,
            device: started.device.clone(),
            load_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            context_tokens: Some(started.context_tokens.unwrap_or(0)),
        };
        let seat = Arc::new(Seat {
            staff: self.staff.clone(),
            load,
            loaded: loaded.clone(),
            line: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let line = Line::open(&worker, &started)?;
        *held(&seat.line) = Some(Arc::clone(&line));
        let keeper = Arc::clone(&seat);
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || keeper.keep(worker, line))
            .map_err(|e| e.to_string())?;
        let before = held(&self.seats).insert(package.model.name.clone(), seat);
        if let Some(seat) = before {
            seat.close(); // what it runs may end; new requests go to the new one
        }
        Ok(loaded)
    }

    pub(crate) fn loaded(&self) -> Vec<Loaded> {
        let seats = held(&self.seats);
        seats.values().map(|seat| seat.loaded.clone()).collect()
    }

    /// Takes a model away: its process ends when its talks have.
    pub(crate) fn unload(&self, name: &str) -> bool {
        let seat = held(&self.seats).remove(name);
        seat.map(|seat| seat.close()).is_some()
    }

    /// The worker's process, for whoever watches it.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        let seat = held(&self.seats).get(name).cloned()?;
        let line = held(&seat.line);
        line.as_ref().map(|line| line.pid)
    }

    pub(crate) fn chat(&self, model: &str, request: ChatRequest) -> Result<Talk, ChatRefusal> {
        self.through(model, |line| line.chat(request.clone()))
    }

    pub(crate) fn tokens(&self, model: &str, prompt: &Prompt) -> Result<Vec<u32>, ChatRefusal> {
        self.through(model, |line| {
            let number = line.number();
            match line.answer(number, Ask::Tokens(number, prompt.clone())) {
                Ok(Tell::Tokens(_, tokens)) => Ok(tokens),
                refused => Err(refusal(refused)),
            }
        })
    }

    pub(crate) fn text(&self, model: &str, tokens: &[u32]) -> Result<String, ChatRefusal> {
        self.through(model, |line| {
            let number = line.number();
            match line.answer(number, Ask::Text(number, tokens.to_vec())) {
                Ok(Tell::Text(_, text)) => Ok(text),
                refused => Err(refusal(refused)),
            }
        })
    }

    pub(crate) fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, ChatRefusal> {
        self.through(model, |line| {
            if held(&line.answers).len() >= ASKED_MAX {
                return Err(ChatRefusal::Busy {
                    retry_after_s: ASKED_S,
                });
            }
            let number = line.number();
            match line.answer(number, Ask::Embed(number, texts.to_vec())) {
                Ok(Tell::Embedded(_, embedded)) if embedded.vectors.len() == texts.len() => {
                    Ok(embedded)
                }
                refused => Err(refusal(refused)),
            }
        })
    }

    /// What each engine counts, as far as it answers.
    pub(crate) fn figures(&self) -> Vec<(Loaded, EngineFigures)> {
        let of = |loaded: Loaded| {
            let line = self.line(&loaded.model.name).ok()?;
            let number = line.number();
            match line.answer(number, Ask::Figures(number)) {
                Ok(Tell::Figures(_, figures)) => Some((loaded, *figures)),
                _ => None,
            }
        };
        self.loaded().into_iter().filter_map(of).collect()
    }

    /// Does something with a model's worker; once more with its successor when it was replaced at this very moment, so
    /// that a new version of a model costs no request.
    fn through<T>(
        &self,
        model: &str,
        act: impl Fn(&Arc<Line>) -> Result<T, ChatRefusal>,
    ) -> Result<T, ChatRefusal> {
        let line = self.line(model)?;
        match act(&line) {
            Err(ChatRefusal::Busy { .. } | ChatRefusal::Closing)
                if !line.open.load(Ordering::Acquire) =>
            {
                let next = self.line(model)?;
                if Arc::ptr_eq(&line, &next) {
                    return Err(REPLACING);
                }
                act(&next)
            }
            done => done,
        }
    }

    pub(crate) fn close(&self) {
        held(&self.seats).values().for_each(|seat| seat.close());
    }

    fn line(&self, model: &str) -> Result<Arc<Line>, ChatRefusal> {
        let find = || {
            let seats = held(&self.seats);
            let seat = seats.get(model).cloned();
            seat.ok_or_else(|| ChatRefusal::UnknownModel {
                loaded: seats.keys().cloned().collect(),
            })
        };
        let mut seat = find()?;
        if seat.closing.load(Ordering::Acquire) {
            // Either everything closes, or another version has taken its place since it was found.
            seat = find()?;
        }
        if seat.closing.load(Ordering::Acquire) {
            return Err(ChatRefusal::Closing);
        }
        let line = held(&seat.line).clone();
        line.ok_or(REPLACING)
    }
}

const REPLACING: ChatRefusal = ChatRefusal::Busy {
    retry_after_s: REPLACING_S,
};

fn refusal(answer: Result<Tell, ChatRefusal>) -> ChatRefusal {
    match answer {
        Err(refusal) | Ok(Tell::Refused(_, refusal)) => refusal,
        Ok(_) => REPLACING,
    }
}

impl Seat {
    /// No new requests; what runs may end.
    fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// The keeper's life: as long as the model is loaded or a talk is under way.
    fn keep(&self, mut worker: Worker, mut line: Arc<Line>) {
        let mut losses = 0;
        loop {
            let begun = Instant::now();
            let Some(lost) = self.hear(&worker, &line) else {
                line.fail_all(); // closed, and nothing is under way but what came at this very moment
                return;
            };
            *held(&self.line) = None;
            line.fail_all();
            drop(worker);
            // One that worked for longer than any rest has nothing to do with the losses before.
            losses = if begun.elapsed() > Duration::from_secs(120) {
                1
            } else {
                losses + 1
            };
            tracing::warn!(losses, %lost, "a language worker was lost");
            let Some((next, next_line)) = self.replace(&mut losses) else {
                return;
            };
            (worker, line) = (next, next_line);
            *held(&self.line) = Some(Arc::clone(&line));
        }
    }

    /// A new worker; `None` when the model is closed meanwhile.
    fn replace(&self, losses: &mut u32) -> Option<(Worker, Arc<Line>)> {
        loop {
            let rest_until = Instant::now() + rest_after(*losses).unwrap_or_default();
            while Instant::now() < rest_until {
                if self.closing.load(Ordering::Acquire) {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(100)); // closing is a flag: the rest is cut into looks at it
            }
            let hired = self.staff.hire(LANGUAGE, &self.load);
            let why = match hired.map_err(|lost| lost.to_string()).and_then(|h| h) {
                Ok((worker, started)) => match Line::open(&worker, &started) {
                    Ok(line) => {
                        tracing::info!(pid = line.pid, "a lost language worker was replaced");
                        return Some((worker, line));
                    }
                    Err(why) => why,
                },
                Err(why) => why,
            };
            *losses += 1;
            tracing::error!(
                losses = *losses,
                why = clipped(&why),
                "a lost language worker cannot be replaced"
            );
        }
    }

    /// Hears a worker until it is lost, or until the model is closed and nothing is under way.
    fn hear(&self, worker: &Worker, line: &Line) -> Option<Lost> {
        let channel = worker.channel();
        let pulse = Duration::from_secs(PULSE_S);
        let (mut steps, mut moved) = (None, Instant::now());
        loop {
            let idle = line.is_idle();
            if idle {
                moved = Instant::now();
                if self.closing.load(Ordering::Acquire) {
                    return None;
                }
            }
            if moved.elapsed() > Duration::from_secs(STANDSTILL_S) {
                let standstill = Duration::from_secs(STANDSTILL_S);
                return Some(worker.lost(&ChannelError::Late, standstill));
            }
            let wait = if idle { pulse / 10 } else { pulse };
            let heard = match channel.wait(wait) {
                Ok(false) if idle => continue,
                Ok(false) => {
                    let _ = line.asks.send(Ask::Steps); // a writer that is gone is found out by reading
                    continue;
                }
                Ok(true) => channel.receive_until::<Tell>(Some(Instant::now() + pulse)),
                Err(error) => Err(error),
            };
            match heard.map(|tell| line.take(tell)) {
                Ok(Ok(Some(now))) if steps == Some(now) => {}
                Ok(Ok(now)) => (steps, moved) = (now.or(steps), Instant::now()),
                Ok(Err(broken)) | Err(broken) => return Some(worker.lost(&broken, pulse)),
            }
        }
    }
}

impl Line {
    fn open(worker: &Worker, started: &Started) -> Result<Arc<Self>, String> {
        let mouth = worker.channel().again().map_err(|e| e.to_string())?;
        let (asks, to_write) = mpsc::channel();
        std::thread::Builder::new()
            .name("language-asks".into())
            .spawn(move || write(&mouth, &to_write))
            .map_err(|e| e.to_string())?;
        // A token may tell of itself and give a piece of text; then comes one end.
        let context_tokens = started.context_tokens.unwrap_or(0).min(CONTEXT_TOKENS_MAX);
        let events_max = 2 * context_tokens as usize + 2;
        Ok(Arc::new(Self {
            pid: worker.leash().pid(),
            open: AtomicBool::new(true),
            asks,
            patience: Duration::from_secs(ANSWER_TIMEOUT_S),
            next: AtomicU64::new(0),
            answers: Mutex::default(),
            talks: Mutex::default(),
            events_max,
        }))
    }

    fn chat(self: &Arc<Self>, request: ChatRequest) -> Result<Talk, ChatRefusal> {
        let number = self.number();
        // As many as the worker may ever send for it: whoever has taken a worker over must not fill our memory.
        let (sink, events) = events::channel(self.events_max);
        held(&self.talks).insert(number, sink);
        let mut talk = Talk {
            line: Arc::clone(self),
            number,
            events,
            ended: false,
        };
        let answer = self.answer(number, Ask::Chat(number, request));
        match answer {
            Ok(Tell::Accepted(_)) => return Ok(talk),
            Ok(Tell::Refused(..)) => {
                talk.ended = true;
                held(&self.talks).remove(&number);
            }
            // A worker that is only late may still take it up: dropped, the talk cancels it.
            _ => {}
        }
        Err(refusal(answer))
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        held(&self.talks).is_empty() && held(&self.answers).is_empty()
    }

    /// Asks, and waits for the answer of that number.
    fn answer(&self, number: u64, ask: Ask) -> Result<Tell, ChatRefusal> {
        let (sink, answer) = mpsc::sync_channel(1);
        held(&self.answers).insert(number, sink);
        // After it was put there: whoever closes the line either sees it there, or closed it before this.
        if !self.open.load(Ordering::Acquire) {
            held(&self.answers).remove(&number);
            return Err(REPLACING);
        }
        let sent = self.asks.send(ask);
        let answer = match sent {
            Ok(()) => answer.recv_timeout(self.patience),
            Err(_) => Err(mpsc::RecvTimeoutError::Disconnected),
        };
        held(&self.answers).remove(&number);
        answer.map_err(|_| REPLACING)
    }

    /// Takes what was told; gives the engine's step when that is what was told.
    fn take(&self, tell: Tell) -> Result<Option<u64>, ChannelError> {
        match tell {
            Tell::Steps(steps) => return Ok(Some(steps)),
            Tell::Accepted(number)
            | Tell::Refused(number, _)
            | Tell::Tokens(number, _)
            | Tell::Text(number, _)
            | Tell::Embedded(number, _)
            | Tell::Figures(number, _) => {
                // Whoever asked may have given up.
                if let Some(asked) = held(&self.answers).remove(&number) {
                    let _ = asked.try_send(tell);
                }
            }
            Tell::Event(number, event) => {
                let last = event.is_end();
                let mut talks = held(&self.talks);
                // A talk that was dropped is told of for a moment longer.
                if let Some(talk) = talks.get(&number) {
                    match talk.try_send(event) {
                        Err(events::error::TrySendError::Full(_)) => {
                            return Err(ChannelError::Malformed);
                        }
                        Err(events::error::TrySendError::Closed(_)) => drop(talks.remove(&number)),
                        Ok(()) if last => drop(talks.remove(&number)),
                        Ok(()) => {}
                    }
                }
            }
        }
        Ok(None)
    }

    /// A generation never just goes silent.
    fn fail_all(&self) {
        self.open.store(false, Ordering::Release);
        let word = "the language worker was lost before the answer ended; ask again";
        for (_, talk) in held(&self.talks).drain() {
            let _ = talk.try_send(ChatEvent::Failed(word.to_owned())); // a full one ends without a word
        }
        held(&self.answers).clear();
    }
}

/// The writer's life: until nobody can ask any more, or the worker is gone.
fn write(mouth: &Channel, asks: &mpsc::Receiver<Ask>) {
    for ask in asks {
        if mouth.send_with(&ask, &[]).is_err() {
            return;
        }
    }
}

/// A generation under way. Dropped, it stops within a step.
pub struct Talk {
    line: Arc<Line>,
    number: u64,
    events: events::Receiver<ChatEvent>,
    ended: bool,
}

impl Talk {
    /// The next event; `None` after the end.
    pub async fn next(&mut self) -> Option<ChatEvent> {
        if self.ended {
            return None;
        }
        let event = self.events.recv().await.unwrap_or_else(|| {
            ChatEvent::Failed("the language worker was lost; ask again".to_owned())
        });
        self.ended = event.is_end();
        Some(event)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if !self.ended {
            held(&self.line.talks).remove(&self.number);
            let _ = self.line.asks.send(Ask::Cancel(self.number)); // a lost worker has cancelled it already
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::chat::Sampling;
    use pericard_domain::job::Priority;

    fn line(patience: Duration) -> (Arc<Line>, mpsc::Receiver<Ask>) {
        let (asks, heard) = mpsc::channel();
        let line = Line {
            pid: 0,
            open: AtomicBool::new(true),
            asks,
            patience,
            next: AtomicU64::new(0),
            answers: Mutex::default(),
            talks: Mutex::default(),
            events_max: 2,
        };
        (Arc::new(line), heard)
    }

    fn request() -> ChatRequest {
        ChatRequest {
            prompt: Prompt::Text("x".to_owned()),
            sampling: Sampling::default(),
            priority: Priority::Routine,
            tenant: String::new(),
            scope: String::new(),
        }
    }

    #[test]
    fn a_chat_that_is_given_up_is_cancelled() {
        let (line, heard) = line(Duration::from_millis(1));
        assert_eq!(line.chat(request()).err(), Some(REPLACING));
        let asked: Vec<Ask> = heard.try_iter().collect();
        assert!(
            matches!(asked[..], [Ask::Chat(0, _), Ask::Cancel(0)]),
            "{asked:?}"
        );
        assert!(line.is_idle());
    }

    #[test]
    fn a_chat_that_the_worker_refuses_needs_no_cancelling() {
        let (line, heard) = line(Duration::from_secs(60));
        let worker = Arc::clone(&line);
        let refuses = std::thread::spawn(move || {
            let asked = heard.recv();
            let told = worker.take(Tell::Refused(0, ChatRefusal::Closing));
            (asked, told.is_ok(), heard)
        });
        assert_eq!(line.chat(request()).err(), Some(ChatRefusal::Closing));
        let (asked, told, heard) = refuses.join().expect("no panic");
        assert!(matches!(asked, Ok(Ask::Chat(0, _))) && told);
        assert_eq!(heard.try_iter().count(), 0);
        assert!(line.is_idle());
    }
}

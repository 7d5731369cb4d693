//! The worker of one language model: requests in, events out; or, of an encoder, texts in and vectors out.
//!
//! The main thread hears; a second one, the teller, sends what generations give. A cancelled generation is dropped, and
//! the engine lets go of it within a step.

use super::started;
use crate::words::{Ask, Share, Started, Tell};
use pericard_confine::{Channel, ChannelError};
use pericard_domain::chat::{ChatEvent, ChatRefusal, ChatRequest, Prompt};
use pericard_domain::device::Device;
use pericard_domain::figures::EngineFigures;
use pericard_domain::model::{Package, Task};
use pericard_language::{Embedder, Engine, EngineLimits, Generation};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};

pub(super) struct Speaker {
    mind: Mind,
    desk: Arc<Desk>,
}

/// What the model is.
enum Mind {
    Decoder(Engine),
    Encoder(Box<Embedder>),
}

/// Of a model's memory, what keys and values may take at most, bytes.
const KV_BYTES_MAX: usize = 1 << 30;
/// What they get at least, however small the budget: then it is the budget that is wrong, and the walls say so.
const KV_BYTES_MIN: usize = 64 << 20;

/// What the two threads share.
struct Desk {
    /// Whole messages: one thread writes at a time.
    mouth: Mutex<Channel>,
    talks: Mutex<BTreeMap<u64, Generation>>,
    bell: Bell,
}

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

pub(super) fn load(
    package: &Package,
    (share, device): (Share, Device),
    channel: &Channel,
) -> Result<(Speaker, Started), String> {
    let (mind, started) = match package.manifest.task {
        Task::Embedding => encoder(package)?,
        _ => decoder(package, share, device)?,
    };
    let desk = Arc::new(Desk {
        mouth: Mutex::new(channel.again().map_err(|e| e.to_string())?),
        talks: Mutex::default(),
        bell: Bell::default(),
    });
    let teller = Arc::clone(&desk);
    let (runs, running) = mpsc::sync_channel(1);
    // Now, and really running: a locked worker starts no thread, and a thread that begins asks the system for more than one
    // that is under way.
    std::thread::Builder::new()
        .name("teller".into())
        .spawn(move || {
            let _ = runs.send(());
            tell(&teller);
        })
        .map_err(|e| e.to_string())?;
    running.recv().map_err(|e| e.to_string())?;
    Ok((Speaker { mind, desk }, started))
}

fn decoder(package: &Package, share: Share, device: Device) -> Result<(Mind, Started), String> {
    let weights = package
        .part("weights")
        .ok_or("the manifest names no file for the part `weights`")?;
    let limits = EngineLimits {
        threads: share.threads,
        sequences_max: share.sequences_max,
        queue_max: share.queue_max,
        kv_bytes_max: kv_bytes(package, &weights),
        kv_form: share.kv_form,
        ..EngineLimits::default()
    };
    let engine = Engine::load_on(device, &weights, limits).map_err(|e| e.to_string())?;
    // They also warm the engine up: what it starts late, it starts before it is locked in.
    for case in &package.manifest.golden {
        engine.golden(&package.dir, case)?;
    }
    let info = engine.info();
    let started = started(&info.device.to_string(), Some(info.context_tokens));
    Ok((Mind::Decoder(engine), started))
}

/// The model's budget, less its weights once packed and as much again for everything else.
fn kv_bytes(package: &Package, weights: &std::path::Path) -> usize {
    let file = std::fs::metadata(weights).map_or(0, |file| file.len());
    let budget = u64::from(package.manifest.budget.memory_mib) << 20;
    let left = usize::try_from(budget.saturating_sub(2 * file)).unwrap_or(usize::MAX);
    left.clamp(KV_BYTES_MIN, KV_BYTES_MAX)
}

fn encoder(package: &Package) -> Result<(Mind, Started), String> {
    let embedder = Embedder::load(package).map_err(|e| e.to_string())?;
    for case in &package.manifest.golden {
        embedder.golden(&package.dir, case)?;
    }
    let started = started("cpu", Some(embedder.tokens_max()));
    Ok((Mind::Encoder(Box::new(embedder)), started))
}

impl Mind {
    fn tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, ChatRefusal> {
        match (self, prompt) {
            (Self::Decoder(engine), _) => engine.prompt_tokens(prompt),
            (Self::Encoder(embedder), Prompt::Text(text)) => embedder.tokens(0, text),
            (Self::Encoder(_), Prompt::Messages(_)) => Err(no_talker()),
        }
    }

    fn text(&self, tokens: &[u32]) -> String {
        match self {
            Self::Decoder(engine) => engine.detokenize(tokens),
            Self::Encoder(embedder) => embedder.text(tokens),
        }
    }
}

fn no_talker() -> ChatRefusal {
    ChatRefusal::Invalid("this model makes texts into vectors; it does not converse".to_owned())
}

impl Speaker {
    pub(super) fn work(self, channel: &Channel) {
        while let Ok((ask, _)) = channel.receive_with::<Ask>() {
            let told = match ask {
                Ask::Cancel(number) => {
                    drop(self.desk.talks().remove(&number));
                    Ok(())
                }
                Ask::Steps => self.desk.say(&Tell::Steps(self.steps())),
                Ask::Tokens(number, prompt) => {
                    let tokens = self.mind.tokens(&prompt);
                    self.reply(number, tokens, |tokens| Tell::Tokens(number, tokens))
                }
                Ask::Text(number, tokens) => {
                    self.desk.say(&Tell::Text(number, self.mind.text(&tokens)))
                }
                Ask::Embed(number, texts) => {
                    let embedded = match &self.mind {
                        Mind::Encoder(embedder) => embedder.embed(&texts),
                        Mind::Decoder(_) => Err(ChatRefusal::Invalid(
                            "this model converses; it does not make texts into vectors".to_owned(),
                        )),
                    };
                    self.reply(number, embedded, |vectors| Tell::Embedded(number, vectors))
                }
                Ask::Figures(number) => {
                    let figures = match &self.mind {
                        Mind::Decoder(engine) => engine.figures(),
                        Mind::Encoder(_) => EngineFigures::default(),
                    };
                    self.desk.say(&Tell::Figures(number, Box::new(figures)))
                }
                Ask::Chat(number, request) => match self.chat(number, request) {
                    Ok(true) => Ok(()),
                    // The device failed: this worker ends, and is replaced.
                    Ok(false) => return,
                    Err(error) => Err(error),
                },
            };
            if told.is_err() {
                return;
            }
        }
    }
}

impl Speaker {
    fn steps(&self) -> u64 {
        match &self.mind {
            Mind::Decoder(engine) => engine.stats().steps,
            Mind::Encoder(_) => 0,
        }
    }

    fn reply<T>(
        &self,
        number: u64,
        got: Result<T, ChatRefusal>,
        tell: impl FnOnce(T) -> Tell,
    ) -> Result<(), ChannelError> {
        let told = got.map_or_else(|refusal| Tell::Refused(number, refusal), tell);
        self.desk.say(&told)
    }

    /// `false` when the engine takes nothing more.
    fn chat(&self, number: u64, request: ChatRequest) -> Result<bool, ChannelError> {
        let submitted = match &self.mind {
            Mind::Decoder(engine) => engine.submit(request),
            Mind::Encoder(_) => Err(no_talker()),
        };
        match submitted {
            Err(refusal) => {
                let goes_on = refusal != ChatRefusal::Closing;
                self.desk.say(&Tell::Refused(number, refusal))?;
                Ok(goes_on)
            }
            Ok(generation) => {
                // Said before the first event can be.
                let said = self.desk.say(&Tell::Accepted(number));
                self.desk.talks().insert(number, generation);
                self.desk.bell.ring();
                said.map(|()| true)
            }
        }
    }
}

impl Desk {
    fn say(&self, tell: &Tell) -> Result<(), ChannelError> {
        let mouth = self.mouth.lock().unwrap_or_else(PoisonError::into_inner);
        mouth.send(tell)
    }

    fn talks(&self) -> MutexGuard<'_, BTreeMap<u64, Generation>> {
        // A generation is put in or taken out whole.
        self.talks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to tell by now, in the order of each talk.
    fn events(&self, context: &mut Context<'_>) -> Vec<(u64, ChatEvent)> {
        let mut events = Vec::new();
        self.talks().retain(|number, generation| {
            loop {
                match generation.poll_recv(context) {
                    Poll::Ready(Some(event)) => events.push((*number, event)),
                    Poll::Ready(None) => return false,
                    Poll::Pending => return true,
                }
            }
        });
        events
    }
}

/// The teller's life: whenever a generation has something, tell it.
fn tell(desk: &Arc<Desk>) {
    struct Ringer(Arc<Desk>);
    impl Wake for Ringer {
        fn wake(self: Arc<Self>) {
            self.0.bell.ring();
        }
    }
    let waker = Waker::from(Arc::new(Ringer(Arc::clone(desk))));
    let mut context = Context::from_waker(&waker);
    loop {
        for (number, event) in desk.events(&mut context) {
            if desk.say(&Tell::Event(number, event)).is_err() {
                return;
            }
        }
        desk.bell.wait();
    }
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let rung = self.changed.wait_while(rung, |rung| !*rung);
        *rung.unwrap_or_else(PoisonError::into_inner) = false;
    }
}

//! The worker of one language model: requests in, events out.
//!
//! The main thread hears; a second one, the teller, sends what generations give. A cancelled generation is dropped, and
//! the engine lets go of it within a step.

use super::started;
use crate::words::{Ask, Share, Started, Tell};
use pericard_confine::{Channel, ChannelError};
use pericard_domain::chat::ChatEvent;
use pericard_domain::model::Package;
use pericard_language::{Engine, EngineLimits, Generation};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};

pub(super) struct Speaker {
    engine: Engine,
    desk: Arc<Desk>,
}

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
    share: Share,
    channel: &Channel,
) -> Result<(Speaker, Started), String> {
    let weights = package
        .part("weights")
        .ok_or("the manifest names no file for the part `weights`")?;
    let limits = EngineLimits {
        threads: share.threads,
        sequences_max: share.sequences_max,
        queue_max: share.queue_max,
        ..EngineLimits::default()
    };
    let engine = Engine::load(&weights, limits).map_err(|e| e.to_string())?;
    // They also warm the engine up: what it starts late, it starts before it is locked in.
    for case in &package.manifest.golden {
        engine.golden(&package.dir, case)?;
    }
    let info = engine.info();
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
    let started = started(info.device, Some(info.context_tokens));
    Ok((Speaker { engine, desk }, started))
}

impl Speaker {
    pub(super) fn work(self, channel: &Channel) {
        while let Ok((ask, _)) = channel.receive_with::<Ask>() {
            let told = match ask {
                Ask::Cancel(number) => {
                    drop(self.desk.talks().remove(&number));
                    Ok(())
                }
                Ask::Steps => self.desk.say(&Tell::Steps(self.engine.stats().steps)),
                Ask::Count(number, prompt) => {
                    let counted = self.engine.count_tokens(&prompt);
                    self.desk.say(&counted.map_or_else(
                        |refusal| Tell::Refused(number, refusal),
                        |tokens| Tell::Counted(number, tokens),
                    ))
                }
                Ask::Chat(number, request) => match self.engine.submit(request) {
                    Err(refusal) => self.desk.say(&Tell::Refused(number, refusal)),
                    Ok(generation) => {
                        // Said before the first event can be.
                        let said = self.desk.say(&Tell::Accepted(number));
                        self.desk.talks().insert(number, generation);
                        self.desk.bell.ring();
                        said
                    }
                },
            };
            if told.is_err() {
                return;
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

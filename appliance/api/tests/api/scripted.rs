//! A language model that says what it was told to say: it repeats the last message word by word.

use futures_util::future::BoxFuture;
use pericard_api::{Speech, Talker};
use pericard_domain::chat::{
    ChatEvent, ChatRefusal, ChatRequest, Choice, Embeddings, Finish, Prompt, Usage,
};
use pericard_domain::digest::Digest;
use pericard_domain::entity::Entity;
use pericard_domain::figures::EngineFigures;
use pericard_domain::job::Priority;
use pericard_domain::model::{ModelRef, Task};
use pericard_runner::{Loaded, RunFailure};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// The only model.
pub(crate) const MODEL: &str = "parrot";
/// The one that makes texts into vectors.
pub(crate) const ENCODER: &str = "scales";
/// The one that marks names in texts, once it is told to.
pub(crate) const MARKER: &str = "herald";
/// Tokens that its context holds: one a word.
pub(crate) const CONTEXT: u32 = 16;

/// The scripted model.
#[derive(Default)]
pub(crate) struct Scripted {
    /// Answers under way.
    pub(crate) open: Arc<AtomicUsize>,
    /// What it says instead, once it is told to, without counting words.
    pub(crate) says: Mutex<Option<String>>,
    /// With whom each question may share what was computed, in order.
    pub(crate) scopes: Mutex<Vec<String>>,
    /// What the model that reads texts marks in every one of them; without an answer there is no such model.
    pub(crate) marks: Mutex<Option<Result<Vec<Entity>, RunFailure>>>,
    /// Told whenever an answer is dropped.
    pub(crate) closed: Arc<Notify>,
}

impl Talker for Scripted {
    fn walls(&self) -> Option<Result<pericard_runner::Walls, String>> {
        Some(Ok(pericard_runner::Walls::default()))
    }

    fn loaded(&self) -> Vec<Loaded> {
        let digest = Digest::new([0xab; 32]);
        let model = ModelRef {
            name: MODEL.into(),
            version: "1.2.3".into(),
            digest,
        };
        let chat = Loaded {
            model,
            task: Task::Chat,
            device: "cpu".into(),
            load_ms: 1,
            context_tokens: Some(CONTEXT),
        };
        let seer = Loaded {
            model: ModelRef {
                name: "seer".into(),
                ..chat.model.clone()
            },
            task: Task::TextSpotting,
            context_tokens: None,
            ..chat.clone()
        };
        let encoder = Loaded {
            model: ModelRef {
                name: ENCODER.into(),
                ..chat.model.clone()
            },
            task: Task::Embedding,
            ..chat.clone()
        };
        let marker = Loaded {
            model: ModelRef {
                name: MARKER.into(),
                ..chat.model.clone()
            },
            task: Task::TokenClassification,
            context_tokens: None,
            ..chat.clone()
        };
        let marks = self.marks.lock().expect("nobody panics with it").is_some();
        let marker = marks.then_some(marker);
        [chat, seer, encoder].into_iter().chain(marker).collect()
    }

    fn chat(&self, model: &str, request: ChatRequest) -> Result<Box<dyn Speech>, ChatRefusal> {
        let words = last_words(&request.prompt);
        let mut scopes = self.scopes.lock().expect("nobody panics with it");
        scopes.push(request.scope.clone());
        drop(scopes);
        let says = self.says.lock().expect("nobody panics with it").clone();
        if let Some(says) = says {
            let pieces = says.split_inclusive(' ');
            return Ok(self.telling(pieces.map(|piece| ChatEvent::Text(piece.to_owned()))));
        }
        let prompt_tokens = self.tokens(model, &request.prompt)?.len() as u32;
        let most = request.sampling.max_tokens;
        if prompt_tokens + most.unwrap_or(1) > CONTEXT {
            let max_tokens = most.unwrap_or(1);
            return Err(ChatRefusal::DoesNotFit {
                prompt_tokens,
                max_tokens,
                context_tokens: CONTEXT,
            });
        }
        if words == ["busy"] {
            return Err(ChatRefusal::Busy { retry_after_s: 7 });
        }
        let said = words.iter().take(most.unwrap_or(u32::MAX) as usize);
        let said: Vec<_> = said.map(|w| format!("{w} ")).collect();
        let completion_tokens = u32::try_from(said.len()).expect("few");
        let finish = if said.len() < words.len() {
            Finish::Length
        } else {
            Finish::Stop
        };
        let tells = request.sampling.top_logprobs;
        let each = said.into_iter().flat_map(|word| {
            let chosen = tells.map(|count| ChatEvent::Chosen(certain(&word, count)));
            chosen.into_iter().chain([ChatEvent::Text(word)])
        });
        let mut events: VecDeque<_> = each.collect();
        let closes = words.iter().position(|word| word == "</think>");
        let usage = Usage {
            prompt_tokens,
            completion_tokens,
            cached_tokens: 1,
            thought_tokens: closes.unwrap_or(0) as u32,
        };
        events.push_back(match words.first().map(String::as_str) {
            Some("fail") => ChatEvent::Failed("JANE DOE broke the tensor".into()),
            _ => ChatEvent::Finished { finish, usage },
        });
        self.open.fetch_add(1, Ordering::SeqCst);
        let for_ever = words.first().is_some_and(|w| w == "forever");
        Ok(Box::new(Told {
            events,
            for_ever,
            open: self.open.clone(),
            closed: self.closed.clone(),
        }))
    }

    /// One for each word, how long it is; what the system says costs nothing.
    fn tokens(&self, _: &str, prompt: &Prompt) -> Result<Vec<u32>, ChatRefusal> {
        let lengths = |text: &str| text.split_whitespace().map(|w| w.len() as u32).collect();
        Ok(match prompt {
            Prompt::Text(text) => lengths(text),
            Prompt::Messages(all) => {
                let heard = all.iter().filter(|m| m.role != "system");
                let each = heard.map(|m| [lengths(&m.content), vec![0]].concat());
                each.collect::<Vec<_>>().concat()
            }
        })
    }

    fn text(&self, _: &str, tokens: &[u32]) -> Result<String, ChatRefusal> {
        let words: Vec<String> = tokens.iter().map(|t| "x".repeat(*t as usize)).collect();
        Ok(words.join(" "))
    }

    /// How many letters each has; none may have more than a context holds.
    fn embed(&self, _: &str, texts: &[String]) -> Result<Embeddings, ChatRefusal> {
        let long = texts.iter().position(|text| text.len() > CONTEXT as usize);
        if let Some(index) = long {
            return Err(ChatRefusal::TextTooLong {
                index: index as u32,
                tokens: texts[index].len() as u32,
                tokens_max: CONTEXT,
            });
        }
        Ok(Embeddings {
            vectors: texts.iter().map(|t| vec![t.len() as f32, -1.0]).collect(),
            tokens: texts.iter().map(|t| t.len() as u32).sum(),
        })
    }

    fn mark<'a>(
        &'a self,
        model: &'a ModelRef,
        _: String,
    ) -> BoxFuture<'a, Result<Vec<Entity>, RunFailure>> {
        let marks = self.marks.lock().expect("nobody panics with it").clone();
        let absent = || Err(RunFailure::NotLoaded(model.to_string()));
        let marked = marks.unwrap_or_else(absent);
        Box::pin(async move { marked })
    }

    fn figures(&self) -> Vec<(Loaded, EngineFigures)> {
        let mut figures = EngineFigures {
            kv_tokens: 1,
            kv_tokens_max: 4,
            ..EngineFigures::default()
        };
        let stat = figures.of(Priority::Stat);
        stat.first_token
            .observe(std::time::Duration::from_millis(70));
        stat.stopped = 1;
        vec![(self.loaded().swap_remove(0), figures)]
    }
}

impl Scripted {
    fn telling(&self, events: impl Iterator<Item = ChatEvent>) -> Box<dyn Speech> {
        self.open.fetch_add(1, Ordering::SeqCst);
        let end = ChatEvent::Finished {
            finish: Finish::Stop,
            usage: Usage::default(),
        };
        Box::new(Told {
            events: events.chain([end]).collect(),
            for_ever: false,
            open: self.open.clone(),
            closed: self.closed.clone(),
        })
    }
}

/// It never considers anything else.
fn certain(word: &str, count: u8) -> Choice {
    let bytes = word.as_bytes().to_vec();
    Choice {
        likeliest: vec![(bytes.clone(), 0.0); count.into()],
        bytes,
        logprob: 0.0,
    }
}

fn last_words(prompt: &Prompt) -> Vec<String> {
    let text = match prompt {
        Prompt::Text(text) => text.as_str(),
        Prompt::Messages(all) => all.last().map_or("", |m| &m.content),
    };
    text.split_whitespace().map(str::to_owned).collect()
}

struct Told {
    events: VecDeque<ChatEvent>,
    for_ever: bool,
    open: Arc<AtomicUsize>,
    closed: Arc<Notify>,
}

impl Speech for Told {
    fn next(&mut self) -> BoxFuture<'_, Option<ChatEvent>> {
        Box::pin(async {
            if self.for_ever && self.events.len() == 1 {
                std::future::pending::<()>().await;
            }
            self.events.pop_front()
        })
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        self.closed.notify_one();
    }
}

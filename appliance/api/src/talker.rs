//! The language models, as this room needs them: the runner in production, a scripted one in tests.

use futures_util::future::BoxFuture;
use pericard_domain::chat::{ChatEvent, ChatRefusal, ChatRequest, Prompt};
use pericard_runner::{Loaded, Runner, Talk, Walls};

/// Whoever answers questions.
pub trait Talker: Send + Sync + 'static {
    /// The models that are loaded, of every task.
    fn loaded(&self) -> Vec<Loaded>;

    /// The walls around the workers, as tried at the start; `None` while they are being tried, an error when no worker can
    /// be started behind them.
    fn walls(&self) -> Option<Result<Walls, String>>;

    /// Begins an answer. May take as long as tokenising takes: never called on an async thread.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    fn chat(&self, model: &str, request: ChatRequest) -> Result<Box<dyn Speech>, ChatRefusal>;

    /// How many tokens a prompt has, template included. May take as long as tokenising takes.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    fn count_tokens(&self, model: &str, prompt: &Prompt) -> Result<u32, ChatRefusal>;
}

/// An answer under way. Dropped, it stops.
pub trait Speech: Send + 'static {
    /// The next event; `None` after the end.
    fn next(&mut self) -> BoxFuture<'_, Option<ChatEvent>>;
}

impl Talker for Runner {
    fn loaded(&self) -> Vec<Loaded> {
        Self::loaded(self)
    }

    fn walls(&self) -> Option<Result<Walls, String>> {
        Self::walls(self)
    }

    fn chat(&self, model: &str, request: ChatRequest) -> Result<Box<dyn Speech>, ChatRefusal> {
        Self::chat(self, model, request).map(|talk| Box::new(talk) as Box<dyn Speech>)
    }

    fn count_tokens(&self, model: &str, prompt: &Prompt) -> Result<u32, ChatRefusal> {
        Self::count_tokens(self, model, prompt)
    }
}

impl Speech for Talk {
    fn next(&mut self) -> BoxFuture<'_, Option<ChatEvent>> {
        Box::pin(Self::next(self))
    }
}

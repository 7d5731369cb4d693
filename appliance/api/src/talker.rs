//! The language models, as this room needs them: the runner in production, a scripted one in tests.

use futures_util::future::BoxFuture;
use pericard_domain::chat::{ChatEvent, ChatRefusal, ChatRequest, Embeddings, Prompt};
use pericard_domain::entity::Entity;
use pericard_domain::figures::EngineFigures;
use pericard_domain::model::ModelRef;
use pericard_runner::{Loaded, RunFailure, Runner, Talk, Walls};

/// Whoever answers questions.
pub trait Talker: Send + Sync + 'static {
    /// The models that are loaded, of every task.
    fn loaded(&self) -> Vec<Loaded>;

    /// The walls around the workers, as tried at the start; `None` while they are being tried, an error when no worker can
    /// be started behind them.
    fn walls(&self) -> Option<Result<Walls, String>>;

    /// Why what models compute on cannot be used; `None` when it can.
    fn device_trouble(&self) -> Option<String> {
        None
    }

    /// Begins an answer. May take as long as tokenising takes: never called on an async thread.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    fn chat(&self, model: &str, request: ChatRequest) -> Result<Box<dyn Speech>, ChatRefusal>;

    /// The ids of a prompt's tokens, template included. May take as long as tokenising takes.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    fn tokens(&self, model: &str, prompt: &Prompt) -> Result<Vec<u32>, ChatRefusal>;

    /// The text of tokens.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    fn text(&self, model: &str, tokens: &[u32]) -> Result<String, ChatRefusal>;

    /// Makes texts into vectors. Takes as long as computing them takes: never called on an async thread.
    ///
    /// # Errors
    /// See [`ChatRefusal`].
    fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, ChatRefusal>;

    /// Has a model of token classification mark what stands in a text.
    fn mark<'a>(
        &'a self,
        model: &'a ModelRef,
        text: String,
    ) -> BoxFuture<'a, Result<Vec<Entity>, RunFailure>>;

    /// What the engines of the language models count. May take as long as an engine takes to answer.
    fn figures(&self) -> Vec<(Loaded, EngineFigures)>;
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

    fn device_trouble(&self) -> Option<String> {
        Self::device_trouble(self)
    }

    fn chat(&self, model: &str, request: ChatRequest) -> Result<Box<dyn Speech>, ChatRefusal> {
        Self::chat(self, model, request).map(|talk| Box::new(talk) as Box<dyn Speech>)
    }

    fn tokens(&self, model: &str, prompt: &Prompt) -> Result<Vec<u32>, ChatRefusal> {
        Self::tokens(self, model, prompt)
    }

    fn text(&self, model: &str, tokens: &[u32]) -> Result<String, ChatRefusal> {
        Self::text(self, model, tokens)
    }

    fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, ChatRefusal> {
        Self::embed(self, model, texts)
    }

    fn mark<'a>(
        &'a self,
        model: &'a ModelRef,
        text: String,
    ) -> BoxFuture<'a, Result<Vec<Entity>, RunFailure>> {
        Box::pin(Self::mark(self, model, text))
    }

    fn figures(&self) -> Vec<(Loaded, EngineFigures)> {
        Self::figures(self)
    }
}

impl Speech for Talk {
    fn next(&mut self) -> BoxFuture<'_, Option<ChatEvent>> {
        Box::pin(Self::next(self))
    }
}

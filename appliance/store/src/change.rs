//! A change of state: a name, what it does inside a transaction, and the audit lines that say so.

use crate::StoreError;
use crate::error::Fault;
use crate::journal::Line;
use crate::sql::Sql;
use pericard_domain::time::Timestamp;
use std::ops::Deref;
use tokio::sync::oneshot;

/// The transaction that a change runs in: statements, and the time that is now for all of it.
#[derive(Clone, Copy)]
pub(crate) struct Tx<'c> {
    pub(crate) sql: Sql<'c>,
    pub(crate) now: Timestamp,
}

impl<'c> Deref for Tx<'c> {
    type Target = Sql<'c>;
    fn deref(&self) -> &Sql<'c> {
        &self.sql
    }
}

/// What a change came to. One that changed rows and brings no audit line is refused by the writer, unless all that it
/// moved was a lease.
#[derive(Debug)]
pub(crate) struct Done<T> {
    pub(crate) value: T,
    pub(crate) effects: Effects,
}

/// What a change leaves behind besides its rows.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) lines: Vec<Line>,
    /// There may be new work or new mail.
    pub(crate) wakes: bool,
    /// A lease was given, renewed or given back. That is no fact about a patient's study but only who is at work; what
    /// the work comes to has its line.
    pub(crate) moves_lease: bool,
}

impl<T> Done<T> {
    /// Nothing was changed.
    pub(crate) fn unchanged(value: T) -> Self {
        Self {
            value,
            effects: Effects::default(),
        }
    }

    /// Something was changed, and this line says what.
    pub(crate) fn said(value: T, line: Line) -> Self {
        Self::unchanged(value).and(line)
    }

    /// One more line.
    pub(crate) fn and(mut self, line: Line) -> Self {
        self.effects.lines.push(line);
        self
    }

    /// More lines.
    pub(crate) fn and_all(mut self, lines: Vec<Line>) -> Self {
        self.effects.lines.extend(lines);
        self
    }

    /// A lease was moved.
    pub(crate) const fn moving_lease(mut self) -> Self {
        self.effects.moves_lease = true;
        self
    }

    /// Only how far the store's own care has come was noted: that is no fact about a study either, and needs no line.
    pub(crate) const fn noting_care(self) -> Self {
        self.moving_lease()
    }

    /// There may be new work or new mail.
    pub(crate) const fn waking(mut self) -> Self {
        self.effects.wakes = true;
        self
    }
}

/// A change as the writer sees it.
pub(crate) trait Change: Send {
    fn name(&self) -> &'static str;
    /// Runs it, once.
    fn run(&mut self, tx: Tx<'_>) -> Result<Effects, Fault>;
    /// Tells whoever asked, after the commit or when there is none.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

/// The answer to a change, to come.
pub(crate) type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

/// A named change, and where its answer will come.
pub(crate) fn named<T, F>(name: &'static str, body: F) -> (Box<dyn Change>, Answer<T>)
where
    T: Send + 'static,
    F: FnOnce(Tx<'_>) -> Result<Done<T>, Fault> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let change = Named {
        name,
        body: Some(body),
        value: None,
        reply,
    };
    (Box::new(change), answer)
}

struct Named<T, F> {
    name: &'static str,
    body: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Change for Named<T, F>
where
    T: Send,
    F: FnOnce(Tx<'_>) -> Result<Done<T>, Fault> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, tx: Tx<'_>) -> Result<Effects, Fault> {
        let Some(body) = self.body.take() else {
            return Err(StoreError::failed(self.name, "a change runs once").into());
        };
        let done = body(tx)?;
        self.value = Some(done.value);
        Ok(done.effects)
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let outcome = match (failed, self.value) {
            (Some(error), _) => Err(error),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(StoreError::failed(self.name, "the change did not run")),
        };
        // Whoever asked may have gone; the change is made all the same.
        let _ = self.reply.send(outcome);
    }
}

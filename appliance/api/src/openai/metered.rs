//! An answer that is counted as it is given: for the hospital's monitoring, in closed enums.

use crate::talker::Speech;
use futures_util::future::BoxFuture;
use pericard_domain::chat::{ChatEvent, ChatRefusal};
use pericard_egress::{Counter, Meter, Stage};
use std::time::Instant;

/// A speech that counts its end, however it ends, and times its first words.
pub(crate) struct Metered {
    speech: Box<dyn Speech>,
    meter: Meter,
    begun: Instant,
    is_silent: bool,
    /// Not counted yet.
    is_open: bool,
}

impl Metered {
    /// Counts a refusal, or listens to what was begun.
    pub(crate) fn begin(
        begun: Result<Box<dyn Speech>, ChatRefusal>,
        meter: &Meter,
    ) -> Result<Box<dyn Speech>, ChatRefusal> {
        let speech = begun.inspect_err(|refusal| {
            meter.count(match refusal {
                ChatRefusal::Busy { .. } => Counter::ChatsBusy,
                _ => Counter::ChatsRefused,
            });
        })?;
        Ok(Box::new(Self {
            speech,
            meter: meter.clone(),
            begun: Instant::now(),
            is_silent: true,
            is_open: true,
        }))
    }

    fn hear(&mut self, event: Option<&ChatEvent>) {
        match event {
            Some(ChatEvent::Chosen(_)) => {}
            Some(ChatEvent::Text(_)) => {
                if std::mem::take(&mut self.is_silent) {
                    self.meter.observe(Stage::FirstToken, self.begun.elapsed());
                }
            }
            Some(ChatEvent::Finished { usage, .. }) => {
                self.meter
                    .count_by(Counter::TokensPrompt, usage.prompt_tokens);
                self.meter
                    .count_by(Counter::TokensGenerated, usage.completion_tokens);
                self.close(Counter::ChatsAnswered);
            }
            Some(ChatEvent::Failed(_)) | None => self.close(Counter::ChatsFailed),
        }
    }

    fn close(&mut self, how: Counter) {
        if std::mem::take(&mut self.is_open) {
            self.meter.count(how);
        }
    }
}

impl Speech for Metered {
    fn next(&mut self) -> BoxFuture<'_, Option<ChatEvent>> {
        Box::pin(async {
            let event = self.speech.next().await;
            self.hear(event.as_ref());
            event
        })
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.close(Counter::ChatsDropped);
    }
}

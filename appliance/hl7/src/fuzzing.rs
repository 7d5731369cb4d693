//! For `tests/fuzz` only: a stranger's message, read as the door reads it.

use crate::ack::{Answer, acknowledgement, heard};
use crate::message::Message;
use crate::orders::orders;
use crate::patients::patients;
use crate::peer::Us;

/// Reads a message in every way that one is read, and answers it.
pub fn message(bytes: &[u8]) {
    let _ = heard(bytes, "1");
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let _ = orders(&message);
    for event in ["A01", "A40"] {
        let _ = patients(&message, event);
    }
    let us = Us {
        application: "P".into(),
        facility: String::new(),
    };
    let answer = acknowledgement(Some(&message), &Answer::Accept, &us, ("20260101", "1"));
    // What we answer is a message again.
    if let Some(answer) = answer {
        let _ = Message::parse(&answer);
    }
}

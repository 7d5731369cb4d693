//! The room through its real door: a real store and intake in a temporary directory, a scripted language model, and the
//! router or a TLS listener in front of them.

mod authorisation;
mod chat;
mod console;
mod dicomweb;
mod door;
mod fhir;
mod frames;
mod kept;
mod operations;
mod painting;
mod peers;
mod reviews;
#[path = "../../../dimse/tests/support/scanning.rs"]
mod scanning;
mod scripted;
mod shelves;
mod site;
mod submission;
mod texts;
mod worklist;

//! A message that came: what it says is kept, and only then it is accepted.

use crate::ack::{Answer, Trouble};
use crate::message::Message;
use crate::orders::{self, orders};
use crate::patients::{self, patients};
use crate::peer::Peer;
use pericard_domain::actor::Actor;
use pericard_store::{Store, StoreError};

/// Order messages that are heeded: type and event.
const ORDERS: [(&str, &str); 4] = [("ORM", "O01"), ("OMI", "O23"), ("OMG", "O19"), ("ORM", "")];

/// Keeps what a message says; gives the answer to it.
pub(crate) async fn heed(store: &Store, peer: &Peer, message: &Message) -> Answer {
    let version = message.header(12);
    if !version.is_empty() && !version.starts_with("2.") {
        let why = "only version 2 of HL7 is spoken here";
        return Answer::Reject(Trouble::unsupported(203, why));
    }
    let (kind, event) = (message.header(9), message.header_component(9, 2));
    let by = Actor::room("hl7");
    if ORDERS.contains(&(kind.as_str(), event.as_str())) {
        let said = match orders(message) {
            Ok(said) => said,
            Err(error) => return Answer::Error(Trouble::not_understood(&error)),
        };
        let source = format!("orders {}", peer.name);
        for order in said {
            let kept = match order {
                orders::Said::Expected(order) => store.expect(&source, order, by.clone()).await,
                orders::Said::TakenBack { key } => {
                    store.expect_no_more(&source, &key, by.clone()).await
                }
            };
            if let Err(error) = kept {
                return trouble(&error);
            }
        }
        return Answer::Accept;
    }
    match kind.as_str() {
        "ADT" => administered(store, message, &event, by).await,
        "ORM" | "OMI" | "OMG" => {
            Answer::Reject(Trouble::unsupported(201, "this event is not heeded here"))
        }
        _ => Answer::Reject(Trouble::unsupported(
            200,
            "this type of message is not heeded here",
        )),
    }
}

async fn administered(store: &Store, message: &Message, event: &str, by: Actor) -> Answer {
    let said = match patients(message, event) {
        Ok(said) => said,
        Err(error) => return Answer::Error(Trouble::not_understood(&error)),
    };
    for said in said {
        let kept = match said {
            patients::Said::Is(patient) => store.patient_said(patient, by.clone()).await,
            patients::Said::Merged { from, into } => {
                store.patients_merged(&from, &into, by.clone()).await
            }
        };
        if let Err(error) = kept {
            return trouble(&error);
        }
    }
    Answer::Accept
}

fn trouble(error: &StoreError) -> Answer {
    match error {
        StoreError::Conflict(why) => Answer::Error(Trouble::conflict(why.clone())),
        error => {
            tracing::error!("a message could not be kept: {error}");
            Answer::Error(Trouble::internal())
        }
    }
}

//! A message that came: what it says is kept, and only then it is accepted.

use crate::ack::{Answer, Trouble};
use crate::message::Message;
use crate::orders::{self, orders};
use crate::patients::{self, patients};
use crate::peer::Peer;
use crate::reviews::{self, Of, reviews};
use pericard_domain::actor::Actor;
use pericard_domain::uid::StudyUid;
use pericard_store::find::InstanceFilter;
use pericard_store::review::Verdict;
use pericard_store::{Store, StoreError};

/// Order messages that are heeded: type and event.
const ORDERS: [(&str, &str); 4] = [("ORM", "O01"), ("OMI", "O23"), ("OMG", "O19"), ("ORM", "")];

/// The most studies that one accession number is taken for.
const STUDIES_OF_ACCESSION_MAX: u32 = 100;

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
        "ORU" if event == "R01" || event.is_empty() => reviewed(store, peer, message).await,
        "ORM" | "OMI" | "OMG" | "ORU" => {
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

async fn reviewed(store: &Store, peer: &Peer, message: &Message) -> Answer {
    let said = match reviews(message) {
        Ok(said) => said,
        Err(error) => return Answer::Error(Trouble::not_understood(&error)),
    };
    for said in said {
        match review(store, peer, &said).await {
            Ok(0) => {
                let why = "no result of this study and model is kept here";
                return Answer::Error(Trouble::conflict(why.to_owned()));
            }
            Ok(_) => {}
            Err(error) => return trouble(&error),
        }
    }
    Answer::Accept
}

/// Keeps a review of each result that it means; gives how many those are. The same again changes nothing.
async fn review(store: &Store, peer: &Peer, said: &reviews::Said) -> Result<usize, StoreError> {
    let verdict = match said.agrees {
        true => Verdict::Agreed,
        false => Verdict::Disagreed,
    };
    let by = Actor::Application {
        name: peer.name.clone(),
        address: peer.address,
    };
    let mut count = 0;
    for study in studies(store, &said.of).await? {
        for kept in store.reports(&study).await? {
            let model = &kept.report.model.name;
            if !kept.superseded && said.model.as_ref().is_none_or(|named| named == model) {
                store.review(&study, kept.job, verdict, by.clone()).await?;
                count += 1;
            }
        }
    }
    Ok(count)
}

async fn studies(store: &Store, of: &Of) -> Result<Vec<StudyUid>, StoreError> {
    match of {
        Of::Study(study) => Ok(vec![study.clone()]),
        Of::Accession(number) => {
            let accession_number = Some(number.clone());
            let limit = STUDIES_OF_ACCESSION_MAX;
            store
                .find_studies(InstanceFilter {
                    accession_number,
                    limit,
                    ..InstanceFilter::default()
                })
                .await
        }
    }
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

//! Objects on their way from a request's body to the intake, whichever protocol brings them.

use crate::access::Caller;
use crate::appliance::Api;
use crate::problem::Problem;
use bytes::Bytes;
use http::StatusCode;
use pericard_domain::study::ObjectIdentity;
use pericard_domain::uid::StudyUid;
use pericard_intake::{Admission, Arrival, Parcel, Refused};

/// What became of one object.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is on disk.
    Taken {
        identity: ObjectIdentity,
        admission: Admission,
    },
    /// It is not, and why.
    Refused(Refused),
}

/// The objects of one request.
pub(crate) struct Reception<'a> {
    api: &'a Api,
    caller: &'a Caller,
    /// The route, for the audit log.
    what: &'static str,
    /// The only study whose objects are taken, when the request names one.
    study: Option<StudyUid>,
    pub(crate) outcomes: Vec<Outcome>,
}

/// An object that is arriving, or the reason why nothing of it is looked at.
pub(crate) struct Receiving(Result<Parcel, Refused>);

impl Receiving {
    /// Takes the next bytes. Those of an object that is already refused are let go; [`Reception::close`] says why.
    pub(crate) fn write(&mut self, bytes: &Bytes) {
        if let Ok(parcel) = &mut self.0 {
            let _ = parcel.write(bytes);
        }
    }
}

impl<'a> Reception<'a> {
    pub(crate) const fn new(api: &'a Api, caller: &'a Caller, what: &'static str) -> Self {
        Self {
            api,
            caller,
            what,
            study: None,
            outcomes: Vec::new(),
        }
    }

    /// Takes objects of this study only.
    pub(crate) fn of_study(self, study: Option<StudyUid>) -> Self {
        Self { study, ..self }
    }

    /// Opens the next object.
    ///
    /// # Errors
    /// 413 when the request has brought as many as it may.
    pub(crate) fn open(&self) -> Result<Receiving, Problem> {
        let most = self.api.config.upload_objects_max;
        if self.outcomes.len() >= most {
            let kept = self.taken();
            let detail = format!(
                "more than {most} objects in one request; {kept} of them are kept; send the rest in further requests"
            );
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_many_objects",
                detail,
            ));
        }
        let arrival = match &self.study {
            Some(study) => Arrival::FileOf(study.clone()),
            None => Arrival::File,
        };
        let begun = self
            .api
            .rooms
            .intake
            .begin(arrival, self.caller.actor.clone());
        Ok(Receiving(begun))
    }

    /// Commits it, or notes why it is refused.
    pub(crate) async fn close(&mut self, receiving: Receiving) {
        let outcome = match receiving.0 {
            Ok(parcel) => match parcel.admit().await {
                Ok((identity, admission)) => Outcome::Taken {
                    identity,
                    admission,
                },
                Err(refused) => Outcome::Refused(refused),
            },
            Err(refused) => {
                self.note(&refused).await;
                Outcome::Refused(refused)
            }
        };
        self.outcomes.push(outcome);
    }

    /// Refuses an object whose bytes were not even looked at.
    pub(crate) async fn refuse(&mut self, refused: Refused) {
        self.note(&refused).await;
        self.outcomes.push(Outcome::Refused(refused));
    }

    async fn note(&self, refused: &Refused) {
        let actor = self.caller.actor.clone();
        self.api
            .rooms
            .intake
            .refuse(self.what, &refused.to_string(), actor)
            .await;
    }

    pub(crate) fn taken(&self) -> usize {
        self.outcomes
            .iter()
            .filter(|o| matches!(o, Outcome::Taken { .. }))
            .count()
    }

    /// The status that says it all: 200 when everything was taken, 202 when some of it was, and otherwise what the first
    /// refusal calls for.
    ///
    /// # Errors
    /// 400 when there was nothing at all.
    pub(crate) fn status(&self) -> Result<StatusCode, Problem> {
        let refused = self.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Refused(refused) => Some(refused),
            Outcome::Taken { .. } => None,
        });
        match refused {
            None if self.outcomes.is_empty() => {
                Err(Problem::bad_request("the body holds no object"))
            }
            None => Ok(StatusCode::OK),
            Some(_) if self.taken() > 0 => Ok(StatusCode::ACCEPTED),
            // PS3.18 table 10.5.3-1: 409 is "none of them could be stored".
            Some(Refused::Malformed(_) | Refused::Mismatch(_) | Refused::OtherStudy(_)) => {
                Ok(StatusCode::CONFLICT)
            }
            Some(refused) => Ok(Problem::from(refused.clone()).status),
        }
    }

    /// When to send again what was refused for now.
    pub(crate) fn retry_after_s(&self) -> Option<u32> {
        self.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Refused(refused) => refused.retry_after_s(),
            Outcome::Taken { .. } => None,
        })
    }
}

//! STOW-RS (PS3.18 section 10.5): objects in, with an outcome for each.

use super::attributes::Attributes;
use super::json_type;
use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::id;
use crate::body::{Inflow, media_type};
use crate::multipart::{Multipart, MultipartType};
use crate::origin::origin;
use crate::problem::Problem;
use crate::reception::{Outcome, Reception};
use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use pericard_domain::study::ObjectIdentity;
use pericard_domain::uid::StudyUid;
use pericard_intake::{Admission, Refused};
use std::collections::BTreeSet;

/// The media type of an object.
const DICOM: &str = "application/dicom";
/// What is said of a body of another type.
const EXPECTED: &str = "multipart/related; type=\"application/dicom\"";
/// For the audit log.
const WHAT: &str = "POST /dicomweb/studies";

pub(crate) async fn store(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    receive(&api, &caller, None, request).await
}

pub(crate) async fn store_in_study(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let study = id("such study", &study)?;
    receive(&api, &caller, Some(study), request).await
}

async fn receive(
    api: &Api,
    caller: &Caller,
    study: Option<StudyUid>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if media_type(&parts.headers).as_deref() != Some("multipart/related") {
        return Err(Problem::unsupported_media(EXPECTED));
    }
    let kind = MultipartType::of(&parts.headers)?;
    if kind.root_type.is_some_and(|t| t != DICOM) {
        return Err(Problem::unsupported_media(EXPECTED));
    }
    let inflow = Inflow::upload(&api.config, &parts.headers, body)?;
    let mut multipart = Multipart::new(inflow, &kind.boundary);
    let mut reception = Reception::new(api, caller, WHAT).of_study(study);
    while let Some(part) = next(&mut multipart, &reception).await? {
        if part.media_type.is_some_and(|t| t != DICOM) {
            let other = Refused::Malformed("its part is not of type application/dicom".into());
            reception.refuse(other).await;
            continue;
        }
        let mut object = reception.open()?;
        while let Some(piece) = multipart.piece().await.map_err(|p| broken(p, &reception))? {
            object.write(&piece);
        }
        reception.close(object).await;
    }
    let base = origin(&api.config, &parts.headers, &parts.uri);
    respond(&reception, &base)
}

async fn next(
    multipart: &mut Multipart,
    reception: &Reception<'_>,
) -> Result<Option<crate::multipart::Part>, Problem> {
    multipart
        .next_part()
        .await
        .map_err(|p| broken(p, reception))
}

/// A body that breaks off has no answer for each object: what was kept before is said in the refusal.
fn broken(problem: Problem, reception: &Reception<'_>) -> Problem {
    let kept = reception.taken();
    let detail = format!(
        "{}. {kept} objects before that are kept; sending all of them again is safe",
        problem.detail
    );
    Problem { detail, ..problem }
}

fn respond(reception: &Reception<'_>, base: &str) -> Result<Response, Problem> {
    let status = reception.status()?;
    let body = store_response(&reception.outcomes, base);
    let mut response = (status, [json_type()], body.to_string()).into_response();
    let headers = response.headers_mut();
    if let Some(seconds) = reception.retry_after_s() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let revised = reception.outcomes.iter().any(|outcome| {
        matches!(
            outcome,
            Outcome::Taken {
                admission: Admission::Revised { .. },
                ..
            }
        )
    });
    if revised && status == StatusCode::OK {
        // PS3.18 has no warning reason for this, and silence is no answer.
        let warning = "299 - \"other bytes were held under some of these UIDs; both are kept\"";
        headers.insert(header::WARNING, HeaderValue::from_static(warning));
    }
    Ok(response)
}

/// The Store Instances Response Module (PS3.18 section I.2).
fn store_response(outcomes: &[Outcome], base: &str) -> serde_json::Value {
    let (mut stored, mut failed, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    let mut studies = BTreeSet::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Taken { identity, .. } => {
                studies.insert(identity.study.clone());
                stored.push(referenced(identity).text(
                    "00081190",
                    "UR",
                    Some(&url(identity, base)),
                ));
            }
            // It passed the scanner, so it is believed about who it is.
            Outcome::Refused(Refused::OtherStudy(identity)) => {
                failed.push(referenced(identity).number("00081197", "US", PROCESSING_FAILURE));
            }
            // What did not pass is not: it cannot be named, as the Failed SOP Sequence would have to.
            Outcome::Refused(refused) => {
                let reason = Attributes::default().number("00081197", "US", reason(refused));
                unknown.push(reason);
            }
        }
    }
    let mut body = Attributes::default();
    if let (Some(study), 1) = (studies.first(), studies.len()) {
        let url = format!("{base}/dicomweb/studies/{study}");
        body = body.text("00081190", "UR", Some(&url));
    }
    for (tag, items) in [
        ("00081198", failed),
        ("0008119A", unknown),
        ("00081199", stored),
    ] {
        if !items.is_empty() {
            body = body.sequence(tag, items);
        }
    }
    body.into_json()
}

fn url(identity: &ObjectIdentity, base: &str) -> String {
    let (study, series, instance) = (&identity.study, &identity.series, &identity.instance);
    format!("{base}/dicomweb/studies/{study}/series/{series}/instances/{instance}")
}

fn referenced(identity: &ObjectIdentity) -> Attributes {
    Attributes::default()
        .text("00081150", "UI", Some(identity.sop_class.as_str()))
        .text("00081155", "UI", Some(identity.instance.as_str()))
}

/// Failure Reason (0008,1197): processing failure.
const PROCESSING_FAILURE: u16 = 0x0110;

/// Failure Reason (0008,1197), with the codes of PS3.18 table I.2-2.
const fn reason(refused: &Refused) -> u16 {
    match refused {
        Refused::Malformed(_) => 0xC000,
        Refused::Mismatch(_) => 0xA900,
        Refused::TooLarge { .. } | Refused::OutOfStorage(_) => 0xA700,
        Refused::OtherStudy(_)
        | Refused::Busy { .. }
        | Refused::QueueFull { .. }
        | Refused::OverQuota { .. }
        | Refused::Unavailable(_) => PROCESSING_FAILURE,
    }
}

//! What was written, read again. A row that is not what was written is damage, and said to be.

use super::engine::Row;
use super::{Enrolled, StoreError, Witness};
use crate::records::{
    Alarm, AlarmKind, EnrolmentRequest, Granted, Hospital, Issued, Model, Published, Received,
    Viewer, Witnessed,
};
use crate::token::Token;
use crate::words::words_of;
use pericard_audit::Frontier;
use pericard_frame::plan::Plan;
use pericard_frame::reply::{Advisory, Cause, Kind};
use pericard_frame::{Frame, layout};
use std::sync::Arc;

pub(super) const HOSPITALS: &str =
    "SELECT number, name, enrolled_at_s, suspended FROM hospitals ORDER BY number";
pub(super) const REQUESTS: &str = "SELECT number, frame_key, csr, asked_at_s, hospital, granted_at_s, granted_by, certificate \
     FROM enrolment_requests ORDER BY number";
pub(super) const FRAMES: &str =
    "SELECT bytes, received_at_s, carried FROM frames ORDER BY appliance, sequence";
pub(super) const ALARMS: &str = "SELECT a.place, a.appliance, a.at_s, a.kind, a.sequence, c.closed_at_s \
     FROM alarms a LEFT JOIN closed_alarms c ON c.place = a.place ORDER BY a.at_s, a.place";
pub(super) const WITNESSED: &str =
    "SELECT appliance, size, root, cosigned_at_s, signature FROM witness ORDER BY appliance";
pub(super) const MODELS: &str = "SELECT id, name, version, digest FROM catalogue ORDER BY id";
pub(super) const ADVISORIES: &str = "SELECT a.number, a.kind, a.model, c.digest, a.issued_at_s, a.cause, a.signature, a.text \
     FROM advisories a JOIN catalogue c ON c.id = a.model ORDER BY a.number";
pub(super) const PLANS: &str = "SELECT p.number, p.model, c.digest, p.metrics, p.threshold_tenth, p.cases_min, p.issued_at_s, p.until_s, \
     p.signature, p.text FROM plans p JOIN catalogue c ON c.id = p.model ORDER BY p.number";
pub(super) const TOKENS: &str = "SELECT number, label, sha256, role, created_at_s, expires_at_s, revoked FROM tokens ORDER BY number";
pub(super) const AUDIT: &str = "SELECT salt, record FROM audit ORDER BY place";
pub(super) const FRONTIER: &str = "SELECT frontier FROM audit_head";

/// The right edge of the audit log; a log without lines has none yet.
pub(super) fn frontier(kept: &[Row]) -> Result<Frontier, StoreError> {
    let Some(row) = kept.first() else {
        return Ok(Frontier::new());
    };
    Frontier::from_bytes(row.bytes(0)?).map_err(|_| StoreError::Damaged("an audit log"))
}

pub(super) fn hospital(row: &Row) -> Result<Hospital, StoreError> {
    Ok(Hospital {
        number: row.narrow(0)?,
        name: row.text(1)?,
        enrolled_at_s: row.number(2)?,
        suspended: row.number(3)? != 0,
    })
}

pub(super) fn request(row: &Row) -> Result<EnrolmentRequest, StoreError> {
    let granted = match row.maybe(4)? {
        None => None,
        Some(_) => Some(Granted {
            hospital: row.narrow(4)?,
            at_s: row.number(5)?,
            by: row.narrow(6)?,
            certificate: row.bytes(7)?.to_vec(),
        }),
    };
    Ok(EnrolmentRequest {
        number: row.narrow(0)?,
        frame_key: row.text(1)?,
        csr: row.bytes(2)?.to_vec(),
        asked_at_s: row.number(3)?,
        granted,
    })
}

pub(super) fn enrolled(row: &Row) -> Result<Enrolled, StoreError> {
    Ok(Enrolled {
        number: row.narrow(0)?,
        frame_key: row.text(1)?,
        suspended: row.number(2)? != 0,
    })
}

pub(super) fn received(row: &Row) -> Result<Arc<Received>, StoreError> {
    let frame = Frame::open(row.bytes(0)?).map_err(|_| StoreError::Damaged("a frame"))?;
    Ok(Arc::new(Received {
        appliance: frame.get(&layout::APPLIANCE, 0) as u32, // the field is no wider
        sequence: frame.get(&layout::SEQUENCE, 0) as u32,   // nor this
        week: frame.get(&layout::WEEK, 0) as u16,           // nor this
        received_at_s: row.number(1)?,
        carried: row.number(2)? != 0,
        frame,
    }))
}

pub(super) fn alarm(row: &Row) -> Result<Alarm, StoreError> {
    let kind = AlarmKind::named(&row.text(3)?);
    let sequence = row.maybe(4)?.map(u32::try_from).transpose();
    Ok(Alarm {
        number: row.narrow(0)?,
        appliance: row.narrow(1)?,
        at_s: row.number(2)?,
        kind: kind.ok_or(StoreError::Damaged("an alarm"))?,
        sequence: sequence.map_err(|_| StoreError::Damaged("an alarm"))?,
        closed_at_s: row.maybe(5)?,
    })
}

pub(super) fn witness(row: &Row) -> Result<Witness, StoreError> {
    Ok(Witness {
        seen: Witnessed {
            appliance: row.narrow(0)?,
            size: row.number(1)?,
            root: row.array(2)?,
            cosigned_at_s: row.number(3)?,
        },
        signature: row.array(4)?,
    })
}

pub(super) fn model(row: &Row) -> Result<Model, StoreError> {
    Ok(Model {
        id: row.narrow(0)?,
        name: row.text(1)?,
        version: row.text(2)?,
        digest: row.array(3)?,
    })
}

pub(super) fn issued(row: &Row) -> Result<Issued, StoreError> {
    let damaged = || StoreError::Damaged("an advisory");
    Ok(Issued {
        advisory: Advisory {
            number: row.narrow(0)?,
            kind: Kind::of(row.number(1)?).ok_or_else(damaged)?,
            model: row.narrow(2)?,
            model_digest: words_of(&row.array(3)?),
            issued_at_s: row.number(4)?,
            cause: Cause::of(row.number(5)?).ok_or_else(damaged)?,
            signature: row.array(6)?,
        },
        text: row.text(7)?,
    })
}

pub(super) fn plan(row: &Row) -> Result<Published, StoreError> {
    Ok(Published {
        plan: Plan {
            number: row.narrow(0)?,
            model: row.narrow(1)?,
            model_digest: words_of(&row.array(2)?),
            metrics: row.narrow(3)?,
            threshold_tenth: row.narrow(4)?,
            cases_min: row.narrow(5)?,
            issued_at_s: row.number(6)?,
            until_s: row.number(7)?,
            signature: row.array(8)?,
        },
        text: row.text(9)?,
    })
}

pub(super) fn token(row: &Row) -> Result<Token, StoreError> {
    let viewer = Viewer::with_role(&row.text(3)?);
    Ok(Token {
        number: row.narrow(0)?,
        label: row.text(1)?,
        sha256: row.array(2)?,
        viewer: viewer.ok_or(StoreError::Damaged("a token"))?,
        created_at_s: row.number(4)?,
        expires_at_s: row.number(5)?,
        revoked: row.number(6)? != 0,
    })
}

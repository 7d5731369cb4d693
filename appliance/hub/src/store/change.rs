//! A transaction in the making. The statements that write are plain SQL with numbered parameters, and stand here only.

use super::engine::{Row, Tx, Value};
use super::{Enrolled, StoreError, Witness, rows};
use crate::records::{AlarmKind, Issued, Model, Published, Received, Viewer};
use crate::token::Token;
use pericard_audit::{Frontier, SALT_BYTES, leaf};
use std::fmt::Display;

/// Who does what is only done on the hub's own machine.
pub(crate) const COMMAND_LINE: &str = "command line";

/// What one transaction does.
pub(crate) struct Change<'c> {
    tx: Tx<'c>,
    frontier: Frontier,
    at_s: u64,
}

/// What an admin grants.
pub(crate) struct Grant<'g> {
    /// The number of the request.
    pub(crate) request: u32,
    /// The key that was compared with the hospital.
    pub(crate) frame_key: &'g str,
    /// What the hospital is called.
    pub(crate) name: &'g str,
    pub(crate) certificate: &'g [u8],
    pub(crate) certificate_sha256: [u8; 32],
    /// The number of the admin's token.
    pub(crate) by: u32,
}

/// Parameters of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$(Value::from($value)),*] };
}

impl<'c> Change<'c> {
    pub(super) fn begin(mut tx: Tx<'c>, at_s: u64) -> Result<Self, StoreError> {
        let frontier = rows::frontier(&tx.query(rows::FRONTIER, &[])?)?;
        Ok(Self { tx, frontier, at_s })
    }

    /// How many lines the audit log has now.
    pub(super) const fn lines(&self) -> u64 {
        self.frontier.size()
    }

    /// Puts it on disk, and gives how many lines the audit log has then.
    pub(super) fn commit(mut self) -> Result<u64, StoreError> {
        let head = self.frontier.to_bytes();
        self.tx.execute(
            "INSERT INTO audit_head (only_one, frontier) VALUES (0, ?1) ON CONFLICT (only_one) DO UPDATE SET frontier = ?1",
            values![&head[..]],
        )?;
        let lines = self.lines();
        self.tx.commit()?;
        Ok(lines)
    }

    /// Writes a line of the audit log: a verb, and numbers or a catalogue's words that it happened to.
    pub(crate) fn note(&mut self, verb: &str, subject: &str) -> Result<(), StoreError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(StoreError::Random)?;
        let line = serde_json::json!({"at_s": self.at_s, "verb": verb, "subject": subject});
        let record = line.to_string();
        let place = self.frontier.append(leaf(&salt, record.as_bytes()));
        let sql = "INSERT INTO audit (place, salt, record) VALUES (?1, ?2, ?3)";
        self.tx.execute(sql, values![place, salt, &*record])?;
        Ok(())
    }

    /// Writes a line of what is only done on the hub's own machine.
    fn note_here(&mut self, verb: &str, subject: impl Display) -> Result<(), StoreError> {
        self.note(verb, &format!("{subject} by {COMMAND_LINE}"))
    }

    pub(crate) fn enrol(
        &mut self,
        name: &str,
        frame_key: &str,
        certificate: &[u8; 32],
        by: &str,
    ) -> Result<u32, StoreError> {
        let renewed = self.one(
            "UPDATE hospitals SET certificate_sha256 = ?2 WHERE frame_key = ?1 RETURNING number",
            values![frame_key, *certificate],
        )?;
        if let Some(row) = renewed {
            let number = row.narrow(0)?;
            let subject = format!("{number} by {by}");
            self.note("renew certificate of hospital", &subject)?;
            return Ok(number);
        }
        let number = self.numbered(
            "INSERT INTO hospitals (number, name, frame_key, certificate_sha256, enrolled_at_s) \
             VALUES ((SELECT coalesce(max(number), 0) + 1 FROM hospitals), ?1, ?2, ?3, ?4) RETURNING number",
            values![name, frame_key, *certificate, self.at_s],
        )?;
        self.note("enrol hospital", &format!("{number} by {by}"))?;
        Ok(number)
    }

    /// Keeps a request until an admin decides on it, unless so many wait already; the same one is kept once. Gives its number.
    pub(crate) fn ask(
        &mut self,
        (frame_key, csr): (&str, &[u8]),
        waiting_max: u32,
        how: &str,
    ) -> Result<u32, StoreError> {
        let sql = "SELECT number FROM enrolment_requests WHERE frame_key = ?1 AND csr = ?2 AND hospital IS NULL";
        if let Some(row) = self.one(sql, values![frame_key, csr])? {
            return row.narrow(0);
        }
        let sql = "SELECT count(*) FROM enrolment_requests WHERE hospital IS NULL";
        if self.numbered(sql, &[])? >= waiting_max {
            return Err(StoreError::Refused(
                "as many requests as may be wait for an admin already; have this one brought to one by hand",
            ));
        }
        let nothing: &[u8] = &[];
        let number = self.numbered(
            "INSERT INTO enrolment_requests (number, frame_key, csr, asked_at_s, certificate) \
             VALUES ((SELECT coalesce(max(number), 0) + 1 FROM enrolment_requests), ?1, ?2, ?3, ?4) RETURNING number",
            values![frame_key, csr, self.at_s, nothing],
        )?;
        self.note("ask for enrolment", &format!("{number} {how}"))?;
        Ok(number)
    }

    /// Grants a request that waits, and gives the number of the hospital's appliance.
    pub(crate) fn grant(&mut self, grant: &Grant<'_>) -> Result<u32, StoreError> {
        let Grant { request, by, .. } = grant;
        let sql = "SELECT frame_key FROM enrolment_requests WHERE number = ?1 AND hospital IS NULL";
        let waits = self.one(sql, values![*request])?;
        let waits = waits.ok_or(StoreError::NotFound("waiting request"))?;
        // A number can be another request's since it was looked at.
        if waits.text(0)? != grant.frame_key {
            return Err(StoreError::Refused(
                "this request holds another key than the one that was compared; look at it again",
            ));
        }
        let by = format!("token {by}, request {request}");
        let number = self.enrol(grant.name, grant.frame_key, &grant.certificate_sha256, &by)?;
        self.tx.execute(
            "UPDATE enrolment_requests SET hospital = ?2, granted_at_s = ?3, granted_by = ?4, certificate = ?5 WHERE number = ?1",
            values![*request, number, self.at_s, grant.by, grant.certificate],
        )?;
        Ok(number)
    }

    /// Refuses a request that waits.
    pub(crate) fn refuse(&mut self, request: u32, by: u32) -> Result<(), StoreError> {
        let sql = "DELETE FROM enrolment_requests WHERE number = ?1 AND hospital IS NULL";
        if self.tx.execute(sql, values![request])? == 0 {
            return Err(StoreError::NotFound("waiting request"));
        }
        self.note("refuse enrolment", &format!("{request} by token {by}"))
    }

    pub(crate) fn suspend(&mut self, number: u32, suspended: bool) -> Result<(), StoreError> {
        let sql = "UPDATE hospitals SET suspended = ?2 WHERE number = ?1";
        if self.tx.execute(sql, values![number, suspended])? == 0 {
            return Err(StoreError::NotFound("hospital"));
        }
        let verb = if suspended {
            "suspend hospital"
        } else {
            "resume hospital"
        };
        self.note_here(verb, number)
    }

    pub(crate) fn add_model(&mut self, model: &Model) -> Result<(), StoreError> {
        let (id, digest) = (u32::from(model.id), model.digest);
        let sql = "SELECT id FROM catalogue WHERE id = ?1 OR digest = ?2";
        if self.one(sql, values![id, digest])?.is_some() {
            let why =
                "this number or this manifest is in the catalogue already, and stays as it is";
            return Err(StoreError::Refused(why));
        }
        self.tx.execute(
            "INSERT INTO catalogue (id, name, version, digest) VALUES (?1, ?2, ?3, ?4)",
            values![id, &*model.name, &*model.version, digest],
        )?;
        self.note_here("add model", model.id)
    }

    pub(crate) fn model(&mut self, id: u16) -> Result<Option<Model>, StoreError> {
        let sql = "SELECT id, name, version, digest FROM catalogue WHERE id = ?1";
        let found = self.one(sql, values![u32::from(id)])?;
        found.as_ref().map(rows::model).transpose()
    }

    pub(crate) fn next_advisory(&mut self) -> Result<u32, StoreError> {
        self.numbered("SELECT coalesce(max(number), 0) + 1 FROM advisories", &[])
    }

    pub(crate) fn issue(&mut self, issued: &Issued, by: Option<u32>) -> Result<(), StoreError> {
        let advisory = &issued.advisory;
        self.tx.execute(
            "INSERT INTO advisories (number, kind, model, issued_at_s, cause, signature, text) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            values![
                advisory.number,
                u32::from(advisory.kind.number()),
                u32::from(advisory.model),
                advisory.issued_at_s,
                u32::from(advisory.cause.number()),
                advisory.signature,
                &*issued.text,
            ],
        )?;
        let by = by.map_or(COMMAND_LINE.to_owned(), |token| format!("token {token}"));
        self.note("issue advisory", &format!("{} by {by}", advisory.number))
    }

    pub(crate) fn next_plan(&mut self) -> Result<u32, StoreError> {
        self.numbered("SELECT coalesce(max(number), 0) + 1 FROM plans", &[])
    }

    pub(crate) fn publish(&mut self, published: &Published) -> Result<(), StoreError> {
        let plan = &published.plan;
        self.tx.execute(
            "INSERT INTO plans (number, model, metrics, threshold_tenth, cases_min, issued_at_s, until_s, signature, text) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            values![
                plan.number,
                u32::from(plan.model),
                u32::from(plan.metrics),
                u32::from(plan.threshold_tenth),
                plan.cases_min,
                plan.issued_at_s,
                plan.until_s,
                plan.signature,
                &*published.text,
            ],
        )?;
        self.note_here("publish evaluation plan", plan.number)
    }

    /// Plans that may still be carried out, the newest first.
    pub(crate) fn open_plans(&mut self) -> Result<Vec<Published>, StoreError> {
        let all: Result<Vec<_>, _> = self
            .tx
            .query(rows::PLANS, &[])?
            .iter()
            .map(rows::plan)
            .collect();
        let mut open = all?;
        open.retain(|published| published.plan.until_s > self.at_s);
        open.reverse();
        Ok(open)
    }

    /// Keeps a token, and gives its number; the number in it is passed over.
    pub(crate) fn create_token(&mut self, token: &Token) -> Result<u32, StoreError> {
        if let Viewer::Hospital(number) = token.viewer
            && self.by_number(number)?.is_none()
        {
            return Err(StoreError::NotFound("hospital"));
        }
        let role = token.viewer.role();
        let number = self.numbered(
            "INSERT INTO tokens (number, label, sha256, role, created_at_s, expires_at_s) \
             VALUES ((SELECT coalesce(max(number), 0) + 1 FROM tokens), ?1, ?2, ?3, ?4, ?5) RETURNING number",
            values![&*token.label, token.sha256, &*role, self.at_s, token.expires_at_s],
        )?;
        self.note_here("create token", format_args!("{number} {role}"))?;
        Ok(number)
    }

    pub(crate) fn revoke_token(&mut self, number: u32) -> Result<(), StoreError> {
        let sql = "UPDATE tokens SET revoked = 1 WHERE number = ?1";
        if self.tx.execute(sql, values![number])? == 0 {
            return Err(StoreError::NotFound("token"));
        }
        self.note_here("revoke token", number)
    }

    pub(crate) fn advisories(&mut self) -> Result<Vec<Issued>, StoreError> {
        self.tx
            .query(rows::ADVISORIES, &[])?
            .iter()
            .map(rows::issued)
            .collect()
    }

    pub(crate) fn by_number(&mut self, number: u32) -> Result<Option<Enrolled>, StoreError> {
        let sql = "SELECT number, frame_key, suspended FROM hospitals WHERE number = ?1";
        let found = self.one(sql, values![number])?;
        found.as_ref().map(rows::enrolled).transpose()
    }

    pub(crate) fn by_certificate(
        &mut self,
        sha256: &[u8; 32],
    ) -> Result<Option<Enrolled>, StoreError> {
        let sql =
            "SELECT number, frame_key, suspended FROM hospitals WHERE certificate_sha256 = ?1";
        let found = self.one(sql, values![*sha256])?;
        found.as_ref().map(rows::enrolled).transpose()
    }

    pub(crate) fn frame(
        &mut self,
        number: u32,
        sequence: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM frames WHERE appliance = ?1 AND sequence = ?2";
        let found = self.one(sql, values![number, sequence])?;
        found.map(|row| Ok(row.bytes(0)?.to_vec())).transpose()
    }

    pub(crate) fn witness(&mut self, number: u32) -> Result<Option<Witness>, StoreError> {
        let sql = "SELECT appliance, size, root, cosigned_at_s, signature FROM witness WHERE appliance = ?1";
        let found = self.one(sql, values![number])?;
        found.as_ref().map(rows::witness).transpose()
    }

    pub(crate) fn accept(
        &mut self,
        received: &Received,
        witness: &Witness,
    ) -> Result<(), StoreError> {
        let (number, sequence) = (received.appliance, received.sequence);
        let sql = "INSERT INTO frames (appliance, sequence, received_at_s, carried, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
        let bytes = &received.frame.bytes()[..];
        let values = values![
            number,
            sequence,
            received.received_at_s,
            received.carried,
            bytes
        ];
        self.tx.execute(sql, values)?;
        let sql = "INSERT INTO witness (appliance, size, root, cosigned_at_s, signature) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (appliance) DO UPDATE SET size = ?2, root = ?3, cosigned_at_s = ?4, signature = ?5";
        let seen = &witness.seen;
        let values = values![
            number,
            seen.size,
            seen.root,
            seen.cosigned_at_s,
            witness.signature
        ];
        self.tx.execute(sql, values)?;
        self.note("accept frame", &format!("{number}/{sequence}"))
    }

    /// Raises an alarm; the same one is raised once, and once more when it was closed.
    pub(crate) fn alarm(
        &mut self,
        appliance: u32,
        kind: AlarmKind,
        sequence: Option<u32>,
    ) -> Result<(), StoreError> {
        let new = self.tx.execute(
            "INSERT INTO alarms (place, appliance, at_s, kind, sequence) \
             VALUES ((SELECT coalesce(max(place), 0) + 1 FROM alarms), ?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            values![appliance, self.at_s, kind.word(), sequence],
        )?;
        let which = sequence.map_or("?".to_owned(), |number| number.to_string());
        let subject = format!("{appliance}/{which} {}", kind.word());
        if new > 0 {
            return self.note("raise alarm", &subject);
        }
        if self.opens_again(appliance, kind, sequence)? {
            return self.note("raise alarm again", &subject);
        }
        Ok(())
    }

    /// Opens an alarm that was closed, since it was raised again now; `false` when it was open.
    fn opens_again(
        &mut self,
        appliance: u32,
        kind: AlarmKind,
        sequence: Option<u32>,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT c.place FROM closed_alarms c JOIN alarms a ON a.place = c.place \
             WHERE a.appliance = ?1 AND a.kind = ?2 AND coalesce(a.sequence, -1) = coalesce(?3, -1)";
        let Some(closed) = self.one(sql, values![appliance, kind.word(), sequence])? else {
            return Ok(false);
        };
        let number: u32 = closed.narrow(0)?;
        let sql = "DELETE FROM closed_alarms WHERE place = ?1";
        self.tx.execute(sql, values![number])?;
        let sql = "UPDATE alarms SET at_s = ?2 WHERE place = ?1";
        self.tx.execute(sql, values![number, self.at_s])?;
        Ok(true)
    }

    /// Closes an alarm that somebody has looked into.
    pub(crate) fn close_alarm(&mut self, number: u32) -> Result<(), StoreError> {
        let sql = "SELECT place FROM alarms WHERE place = ?1";
        if self.one(sql, values![number])?.is_none() {
            return Err(StoreError::NotFound("alarm"));
        }
        let sql =
            "INSERT INTO closed_alarms (place, closed_at_s) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        if self.tx.execute(sql, values![number, self.at_s])? == 0 {
            return Err(StoreError::Refused("this alarm is closed already"));
        }
        self.note_here("close alarm", number)
    }

    fn one(&mut self, sql: &str, values: &[Value]) -> Result<Option<Row>, StoreError> {
        Ok(self.tx.query(sql, values)?.into_iter().next())
    }

    fn numbered(&mut self, sql: &str, values: &[Value]) -> Result<u32, StoreError> {
        let row = self.one(sql, values)?;
        row.ok_or(StoreError::Damaged("a number"))?.narrow(0)
    }
}

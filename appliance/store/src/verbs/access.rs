//! Access: tokens, kept as hashes, and the lines that say who looked at what.

use crate::StoreError;
use crate::access::{NewToken, Token};
use crate::change::{Done, Tx};
use crate::error::Fault;
use crate::journal::Line;
use crate::sql::{json, time, time_if, to_json};
use crate::store::Store;
use pericard_domain::actor::Actor;
use rusqlite::Row;
use serde_json::json;

/// How many random bytes a token's public id has.
const TOKEN_ID_BYTES: usize = 8;

impl Store {
    /// Keeps a new token: only the hash of its secret.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and others, when it could not be written.
    pub async fn issue_token(&self, token: NewToken, by: Actor) -> Result<Token, StoreError> {
        self.change("issue token", move |tx| issue(tx, token, by))
            .await
    }

    /// Every token, the revoked ones too, latest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        const TOKENS: &str =
            "-- list tokens\nSELECT * FROM tokens ORDER BY issued_at DESC, rowid DESC";
        self.read("list tokens", |sql| sql.all(TOKENS, (), token))
            .await
    }

    /// Ends a token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of that id, or it was revoked before.
    pub async fn revoke_token(&self, id: &str, by: Actor) -> Result<(), StoreError> {
        const REVOKE: &str = "-- revoke token\n\
            UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
        let id = id.to_owned();
        self.change("revoke token", move |tx| {
            if tx.change(REVOKE, (&id, tx.now.as_millis()))? == 0 {
                return Err(StoreError::NotFound("token that could be revoked").into());
            }
            let line = Line::new("revoke token", format!("token {id}"), by);
            Ok(Done::said((), line))
        })
        .await
    }

    /// The token with that hash, when there is one, not revoked and not expired.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn token_by_hash(
        &self,
        secret_sha256: &[u8; 32],
    ) -> Result<Option<Token>, StoreError> {
        const BY_HASH: &str = "-- find token\n\
            SELECT * FROM tokens WHERE secret_sha256 = ?1 AND revoked_at IS NULL \
            AND (expires_at IS NULL OR expires_at > ?2)";
        let values = (*secret_sha256, self.inner.clock.now().as_millis());
        self.read("find token", move |sql| sql.one(BY_HASH, values, token))
            .await
    }

    /// Writes an audit line for an access (somebody read patient data, asked a model, was turned away at the door).
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] and others, when it could not be written: then the access must not happen.
    pub async fn note_access(
        &self,
        verb: &'static str,
        subject: &str,
        by: Actor,
    ) -> Result<(), StoreError> {
        let line = Line::new(verb, subject, by);
        self.change("note access", |_tx| Ok(Done::said((), line)))
            .await
    }
}

fn issue(tx: Tx<'_>, new: NewToken, by: Actor) -> Result<Done<Token>, Fault> {
    const ISSUE: &str = "-- issue token\n\
        INSERT INTO tokens (id, label, roles, secret_sha256, issued_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut id = [0; TOKEN_ID_BYTES];
    getrandom::fill(&mut id).map_err(|error| StoreError::failed("name a token", error))?;
    let token = Token {
        id: hex::encode(id),
        label: new.label,
        roles: new.roles,
        issued_at: tx.now,
        expires_at: new.expires_at,
        revoked_at: None,
    };
    let values = (
        &token.id,
        &token.label,
        to_json(&token.roles)?,
        new.secret_sha256,
        tx.now.as_millis(),
        token.expires_at.map(|at| at.as_millis()),
    );
    tx.change(ISSUE, values)?;
    let detail = json!({ "roles": token.roles, "expires_at": token.expires_at });
    let line = Line::new("issue token", format!("token {}", token.id), by).with(detail);
    Ok(Done::said(token, line))
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: row.get("id")?,
        label: row.get("label")?,
        roles: json(row, "roles")?,
        issued_at: time(row, "issued_at")?,
        expires_at: time_if(row, "expires_at")?,
        revoked_at: time_if(row, "revoked_at")?,
    })
}

//! The audit log: read, verified, exported.

use crate::StoreError;
use crate::audit_log::{AuditLine, AuditQuery, Verified};
use crate::care::LogHead;
use crate::error::Fault;
use crate::evidence;
use crate::files::private;
use crate::journal;
use crate::sql::{Sql, json};
use crate::store::Store;
use pericard_audit::{Frontier, tiles};
use std::io::Write as _;
use std::path::Path;

/// How many lines are read when no limit is said.
const READ_LINES: u32 = 100;

impl Store {
    /// Lines of the log. Those whose records were erased are passed over.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditLine>, StoreError> {
        macro_rules! lines {
            ($order:literal) => {
                concat!(
                    "-- read audit lines\n\
                     SELECT idx, record FROM audit_entries WHERE idx >= ?1 AND idx < ?2 AND record IS NOT NULL \
                     AND (?3 IS NULL OR instr(json_extract(record, '$.subject'), ?3) > 0) \
                     AND (?4 IS NULL OR json_extract(record, '$.verb') = ?4) \
                     AND (?5 IS NULL OR instr(json_extract(record, '$.by'), ?5) > 0) \
                     ORDER BY idx ",
                    $order,
                    " LIMIT ?6"
                )
            };
        }
        let lines = match query.before {
            None => lines!("ASC"),
            Some(_) => lines!("DESC"),
        };
        let limit = if query.limit == 0 {
            READ_LINES
        } else {
            query.limit
        };
        self.read("read audit lines", move |sql| {
            let place = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
            let before = place(query.before.unwrap_or(u64::MAX));
            let said = (query.subject, query.verb, query.by);
            let values = (place(query.from), before, said.0, said.1, said.2, limit);
            sql.all(lines, values, |row| {
                let index: i64 = row.get("idx")?;
                let line: AuditLine = json(row, "record")?;
                Ok(AuditLine {
                    index: index.cast_unsigned(),
                    ..line
                })
            })
        })
        .await
    }

    /// How large the log is and what it hashes to, as last signed: without reading the log.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn checkpoint(&self) -> Result<LogHead, StoreError> {
        self.read("read the audit checkpoint", |sql| {
            let head = journal::head(sql)?;
            let (frontier, checkpoint) = head.ok_or(StoreError::NotFound("audit log"))?;
            let frontier = Frontier::from_bytes(&frontier)
                .map_err(|error| StoreError::failed("read the audit checkpoint", error))?;
            Ok(LogHead {
                size: frontier.size(),
                root: *frontier.root().as_bytes(),
                checkpoint,
            })
        })
        .await
    }

    /// Recomputes the whole log against its signed checkpoint, the one in the database and the one in the file beside
    /// it.
    ///
    /// # Errors
    /// [`StoreError::Failed`] that names the first entry found changed, dropped or missing at the end.
    pub async fn verify_audit(&self) -> Result<Verified, StoreError> {
        let dir = self.inner.files.layout().audit();
        let verifier = self.inner.verifier.clone();
        self.read("verify the audit log", move |sql| {
            evidence::verify(sql, &dir, &verifier)
        })
        .await
    }

    /// Writes the log into an empty or new folder as static files (C2SP tlog-tiles), with its records and its
    /// verifier key, for an auditor's own tools.
    ///
    /// # Errors
    /// When the log cannot be read or the folder cannot be written.
    pub async fn export_audit(&self, dir: &Path) -> Result<(), StoreError> {
        let dir = dir.to_owned();
        let verifier = self.inner.verifier.to_string();
        self.read("export the audit log", move |sql| {
            write_file(&dir, "key.pub", format!("{verifier}\n").as_bytes())?;
            export(sql, &dir)
        })
        .await
    }
}

fn export(sql: Sql<'_>, dir: &Path) -> Result<(), Fault> {
    let tx = sql.connection().unchecked_transaction();
    let _one_view = tx.map_err(Fault::sql("begin to read"))?;
    let (_, checkpoint) = journal::head(sql)?.ok_or(StoreError::NotFound("audit log"))?;
    let entries = evidence::Entries::new(sql);
    tiles::export(entries, &checkpoint, |name, bytes| {
        write_file(dir, name, bytes)
    })
}

fn write_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Fault> {
    let path = dir.join(name);
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
        let mut file = private()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        file.write_all(bytes)
    };
    write().map_err(|error: std::io::Error| {
        let reason = format!("{}: {error}", path.display());
        StoreError::failed("export the audit log", reason).into()
    })
}

//! C-FIND as its provider (PS3.4 section C.4.1): one pending response for each match, ended when the peer says so.

use crate::archive::Archive;
use crate::command::CommandSet;
use crate::door::Door;
use crate::query::Query;
use crate::record::{Level, Record, records};
use crate::service::Root;
use crate::session::Session;
use crate::status::Status;
use crate::wire::LinkError;
use pericard_dicom::identifier::Identifier;
use pericard_domain::uid::StudyUid;
use pericard_store::StoreError;
use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin, D: Door> Session<'_, S, D> {
    /// Answers a query; gives the final status.
    pub(crate) async fn find(
        &mut self,
        context: u8,
        command: &CommandSet,
        root: Root,
    ) -> Result<Status, LinkError> {
        let identifier = match self.identifier(context, command).await? {
            Ok(identifier) => identifier,
            Err(status) => return Ok(status),
        };
        let query = match Query::read(root, &identifier) {
            Ok(query) => query,
            Err(status) => return Ok(status),
        };
        let Some(archive) = self.archive else {
            return Ok(Status::UNABLE_TO_PROCESS);
        };
        match self.answer_query(context, command, archive, &query).await? {
            Ok(status) => Ok(status),
            Err(error) => {
                tracing::error!("C-FIND: {error}");
                Ok(Status::UNABLE_TO_PROCESS)
            }
        }
    }

    async fn answer_query(
        &mut self,
        context: u8,
        command: &CommandSet,
        archive: &Archive,
        query: &Query,
    ) -> Result<Result<Status, StoreError>, LinkError> {
        let studies = match studies(archive, query, self).await {
            Ok(studies) => studies,
            Err(error) => return Ok(Err(error)),
        };
        let (mut sent, mut patients) = (0, HashSet::new());
        for study in studies {
            let instances = match archive.store.instances(&study).await {
                Ok(instances) => instances,
                Err(error) => return Ok(Err(error)),
            };
            for record in records(query.level, &instances) {
                if self.is_cancelled(command.message_id()).await? {
                    return Ok(Ok(Status::CANCELLED));
                }
                let Some(record) = matching(archive, query, record).await else {
                    continue;
                };
                // A patient has one answer, however many studies.
                let is_again = query.level == Level::Patient
                    && !patients.insert(record.example.facts.patient_id.clone());
                if is_again {
                    continue;
                }
                if sent == self.limits.answers_max {
                    return Ok(Ok(Status::TOO_MANY_MATCHES));
                }
                sent += 1;
                let answer = query.answer(&record, self.our_title.as_str());
                self.pending(context, command, &answer, &query.charset)
                    .await?;
            }
        }
        Ok(Ok(Status::SUCCESS))
    }

    async fn pending(
        &mut self,
        context: u8,
        command: &CommandSet,
        answer: &Identifier,
        charset: &str,
    ) -> Result<(), LinkError> {
        let response = CommandSet::response(command, &Status::PENDING).with_data_set();
        let bytes = match self.association.context(context) {
            Some(context) => answer.encoded(&context.transfer_syntax, charset),
            None => return Ok(()),
        };
        self.association.send_both(context, &response, &bytes).await
    }
}

/// The studies in which to look. The audit log has the query before the first answer.
async fn studies<S, D>(
    archive: &Archive,
    query: &Query,
    session: &Session<'_, S, D>,
) -> Result<Vec<StudyUid>, StoreError> {
    let named = query.studies();
    let about = match named.as_slice() {
        [] => "all".to_owned(),
        [study] => format!("study {study}"),
        several => format!("{} studies", several.len()),
    };
    let subject = format!("{} level, {about}", query.level.name().to_lowercase());
    archive
        .store
        .note_access("query", &subject, session.peer.clone())
        .await?;
    if named.is_empty() {
        archive.store.find_studies(query.narrowing()).await
    } else {
        Ok(named)
    }
}

/// The record with everything that was asked for, when it matches.
async fn matching(archive: &Archive, query: &Query, mut record: Record) -> Option<Record> {
    if !query.may_match(&record.attributes) {
        return None;
    }
    if query.asks_beyond(&record.attributes) {
        let path = archive.store.object_path(&record.example);
        let read = move || {
            let file = File::open(path).ok()?;
            Identifier::read_file(&mut BufReader::new(file)).ok()
        };
        // What cannot be read has no more attributes than those that are known.
        if let Ok(Some(of_file)) = tokio::task::spawn_blocking(read).await {
            for (tag, element) in of_file.iter() {
                if record.attributes.get(tag).is_none() {
                    record
                        .attributes
                        .put(tag, element.vr, element.value.clone());
                }
            }
        }
    }
    query.matches(&record.attributes).then_some(record)
}

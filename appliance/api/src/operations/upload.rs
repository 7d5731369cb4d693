//! `POST /api/v1/studies`: objects from people and scripts, as one object, a form of files, or zip archives.

use super::archive::{self, ArchiveError, Limits, Unpacked};
use crate::access::Caller;
use crate::appliance::Api;
use crate::body::{Inflow, media_type};
use crate::config::mib;
use crate::multipart::{Multipart, MultipartType};
use crate::problem::Problem;
use crate::reception::{Outcome, Reception};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pericard_intake::{Admission, Refused};
use serde_json::{Value, json};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

/// What is taken, for the OpenAPI document.
pub(crate) const MEDIA_TYPES: &[&str] = &[
    "application/zip",
    "multipart/form-data",
    "multipart/related",
    "application/dicom",
];
/// For the audit log.
const WHAT: &str = "POST /api/v1/studies";

pub(crate) async fn submit(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let kind = Kind::of(&parts.headers)?;
    let inflow = Inflow::upload(&api.config, &parts.headers, body)?;
    let mut upload = Upload {
        api: &api,
        reception: Reception::new(&api, &caller, WHAT),
    };
    let taken = match kind {
        Kind::Multipart(boundary) => upload.take_parts(Multipart::new(inflow, &boundary)).await,
        Kind::File => upload.take_file(&mut Source::Body(inflow)).await,
    };
    taken.map_err(|problem| {
        let kept = upload.reception.taken();
        let detail = format!(
            "{}. {kept} objects before that are kept; sending all again is safe",
            problem.detail
        );
        Problem { detail, ..problem }
    })?;
    respond(&upload.reception)
}

/// What the body is.
enum Kind {
    /// Files in parts, with their boundary.
    Multipart(String),
    /// One file: an object or an archive.
    File,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match media_type(headers).as_deref() {
            Some("multipart/form-data" | "multipart/related") => {
                Ok(Self::Multipart(MultipartType::of(headers)?.boundary))
            }
            // Whether it is an archive or an object, its first bytes say better than its sender.
            Some(
                "application/zip"
                | "application/x-zip-compressed"
                | "application/dicom"
                | "application/octet-stream",
            ) => Ok(Self::File),
            _ => Err(Problem::unsupported_media(&MEDIA_TYPES.join(", "))),
        }
    }
}

/// Where a file's bytes come from.
enum Source<'a> {
    Body(Inflow),
    Part(&'a mut Multipart),
}

impl Source<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        match self {
            Self::Body(inflow) => inflow.next().await,
            Self::Part(multipart) => multipart.piece().await,
        }
    }

    /// The first bytes: as many as a magic number has, or all there are.
    async fn first(&mut self) -> Result<Bytes, Problem> {
        let mut first = BytesMut::new();
        while first.len() < archive::MAGICS[0].len() {
            match self.next().await? {
                Some(bytes) => first.extend_from_slice(&bytes),
                None => break,
            }
        }
        Ok(first.freeze())
    }
}

struct Upload<'a> {
    api: &'a Api,
    reception: Reception<'a>,
}

impl Upload<'_> {
    async fn take_parts(&mut self, mut multipart: Multipart) -> Result<(), Problem> {
        while multipart.next_part().await?.is_some() {
            self.take_file(&mut Source::Part(&mut multipart)).await?;
        }
        Ok(())
    }

    async fn take_file(&mut self, source: &mut Source<'_>) -> Result<(), Problem> {
        let first = source.first().await?;
        if first.is_empty() {
            return Ok(()); // A form's field that was left empty.
        }
        if archive::MAGICS
            .iter()
            .any(|magic| first.starts_with(&magic[..]))
        {
            let file = self.spool(first, source).await?;
            return self.take_archive(file).await;
        }
        let mut object = self.reception.open()?;
        object.write(&first);
        while let Some(bytes) = source.next().await? {
            object.write(&bytes);
        }
        self.reception.close(object).await;
        Ok(())
    }

    /// Puts an archive on disk: what it holds is listed at its end. The file has no name, so a crash leaves nothing.
    async fn spool(&self, first: Bytes, source: &mut Source<'_>) -> Result<std::fs::File, Problem> {
        if let Some(trouble) = self.api.rooms.store.trouble() {
            return Err(trouble.into());
        }
        let dir = self.api.config.spool_dir.clone();
        let made = tokio::task::spawn_blocking(move || tempfile::tempfile_in(dir)).await;
        let made = made.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let mut file = tokio::fs::File::from_std(made.map_err(not_spooled)?);
        file.write_all(&first).await.map_err(not_spooled)?;
        while let Some(bytes) = source.next().await? {
            file.write_all(&bytes).await.map_err(not_spooled)?;
        }
        file.flush().await.map_err(not_spooled)?;
        file.rewind().await.map_err(not_spooled)?;
        Ok(file.into_std().await)
    }

    async fn take_archive(&mut self, file: std::fs::File) -> Result<(), Problem> {
        let config = &self.api.config;
        let limits = Limits {
            entries_max: config.upload_objects_max,
            inflated_max_bytes: mib(config.archive_inflated_max_mib),
        };
        let mut hears = archive::unpack(file, limits);
        let mut object = None;
        while let Some(unpacked) = hears.recv().await {
            match unpacked? {
                Unpacked::Begin => object = Some(self.reception.open()?),
                Unpacked::Piece(piece) => {
                    if let Some(object) = &mut object {
                        object.write(&piece);
                    }
                }
                Unpacked::End => {
                    if let Some(object) = object.take() {
                        self.reception.close(object).await;
                    }
                }
                Unpacked::Broken(why) => {
                    object = None;
                    self.reception.refuse(Refused::Malformed(why)).await;
                }
            }
        }
        Ok(())
    }
}

fn not_spooled(error: std::io::Error) -> Problem {
    tracing::error!(%error, "an archive could not be put on disk");
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    if full {
        let detail =
            "no room is left to unpack the archive; free space, or send fewer objects at once";
        return Problem::new(StatusCode::INSUFFICIENT_STORAGE, "out_of_storage", detail);
    }
    Problem::internal()
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        let (status, code) = match error {
            ArchiveError::Damaged => (StatusCode::BAD_REQUEST, "malformed_archive"),
            ArchiveError::TooManyEntries { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_many_objects")
            }
            ArchiveError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        };
        Self::new(status, code, error.to_string())
    }
}

fn respond(reception: &Reception<'_>) -> Result<Response, Problem> {
    let status = reception.status()?;
    let objects: Vec<_> = reception.outcomes.iter().enumerate().map(told).collect();
    let taken = reception.taken();
    let body = json!({"taken": taken, "refused": objects.len() - taken, "objects": objects});
    let mut response = (status, Json(body)).into_response();
    if let Some(seconds) = reception.retry_after_s() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// One object's outcome. It is known by its place, from 0: a file's name may be a patient's.
fn told((place, outcome): (usize, &Outcome)) -> Value {
    match outcome {
        Outcome::Taken {
            identity,
            admission,
        } => {
            let (outcome, revision) = match admission {
                Admission::Stored => ("stored", None),
                Admission::AlreadyHeld => ("already_held", None),
                Admission::Revised { revision } => ("revised", Some(revision)),
            };
            json!({
                "object": place, "outcome": outcome, "revision": revision,
                "study": identity.study, "series": identity.series, "instance": identity.instance,
            })
        }
        Outcome::Refused(refused) => json!({
            "object": place, "outcome": "refused",
            "reason": refused.to_string(), "transient": refused.is_transient(),
        }),
    }
}

//! WADO-RS (PS3.18 section 10.4): objects out, as they are stored, and their metadata.

use super::frames::url;
use super::parts::Parts;
use super::{DICOM_JSON, accept_json, media_ranges};
use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::id;
use crate::multipart::parameters;
use crate::origin::origin;
use crate::problem::Problem;
use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use pericard_domain::study::Instance;
use pericard_domain::uid::{InstanceUid, SeriesUid, StudyUid};
use std::convert::Infallible;
use std::io;
use tokio_util::io::ReaderStream;

/// How much of a file is read at a time.
const PIECE_BYTES: usize = 128 << 10;
/// What is offered, for a refusal.
const OFFERED: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";

type Handled = Result<Response, Problem>;

pub(crate) async fn study(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
    headers: HeaderMap,
) -> Handled {
    let wanted = Wanted::study(&study)?;
    retrieve(&api, &caller, wanted, &headers).await
}

pub(crate) async fn series(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series)): Path<(String, String)>,
    headers: HeaderMap,
) -> Handled {
    let wanted = Wanted::series(&study, &series)?;
    retrieve(&api, &caller, wanted, &headers).await
}

pub(crate) async fn instance(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series, instance)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Handled {
    let wanted = Wanted::instance(&study, &series, &instance)?;
    retrieve(&api, &caller, wanted, &headers).await
}

pub(crate) async fn study_metadata(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
    asking: Asking,
) -> Handled {
    let wanted = Wanted::study(&study)?;
    describe(&api, &caller, wanted, &asking).await
}

pub(crate) async fn series_metadata(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series)): Path<(String, String)>,
    asking: Asking,
) -> Handled {
    let wanted = Wanted::series(&study, &series)?;
    describe(&api, &caller, wanted, &asking).await
}

pub(crate) async fn instance_metadata(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series, instance)): Path<(String, String, String)>,
    asking: Asking,
) -> Handled {
    let wanted = Wanted::instance(&study, &series, &instance)?;
    describe(&api, &caller, wanted, &asking).await
}

/// Which objects are wanted.
pub(super) struct Wanted {
    study: StudyUid,
    series: Option<SeriesUid>,
    instance: Option<InstanceUid>,
}

impl Wanted {
    pub(super) fn study(study: &str) -> Result<Self, Problem> {
        let study = id("such study", study)?;
        Ok(Self {
            study,
            series: None,
            instance: None,
        })
    }

    pub(super) fn series(study: &str, series: &str) -> Result<Self, Problem> {
        let series = Some(id("such series", series)?);
        Ok(Self {
            series,
            ..Self::study(study)?
        })
    }

    pub(super) fn instance(study: &str, series: &str, instance: &str) -> Result<Self, Problem> {
        let instance = Some(id("such instance", instance)?);
        Ok(Self {
            instance,
            ..Self::series(study, series)?
        })
    }

    pub(super) async fn find(&self, api: &Api) -> Result<Vec<Instance>, Problem> {
        let mut found = api.rooms.store.instances(&self.study).await?;
        found.retain(|i| {
            let identity = &i.identity;
            self.series.as_ref().is_none_or(|s| *s == identity.series)
                && self
                    .instance
                    .as_ref()
                    .is_none_or(|u| *u == identity.instance)
        });
        if found.is_empty() {
            return Err(Problem::not_found("such object"));
        }
        Ok(found)
    }

    /// What is written into the audit log: the narrowest id.
    pub(super) fn subject(&self) -> &str {
        let series = self
            .series
            .as_ref()
            .map_or(self.study.as_str(), SeriesUid::as_str);
        self.instance.as_ref().map_or(series, InstanceUid::as_str)
    }
}

async fn retrieve(api: &Api, caller: &Caller, wanted: Wanted, headers: &HeaderMap) -> Handled {
    let found = wanted.find(api).await?;
    refuse_damaged(api, &wanted.study, &found).await?;
    let packing = Packing::accepted(headers, &found)?;
    api.note_access("retrieve", wanted.subject(), caller)
        .await?;
    match packing {
        Packing::Single => single(api, &found).await,
        Packing::Multipart => Ok(multipart(api, found)),
    }
}

/// Bytes that are not those which were received are given to nobody.
pub(crate) async fn refuse_damaged(
    api: &Api,
    study: &StudyUid,
    found: &[Instance],
) -> Result<(), Problem> {
    let damaged = api.rooms.store.damaged_in(study).await?;
    let is_damaged = |i: &&Instance| damaged.contains(&i.identity.instance);
    let Some(first) = found.iter().find(is_damaged) else {
        return Ok(());
    };
    let instance = &first.identity.instance;
    let detail =
        format!("the kept file of the object {instance} is damaged; send the object again");
    Err(Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "damaged_object",
        detail,
    ))
}

/// How the objects are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    /// One object, bare.
    Single,
    Multipart,
}

impl Packing {
    /// What the client accepts. Objects go out as they are stored: a client that insists on another transfer syntax is
    /// told so, rather than given pixels that were changed on the way.
    fn accepted(headers: &HeaderMap, found: &[Instance]) -> Result<Self, Problem> {
        let ranges: Vec<_> = media_ranges(headers).collect();
        if ranges.is_empty() {
            return Ok(Self::Multipart);
        }
        let packings = ranges.iter().filter_map(|(essence, range)| {
            let parameters = parameters(range);
            let named = |name: &str| {
                let found = parameters.iter().find(|(n, _)| n == name);
                found.map(|(_, value)| value.as_str())
            };
            let kept_as = |syntax: &str| {
                let kept = |i: &Instance| i.identity.transfer_syntax.as_str() == syntax;
                syntax == "*" || found.iter().all(kept)
            };
            let type_fits =
                named("type").is_none_or(|t| t.eq_ignore_ascii_case("application/dicom"));
            let packing = match essence.as_str() {
                "*/*" | "multipart/*" => Self::Multipart,
                "multipart/related" if type_fits => Self::Multipart,
                "application/dicom" | "application/*" if found.len() == 1 => Self::Single,
                _ => return None,
            };
            named("transfer-syntax")
                .is_none_or(kept_as)
                .then_some(packing)
        });
        packings
            .into_iter()
            .next()
            .ok_or_else(|| Problem::not_acceptable(OFFERED))
    }
}

async fn single(api: &Api, found: &[Instance]) -> Handled {
    let instance = &found[0];
    let file = open(api, instance).await.map_err(|error| {
        tracing::error!(%error, "a stored object cannot be opened");
        Problem::internal()
    })?;
    let content_type = [(header::CONTENT_TYPE, object_type(instance))];
    let body = Body::from_stream(ReaderStream::with_capacity(file, PIECE_BYTES));
    Ok((content_type, body).into_response())
}

fn object_type(instance: &Instance) -> String {
    format!(
        "application/dicom; transfer-syntax={}",
        instance.identity.transfer_syntax
    )
}

async fn open(api: &Api, instance: &Instance) -> io::Result<tokio::fs::File> {
    tokio::fs::File::open(api.rooms.store.object_path(instance)).await
}

fn multipart(api: &Api, found: Vec<Instance>) -> Response {
    let parts = Parts::new();
    let content_type = parts.media_type("application/dicom");
    let body = Body::from_stream(objects(api.clone(), found, parts));
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn objects(
    api: Api,
    found: Vec<Instance>,
    parts: Parts,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let end = parts.end();
    let each = stream::iter(found).then(move |instance| {
        let (api, head) = (api.clone(), parts.head(&object_type(&instance), None));
        async move {
            let file = open(&api, &instance).await.inspect_err(|error| {
                tracing::error!(%error, "a stored object cannot be opened; the answer breaks off");
            })?;
            let content = ReaderStream::with_capacity(file, PIECE_BYTES);
            let head = stream::once(async move { Ok(head) });
            let tail = stream::once(async { Ok(Bytes::from_static(Parts::TAIL)) });
            Ok::<_, io::Error>(head.chain(content).chain(tail))
        }
    });
    each.try_flatten()
        .chain(stream::once(async move { Ok(end) }))
}

async fn describe(api: &Api, caller: &Caller, wanted: Wanted, asking: &Asking) -> Handled {
    accept_json(&asking.headers)?;
    let found = wanted.find(api).await?;
    refuse_damaged(api, &wanted.study, &found).await?;
    api.note_access("retrieve metadata", wanted.subject(), caller)
        .await?;
    let base = origin(&api.config, &asking.headers, &asking.uri);
    let all = found.iter().map(|i| (api.kept(i), url(&base, i))).collect();
    // One object after the other, so that a study of thousands of them never stands in memory.
    let desk = api.desk().await?;
    let each = desk.each(all, |r, (kept, url): &(_, String)| r.describe(kept, url));
    let each = each.await?.map_ok(|(place, described)| {
        let before: &[u8] = if place == 0 { b"[" } else { b"," };
        Bytes::from([before, &described].concat())
    });
    let end = stream::once(async { Ok(Bytes::from_static(b"]")) });
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))];
    Ok((content_type, Body::from_stream(each.chain(end))).into_response())
}

/// What a request says besides its path.
pub(crate) struct Asking {
    headers: HeaderMap,
    uri: Uri,
}

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Infallible> {
        Ok(Self {
            headers: parts.headers.clone(),
            uri: parts.uri.clone(),
        })
    }
}

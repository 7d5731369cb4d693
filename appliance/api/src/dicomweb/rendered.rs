//! Rendered images and thumbnails of WADO-RS (PS3.18 section 10.4.1.1): frames as JPEG or PNG, made
//! behind walls by the same reader that the console's pictures come from.

use super::frames::frames_of;
use super::media_ranges;
use super::parts::Parts;
use super::wado::{Wanted, refuse_damaged};
use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::multipart::parameters;
use crate::painter::grey_window;
use crate::problem::Problem;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use pericard_domain::image::{GreyCurve, GreyWindow};
use pericard_domain::study::Instance;
use pericard_runner::{Form, View};

/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    ("viewport", "columns,rows that the picture shall fit into"),
    ("window", "center,width,linear"),
    ("quality", "of a JPEG, 1 to 100"),
];
/// For the OpenAPI document: the first is the default.
pub(crate) const MEDIA_TYPES: &[&str] = &["image/jpeg", "image/png"];
/// What is offered, for a refusal.
const OFFERED: &str = "image/jpeg, image/png";
/// A JPEG in which no artefact is seen at a glance; whoever measures, asks for PNG.
const QUALITY: u8 = 90;
/// The most pictures of one answer; more are asked for by series or instance.
const PICTURES_MAX: usize = 2000;
/// A thumbnail's columns and rows, when no viewport is asked for.
const THUMBNAIL_SIDE: u32 = 128;

type Handled = Result<Response, Problem>;
type OfInstance = (String, String, String);
type OfFrame = (String, String, String, String);

pub(crate) async fn study(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
    headers: HeaderMap,
    asked: Asked,
) -> Handled {
    let view = view(1, &asked, &headers)?;
    give_all(&api, &caller, &Wanted::study(&study)?, view).await
}

pub(crate) async fn series(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series)): Path<(String, String)>,
    headers: HeaderMap,
    asked: Asked,
) -> Handled {
    let view = view(1, &asked, &headers)?;
    give_all(&api, &caller, &Wanted::series(&study, &series)?, view).await
}

pub(crate) async fn instance(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series, instance)): Path<OfInstance>,
    headers: HeaderMap,
    asked: Asked,
) -> Handled {
    let wanted = Wanted::instance(&study, &series, &instance)?;
    let view = view(1, &asked, &headers)?;
    // Bare, it is the first frame: a picture is one. As several parts it is all of them.
    if wants_parts(&headers) {
        return give_all(&api, &caller, &wanted, view).await;
    }
    give(&api, &caller, &wanted, view).await
}

pub(crate) async fn frame(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series, instance, frame)): Path<OfFrame>,
    headers: HeaderMap,
    asked: Asked,
) -> Handled {
    let wanted = Wanted::instance(&study, &series, &instance)?;
    let view = view(id("such frame", &frame)?, &asked, &headers)?;
    give(&api, &caller, &wanted, view).await
}

pub(crate) async fn study_thumbnail(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(study): Path<String>,
    headers: HeaderMap,
    asked: Asked,
) -> Handled {
    let view = small(view(1, &asked, &headers)?);
    give(&api, &caller, &Wanted::study(&study)?, view).await
}

pub(crate) async fn series_thumbnail(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series)): Path<(String, String)>,
    headers: HeaderMap,
    asked: Asked,
) -> Handled {
    let view = small(view(1, &asked, &headers)?);
    give(&api, &caller, &Wanted::series(&study, &series)?, view).await
}

pub(crate) async fn instance_thumbnail(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series, instance)): Path<OfInstance>,
    headers: HeaderMap,
    asked: Asked,
) -> Handled {
    let wanted = Wanted::instance(&study, &series, &instance)?;
    let view = small(view(1, &asked, &headers)?);
    give(&api, &caller, &wanted, view).await
}

pub(crate) async fn frame_thumbnail(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((study, series, instance, frame)): Path<OfFrame>,
    headers: HeaderMap,
    asked: Asked,
) -> Handled {
    let wanted = Wanted::instance(&study, &series, &instance)?;
    let view = small(view(id("such frame", &frame)?, &asked, &headers)?);
    give(&api, &caller, &wanted, view).await
}

async fn give(api: &Api, caller: &Caller, wanted: &Wanted, view: View) -> Handled {
    let found = wanted.find(api).await?;
    let shown = representative(&found).ok_or_else(|| Problem::not_found("such image"))?;
    if !(1..=shown.facts.frames.unwrap_or(1)).contains(&view.frame) {
        return Err(Problem::not_found("such frame"));
    }
    api.note_access("view image", shown.identity.instance.as_str(), caller)
        .await?;
    let picture = api.show(shown, view).await?;
    let content_type = media_type(view.form);
    Ok(([(header::CONTENT_TYPE, content_type)], picture.bytes).into_response())
}

/// Every frame of every image among them, each as a part.
async fn give_all(api: &Api, caller: &Caller, wanted: &Wanted, view: View) -> Handled {
    let mut found = wanted.find(api).await?;
    found.retain(|i| i.facts.rows.is_some());
    let each = |i: &Instance| {
        let kept = api.kept(i);
        (1..=frames_of(i)).map(move |frame| (kept.clone(), View { frame, ..view }))
    };
    let pictures: Vec<_> = found.iter().flat_map(each).take(PICTURES_MAX + 1).collect();
    let Some(first) = found.first() else {
        return Err(Problem::not_found("such image"));
    };
    if pictures.len() > PICTURES_MAX {
        let detail = format!(
            "more than {PICTURES_MAX} pictures in one answer; ask for a series or an instance"
        );
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_pictures",
            detail,
        ));
    }
    refuse_damaged(api, &first.identity.study, &found).await?;
    api.note_access("view image", wanted.subject(), caller)
        .await?;
    let (parts, of_parts) = (Parts::new(), media_type(view.form));
    let content_type = [(header::CONTENT_TYPE, parts.media_type(of_parts))];
    let desk = api.desk().await?;
    let each = desk.each(pictures, |r, (kept, view): &(_, View)| {
        r.show(kept, view).map(|shown| shown.bytes)
    });
    let end = parts.end();
    let each = each
        .await?
        .map_ok(move |(_, bytes)| parts.part(of_parts, None, &bytes));
    let end = stream::once(async move { Ok::<Bytes, std::io::Error>(end) });
    Ok((content_type, Body::from_stream(each.chain(end))).into_response())
}

const fn media_type(form: Form) -> &'static str {
    match form {
        Form::Jpeg { .. } => "image/jpeg",
        Form::Png => "image/png",
    }
}

fn wants_parts(headers: &HeaderMap) -> bool {
    let first = media_ranges(headers).next();
    first.is_some_and(|(essence, _)| essence == "multipart/related")
}

/// The one that stands for all: the only one, or the first that has pixels.
fn representative(found: &[Instance]) -> Option<&Instance> {
    match found {
        [only] => Some(only),
        several => several.iter().find(|i| i.facts.rows.is_some()),
    }
}

fn view(frame: u32, asked: &Asked, headers: &HeaderMap) -> Result<View, Problem> {
    let quality = asked.value("quality")?.unwrap_or(QUALITY);
    if !(1..=100).contains(&quality) {
        return Err(Problem::parameter("quality", "a quality is 1 to 100"));
    }
    Ok(View {
        frame,
        window: window(asked)?,
        curve: GreyCurve::Linear,
        fit: viewport(asked)?,
        form: form(headers, quality)?,
    })
}

/// The same view, as large as a thumbnail when no other size was asked for.
fn small(view: View) -> View {
    let fit = view.fit.or(Some([THUMBNAIL_SIDE; 2]));
    View { fit, ..view }
}

/// The first of the accepted media types that is made here.
fn form(headers: &HeaderMap, quality: u8) -> Result<Form, Problem> {
    let mut accepted = media_ranges(headers).peekable();
    if accepted.peek().is_none() {
        return Ok(Form::Jpeg { quality });
    }
    // Of several parts, it is the parts that have a form.
    let of_parts = |(essence, range): (String, String)| match essence.as_str() {
        "multipart/related" => {
            let named = parameters(&range).into_iter().find(|(n, _)| n == "type");
            named.map_or_else(|| "*/*".to_owned(), |(_, kind)| kind.to_ascii_lowercase())
        }
        _ => essence,
    };
    let mut forms = accepted
        .map(of_parts)
        .filter_map(|kind| match kind.as_str() {
            "image/jpeg" | "image/*" | "*/*" => Some(Form::Jpeg { quality }),
            "image/png" => Some(Form::Png),
            _ => None,
        });
    forms.next().ok_or_else(|| Problem::not_acceptable(OFFERED))
}

/// PS3.18 section 8.3.5.1.3. Only whole images are shown: a region of the source is refused rather than ignored.
fn viewport(asked: &Asked) -> Result<Option<[u32; 2]>, Problem> {
    let Some(text) = asked.text("viewport") else {
        return Ok(None);
    };
    let sides: Vec<Option<u32>> = text.split(',').map(|side| side.parse().ok()).collect();
    match sides[..] {
        [Some(columns), Some(rows)] if columns > 0 && rows > 0 => Ok(Some([columns, rows])),
        _ => Err(Problem::parameter(
            "viewport",
            "a viewport is columns,rows, both above 0; regions are not shown",
        )),
    }
}

/// PS3.18 section 8.3.5.1.4. A function that is not applied is refused: the picture would look right and be another.
fn window(asked: &Asked) -> Result<Option<GreyWindow>, Problem> {
    let Some(text) = asked.text("window") else {
        return Ok(None);
    };
    let refused = || {
        Problem::parameter(
            "window",
            "a window is center,width,linear; no other function is applied",
        )
    };
    let parts: Vec<&str> = text.split(',').collect();
    let (center, width) = match parts[..] {
        [center, width] => (center, width),
        [center, width, function] if function.eq_ignore_ascii_case("linear") => (center, width),
        _ => return Err(refused()),
    };
    let (Ok(center), Ok(width)) = (center.parse(), width.parse()) else {
        return Err(refused());
    };
    grey_window("window", center, width).map(Some)
}

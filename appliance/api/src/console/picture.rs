//! A frame as a picture. Decoded, windowed and encoded behind walls; nothing here looks into it.

use super::visit::Visit;
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::painter::grey_window;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header;
use pericard_domain::image::GreyWindow;
use pericard_domain::study::Instance;
use pericard_domain::uid::{InstanceUid, StudyUid};
use pericard_runner::View;

/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    ("center", "the window's middle; together with width"),
    ("width", "the window's width; together with center"),
];

pub(crate) async fn show(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
    Path((study, instance, frame)): Path<(String, String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    let study: StudyUid = id("such study", &study)?;
    let instance: InstanceUid = id("such object", &instance)?;
    let view = View {
        window: window(&asked)?,
        ..View::of(id("such frame", &frame)?)
    };
    let held = held(&api, &study, &instance).await?;
    api.note_access("view image", instance.as_str(), &visit.caller)
        .await?;
    let shown = api.show(&held, view).await?;
    Ok(([(header::CONTENT_TYPE, "image/png")], shown.bytes).into_response())
}

/// The window that is asked for.
pub(super) fn window(asked: &Asked) -> Result<Option<GreyWindow>, Problem> {
    let (center, width): (Option<f64>, Option<f64>) =
        (asked.value("center")?, asked.value("width")?);
    match (center, width) {
        (None, None) => Ok(None),
        (Some(center), Some(width)) => grey_window("width", center, width).map(Some),
        _ => Err(Problem::parameter(
            "width",
            "a window has a center and a width above 0",
        )),
    }
}

async fn held(api: &Api, study: &StudyUid, instance: &InstanceUid) -> Result<Instance, Problem> {
    let objects = api.rooms.store.instances(study).await?;
    let found = objects
        .into_iter()
        .find(|i| i.identity.instance == *instance);
    found.ok_or_else(|| Problem::not_found("such object"))
}

//! Whether the model that answers may be used to treat patients: every answer says it.

use crate::appliance::Api;
use http::{HeaderName, HeaderValue};
use pericard_runner::Loaded;

/// The header of an answer that says it.
pub(crate) const NAME: &str = "x-pericard-clinical-use";

/// What its manifest says; a model that is not known to be for treatment is not.
pub(crate) fn of(api: &Api, model: &Loaded) -> bool {
    let package = api.rooms.packages.iter().find(|p| p.model == model.model);
    package.is_some_and(|package| package.manifest.clinical_use)
}

/// The header, with its value.
pub(crate) fn header(is_for_treatment: bool) -> (HeaderName, HeaderValue) {
    let told = if is_for_treatment { "true" } else { "false" };
    (
        HeaderName::from_static(NAME),
        HeaderValue::from_static(told),
    )
}

//! FHIR R4, to read: the studies that are held, and what the models found in them. Every finding is preliminary: a model's,
//! verified by nobody.

mod bundle;
mod capability;
mod dates;
mod finding;
mod resource;
mod study;

use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::Asked;
use crate::dicomweb::media_ranges;
use crate::origin::origin;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use bundle::{Entry, Page};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri, header};
use pericard_domain::job::JobId;
use pericard_domain::study::Study;
use pericard_domain::uid::StudyUid;
use pericard_store::{KeptReport, StoreError};
use serde_json::Value;
use study::Filter;

/// The media type of answers, errors included.
pub(crate) const FHIR_JSON: &str = "application/fhir+json";
/// For the OpenAPI document.
pub(crate) const STUDY_PARAMETERS: &[(&str, &str)] = study::STUDY_PARAMETERS;
/// For the OpenAPI document.
pub(crate) const FINDING_PARAMETERS: &[(&str, &str)] = study::FINDING_PARAMETERS;

/// How many studies are read from the store at a time.
const PAGE: u32 = 100;

type Handled = Result<Response, Problem>;

pub(crate) async fn metadata(State(api): State<Api>, asking: Asking) -> Handled {
    let base = asking.base(&api)?;
    Ok(answer(&capability::statement(&api, &base)))
}

pub(crate) async fn imaging_study(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    asking: Asking,
) -> Handled {
    let base = asking.base(&api)?;
    let study: StudyUid = id
        .parse()
        .map_err(|_| Problem::not_found("such ImagingStudy"))?;
    let study = api.rooms.store.study(&study).await?;
    api.note_access("read imaging study", study.study.as_str(), &caller)
        .await?;
    Ok(answer(&api.imaging_study(&study, &base).await?))
}

pub(crate) async fn imaging_studies(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asking: Asking,
) -> Handled {
    let base = asking.base(&api)?;
    let filter = Filter::read(&asking.asked, STUDY_PARAMETERS)?;
    api.note_access("search imaging studies", filter.subject(), &caller)
        .await?;
    let mut page = Page::read(&asking.asked)?;
    let mut studies = Studies::new(&filter);
    while let Some(study) = studies.next(&api).await? {
        if !filter.is_available()
            || !filter.names(&study)
            || !api.has_modality(&filter, &study).await?
        {
            continue;
        }
        if page.wants() {
            page.take(Entry::of(&api.imaging_study(&study, &base).await?, &base));
        } else if !page.pass() {
            break;
        }
    }
    Ok(answer(&page.bundle("ImagingStudy", &asking.asked, &base)))
}

pub(crate) async fn diagnostic_report(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    asking: Asking,
) -> Handled {
    asking.base(&api)?;
    let none = || Problem::not_found("such DiagnosticReport");
    let job = id.strip_prefix("report-").and_then(|n| n.parse().ok());
    let (study, report) = api.report(job.ok_or_else(none)?).await?.ok_or_else(none)?;
    api.note_access("read diagnostic report", study.study.as_str(), &caller)
        .await?;
    Ok(answer(&finding::report(&api, &study, &report)))
}

pub(crate) async fn diagnostic_reports(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asking: Asking,
) -> Handled {
    let each =
        |api: &Api, study: &Study, report: &KeptReport| vec![finding::report(api, study, report)];
    findings(&api, &caller, &asking, "DiagnosticReport", each).await
}

pub(crate) async fn observation(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    asking: Asking,
) -> Handled {
    asking.base(&api)?;
    let none = || Problem::not_found("such Observation");
    let numbers = id.strip_prefix("finding-").and_then(|n| n.split_once('-'));
    let (job, place) = numbers.ok_or_else(none)?;
    let (job, place) = (job.parse().ok(), place.parse::<usize>().ok());
    let (study, report) = api.report(job.ok_or_else(none)?).await?.ok_or_else(none)?;
    let all = finding::observations(&api, &study, &report);
    let found = place.and_then(|n| all.into_iter().nth(n.checked_sub(1)?));
    let found = found.ok_or_else(none)?;
    api.note_access("read observation", study.study.as_str(), &caller)
        .await?;
    Ok(answer(&found))
}

pub(crate) async fn observations(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asking: Asking,
) -> Handled {
    findings(&api, &caller, &asking, "Observation", finding::observations).await
}

/// The resources that `each` makes of the reports that stand.
async fn findings(
    api: &Api,
    caller: &Caller,
    asking: &Asking,
    kind: &str,
    each: impl Fn(&Api, &Study, &KeptReport) -> Vec<Value>,
) -> Handled {
    let base = asking.base(api)?;
    let filter = Filter::read(&asking.asked, FINDING_PARAMETERS)?;
    api.note_access("search findings", filter.subject(), caller)
        .await?;
    let mut page = Page::read(&asking.asked)?;
    let mut studies = Studies::new(&filter);
    'all: while let Some(study) = studies.next(api).await? {
        let reports = api.rooms.store.reports(&study.study).await?;
        for report in reports.iter().filter(|report| !report.superseded) {
            let resources = each(api, &study, report);
            for resource in resources.iter().filter(|r| filter.accepts(r)) {
                if page.wants() {
                    page.take(Entry::of(resource, &base));
                } else if !page.pass() {
                    break 'all;
                }
            }
        }
    }
    Ok(answer(&page.bundle(kind, &asking.asked, &base)))
}

/// The studies that a search means, one after the other, in an order that does not change.
struct Studies<'f> {
    filter: &'f Filter,
    before: Option<i64>,
    read: std::vec::IntoIter<(i64, Study)>,
    is_done: bool,
}

impl<'f> Studies<'f> {
    fn new(filter: &'f Filter) -> Self {
        Self {
            filter,
            before: None,
            read: Vec::new().into_iter(),
            is_done: false,
        }
    }

    async fn next(&mut self, api: &Api) -> Result<Option<Study>, Problem> {
        loop {
            for (place, study) in self.read.by_ref() {
                self.before = Some(place);
                if self.filter.accepts_study(&study) {
                    return Ok(Some(study));
                }
            }
            if self.is_done {
                return Ok(None);
            }
            let store = &api.rooms.store;
            let next = match self.filter.named_study() {
                Some(uid) => {
                    self.is_done = true;
                    match store.study(uid).await {
                        Ok(study) => vec![(0, study)],
                        Err(StoreError::NotFound(_)) => Vec::new(),
                        Err(error) => return Err(error.into()),
                    }
                }
                None => store.studies_before(self.before, PAGE).await?,
            };
            self.is_done |= next.len() < PAGE as usize;
            self.read = next.into_iter();
        }
    }
}

impl Api {
    async fn imaging_study(&self, study: &Study, base: &str) -> Result<Value, Problem> {
        let instances = self.rooms.store.instances(&study.study).await?;
        Ok(study::resource(self, study, &instances, base))
    }

    async fn has_modality(&self, filter: &Filter, study: &Study) -> Result<bool, Problem> {
        let Some(modality) = filter.modality() else {
            return Ok(true);
        };
        let instances = self.rooms.store.instances(&study.study).await?;
        let is_it = |m: &String| m.eq_ignore_ascii_case(modality);
        Ok(instances
            .iter()
            .any(|i| i.facts.modality.as_ref().is_some_and(is_it)))
    }

    /// The report that a job gave, and its study.
    async fn report(&self, job: i64) -> Result<Option<(Study, KeptReport)>, Problem> {
        let store = &self.rooms.store;
        let job = match store.job(JobId(job)).await {
            Ok(job) => job,
            Err(StoreError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let study = store.study(job.work.study()).await?;
        let mut reports = store.reports(&study.study).await?.into_iter();
        Ok(reports
            .find(|report| report.job == job.id)
            .map(|report| (study, report)))
    }
}

/// What a request says besides its path.
pub(crate) struct Asking {
    asked: Asked,
    headers: HeaderMap,
    uri: Uri,
}

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self {
            asked: Asked::from_request_parts(parts, state).await?,
            headers: parts.headers.clone(),
            uri: parts.uri.clone(),
        })
    }
}

impl Asking {
    /// The service's own URL, for whoever takes JSON.
    fn base(&self, api: &Api) -> Result<String, Problem> {
        const TAKEN: [&str; 4] = [FHIR_JSON, "application/json", "application/*", "*/*"];
        const FORMATS: [&str; 3] = ["json", FHIR_JSON, "application/json"];
        let mut ranges = media_ranges(&self.headers).peekable();
        let is_accepted = match self.asked.text("_format") {
            Some(format) => FORMATS.contains(&format),
            None => ranges.peek().is_none() || ranges.any(|(m, _)| TAKEN.contains(&m.as_str())),
        };
        if !is_accepted {
            return Err(Problem::not_acceptable(FHIR_JSON));
        }
        let origin = origin(&api.config, &self.headers, &self.uri);
        Ok(format!("{origin}/fhir"))
    }
}

fn answer(resource: &Value) -> Response {
    let content_type =
        HeaderValue::from_static("application/fhir+json; fhirVersion=4.0; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], resource.to_string()).into_response()
}

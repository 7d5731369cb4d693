//! QIDO-RS (PS3.18 section 10.6): search studies, series and instances in what the store knows of them.

use super::attributes::Attributes;
use super::found::{
    PROCEDURE_ID, STEP_ID, instance_attributes, instance_value, modalities, request_value,
    series_attributes, series_of, series_value, study_attributes, study_value,
};
use super::matching::{Key, Matching, Wanted};
use super::{accept_json, json_type};
use crate::access::Caller;
use crate::appliance::Api;
use crate::asked::{Asked, id};
use crate::origin::origin;
use crate::problem::Problem;
use axum::Extension;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use pericard_domain::study::{Instance, Study};
use pericard_domain::uid::{SeriesUid, StudyUid};
use pericard_store::StoreError;
use serde_json::Value;
use std::collections::BTreeSet;

/// For the OpenAPI document.
pub(crate) const PARAMETERS: &[(&str, &str)] = &[
    ("limit", "at most so many"),
    ("offset", "from this match on, counted from 0"),
    (
        "includefield",
        "accepted; every attribute that is known is always included",
    ),
    (
        "fuzzymatching",
        "accepted; matching is never fuzzy, and the answer says so",
    ),
    ("{attribute}", "a keyword or a tag, with a value to match"),
];

/// Parameters that match nothing.
const CONTROLS: [&str; 4] = ["limit", "offset", "includefield", "fuzzymatching"];
/// How many studies are read from the store at a time.
const PAGE: u32 = 200;
/// The longest answer to a search over everything that names no limit of its own.
const MATCHES_UNASKED_MAX: usize = 1000;
/// The longest answer to any search: more than a study has instances.
const MATCHES_MAX: usize = 50_000;

const fn key(keyword: &'static str, tag: &'static str, matching: Matching) -> Key {
    Key {
        keyword,
        tag,
        matching,
    }
}

/// What may be asked for of a study (PS3.18 table 10.6.1-5).
const STUDY_KEYS: [Key; 12] = [
    key("StudyDate", "00080020", Matching::Range),
    key("StudyTime", "00080030", Matching::Range),
    key("AccessionNumber", "00080050", Matching::Text),
    key("ModalitiesInStudy", "00080061", Matching::Text),
    key("ReferringPhysicianName", "00080090", Matching::Text),
    key("StudyDescription", "00081030", Matching::Text),
    key("PatientName", "00100010", Matching::Text),
    key("PatientID", "00100020", Matching::Text),
    key("PatientBirthDate", "00100030", Matching::Range),
    key("PatientSex", "00100040", Matching::Text),
    key("StudyInstanceUID", "0020000D", Matching::Uids),
    key("StudyID", "00200010", Matching::Text),
];

/// What may be asked for of a series (PS3.18 table 10.6.1-5), attributes of sequences by their path.
const SERIES_KEYS: [Key; 9] = [
    key("Modality", "00080060", Matching::Text),
    key("SeriesDescription", "0008103E", Matching::Text),
    key("BodyPartExamined", "00180015", Matching::Text),
    key("SeriesInstanceUID", "0020000E", Matching::Uids),
    key("SeriesNumber", "00200011", Matching::Text),
    key(
        "PerformedProcedureStepStartDate",
        "00400244",
        Matching::Range,
    ),
    key(
        "PerformedProcedureStepStartTime",
        "00400245",
        Matching::Range,
    ),
    key(STEP_ID, "00400275.00400009", Matching::Text),
    key(PROCEDURE_ID, "00400275.00401001", Matching::Text),
];

/// What may be asked for of an instance.
const INSTANCE_KEYS: [Key; 3] = [
    key("SOPClassUID", "00080016", Matching::Uids),
    key("SOPInstanceUID", "00080018", Matching::Uids),
    key("InstanceNumber", "00200013", Matching::Text),
];

/// Every key with its level, for the conformance statement.
#[cfg(test)]
pub(crate) fn keys() -> impl Iterator<Item = (&'static str, Key)> {
    let of = |level, keys: &[Key]| keys.iter().map(|key| (level, *key)).collect::<Vec<_>>();
    let all = [
        of("study", &STUDY_KEYS),
        of("series", &SERIES_KEYS),
        of("instance", &INSTANCE_KEYS),
    ];
    all.into_iter().flatten()
}

/// At which level is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Studies,
    Series,
    Instances,
}

type Handled = Result<Response, Problem>;

pub(crate) async fn studies(api: State<Api>, caller: Extension<Caller>, asking: Asking) -> Handled {
    search(api.0, caller.0, asking, Level::Studies, (None, None)).await
}

pub(crate) async fn series(api: State<Api>, caller: Extension<Caller>, asking: Asking) -> Handled {
    search(api.0, caller.0, asking, Level::Series, (None, None)).await
}

pub(crate) async fn instances(
    api: State<Api>,
    caller: Extension<Caller>,
    asking: Asking,
) -> Handled {
    search(api.0, caller.0, asking, Level::Instances, (None, None)).await
}

pub(crate) async fn study_series(
    api: State<Api>,
    caller: Extension<Caller>,
    Path(study): Path<String>,
    asking: Asking,
) -> Handled {
    let study = id("such study", &study)?;
    search(api.0, caller.0, asking, Level::Series, (Some(study), None)).await
}

pub(crate) async fn study_instances(
    api: State<Api>,
    caller: Extension<Caller>,
    Path(study): Path<String>,
    asking: Asking,
) -> Handled {
    let study = id("such study", &study)?;
    search(
        api.0,
        caller.0,
        asking,
        Level::Instances,
        (Some(study), None),
    )
    .await
}

pub(crate) async fn series_instances(
    api: State<Api>,
    caller: Extension<Caller>,
    Path((study, series)): Path<(String, String)>,
    asking: Asking,
) -> Handled {
    let (study, series) = (id("such study", &study)?, id("such series", &series)?);
    search(
        api.0,
        caller.0,
        asking,
        Level::Instances,
        (Some(study), Some(series)),
    )
    .await
}

/// What a search's request says, besides its path.
pub(crate) struct Asking {
    asked: Asked,
    headers: HeaderMap,
    uri: Uri,
}

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked = Asked::from_request_parts(parts, state).await?;
        Ok(Self {
            asked,
            headers: parts.headers.clone(),
            uri: parts.uri.clone(),
        })
    }
}

async fn search(
    api: Api,
    caller: Caller,
    asking: Asking,
    level: Level,
    within: (Option<StudyUid>, Option<SeriesUid>),
) -> Handled {
    accept_json(&asking.headers)?;
    let search = Search::read(&api, &asking, level, within)?;
    let subject = search.study.as_ref().map_or("all", StudyUid::as_str);
    api.note_access("search", subject, &caller).await?;
    let found = search.run(&api).await?;
    let cut = found.len() == search.limit && asking.asked.text("limit").is_none();
    // 200 with an empty list: PS3.18 also allows 204, which several client libraries fail to parse.
    let mut response = (
        StatusCode::OK,
        [json_type()],
        Value::Array(found).to_string(),
    )
        .into_response();
    // The standard's own words (PS3.18 sections 8.3.4.4 and 8.3.4.2).
    for (applies, warning) in [
        (
            cut,
            "299 - \"There are additional results that can be requested\"",
        ),
        (
            asking.asked.text("fuzzymatching") == Some("true"),
            "299 - \"The fuzzymatching parameter is not supported. Only literal matching has been performed.\"",
        ),
        (
            search.is_unmatched,
            "299 - \"Some of the attributes that were asked for are not matched here and were passed over\"",
        ),
    ] {
        if applies {
            response
                .headers_mut()
                .append(header::WARNING, HeaderValue::from_static(warning));
        }
    }
    Ok(response)
}

/// One search.
struct Search {
    level: Level,
    study: Option<StudyUid>,
    of_study: Vec<Wanted>,
    of_series: Vec<Wanted>,
    of_instance: Vec<Wanted>,
    limit: usize,
    offset: usize,
    base: String,
    /// Whether something was to be matched that is not matched here.
    is_unmatched: bool,
}

impl Search {
    fn read(
        api: &Api,
        asking: &Asking,
        level: Level,
        within: (Option<StudyUid>, Option<SeriesUid>),
    ) -> Result<Self, Problem> {
        let (study, series) = within;
        let unasked = if study.is_some() {
            MATCHES_MAX
        } else {
            MATCHES_UNASKED_MAX
        };
        let mut search = Self {
            level,
            study,
            of_study: Vec::new(),
            of_series: Vec::new(),
            of_instance: Vec::new(),
            limit: asking
                .asked
                .value("limit")?
                .unwrap_or(unasked)
                .min(MATCHES_MAX),
            offset: asking.asked.offset()? as usize,
            base: origin(&api.config, &asking.headers, &asking.uri),
            is_unmatched: false,
        };
        for (name, value) in &asking.asked.0 {
            let of_study = Wanted::read(name, value, &STUDY_KEYS)?;
            let of_series = Wanted::read(name, value, &SERIES_KEYS)?;
            let of_instance = Wanted::read(name, value, &INSTANCE_KEYS)?;
            let is_known = CONTROLS.contains(&name.as_str())
                || [&of_study, &of_series, &of_instance]
                    .iter()
                    .any(|w| w.is_some());
            search.is_unmatched |= !is_known && !value.is_empty();
            search.of_study.extend(of_study);
            search.of_series.extend(of_series);
            search.of_instance.extend(of_instance);
        }
        if let Some(series) = series {
            search.of_series.extend(Wanted::read(
                "SeriesInstanceUID",
                series.as_str(),
                &SERIES_KEYS,
            )?);
        }
        Ok(search)
    }

    async fn run(&self, api: &Api) -> Result<Vec<Value>, Problem> {
        let mut found = Vec::new();
        let enough = self.offset.saturating_add(self.limit);
        if let Some(named) = self.named_studies() {
            for study in named {
                match api.rooms.store.study(&study).await {
                    Ok(study) => self.look(api, &study, &mut found).await?,
                    Err(StoreError::NotFound(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(self.page(found));
        }
        let mut before = None;
        loop {
            let studies = api.rooms.store.studies_before(before, PAGE).await?;
            for (_, study) in &studies {
                self.look(api, study, &mut found).await?;
                if found.len() >= enough {
                    return Ok(self.page(found));
                }
            }
            match studies.last() {
                Some((place, _)) if studies.len() == PAGE as usize => before = Some(*place),
                _ => return Ok(self.page(found)),
            }
        }
    }

    /// The studies that the search names by their UIDs; `None` when it may be any.
    fn named_studies(&self) -> Option<BTreeSet<StudyUid>> {
        if let Some(study) = &self.study {
            return Some(BTreeSet::from([study.clone()]));
        }
        let by_uid = self
            .of_study
            .iter()
            .find(|w| w.key.keyword == "StudyInstanceUID");
        by_uid.map(|w| w.uids().filter_map(|uid| StudyUid::new(uid).ok()).collect())
    }

    fn page(&self, found: Vec<Value>) -> Vec<Value> {
        found
            .into_iter()
            .skip(self.offset)
            .take(self.limit)
            .collect()
    }

    /// Adds what matches in one study.
    async fn look(&self, api: &Api, study: &Study, found: &mut Vec<Value>) -> Result<(), Problem> {
        // What the study itself says comes first: most studies need no second look.
        let plain = |w: &&Wanted| w.key.keyword != "ModalitiesInStudy";
        let mut of_study = self.of_study.iter().filter(plain);
        if !of_study.all(|w| w.accepts(study_value(study, w.key.keyword))) {
            return Ok(());
        }
        let instances = api.rooms.store.instances(&study.study).await?;
        let modalities = modalities(&instances);
        let mut by_modality = self.of_study.iter().filter(|w| !plain(w));
        if !by_modality.all(|w| modalities.iter().any(|m| w.accepts(Some(m)))) {
            return Ok(());
        }
        let wanted: Vec<_> = instances.iter().filter(|i| self.wants(i)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let of_study = study_attributes(study, &instances, &self.base);
        match self.level {
            Level::Studies => found.push(of_study.into_json()),
            Level::Series => {
                for series in series_of(&wanted) {
                    found.push(
                        of_study
                            .clone()
                            .and(series_attributes(&series, &self.base))
                            .into_json(),
                    );
                }
            }
            Level::Instances => {
                let each = wanted
                    .iter()
                    .map(|i| of_study.clone().and(instance_attributes(i, &self.base)));
                found.extend(each.map(Attributes::into_json));
            }
        }
        Ok(())
    }

    fn wants(&self, instance: &Instance) -> bool {
        self.of_series.iter().all(|w| match w.key.keyword {
            STEP_ID | PROCEDURE_ID => {
                let mut items = instance.facts.requests.iter();
                w.is_universal() || items.any(|r| w.accepts(request_value(r, w.key.keyword)))
            }
            keyword => w.accepts(series_value(instance, keyword)),
        }) && self
            .of_instance
            .iter()
            .all(|w| w.accepts(instance_value(instance, w.key.keyword)))
    }
}

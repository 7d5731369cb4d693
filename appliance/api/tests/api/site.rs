//! An appliance in a directory of its own, and one helper for its door.

use crate::painting::Painting;
use crate::scanning::ScannedHere;
use crate::scripted::Scripted;
use crate::shelves::Shelves;
use axum::Router;
use axum::body::Body;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use pericard_api::{ApiConfig, Appliance, Notice, Setting, Talker as _, mint, router};
use pericard_domain::actor::{Actor, Role};
use pericard_domain::model::{Budget, IntendedUse, Manifest, Package};
use pericard_domain::time::{Clock, StandingClock, Timestamp};
use pericard_egress::Meter;
use pericard_intake::{IdleTimeout, Intake, IntakeConfig, Judges, Quotas};
use pericard_store::access::NewToken;
use pericard_store::audit_log::AuditQuery;
use pericard_store::{Store, StoreConfig};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tower::ServiceExt as _;

/// 2026-11-23T18:00:00Z.
const START_MS: i64 = 1_795_456_800_000;

pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) clock: Arc<StandingClock>,
    pub(crate) scripted: Arc<Scripted>,
    pub(crate) painting: Arc<Painting>,
    /// The frames that wait, and the imported models.
    pub(crate) shelves: Arc<Shelves>,
    pub(crate) meter: Meter,
    pub(crate) config: ApiConfig,
    /// What the hub says of models.
    pub(crate) notices: watch::Sender<Arc<[Notice]>>,
    /// The live models.
    pub(crate) packages: Arc<[Package]>,
    intake: Intake,
    _dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(StandingClock::new(Timestamp::from_millis(START_MS)));
        let meter = Meter::in_memory();
        let config = StoreConfig {
            dir: dir.path().join("data"),
            audit_origin: "pericard.test/audit".into(),
            group_commit_window_us: 100,
            free_space_floor_mib: 1,
        };
        let store = Store::open(config, clock.clone()).expect("the store opens");
        let intake = intake(&store, &meter, &clock, Quotas::default());
        Self {
            store,
            clock,
            scripted: Arc::default(),
            painting: Arc::default(),
            shelves: Arc::default(),
            meter,
            config: ApiConfig::new(dir.path()),
            notices: watch::channel(Arc::default()).0,
            packages: Arc::default(),
            intake,
            _dir: dir,
        }
    }

    /// Callers may bring so much from now on.
    pub(crate) fn limit(&mut self, quotas: Quotas) {
        self.intake = intake(&self.store, &self.meter, &self.clock, quotas);
    }

    /// From now on the manifests of all loaded models say that they may be used to treat patients.
    pub(crate) fn let_models_treat(&mut self) {
        let packages = self.scripted.loaded().into_iter().map(|loaded| Package {
            manifest: Manifest {
                name: loaded.model.name.clone(),
                version: loaded.model.version.clone(),
                summary: String::new(),
                licence: "Apache-2.0".into(),
                source: String::new(),
                task: loaded.task,
                clinical_use: true,
                intended_use: IntendedUse::default(),
                files: BTreeMap::new(),
                parts: BTreeMap::new(),
                outputs: BTreeMap::new(),
                parameters: BTreeMap::new(),
                budget: Budget {
                    memory_mib: 1,
                    inference_timeout_s: 1,
                },
                golden: Vec::new(),
            },
            model: loaded.model,
            dir: PathBuf::new(),
        });
        self.packages = packages.collect();
    }

    pub(crate) fn appliance(&self) -> Appliance {
        Appliance {
            store: self.store.clone(),
            intake: self.intake.clone(),
            talker: self.scripted.clone(),
            painter: self.painting.clone(),
            packages: self.packages.clone(),
            imports: self.shelves.clone(),
            outgoing: self.shelves.clone(),
            meter: self.meter.clone(),
            clock: self.clock.clone(),
            version: "0.0.0-test",
            settings: watch::channel(Arc::from([Setting {
                section: "https".into(),
                key: "listen".into(),
                value: "127.0.0.1:8443".into(),
            }]))
            .1,
            notices: self.notices.subscribe(),
            certificates: watch::channel(Arc::default()).1,
        }
    }

    pub(crate) fn router(&self) -> Router {
        router(self.appliance(), self.config.clone())
    }

    /// The secret of a new token with these roles.
    pub(crate) async fn token(&self, roles: &[Role]) -> String {
        self.token_until(roles, None).await.0
    }

    /// The secret of a new token, and its id.
    pub(crate) async fn token_until(
        &self,
        roles: &[Role],
        end: Option<Duration>,
    ) -> (String, String) {
        let minted = mint().expect("random numbers");
        let new = NewToken {
            label: "test".into(),
            roles: roles.to_vec(),
            secret_sha256: minted.sha256,
            expires_at: end.map(|end| self.clock.now().after(end)),
        };
        let token = self
            .store
            .issue_token(new, Actor::CommandLine)
            .await
            .expect("issued");
        (minted.secret, token.id)
    }

    /// Sends a request with a token of every role.
    pub(crate) async fn call(
        &self,
        request: http::request::Builder,
        body: impl Into<Body>,
    ) -> Answer {
        let secret = self.token(&Role::ALL).await;
        let request = request.header(header::AUTHORIZATION, format!("Bearer {secret}"));
        self.send(request.body(body.into()).expect("a request"))
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path), Body::empty()).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.call(request, body.to_string()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router().oneshot(request).await.expect("infallible");
        Answer::read(response).await
    }

    /// What the audit log says happened, and to what.
    pub(crate) async fn audited(&self) -> Vec<(String, String)> {
        let query = AuditQuery {
            limit: 1000,
            ..AuditQuery::default()
        };
        let lines = self.store.audit(query).await.expect("the log");
        lines
            .into_iter()
            .map(|line| (line.verb, line.subject))
            .collect()
    }
}

fn intake(store: &Store, meter: &Meter, clock: &Arc<StandingClock>, quotas: Quotas) -> Intake {
    let judges = Judges {
        scanning: Arc::new(ScannedHere),
        settling: Arc::new(IdleTimeout {
            rules: watch::channel(Arc::default()).1,
            otherwise_s: 60,
        }),
    };
    let limits = IntakeConfig {
        object_max_mib: 1,
        parcels_max: 8,
    };
    let counted = (meter.clone(), clock.clone() as Arc<dyn Clock>);
    Intake::with_quotas(store.clone(), judges, limits, counted, quotas)
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .expect("a whole body")
            .to_bytes()
            .to_vec();
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }
}

/// A small object of study `study`, series `series`, with number `number`, and `extra` bytes of pixels.
pub(crate) fn object(study: u32, series: u32, number: u32, extra: usize) -> Vec<u8> {
    object_saying((study, series, number), extra, &[])
}

/// The same, with these texts instead of its own.
pub(crate) fn object_saying(
    (study, series, number): (u32, u32, u32),
    extra: usize,
    texts: &[(Tag, VR, &str)],
) -> Vec<u8> {
    let text = |vr: VR, value: &str| (vr, PrimitiveValue::from(value));
    let element = |tag, (vr, value): (VR, PrimitiveValue)| DataElement::new(tag, vr, value);
    let study_uid = format!("1.2.3.{study}");
    let series_uid = format!("{study_uid}.{series}");
    let instance_uid = format!("{series_uid}.{number}");
    let modality = if series == 9 { "SR" } else { "CT" };
    let name = format!("DOE{study}^JANE");
    let mut object = InMemDicomObject::from_element_iter([
        element(tags::SOP_CLASS_UID, text(VR::UI, uids::CT_IMAGE_STORAGE)),
        element(tags::SOP_INSTANCE_UID, text(VR::UI, &instance_uid)),
        element(tags::STUDY_DATE, text(VR::DA, &format!("2026010{study}"))),
        element(tags::STUDY_TIME, text(VR::TM, "101500")),
        element(tags::ACCESSION_NUMBER, text(VR::SH, "ACC-7")),
        element(tags::MODALITY, text(VR::CS, modality)),
        element(tags::PATIENT_NAME, text(VR::PN, &name)),
        element(tags::PATIENT_ID, text(VR::LO, &format!("PID-{study}"))),
        element(tags::STUDY_INSTANCE_UID, text(VR::UI, &study_uid)),
        element(tags::SERIES_INSTANCE_UID, text(VR::UI, &series_uid)),
        element(tags::SERIES_NUMBER, text(VR::IS, &series.to_string())),
        element(tags::INSTANCE_NUMBER, text(VR::IS, &number.to_string())),
        element(
            tags::PIXEL_DATA,
            (VR::OB, PrimitiveValue::from(vec![7_u8; 2 + extra * 2])),
        ),
    ]);
    for (tag, vr, value) in texts {
        object.put(element(*tag, text(*vr, value)));
    }
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let file = object.with_meta(meta).expect("a file meta table");
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).expect("a file");
    bytes
}

/// A multipart body of these parts, each with a media type.
pub(crate) fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (media_type, content) in parts {
        body.extend_from_slice(format!("--b\r\nContent-Type: {media_type}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

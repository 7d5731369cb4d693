//! The routes, once: what the router serves, whom the guard lets in, and what the OpenAPI document says.

use crate::access::Access;
use crate::appliance::Api;
use crate::{console, dicomweb, fhir, openai, openapi, operations, texts};
use axum::routing::{self, MethodRouter};
use pericard_domain::actor::Role;

/// The language models: for those who read patients' studies, and for those who try models out.
const ASKS: Access = Access::Roles(&[Role::Clinician, Role::MlAdmin]);
/// Patient data.
const READS: Access = Access::Roles(&[Role::Clinician]);
/// How often people agreed with the models: counts, no patient data.
const COMPARES: Access = Access::Roles(&[Role::Clinician, Role::MlAdmin, Role::Auditor]);
/// Objects in.
const SENDS: Access = Access::Roles(&[Role::Modality]);
/// Orders and who follows them: the hospital's information system, and people.
const ORDERS: Access = Access::Roles(&[Role::Modality, Role::Clinician]);
/// The queue: ids and reasons, no patient data.
const WATCHES: Access = Access::Roles(&[Role::Clinician, Role::MlAdmin, Role::SecurityAdmin]);
/// Changes to the queue.
const STEERS: Access = Access::Roles(&[Role::Clinician, Role::MlAdmin]);
/// What cannot be undone.
const ERASES: Access = Access::Roles(&[Role::SecurityAdmin]);
/// The log and what leaves.
const AUDITS: Access = Access::Roles(&[Role::Auditor]);
/// What leaves is held back by whoever reads it.
const HOLDS: Access = AUDITS;
/// What is about no patient, and more than monitoring needs: every role but its own.
const LOOKS: Access = Access::Roles(&[
    Role::Clinician,
    Role::Modality,
    Role::MlAdmin,
    Role::Auditor,
    Role::SecurityAdmin,
]);
/// How the appliance is set.
const SETS: Access = Access::Roles(&[Role::SecurityAdmin, Role::MlAdmin, Role::Auditor]);

/// Who comes through a route, which says how they show who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// A program, with a bearer token in every request.
    Program,
    /// A person, with a browser and a session.
    Person,
}

/// A method of HTTP that is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// One route.
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// With its parameters in braces.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) door: Door,
    pub(crate) summary: &'static str,
    /// The names of its query parameters, each with what it means.
    pub(crate) query: &'static [(&'static str, &'static str)],
    /// The media types of its body.
    pub(crate) consumes: &'static [&'static str],
    /// The media types of its answer.
    pub(crate) produces: &'static [&'static str],
    /// The statuses of success, and the refusals beyond those that every route shares.
    pub(crate) statuses: &'static [u16],
    /// Whether a model answers: then its answer says whether that may be used to treat patients.
    pub(crate) by_model: bool,
    pub(crate) handler: fn() -> MethodRouter<Api>,
}

type Handler = fn() -> MethodRouter<Api>;

fn get(path: &'static str, access: Access, summary: &'static str, handler: Handler) -> Route {
    Route {
        verb: Verb::Get,
        path,
        access,
        door: Door::Program,
        summary,
        query: &[],
        consumes: &[],
        produces: &["application/json"],
        statuses: &[200],
        by_model: false,
        handler,
    }
}

fn post(path: &'static str, access: Access, summary: &'static str, handler: Handler) -> Route {
    Route {
        verb: Verb::Post,
        consumes: &["application/json"],
        ..get(path, access, summary, handler)
    }
}

/// A page.
fn page(path: &'static str, access: Access, summary: &'static str, handler: Handler) -> Route {
    Route {
        door: Door::Person,
        produces: &["text/html"],
        ..get(path, access, summary, handler)
    }
}

/// A page's form.
fn form(path: &'static str, access: Access, summary: &'static str, handler: Handler) -> Route {
    Route {
        verb: Verb::Post,
        consumes: &["application/x-www-form-urlencoded"],
        statuses: &[200, 303, 400, 413, 415],
        ..page(path, access, summary, handler)
    }
}

impl Route {
    fn query(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Self { query, ..self }
    }

    fn consumes(self, consumes: &'static [&'static str]) -> Self {
        Self { consumes, ..self }
    }

    fn produces(self, produces: &'static [&'static str]) -> Self {
        Self { produces, ..self }
    }

    fn statuses(self, statuses: &'static [u16]) -> Self {
        Self { statuses, ..self }
    }

    fn by_model(self) -> Self {
        Self {
            by_model: true,
            ..self
        }
    }
}

/// Every route.
pub(crate) fn table() -> Vec<Route> {
    let mut table = appliance_routes();
    table.extend(openai_routes());
    table.extend(dicomweb_routes());
    table.extend(rendered_routes());
    table.extend(worklist_routes());
    table.extend(fhir_routes());
    table.extend(operations_routes());
    table.extend(text_routes());
    table.extend(console_routes());
    table
}

fn appliance_routes() -> Vec<Route> {
    use operations::{health, metrics};
    vec![
        get("/healthz", Access::Open, "The process is alive", || {
            routing::get(health::live)
        })
        .produces(&["text/plain"]),
        get(
            "/readyz",
            Access::AnyRole,
            "Whether work is taken up; which part is not ready, and why",
            || routing::get(health::ready),
        )
        .statuses(&[200, 503]),
        get(
            "/metrics",
            Access::AnyRole,
            "Figures for Prometheus, without patient data",
            || routing::get(metrics::metrics),
        )
        .produces(&[metrics::MEDIA_TYPE]),
        get("/api/v1/openapi.json", LOOKS, "This document", || {
            routing::get(openapi::serve)
        }),
    ]
}

fn openai_routes() -> Vec<Route> {
    const STREAM: &[&str] = &["application/json", "text/event-stream"];
    const ANSWERS: &[u16] = &[200, 400, 404, 413, 429, 503];
    vec![
        get(
            "/v1/models",
            LOOKS,
            "The language models that are loaded",
            || routing::get(openai::models),
        ),
        get("/v1/models/{model}", LOOKS, "One language model", || {
            routing::get(openai::model)
        })
        .statuses(&[200, 404]),
        post(
            "/v1/chat/completions",
            ASKS,
            "Continue a conversation",
            || routing::post(openai::chat_completions),
        )
        .produces(STREAM)
        .statuses(ANSWERS)
        .by_model(),
        post("/v1/completions", ASKS, "Continue a text", || {
            routing::post(openai::completions)
        })
        .produces(STREAM)
        .statuses(ANSWERS)
        .by_model(),
        post("/v1/embeddings", ASKS, "Make texts into vectors", || {
            routing::post(openai::embeddings)
        })
        .statuses(ANSWERS)
        .by_model(),
        post("/v1/tokenize", ASKS, "The tokens of a prompt", || {
            routing::post(openai::tokenize)
        })
        .statuses(&[200, 400, 404]),
        post("/v1/detokenize", ASKS, "The text of tokens", || {
            routing::post(openai::detokenize)
        })
        .statuses(&[200, 400, 404]),
        // As vLLM has them, for clients that know no other.
        post("/tokenize", ASKS, "The tokens of a prompt", || {
            routing::post(openai::tokenize)
        })
        .statuses(&[200, 400, 404]),
        post("/detokenize", ASKS, "The text of tokens", || {
            routing::post(openai::detokenize)
        })
        .statuses(&[200, 400, 404]),
    ]
}

/// Drafts by language models; whoever reads a patient's study may have them, and who tries models out.
fn text_routes() -> Vec<Route> {
    const DRAFTED: &[u16] = &[200, 400, 404, 413, 422, 429, 503];
    vec![
        get(
            "/api/v1/texts/tasks",
            ASKS,
            "What a language model can be asked to do, to the digest of its words",
            || routing::get(texts::tasks),
        ),
        post(
            "/api/v1/texts/structure",
            ASKS,
            "Draft coded findings of a radiology report, each with its sentence",
            || routing::post(texts::structure),
        )
        .statuses(DRAFTED)
        .by_model(),
        post(
            "/api/v1/texts/deidentify",
            ASKS,
            "Take out of a text what identifies somebody",
            || routing::post(texts::deidentify),
        )
        .statuses(DRAFTED)
        .by_model(),
        post(
            "/api/v1/studies/{study}/impression",
            READS,
            "Draft an impression from the findings of a study's structured reports",
            || routing::post(texts::impression),
        )
        .statuses(DRAFTED)
        .by_model(),
    ]
}

fn dicomweb_routes() -> Vec<Route> {
    use dicomweb::{frames, qido, stow, wado};
    const DICOM_JSON: &[&str] = &["application/dicom+json"];
    const OBJECTS_IN: &[&str] = &["multipart/related; type=\"application/dicom\""];
    const OBJECTS_OUT: &[&str] = &["multipart/related; type=\"application/dicom\""];
    const STORED: &[u16] = &[200, 202, 400, 408, 409, 413, 415, 429, 503, 507];
    const FOUND: &[u16] = &[200, 404, 406];
    const SEARCHED: &[u16] = &[200, 400, 404, 406];
    let search = |path, summary, handler| {
        get(path, READS, summary, handler)
            .query(qido::PARAMETERS)
            .produces(DICOM_JSON)
            .statuses(SEARCHED)
    };
    let store = |path, summary, handler| {
        post(path, SENDS, summary, handler)
            .consumes(OBJECTS_IN)
            .produces(DICOM_JSON)
            .statuses(STORED)
    };
    let retrieve = |path, summary, handler| {
        get(path, READS, summary, handler)
            .produces(OBJECTS_OUT)
            .statuses(FOUND)
    };
    let bytes = |path, summary, handler| {
        get(path, READS, summary, handler)
            .produces(frames::MEDIA_TYPES)
            .statuses(&[200, 400, 404, 406, 422, 503])
    };
    let describe = |path, summary, handler| {
        get(path, READS, summary, handler)
            .produces(DICOM_JSON)
            .statuses(&[200, 404, 406, 422, 503])
    };
    vec![
        store("/dicomweb/studies", "STOW-RS: store objects", || {
            routing::post(stow::store)
        }),
        store(
            "/dicomweb/studies/{study}",
            "STOW-RS: store objects of one study",
            || routing::post(stow::store_in_study),
        ),
        search("/dicomweb/studies", "QIDO-RS: search studies", || {
            routing::get(qido::studies)
        }),
        search("/dicomweb/series", "QIDO-RS: search series", || {
            routing::get(qido::series)
        }),
        search("/dicomweb/instances", "QIDO-RS: search instances", || {
            routing::get(qido::instances)
        }),
        search(
            "/dicomweb/studies/{study}/series",
            "QIDO-RS: search a study's series",
            || routing::get(qido::study_series),
        ),
        search(
            "/dicomweb/studies/{study}/instances",
            "QIDO-RS: search a study's instances",
            || routing::get(qido::study_instances),
        ),
        search(
            "/dicomweb/studies/{study}/series/{series}/instances",
            "QIDO-RS: search a series' instances",
            || routing::get(qido::series_instances),
        ),
        retrieve(
            "/dicomweb/studies/{study}",
            "WADO-RS: retrieve a study",
            || routing::get(wado::study),
        ),
        retrieve(
            "/dicomweb/studies/{study}/series/{series}",
            "WADO-RS: retrieve a series",
            || routing::get(wado::series),
        ),
        retrieve(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}",
            "WADO-RS: retrieve an instance",
            || routing::get(wado::instance),
        ),
        bytes(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frame}",
            "WADO-RS: frames, as a list parted by commas: as stored, or uncompressed",
            || routing::get(frames::frames),
        ),
        bytes(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*path}",
            "WADO-RS: a large value that the metadata names",
            || routing::get(frames::bulk),
        ),
        describe(
            "/dicomweb/studies/{study}/metadata",
            "WADO-RS: a study's metadata",
            || routing::get(wado::study_metadata),
        ),
        describe(
            "/dicomweb/studies/{study}/series/{series}/metadata",
            "WADO-RS: a series' metadata",
            || routing::get(wado::series_metadata),
        ),
        describe(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/metadata",
            "WADO-RS: an instance's metadata",
            || routing::get(wado::instance_metadata),
        ),
    ]
}

fn rendered_routes() -> Vec<Route> {
    use dicomweb::rendered;
    const OF_PARTS: &[&str] = &[
        "multipart/related; type=\"image/jpeg\"",
        "multipart/related; type=\"image/png\"",
    ];
    let pictures = |path, summary, handler| {
        get(path, READS, summary, handler)
            .query(rendered::PARAMETERS)
            .produces(OF_PARTS)
            .statuses(&[200, 400, 404, 406, 413, 422, 503])
    };
    let picture = |path, summary, handler| {
        get(path, READS, summary, handler)
            .query(rendered::PARAMETERS)
            .produces(rendered::MEDIA_TYPES)
            .statuses(&[200, 400, 404, 406, 422, 503])
    };
    vec![
        pictures(
            "/dicomweb/studies/{study}/rendered",
            "WADO-RS: every frame of a study as a picture",
            || routing::get(rendered::study),
        ),
        pictures(
            "/dicomweb/studies/{study}/series/{series}/rendered",
            "WADO-RS: every frame of a series as a picture",
            || routing::get(rendered::series),
        ),
        picture(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/rendered",
            "WADO-RS: an instance's first frame as a picture; all of them as several parts",
            || routing::get(rendered::instance),
        ),
        picture(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frame}/rendered",
            "WADO-RS: one frame as a picture",
            || routing::get(rendered::frame),
        ),
        picture(
            "/dicomweb/studies/{study}/thumbnail",
            "WADO-RS: a study's thumbnail",
            || routing::get(rendered::study_thumbnail),
        ),
        picture(
            "/dicomweb/studies/{study}/series/{series}/thumbnail",
            "WADO-RS: a series' thumbnail",
            || routing::get(rendered::series_thumbnail),
        ),
        picture(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/thumbnail",
            "WADO-RS: an instance's thumbnail",
            || routing::get(rendered::instance_thumbnail),
        ),
        picture(
            "/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{frame}/thumbnail",
            "WADO-RS: a frame's thumbnail",
            || routing::get(rendered::frame_thumbnail),
        ),
    ]
}

fn worklist_routes() -> Vec<Route> {
    use dicomweb::ups;
    const CHANGED: &[u16] = &[200, 400, 404, 409, 413, 415];
    let change = |path, summary, handler| {
        post(path, ORDERS, summary, handler)
            .consumes(ups::MEDIA_TYPES)
            .produces(&[])
            .statuses(CHANGED)
    };
    let subscription = |path, summary, handler| {
        post(path, ORDERS, summary, handler)
            .consumes(&[])
            .produces(&[])
            .statuses(&[200, 400, 404])
    };
    let delete = |route: Route| Route {
        verb: Verb::Delete,
        ..route
    };
    vec![
        change("/dicomweb/workitems", "UPS-RS: create a workitem", || {
            routing::post(ups::create)
        })
        .query(&[("workitem", "its UID, when the dataset has none")])
        .statuses(&[201, 400, 409, 413, 415]),
        get(
            "/dicomweb/workitems",
            ORDERS,
            "UPS-RS: search workitems",
            || routing::get(ups::search),
        )
        .query(ups::PARAMETERS)
        .produces(ups::MEDIA_TYPES)
        .statuses(&[200, 204, 400, 406]),
        get(
            "/dicomweb/workitems/{workitem}",
            ORDERS,
            "UPS-RS: retrieve a workitem",
            || routing::get(ups::retrieve),
        )
        .produces(ups::MEDIA_TYPES)
        .statuses(&[200, 404, 406]),
        change(
            "/dicomweb/workitems/{workitem}",
            "UPS-RS: update a workitem",
            || routing::post(ups::update),
        )
        .query(&[("transaction-uid", "what it was claimed with")]),
        Route {
            verb: Verb::Put,
            ..change(
                "/dicomweb/workitems/{workitem}/state",
                "UPS-RS: claim, complete or cancel a workitem",
                || routing::put(ups::change_state),
            )
        },
        change(
            "/dicomweb/workitems/{workitem}/cancelrequest",
            "UPS-RS: ask for a workitem's cancellation",
            || routing::post(ups::cancel),
        )
        .statuses(&[202, 400, 404, 409, 413, 415]),
        subscription(
            "/dicomweb/workitems/{workitem}/subscribers/{aetitle}",
            "UPS-RS: subscribe to a workitem, or under a well-known UID to all",
            || routing::post(ups::subscribe),
        )
        .query(ups::SUBSCRIPTION_PARAMETERS)
        .statuses(&[201, 400, 404]),
        delete(subscription(
            "/dicomweb/workitems/{workitem}/subscribers/{aetitle}",
            "UPS-RS: give a subscription up",
            || routing::delete(ups::unsubscribe),
        )),
        subscription(
            "/dicomweb/workitems/{workitem}/subscribers/{aetitle}/suspend",
            "UPS-RS: be told of no more new workitems",
            || routing::post(ups::suspend),
        ),
        get(
            "/dicomweb/subscribers/{aetitle}",
            ORDERS,
            "UPS-RS: open the channel of notifications, a WebSocket",
            || routing::get(ups::open),
        )
        .produces(&[])
        .statuses(&[101, 400, 426, 503]),
    ]
}

fn fhir_routes() -> Vec<Route> {
    let read = |path, summary, handler| {
        get(path, READS, summary, handler)
            .produces(&[fhir::FHIR_JSON])
            .statuses(&[200, 400, 404, 406])
    };
    vec![
        get(
            "/fhir/metadata",
            LOOKS,
            "FHIR R4: what this service can do",
            || routing::get(fhir::metadata),
        )
        .produces(&[fhir::FHIR_JSON])
        .statuses(&[200, 406]),
        read("/fhir/ImagingStudy", "FHIR R4: search studies", || {
            routing::get(fhir::imaging_studies)
        })
        .query(fhir::STUDY_PARAMETERS),
        read("/fhir/ImagingStudy/{id}", "FHIR R4: a study", || {
            routing::get(fhir::imaging_study)
        }),
        read("/fhir/DiagnosticReport", "FHIR R4: search reports", || {
            routing::get(fhir::diagnostic_reports)
        })
        .query(fhir::FINDING_PARAMETERS),
        read("/fhir/DiagnosticReport/{id}", "FHIR R4: a report", || {
            routing::get(fhir::diagnostic_report)
        }),
        read("/fhir/Observation", "FHIR R4: search findings", || {
            routing::get(fhir::observations)
        })
        .query(fhir::FINDING_PARAMETERS),
        read("/fhir/Observation/{id}", "FHIR R4: a finding", || {
            routing::get(fhir::observation)
        }),
    ]
}

fn operations_routes() -> Vec<Route> {
    use operations::{audit, egress, jobs, kept, models, orders, reviews, studies, system, upload};
    const PAGE: &[(&str, &str)] = &[
        ("limit", "at most so many"),
        ("offset", "from this one on, counted from 0"),
    ];
    const ONE: &[u16] = &[200, 400, 404];
    vec![
        post(
            "/api/v1/studies",
            SENDS,
            "Submit objects: a zip, a form, or one object",
            || routing::post(upload::submit),
        )
        .consumes(upload::MEDIA_TYPES)
        .statuses(&[200, 202, 400, 408, 409, 413, 415, 429, 503, 507]),
        get(
            "/api/v1/studies",
            READS,
            "The studies that are held, latest first",
            || routing::get(studies::list),
        )
        .query(PAGE),
        get("/api/v1/studies/{study}", READS, "One study", || {
            routing::get(studies::show)
        })
        .statuses(ONE),
        get(
            "/api/v1/studies/{study}/results",
            READS,
            "What the models found in it",
            || routing::get(studies::results),
        )
        .statuses(ONE),
        post(
            "/api/v1/studies/{study}/reviews",
            READS,
            "Say of a result whether it is right: its job, and agreed or disagreed",
            || routing::post(reviews::review),
        )
        .statuses(&[200, 400, 404, 413, 415]),
        post(
            "/api/v1/studies/{study}/erase",
            ERASES,
            "Erase a study on purpose, with everything about it",
            || routing::post(kept::erase),
        )
        .consumes(&[])
        .query(kept::ERASE_PARAMETERS)
        .statuses(&[200, 400, 404]),
        get(
            "/api/v1/damages",
            WATCHES,
            "Objects whose files are missing or altered",
            || routing::get(kept::damages),
        )
        .query(kept::DAMAGE_PARAMETERS),
        get("/api/v1/jobs", WATCHES, "The queue, latest first", || {
            routing::get(jobs::list)
        })
        .query(jobs::PARAMETERS),
        get("/api/v1/jobs/{job}", WATCHES, "One job", || {
            routing::get(jobs::show)
        })
        .statuses(ONE),
        post(
            "/api/v1/jobs/{job}/retry",
            STEERS,
            "Try a failed or cancelled job again",
            || routing::post(jobs::retry),
        )
        .consumes(&[])
        .statuses(&[200, 404, 409]),
        post(
            "/api/v1/jobs/{job}/cancel",
            STEERS,
            "Cancel a waiting job",
            || routing::post(jobs::cancel),
        )
        .consumes(&[])
        .statuses(&[200, 404, 409]),
        get(
            "/api/v1/deliveries",
            WATCHES,
            "Results and where they are to go",
            || routing::get(jobs::deliveries),
        )
        .query(jobs::DELIVERY_PARAMETERS),
        get(
            "/api/v1/orders",
            READS,
            "What worklists and order messages say will come, latest said first",
            || routing::get(orders::list),
        )
        .query(PAGE),
        get(
            "/api/v1/messages",
            WATCHES,
            "Results as HL7 messages, and where they are to go",
            || routing::get(orders::messages),
        )
        .query(orders::MESSAGE_PARAMETERS),
        post(
            "/api/v1/messages/{message}/retry",
            STEERS,
            "Try a message again that was given up",
            || routing::post(orders::retry),
        )
        .consumes(&[])
        .statuses(&[200, 400, 404]),
        get(
            "/api/v1/models",
            LOOKS,
            "The models, and whether they are loaded",
            || routing::get(models::list),
        ),
        get(
            "/api/v1/models/concordance",
            COMPARES,
            "How often clinicians agreed with each model, by week",
            || routing::get(reviews::concordance),
        )
        .query(reviews::PARAMETERS)
        .statuses(&[200, 400]),
        get(
            "/api/v1/audit",
            AUDITS,
            "The audit log, oldest first",
            || routing::get(audit::list),
        )
        .query(audit::PARAMETERS),
        get(
            "/api/v1/audit/checkpoint",
            AUDITS,
            "The log's signed checkpoint; on request verified",
            || routing::get(audit::checkpoint),
        )
        .query(audit::CHECKPOINT_PARAMETERS)
        .statuses(&[200, 400, 409]),
        get(
            "/api/v1/egress/preview",
            AUDITS,
            "What would be sent to the hub",
            || routing::get(egress::preview),
        ),
        get(
            "/api/v1/egress/advisories",
            LOOKS,
            "Recalls and advisories of the hub's about models, and what was done about them",
            || routing::get(crate::notice::list),
        ),
        get(
            "/api/v1/system",
            LOOKS,
            "Version, uptime, devices and load",
            || routing::get(system::show),
        ),
    ]
}

fn console_routes() -> Vec<Route> {
    use console::{
        asset, audit, concordance, egress, jobs, login, models, overview, picture, settings, study,
        worklist,
    };
    let open = Access::Open;
    vec![
        page("/", LOOKS, "Health at a glance", || {
            routing::get(overview::show)
        }),
        page("/console/login", open, "The way in", || {
            routing::get(login::ask)
        }),
        form("/console/login", open, "Begin a session", || {
            routing::post(login::enter)
        }),
        form(
            "/console/logout",
            Access::AnyRole,
            "End the session",
            || routing::post(login::leave),
        ),
        page("/console/style.css", open, "How the pages look", || {
            routing::get(asset::style)
        })
        .produces(&["text/css"]),
        page(
            "/console/viewer.js",
            open,
            "Changes frames in place",
            || routing::get(asset::script),
        )
        .produces(&["text/javascript"]),
        page("/console/icon.svg", open, "The tab's picture", || {
            routing::get(asset::icon)
        })
        .produces(&["image/svg+xml"]),
        page(
            "/console/worklist",
            READS,
            "The studies, latest first",
            || routing::get(worklist::list),
        )
        .query(worklist::PARAMETERS),
        form("/console/worklist", READS, "Look for a patient", || {
            routing::post(worklist::search)
        }),
        page(
            "/console/studies/{study}",
            READS,
            "A study, its images and findings",
            || routing::get(study::show),
        )
        .query(study::PARAMETERS)
        .statuses(&[200, 400, 404]),
        page(
            "/console/studies/{study}/objects/{instance}/frames/{frame}",
            READS,
            "A frame as a picture",
            || routing::get(picture::show),
        )
        .query(picture::PARAMETERS)
        .produces(&["image/png"])
        .statuses(&[200, 400, 404, 422, 500, 503]),
        form(
            "/console/studies/{study}/reviews",
            READS,
            "Say of a result whether it is right",
            || routing::post(study::review),
        ),
        page("/console/jobs", WATCHES, "The queue", || {
            routing::get(jobs::list)
        })
        .query(jobs::PARAMETERS),
        form(
            "/console/jobs/{job}/retry",
            STEERS,
            "Try a job again",
            || routing::post(jobs::retry),
        ),
        form(
            "/console/jobs/{job}/cancel",
            STEERS,
            "Cancel a waiting job",
            || routing::post(jobs::cancel),
        ),
        page("/console/models", LOOKS, "The models", || {
            routing::get(models::list)
        }),
        page(
            "/console/models/agreement",
            COMPARES,
            "How often clinicians agreed with the models",
            || routing::get(concordance::list),
        ),
        page(
            "/console/egress",
            AUDITS,
            "What would be sent to the hub",
            || routing::get(egress::preview),
        )
        .query(egress::PARAMETERS)
        .statuses(&[200, 400, 404]),
        form(
            "/console/egress/hold",
            HOLDS,
            "Hold a frame back, or all",
            || routing::post(egress::hold),
        ),
        form("/console/egress/release", HOLDS, "Take a hold away", || {
            routing::post(egress::release)
        }),
        page("/console/audit", AUDITS, "The audit log", || {
            routing::get(audit::list)
        })
        .query(audit::PARAMETERS),
        page(
            "/console/settings",
            SETS,
            "The configuration in effect",
            || routing::get(settings::list),
        ),
    ]
}

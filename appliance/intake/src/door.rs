//! The door itself.

use crate::Refused;
use crate::quota::{Ledger, Over, Quotas, Share};
use crate::scanning::{Arrived, Scanned, Scanning};
use crate::settling::Settling;
use crate::visit::{Visit, Visits};
use bytes::Bytes;
use pericard_dicom::meta::file_meta;
use pericard_dicom::scan::syntax::is_deflated;
use pericard_domain::actor::Actor;
use pericard_domain::job::Priority;
use pericard_domain::study::ObjectIdentity;
use pericard_domain::time::Clock;
use pericard_domain::uid::{InstanceUid, SopClassUid, StudyUid, TransferSyntaxUid};
use pericard_egress::{Counter, Meter, Stage};
use pericard_store::admission::{Admission, NewObject, Refusal};
use pericard_store::care::DiskLevel;
use pericard_store::object::Incoming;
use pericard_store::{Store, StoreError};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When a peer that finds the door crowded is told to come back.
const RETRY_AFTER_S: u32 = 5;
/// When a peer that finds the queue full is told to come back: jobs take longer than objects.
const RETRY_QUEUE_S: u32 = 30;
/// What lies in so few bytes is walked in a moment. The usual slice of a CT or MR is below it.
const SOON_SCANNED_MAX_BYTES: u64 = 1024 * 1024;

/// Limits of the door.
#[derive(Debug, Clone)]
pub struct IntakeConfig {
    /// The largest object that is taken.
    pub object_max_mib: u32,
    /// How many objects may be arriving at once.
    pub parcels_max: usize,
}

/// Who is asked about every object that arrives.
#[derive(Clone)]
pub struct Judges {
    /// What it is.
    pub scanning: Arc<dyn Scanning>,
    /// When its study may be complete.
    pub settling: Arc<dyn Settling>,
}

/// How an object arrives.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// A data set without its file header, as C-STORE sends it; the rest of the identity was announced.
    DataSet {
        /// Affected SOP Class UID of the command.
        sop_class: SopClassUid,
        /// Affected SOP Instance UID of the command.
        instance: InstanceUid,
        /// The transfer syntax of the presentation context.
        transfer_syntax: TransferSyntaxUid,
    },
    /// A whole Part 10 file, as STOW-RS sends it.
    File,
    /// The same, sent to one study: an object of another is refused.
    FileOf(StudyUid),
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    inner: Arc<Inner>,
    /// The association that this clone belongs to.
    visit: Option<Arc<Leaving>>,
}

struct Inner {
    store: Store,
    scanning: Arc<dyn Scanning>,
    settling: Arc<dyn Settling>,
    limits: IntakeConfig,
    meter: Meter,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    ledger: Arc<Ledger>,
    visits: Visits,
}

/// Ends a visit when the last that belongs to it is gone.
struct Leaving {
    visit: Visit,
    inner: Arc<Inner>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(study) = self.visit.end() {
            self.inner.leave(study);
        }
    }
}

impl Inner {
    /// Sees to it that a study over which no association is open is not waited for without need.
    fn leave(self: &Arc<Self>, study: StudyUid) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let inner = Arc::clone(self);
        runtime.spawn(async move { inner.left(&study).await });
    }

    /// No association is open any more over which the study came: if all of it is here, it is not waited for.
    async fn left(&self, study: &StudyUid) {
        let whole = match self.store.standing(study).await {
            Ok(standing) => standing.is_some_and(|s| self.settling.is_whole(&s, self.clock.now())),
            Err(error) => {
                tracing::debug!(%study, "whether the study is whole is asked later: {error}");
                false
            }
        };
        if whole && let Err(error) = self.store.hasten_assembly(study).await {
            tracing::warn!(%study, "the study is whole, but is waited for: {error}");
        }
    }
}

impl Intake {
    /// The door to `store`, without quotas.
    #[must_use]
    pub fn new(
        store: Store,
        judges: Judges,
        limits: IntakeConfig,
        meter: Meter,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::with_quotas(store, judges, limits, (meter, clock), Quotas::default())
    }

    /// The door to `store`, where each caller may bring so much.
    #[must_use]
    pub fn with_quotas(
        store: Store,
        Judges { scanning, settling }: Judges,
        limits: IntakeConfig,
        (meter, clock): (Meter, Arc<dyn Clock>),
        quotas: Quotas,
    ) -> Self {
        let places = Arc::new(Semaphore::new(limits.parcels_max));
        Self {
            inner: Arc::new(Inner {
                store,
                scanning,
                settling,
                limits,
                meter,
                clock,
                places,
                ledger: Arc::new(Ledger::new(quotas)),
                visits: Visits::default(),
            }),
            visit: None,
        }
    }

    /// Which studies come over associations that are open.
    #[must_use]
    pub fn visits(&self) -> Visits {
        self.inner.visits.clone()
    }

    /// The door for one association: what comes through it belongs together, until this and its clones are dropped.
    #[must_use]
    pub fn visited(&self) -> Self {
        let inner = Arc::clone(&self.inner);
        let visit = inner.visits.begin();
        Self {
            inner: Arc::clone(&inner),
            visit: Some(Arc::new(Leaving { visit, inner })),
        }
    }

    /// Something became known of a study: if it is whole, and comes over no association that is open, it is not waited for.
    pub async fn look(&self, study: &StudyUid) {
        if !self.inner.visits.is_open(study) {
            self.inner.left(study).await;
        }
    }

    /// Opens a parcel for an object.
    ///
    /// # Errors
    /// When nothing can be taken at the moment: the peer is told before it has sent the bytes.
    pub fn begin(&self, arrival: Arrival, from: Actor) -> Result<Parcel, Refused> {
        let inner = &self.inner;
        let place = Arc::clone(&inner.places).try_acquire_owned();
        let place = place.map_err(|_| {
            self.counted(Refused::Busy {
                retry_after_s: RETRY_AFTER_S,
            })
        })?;
        let share = inner.ledger.begin(&from, Instant::now());
        let mut share = share.map_err(|over| self.counted(over.into()))?;
        let mut incoming = inner
            .store
            .incoming()
            .map_err(|error| self.counted(refused_by(error)))?;
        let mut headroom = u64::from(inner.limits.object_max_mib) << 20;
        if let Arrival::DataSet {
            sop_class,
            instance,
            transfer_syntax,
        } = &arrival
        {
            // The file is the peer's bytes behind our header, so that any tool can read it as it lies.
            let source = if let Actor::Peer { ae_title, .. } = &from {
                Some(ae_title)
            } else {
                None
            };
            let meta = file_meta(sop_class, instance, transfer_syntax, source);
            share
                .add(meta.len() as u64)
                .map_err(|over| self.counted(over.into()))?;
            incoming
                .write(&meta)
                .map_err(|error| self.counted(refused_by(error)))?;
            headroom = headroom.saturating_add(meta.len() as u64);
        }
        Ok(Parcel {
            intake: self.clone(),
            arrival,
            from,
            incoming: Some(incoming),
            refused: None,
            headroom,
            begun: Instant::now(),
            share,
            _place: place,
        })
    }

    /// Writes into the audit log that a peer was refused before it could offer anything: an association, a request.
    pub async fn refuse(&self, what: &str, why: &str, from: Actor) {
        self.note(
            Refusal {
                what: what.to_owned(),
                why: why.to_owned(),
                instance: None,
            },
            from,
        )
        .await;
    }

    async fn note(&self, refusal: Refusal, from: Actor) {
        // The audit log has the title that a peer gave itself.
        let from_where = from.whence();
        tracing::warn!(what = refusal.what, why = refusal.why, %from_where, "refused");
        if let Err(error) = self.inner.store.refuse(refusal, from).await {
            tracing::error!(%error, "the refusal is not in the audit log");
        }
    }

    fn counted(&self, refused: Refused) -> Refused {
        self.inner.meter.count(counter_of(&refused));
        refused
    }
}

/// An object that is arriving. Dropped, it is gone, and nothing was promised; if it had been refused while it arrived,
/// the audit log says so.
pub struct Parcel {
    intake: Intake,
    arrival: Arrival,
    from: Actor,
    /// `None` once it was refused or taken: a refused object's bytes are not kept while the peer still sends.
    incoming: Option<Incoming>,
    /// Why no more is taken.
    refused: Option<Refused>,
    /// Bytes that it may have in all.
    headroom: u64,
    begun: Instant,
    /// Of what its caller may bring.
    share: Share,
    /// Given back when the object is kept, refused or dropped.
    _place: OwnedSemaphorePermit,
}

impl Parcel {
    /// Takes the next bytes of the object.
    ///
    /// # Errors
    /// [`Refused::TooLarge`], [`Refused::OverQuota`], or the disk failed. Nothing more is taken then, and [`Parcel::admit`]
    /// says the same.
    pub fn write(&mut self, bytes: &Bytes) -> Result<(), Refused> {
        let taken = match (&self.refused, &mut self.incoming) {
            (Some(refused), _) => return Err(refused.clone()),
            (None, Some(incoming))
                if incoming.len().saturating_add(bytes.len() as u64) <= self.headroom =>
            {
                let counted = self.share.add(bytes.len() as u64).map_err(Refused::from);
                counted.and_then(|()| incoming.write(bytes).map_err(refused_by))
            }
            (None, _) => Err(Refused::TooLarge {
                limit_mib: self.intake.inner.limits.object_max_mib,
            }),
        };
        taken.inspect_err(|refused| {
            self.incoming = None;
            self.share.give_back_bytes();
            self.refused = Some(refused.clone());
        })
    }

    /// Scans, seals and commits the object. A refusal is written into the audit log before the peer hears of it.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn admit(mut self) -> Result<(ObjectIdentity, Admission), Refused> {
        let intake = self.intake.clone();
        let kept = match (self.refused.take(), self.incoming.take()) {
            (None, Some(incoming)) => {
                admit(&intake, &self.arrival, incoming, self.from.clone()).await
            }
            (refused, _) => {
                Err(refused.unwrap_or_else(|| Refused::Unavailable("nothing was received".into())))
            }
        };
        match &kept {
            Ok((_, admission)) => {
                intake.inner.meter.count(match admission {
                    Admission::Stored => Counter::ObjectsAdmitted,
                    Admission::AlreadyHeld => Counter::ObjectsAlreadyHeld,
                    Admission::Revised { .. } => Counter::ObjectsRevised,
                });
                intake
                    .inner
                    .meter
                    .observe(Stage::Admit, self.begun.elapsed());
            }
            Err(refused) => {
                intake.inner.meter.count(counter_of(refused));
                intake
                    .note(refusal_of(&self.arrival, refused), self.from.clone())
                    .await;
            }
        }
        kept
    }
}

impl Drop for Parcel {
    /// A protocol room may turn the peer away on the first refused write and never come to `admit`.
    fn drop(&mut self) {
        let (Some(refused), Ok(runtime)) =
            (self.refused.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        self.intake.inner.meter.count(counter_of(&refused));
        let (intake, refusal, from) = (
            self.intake.clone(),
            refusal_of(&self.arrival, &refused),
            self.from.clone(),
        );
        runtime.spawn(async move { intake.note(refusal, from).await });
    }
}

async fn admit(
    intake: &Intake,
    arrival: &Arrival,
    incoming: Incoming,
    from: Actor,
) -> Result<(ObjectIdentity, Admission), Refused> {
    let inner = &intake.inner;
    let Scanned { identity, facts } = scanned(intake, arrival, &incoming, &from).await?;
    // A refused object's file is dropped, and has cost no sync.
    let sealed = incoming.seal().map_err(refused_by)?;
    check_announced(arrival, &identity)?;
    if let Some(leaving) = &intake.visit
        && let Some(left) = leaving.visit.note(&identity.study)
    {
        inner.leave(left);
    }
    let settled = inner.settling.settled(&identity, &facts, inner.clock.now());
    check_room(&inner.store, settled.priority)?;
    let object = NewObject {
        sealed,
        identity: identity.clone(),
        facts,
        assemble_at: settled.at,
        priority: settled.priority,
    };
    let admission = inner.store.admit(object, from).await.map_err(refused_by)?;
    if let Admission::Revised { revision } = admission {
        let instance = identity.instance.as_str();
        tracing::warn!(
            instance,
            revision,
            "other bytes came under a UID that is held; both are kept"
        );
    }
    Ok((identity, admission))
}

async fn scanned(
    intake: &Intake,
    arrival: &Arrival,
    incoming: &Incoming,
    from: &Actor,
) -> Result<Scanned, Refused> {
    let arrived = Arrived {
        file: incoming.to_read().map_err(refused_by)?,
        takes_a_moment: is_soon_scanned(arrival, incoming.len()),
    };
    let scanned = intake.inner.scanning.scan(arrived, from).await;
    scanned.map_err(Refused::from)
}

/// Whether a scan takes no time to speak of. What may inflate to more than it is does not, and of a file only its header
/// would tell.
fn is_soon_scanned(arrival: &Arrival, size_bytes: u64) -> bool {
    let is_as_large_as_it_is = match arrival {
        Arrival::DataSet {
            transfer_syntax, ..
        } => !is_deflated(transfer_syntax),
        Arrival::File | Arrival::FileOf(_) => false,
    };
    is_as_large_as_it_is && size_bytes <= SOON_SCANNED_MAX_BYTES
}

/// What a command announced must be what the data set says: a peer that mixes objects up is told so.
fn check_announced(arrival: &Arrival, found: &ObjectIdentity) -> Result<(), Refused> {
    match arrival {
        Arrival::DataSet { instance, .. } if *instance != found.instance => {
            Err(Refused::Mismatch("SOP Instance UID"))
        }
        Arrival::DataSet { sop_class, .. } if *sop_class != found.sop_class => {
            Err(Refused::Mismatch("SOP Class UID"))
        }
        Arrival::FileOf(study) if *study != found.study => {
            Err(Refused::OtherStudy(Box::new(found.clone())))
        }
        Arrival::DataSet { .. } | Arrival::File | Arrival::FileOf(_) => Ok(()),
    }
}

/// Below the upper mark of free space batch work waits for another day, so that what is urgent still finds room. How urgent
/// an object is, only its header tells: it was received by then, but not kept.
fn check_room(store: &Store, priority: Priority) -> Result<(), Refused> {
    let disk = store.disk().map_err(refused_by)?;
    if priority < Priority::Batch || disk.level < DiskLevel::Low {
        return Ok(());
    }
    let reason = format!(
        "less than {} MiB are free, and batch work is not taken until there is more",
        disk.low_mib
    );
    Err(Refused::OutOfStorage(reason))
}

impl From<Over> for Refused {
    fn from(over: Over) -> Self {
        Self::OverQuota {
            quota: over.quota,
            retry_after_s: over.retry_after_s,
        }
    }
}

fn refused_by(error: StoreError) -> Refused {
    match error {
        StoreError::DiskFloor { .. } => Refused::OutOfStorage(error.to_string()),
        StoreError::QueueFull { .. } => Refused::QueueFull {
            reason: error.to_string(),
            retry_after_s: RETRY_QUEUE_S,
        },
        other => Refused::Unavailable(other.to_string()),
    }
}

fn refusal_of(arrival: &Arrival, refused: &Refused) -> Refusal {
    let instance = match arrival {
        Arrival::DataSet { instance, .. } => Some(instance.clone()),
        Arrival::File | Arrival::FileOf(_) => None,
    };
    Refusal {
        what: "object".into(),
        why: refused.to_string(),
        instance,
    }
}

fn counter_of(refused: &Refused) -> Counter {
    match refused {
        Refused::Malformed(_) => Counter::ObjectsMalformed,
        Refused::Mismatch(_) | Refused::OtherStudy(_) => Counter::ObjectsMismatched,
        Refused::TooLarge { .. } => Counter::ObjectsTooLarge,
        Refused::OutOfStorage(_) => Counter::ObjectsOutOfStorage,
        Refused::Busy { .. } | Refused::QueueFull { .. } | Refused::OverQuota { .. } => {
            Counter::ObjectsBusy
        }
        Refused::Unavailable(_) => Counter::ObjectsUnavailable,
    }
}

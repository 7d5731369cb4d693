//! The composition root: opens the rooms, then the doors, and closes them in order.

use crate::care::{self, CareConfig};
use crate::catalogue::{Catalogue, CatalogueError};
use crate::config::Config;
use crate::console::{Imports, Outgoing};
use crate::counting::{catalogue, identity, keep_counters};
use crate::evaluations::{self, Plans};
use crate::machine::Machine;
use crate::recalls::Recalls;
use crate::reload::{InEffect, Lists};
use crate::rooms::{Fallen, Rooms};
use crate::scanning::BehindWalls;
use crate::tls::{self, CertificatePaths, TlsError};
use crate::weekly::Weekly;
use crate::{cli, hl7, systemd};
use pericard_api::{ApiConfig, Appliance, Talker};
use pericard_dicom::report::Device;
use pericard_dimse::{
    Archive, Caller, CommitmentConfig, DeliveryConfig, DimseConfig, InquiryConfig, Listeners,
    RequestLimits, Rewriting, Tls,
};
use pericard_domain::model::Package;
use pericard_domain::time::Clock;
use pericard_egress::{Meter, Rules, SpoolError};
use pericard_gate::Desk;
use pericard_intake::{AllThatIsKnown, IdleTimeout, Intake, IntakeConfig, Judges, Quota, Quotas};
use pericard_jobs::{JobsConfig, Surroundings};
use pericard_registry::{Registry, RegistryError};
use pericard_runner::{Runner, RunnerConfig};
use pericard_store::care::Bounds;
use pericard_store::{Store, StoreError};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The longest that reading one object, one portion of frames or one volume may take.
const READING_TIMEOUT_S: u64 = 300;
/// Where they are, within the data directory.
pub(crate) const COUNTERS: &str = "egress/counters";
/// Where what leaves is accounted for, within the data directory.
pub(crate) const EGRESS: &str = "egress";

/// The doors, bound but not yet served: whoever opens the appliance owns the ports.
#[derive(Debug)]
pub struct Doors {
    /// HTTPS.
    pub https: TcpListener,
    /// DICOM.
    pub dicom: TcpListener,
    /// DICOM over TLS, when it is configured.
    pub dicom_tls: Option<TcpListener>,
    /// HL7, when it is configured.
    pub hl7: Option<TcpListener>,
    /// HL7 over TLS, when it is configured.
    pub hl7_tls: Option<TcpListener>,
}

/// Why the appliance does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A door cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Door {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A directory cannot be made.
    #[error("{path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A door beyond loopback with nobody known.
    #[error("{0}")]
    Unguarded(String),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry does not open, or a live package does not verify.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no certificate to serve with.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The counters cannot be kept.
    #[error(transparent)]
    Meter(#[from] SpoolError),
    /// The hub's catalogue cannot be believed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A room fell, or was late to close.
    #[error(transparent)]
    Fallen(#[from] Fallen),
}

/// The appliance, open: what the demonstration looks into.
#[derive(Clone)]
pub struct Open {
    /// What is kept.
    pub store: Store,
    /// The models.
    pub runner: Runner,
    /// The live packages.
    pub packages: Arc<[Package]>,
    /// SHA-256 of the certificate.
    pub fingerprint: String,
    /// What can be read again.
    pub in_effect: Arc<InEffect>,
}

impl Doors {
    /// Binds the configured addresses.
    ///
    /// # Errors
    /// When one of them is taken or not this machine's.
    pub async fn open(config: &Config) -> Result<Self, ServeError> {
        let bind = |address: SocketAddr| async move {
            TcpListener::bind(address)
                .await
                .map_err(|source| ServeError::Door { address, source })
        };
        let bind_if = |address: Option<SocketAddr>| async move {
            match address {
                Some(address) => bind(address).await.map(Some),
                None => Ok(None),
            }
        };
        Ok(Self {
            hl7: bind_if(config.written.hl7.listen).await?,
            hl7_tls: bind_if(config.written.hl7.listen_tls).await?,
            https: bind(config.written.https.listen).await?,
            dicom: bind(config.written.dicom.listen).await?,
            dicom_tls: match config.dicom_tls {
                Some(_) => Some(bind(config.written.dicom.tls.listen).await?),
                None => None,
            },
        })
    }
}

/// Runs the appliance on these doors until the stop. `opened` is told when the doors are open; models load meanwhile.
///
/// Whatever is unfinished at the end is taken up again at the next start.
///
/// # Errors
/// When a room cannot be opened, falls, or is late to close.
pub async fn serve(
    config: Config,
    doors: Doors,
    stop: CancellationToken,
    opened: impl FnOnce(Open),
) -> Result<(), ServeError> {
    serve_on(Machine::this(), config, doors, stop, opened).await
}

/// Runs the appliance on a machine that the caller has made. Whatever is shipped calls [`serve`].
///
/// # Errors
/// As [`serve`].
pub async fn serve_on(
    machine: Machine,
    config: Config,
    doors: Doors,
    stop: CancellationToken,
    opened: impl FnOnce(Open),
) -> Result<(), ServeError> {
    let grace = Duration::from_secs(config.written.appliance.shutdown_grace_s.into());
    let ground = Ground::open(config, machine).await?;
    renew_own_certificate(&ground.config)?;
    let paths = certificate_paths(&ground.config)?;
    let (tls, certificate) = tls::renewable(&paths)?;
    let shown = tls::https_shown(&paths)
        .into_iter()
        .chain(ground.config.dicom_tls.as_ref().and_then(tls::dicom_shown));
    ground.lists.certificates.send_replace(shown.collect());
    let fingerprint = tls::fingerprint(&paths)?;
    let at = (doors.https.local_addr().ok(), doors.dicom.local_addr().ok());

    let mut rooms = Rooms::new(stop.clone());
    let api = pericard_api::serve(
        doors.https,
        tls,
        ground.appliance(),
        api_config(&ground.config),
        stop.clone(),
    );
    let listeners = Listeners {
        plain: doors.dicom,
        tls: doors.dicom_tls.zip(ground.tls.clone()),
    };
    let dimse = pericard_dimse::listen(
        listeners,
        ground.dimse_config(),
        ground.intake.clone(),
        stop.clone(),
    );
    rooms.open("api", api);
    rooms.open("dimse", endless(dimse));
    rooms.open("inquire", endless(ground.inquire(stop.clone())));
    let hl7 = hl7::doors((doors.hl7, doors.hl7_tls), ground.tls.as_ref());
    rooms.open("hl7", endless(ground.hl7(hl7, stop.clone())));
    rooms.open("messages", endless(ground.messages(stop.clone())));
    rooms.open("commit", endless(ground.commit(stop.clone())));
    rooms.open("deliver", endless(ground.deliver(stop.clone())));
    rooms.open(
        "jobs",
        load_then_work(
            ground.jobs_config(),
            ground.surroundings(),
            ground.recalls.clone(),
            stop.clone(),
        ),
    );
    rooms.open(
        "counters",
        keep_counters(
            ground.meter.clone(),
            ground.store.clone(),
            Arc::clone(&ground.machine.load),
            stop.clone(),
        ),
    );
    rooms.open(
        "recalls",
        ground
            .recalls
            .clone()
            .run(ground.machine.look_every, stop.clone()),
    );
    if let Some(weekly) = ground.weekly() {
        let evaluations = evaluations::run(
            Plans::of(&weekly.dir),
            ground.surroundings(),
            ground.machine.look_every,
            stop.clone(),
        );
        rooms.open("evaluations", evaluations);
        rooms.open("egress", weekly.run(stop.clone()));
    }
    rooms.open(
        "care",
        care::run(
            CareConfig::of(&ground.config),
            ground.store.clone(),
            Arc::clone(&ground.clock),
            stop.clone(),
        ),
    );
    rooms.open("watchdog", systemd::watchdog(stop));

    tracing::info!(https = ?at.0, dicom = ?at.1, certificate_sha256 = fingerprint, "the doors are open");
    systemd::ready("serving");
    let Ground {
        config: begun_with,
        store,
        runner,
        packages,
        tls: dicom,
        lists,
        ..
    } = ground;
    let in_effect = InEffect {
        begun_with,
        packages: Arc::clone(&packages),
        https: certificate,
        dicom,
        lists,
    };
    opened(Open {
        store,
        runner: runner.clone(),
        packages,
        fingerprint,
        in_effect: Arc::new(in_effect),
    });
    let ended = rooms.run(grace).await;
    runner.close();
    Ok(ended?)
}

/// What the rooms stand on: opened before any door.
struct Ground {
    config: Config,
    machine: Machine,
    clock: Arc<dyn Clock>,
    store: Store,
    packages: Arc<[Package]>,
    meter: Meter,
    catalogue: Arc<Catalogue>,
    runner: Runner,
    intake: Intake,
    /// For DICOM, in both directions.
    tls: Option<Tls>,
    /// What is read again while the doors are open.
    lists: Lists,
    recalls: Recalls,
}

impl Ground {
    async fn open(config: Config, machine: Machine) -> Result<Self, ServeError> {
        let clock = Arc::clone(&machine.clock);
        let data = config.written.appliance.data_dir.clone();
        let store = Store::open_with(
            cli::store_config(&config),
            Arc::clone(&clock),
            Arc::clone(&machine.leaves),
        )?;
        store.bind(Bounds {
            free_space_low_mib: config.written.storage.low_mib(),
            jobs_waiting_max: config.written.jobs.jobs_waiting_max,
        });
        let tokens = store
            .tokens()
            .await?
            .iter()
            .filter(|token| token.revoked_at.is_none())
            .count();
        if let Some(why) = config.open_door(tokens) {
            return Err(ServeError::Unguarded(why));
        }
        for path in [data.join("egress"), data.join("spool")] {
            std::fs::create_dir_all(&path)
                .map_err(|source| ServeError::Directory { path, source })?;
        }
        let packages: Arc<[Package]> = Registry::open(&data.join("registry"))?.live()?.into();
        let meter = Meter::open(data.join(COUNTERS), identity(&config))?;
        let catalogue = catalogue(&config)?;
        let runner = Runner::new(runner_config(&config, &machine.program));
        let lists = Lists::of(&config);
        let judges = Judges {
            scanning: Arc::new(BehindWalls(runner.clone())),
            settling: Arc::new(settling(&config, &lists)),
        };
        let counted = (meter.clone(), Arc::clone(&clock));
        let intake = intake(&config, &store, judges, counted);
        let tls = match &config.dicom_tls {
            Some(paths) => Some(Tls::new(tls::dicom_identity(paths)?).map_err(TlsError::from)?),
            None => None,
        };
        let recalls = Recalls {
            desk: Desk::at(config.written.egress.gate_dir.clone()),
            policy: config.written.egress.on_recall,
            registry: data.join("registry"),
            packages: Arc::clone(&packages),
            runner: runner.clone(),
            store: store.clone(),
            told: Arc::new(watch::channel(Arc::default()).0),
            stopped: Arc::default(),
        };
        Ok(Self {
            config,
            machine,
            clock,
            store,
            packages,
            meter,
            catalogue,
            runner,
            intake,
            tls,
            lists,
            recalls,
        })
    }

    fn appliance(&self) -> Appliance {
        Appliance {
            store: self.store.clone(),
            intake: self.intake.clone(),
            talker: Arc::new(self.runner.clone()) as Arc<dyn Talker>,
            painter: Arc::new(self.runner.clone()),
            packages: Arc::clone(&self.packages),
            imports: Arc::new(Imports(self.recalls.registry.clone())),
            outgoing: Arc::new(self.outgoing()),
            meter: self.meter.clone(),
            clock: Arc::clone(&self.clock),
            version: env!("CARGO_PKG_VERSION"),
            settings: self.lists.settings.subscribe(),
            notices: self.recalls.told.subscribe(),
            certificates: self.lists.certificates.subscribe(),
        }
    }

    /// What the gate will send, as far as it may be looked at and held back here.
    fn outgoing(&self) -> Outgoing {
        let written = &self.config.written;
        Outgoing {
            spool: pericard_gate::Spool::at(written.appliance.data_dir.join(EGRESS)),
            desk: self.recalls.desk.clone(),
            rules: pericard_gate::Rules {
                hold_days: written.egress.hold_days,
            },
            clock: Arc::clone(&self.clock),
        }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            store: self.store.clone(),
            runner: self.runner.clone(),
            packages: Arc::clone(&self.packages),
            meter: self.meter.clone(),
            catalogue: self
                .packages
                .iter()
                .map(|package| self.catalogue.id(&package.model))
                .collect(),
            clock: Arc::clone(&self.clock),
            completeness: Arc::new(AllThatIsKnown {
                idle: settling(&self.config, &self.lists),
                visits: self.intake.visits(),
            }),
        }
    }

    /// Who makes frames, when the configuration wants them.
    fn weekly(&self) -> Option<Weekly> {
        let (written, egress) = (&self.config.written, &self.config.written.egress);
        egress.weekly.then(|| Weekly {
            dir: written.appliance.data_dir.join(EGRESS),
            rules: Rules {
                year_milli_epsilon: egress.year_milli_epsilon,
            },
            catalogue: Arc::clone(&self.catalogue),
            packages: Arc::clone(&self.packages),
            store: self.store.clone(),
            meter: self.meter.clone(),
            machine: self.machine.clone(),
        })
    }

    /// Who writes objects anew.
    fn rewriting(&self) -> Arc<dyn Rewriting> {
        Arc::new(BehindWalls(self.runner.clone()))
    }

    /// What is held, for DICOM peers.
    fn archive(&self) -> Archive {
        Archive {
            store: self.store.clone(),
            caller: self.caller(),
        }
    }

    /// What peers promise to keep, and what is promised to them.
    fn commit(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        pericard_dimse::commit(
            CommitmentConfig::default(),
            self.archive(),
            self.lists.peers.subscribe().into(),
            Arc::clone(&self.clock),
            stop,
        )
    }

    /// Worklists, counts and earlier studies, asked of peers of our own accord.
    fn inquire(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        pericard_dimse::inquire(
            InquiryConfig::default(),
            self.archive(),
            (self.intake.clone(), Arc::clone(&self.clock)),
            self.lists.peers.subscribe().into(),
            stop,
        )
    }

    /// Orders and patients in.
    fn hl7(
        &self,
        doors: pericard_hl7::Doors,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let written = &self.config.written.hl7;
        let config = pericard_hl7::Hl7Config {
            us: self.us(),
            peers: self.lists.hl7_peers.subscribe(),
            limits: pericard_hl7::Limits {
                connections_max: written.connections_max,
                message_max_kib: written.message_max_kib as usize,
                ..pericard_hl7::Limits::default()
            },
        };
        let kept = (self.store.clone(), Arc::clone(&self.clock));
        pericard_hl7::listen(doors, config, kept, stop)
    }

    /// Results out, as messages.
    fn messages(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let jobs = &self.config.written.jobs;
        let config = pericard_hl7::SendConfig {
            tls: self.tls.as_ref().map(hl7::secured),
            backoff_min: Duration::from_secs(jobs.delivery_retry_s.into()),
            backoff_max: Duration::from_secs(jobs.delivery_retry_max_s.into()),
            ..pericard_hl7::SendConfig::new(self.us())
        };
        let kept = (self.store.clone(), Arc::clone(&self.clock));
        pericard_hl7::deliver(config, self.lists.hl7_peers.subscribe(), kept, stop)
    }

    /// What we call ourselves in messages.
    fn us(&self) -> pericard_hl7::Us {
        let written = &self.config.written.hl7;
        pericard_hl7::Us {
            application: written.application.clone(),
            facility: written.facility.clone(),
        }
    }

    /// Who calls other DICOM peers.
    fn caller(&self) -> Caller {
        Caller {
            ae_title: self.config.ae_title.clone(),
            limits: RequestLimits::default(),
            tls: self.tls.clone(),
        }
    }

    fn dimse_config(&self) -> DimseConfig {
        let (config, dicom) = (&self.config, &self.config.written.dicom);
        let mut dimse = DimseConfig::new(config.ae_title.clone());
        dimse.called_ae_must_match = dicom.called_ae_must_match;
        dimse.peers = self.lists.peers.subscribe().into();
        dimse.unlisted = config.unlisted;
        dimse.limits.associations_max = dicom.associations_max;
        dimse.limits.pdu_bytes_max = dicom.pdu_max_kib * 1024;
        dimse.meter = self.meter.clone();
        dimse.archive = Some(self.archive());
        dimse.rewriting = Some(self.rewriting());
        dimse
    }

    fn deliver(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let jobs = &self.config.written.jobs;
        let delivery = DeliveryConfig {
            backoff_min: Duration::from_secs(jobs.delivery_retry_s.into()),
            backoff_max: Duration::from_secs(jobs.delivery_retry_max_s.into()),
            meter: self.meter.clone(),
            rewriting: Some(self.rewriting()),
            ..DeliveryConfig::default()
        };
        let caller = self.caller();
        let mail = (self.store.clone(), Arc::clone(&self.clock));
        let peers = self.lists.peers.subscribe().into();
        pericard_dimse::deliver(delivery, caller, peers, mail, stop)
    }

    fn jobs_config(&self) -> JobsConfig {
        let (jobs, appliance) = (&self.config.written.jobs, &self.config.written.appliance);
        JobsConfig {
            lease: Duration::from_secs(jobs.lease_duration_s.into()),
            attempts_max: jobs.attempts_max,
            concurrent_max: jobs.concurrent_max,
            rules: self.lists.rules.subscribe(),
            device: Device {
                name: appliance.name.clone(),
                manufacturer: "Pericard".into(),
                model: "Pericard".into(),
                serial: appliance.name.clone(),
                software_version: env!("CARGO_PKG_VERSION").into(),
                ae_title: self.config.ae_title.clone(),
            },
        }
    }
}

/// When a study may be complete.
fn settling(config: &Config, lists: &Lists) -> IdleTimeout {
    IdleTimeout {
        rules: lists.rules.subscribe(),
        otherwise_s: config.written.storage.idle_timeout_s,
    }
}

/// At a start only: whoever is connected meanwhile would trust another authority than the one that the door shows next.
fn renew_own_certificate(config: &Config) -> Result<(), TlsError> {
    let dir = config.written.appliance.data_dir.join("tls");
    if config.certificate.is_some() || !tls::retire_own_certificate(&dir)? {
        return Ok(());
    }
    let authority = dir.join("ca.pem");
    tracing::warn!(
        "the certificate that was made here was about to end, and is made anew: clients must trust the new {}",
        authority.display()
    );
    Ok(())
}

/// Where the hospital's certificate is, or the one that is made at the first start.
pub(crate) fn certificate_paths(config: &Config) -> Result<CertificatePaths, TlsError> {
    match &config.certificate {
        Some(paths) => Ok(paths.clone()),
        None => tls::own_certificate(
            &config.written.appliance.data_dir.join("tls"),
            &certificate_names(config),
        ),
    }
}

/// Loads every live model, then works. A model that does not load is said, and shows in `/readyz`; the others serve.
async fn load_then_work(
    config: JobsConfig,
    surroundings: Surroundings,
    recalls: Recalls,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    // Before anything is loaded: what was recalled does no work, not even for a moment.
    recalls.look().await;
    try_walls(surroundings.runner.clone()).await;
    try_device(surroundings.runner.clone()).await;
    for package in surroundings.packages.iter().cloned() {
        if recalls.stops(&package.model) {
            continue;
        }
        let runner = surroundings.runner.clone();
        let model = package.model.to_string();
        // The engine's own panics are contained in the runner; a lost thread is a model that did not load.
        let loading = tokio::task::spawn_blocking(move || runner.load(&package));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            loaded = loading => match loaded {
                Ok(Ok(loaded)) => tracing::info!(model, device = loaded.device, ms = loaded.load_ms, "model loaded"),
                Ok(Err(error)) => tracing::error!(model, %error, "model not loaded"),
                Err(error) => tracing::error!(model, %error, "model not loaded"),
            },
        }
    }
    pericard_jobs::run(config, surroundings, stop).await
}

/// Says which walls stand around the workers. One that is missing is said loudly; when none can be started, `/readyz`
/// tells too, and every job that needs one fails with the reason.
async fn try_walls(runner: Runner) {
    match tokio::task::spawn_blocking(move || runner.test_walls()).await {
        Ok(Ok(walls)) => {
            for wall in walls.missing() {
                tracing::warn!(
                    wall = wall.name,
                    why = wall.detail,
                    "a wall around the workers is missing"
                );
            }
            tracing::info!(%walls, "workers are confined");
        }
        Ok(Err(why)) => tracing::error!(why, "no worker can be started behind its walls"),
        Err(error) => tracing::error!(%error, "the walls were not tried"),
    }
}

/// Says whether what models compute on can be had. Where it cannot, no model is loaded, and `/readyz` says why: another device
/// never takes its place.
async fn try_device(runner: Runner) {
    let device = runner.device();
    match tokio::task::spawn_blocking(move || runner.try_device()).await {
        Ok(Ok(())) => tracing::info!(%device, "the device computes right"),
        Ok(Err(why)) => {
            tracing::error!(%device, why, "the device cannot be used; no model is loaded")
        }
        Err(error) => tracing::error!(%device, %error, "the device was not tried"),
    }
}

fn intake(
    config: &Config,
    store: &Store,
    judges: Judges,
    counted: (Meter, Arc<dyn Clock>),
) -> Intake {
    let storage = &config.written.storage;
    let limits = IntakeConfig {
        object_max_mib: storage.object_max_mib,
        parcels_max: storage.arriving_max,
    };
    Intake::with_quotas(store.clone(), judges, limits, counted, quotas(config))
}

fn quotas(config: &Config) -> Quotas {
    let written = &config.written.quotas;
    let quota = |arriving_max, objects_per_minute_max, in_flight_max_mib| Quota {
        arriving_max,
        objects_per_minute_max,
        in_flight_max_mib,
    };
    Quotas {
        per_peer: quota(
            written.peer_arriving_max,
            written.peer_objects_per_minute_max,
            written.peer_in_flight_max_mib,
        ),
        per_token: quota(
            written.token_arriving_max,
            written.token_objects_per_minute_max,
            written.token_in_flight_max_mib,
        ),
    }
}

/// How models and readers run.
pub(crate) fn runner_config(config: &Config, program: &Path) -> RunnerConfig {
    let models = &config.written.models;
    let machine = std::thread::available_parallelism().map_or(1, usize::from);
    RunnerConfig {
        worker: pericard_runner::workers_of(program),
        reading_timeout: Duration::from_secs(READING_TIMEOUT_S),
        onnxruntime: models.onnxruntime.clone(),
        device: models.device,
        cores: if models.cores == 0 {
            machine
        } else {
            models.cores.min(machine)
        },
        chats_max: models.chats_max,
        chats_waiting_max: models.chats_waiting_max,
        kv_form: models.kv_form,
    }
}

fn api_config(config: &Config) -> ApiConfig {
    let https = &config.written.https;
    ApiConfig {
        connections_max: https.connections_max,
        upload_max_mib: https.upload_max_mib,
        upload_kib_per_s_min: https.upload_kib_per_s_min,
        ..ApiConfig::new(config.written.appliance.data_dir.join("spool"))
    }
}

/// A room that cannot fail.
async fn endless(room: impl Future<Output = ()> + Send) -> Result<(), Infallible> {
    room.await;
    Ok(())
}

/// What a certificate that is made here is good for: this machine by every name it is known to go by.
pub(crate) fn certificate_names(config: &Config) -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let listen = config.written.https.listen.ip();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let listened = (!listen.is_unspecified() && !listen.is_loopback()).then(|| listen.to_string());
    names.extend(config.written.https.names.iter().cloned());
    names.extend(listened);
    names.extend(
        Some(host.trim().to_owned()).filter(|host| !host.is_empty() && !names.contains(host)),
    );
    names
}

//! The composition root: opens the rooms, then the doors, and closes them in order.

use crate::clock::SystemClock;
use crate::config::Config;
use crate::rooms::{Fallen, Rooms};
use crate::tls::{self, TlsError};
use crate::{cli, systemd};
use pericard_api::{ApiConfig, Appliance, Talker};
use pericard_dicom::report::Device;
use pericard_dimse::{Caller, DeliveryConfig, DimseConfig, RequestLimits};
use pericard_domain::model::Package;
use pericard_domain::time::Clock;
use pericard_egress::{Identity, Meter, SpoolError};
use pericard_intake::{IdleTimeout, Intake, IntakeConfig};
use pericard_jobs::{JobsConfig, Surroundings};
use pericard_registry::{Registry, RegistryError};
use pericard_runner::{Runner, RunnerConfig};
use pericard_store::{Store, StoreError};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often the counters are put on disk.
const COUNTERS_FLUSH_S: u64 = 10;
/// Where they are, within the data directory.
pub(crate) const COUNTERS: &str = "egress/counters";

/// The doors, bound but not yet served: whoever opens the appliance owns the ports.
#[derive(Debug)]
pub struct Doors {
    /// HTTPS.
    pub https: TcpListener,
    /// DICOM.
    pub dicom: TcpListener,
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
        Ok(Self {
            https: bind(config.written.https.listen).await?,
            dicom: bind(config.written.dicom.listen).await?,
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
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let data = config.written.appliance.data_dir.clone();
    let store = Store::open(cli::store_config(&config), Arc::clone(&clock))?;
    let tokens = store
        .tokens()
        .await?
        .iter()
        .filter(|token| token.revoked_at.is_none())
        .count();
    if let Some(why) = config.open_door(tokens) {
        return Err(ServeError::Unguarded(why));
    }
    let packages: Arc<[Package]> = Registry::open(&data.join("registry"))?.live()?.into();
    let meter = Meter::open(
        data.join(COUNTERS),
        Identity {
            appliance: 0,
            release: release(),
        },
    )?;
    let runner = Runner::new(runner_config(&config));
    let intake = intake(&config, &store, &meter, &clock);
    let paths = match &config.certificate {
        Some(paths) => paths.clone(),
        None => tls::own_certificate(&data.join("tls"), &certificate_names(&config))?,
    };
    let (tls, fingerprint) = (tls::server_config(&paths)?, tls::fingerprint(&paths)?);

    let mut rooms = Rooms::new(stop.clone());
    let https_at = doors.https.local_addr().ok();
    let dicom_at = doors.dicom.local_addr().ok();
    let appliance = Appliance {
        store: store.clone(),
        intake: intake.clone(),
        talker: Arc::new(runner.clone()) as Arc<dyn Talker>,
        packages: Arc::clone(&packages),
        meter: meter.clone(),
        clock: Arc::clone(&clock),
        version: env!("CARGO_PKG_VERSION"),
    };
    rooms.open(
        "api",
        pericard_api::serve(
            doors.https,
            tls,
            appliance,
            api_config(&config),
            stop.clone(),
        ),
    );
    rooms.open(
        "dimse",
        endless(pericard_dimse::listen(
            doors.dicom,
            dimse_config(&config),
            intake,
            stop.clone(),
        )),
    );
    rooms.open(
        "deliver",
        endless(deliver(
            &config,
            store.clone(),
            Arc::clone(&clock),
            stop.clone(),
        )),
    );
    let surroundings = Surroundings {
        store: store.clone(),
        runner: runner.clone(),
        packages: Arc::clone(&packages),
        meter: meter.clone(),
        clock,
    };
    rooms.open(
        "jobs",
        load_then_work(jobs_config(&config), surroundings, stop.clone()),
    );
    rooms.open("counters", keep_counters(meter, stop.clone()));
    rooms.open("watchdog", systemd::watchdog(stop));

    tracing::info!(https = ?https_at, dicom = ?dicom_at, certificate_sha256 = fingerprint, "the doors are open");
    systemd::ready("serving");
    opened(Open {
        store,
        runner: runner.clone(),
        packages,
        fingerprint,
    });
    let ended = rooms
        .run(Duration::from_secs(
            config.written.appliance.shutdown_grace_s.into(),
        ))
        .await;
    runner.close();
    Ok(ended?)
}

/// Loads every live model, then works. A model that does not load is said, and shows in `/readyz`; the others serve.
async fn load_then_work(
    config: JobsConfig,
    surroundings: Surroundings,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    for package in surroundings.packages.iter().cloned() {
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

async fn keep_counters(meter: Meter, stop: CancellationToken) -> Result<(), SpoolError> {
    let mut beat = tokio::time::interval(Duration::from_secs(COUNTERS_FLUSH_S));
    loop {
        tokio::select! {
            () = stop.cancelled() => return meter.flush(),
            _ = beat.tick() => {
                // A full disk must not close the doors: the counters go on in memory.
                if let Err(error) = meter.flush() {
                    tracing::warn!(%error, "the counters are not on disk");
                }
            }
        }
    }
}

fn intake(config: &Config, store: &Store, meter: &Meter, clock: &Arc<dyn Clock>) -> Intake {
    let storage = &config.written.storage;
    let settling = IdleTimeout {
        rules: config.written.rules.clone(),
        otherwise_s: storage.idle_timeout_s,
    };
    let limits = IntakeConfig {
        object_max_mib: storage.object_max_mib,
        parcels_max: storage.arriving_max,
    };
    Intake::new(
        store.clone(),
        Arc::new(settling),
        limits,
        meter.clone(),
        Arc::clone(clock),
    )
}

fn runner_config(config: &Config) -> RunnerConfig {
    let models = &config.written.models;
    let machine = std::thread::available_parallelism().map_or(1, usize::from);
    RunnerConfig {
        onnxruntime: models.onnxruntime.clone(),
        cores: if models.cores == 0 {
            machine
        } else {
            models.cores.min(machine)
        },
        chats_max: models.chats_max,
        chats_waiting_max: models.chats_waiting_max,
    }
}

fn jobs_config(config: &Config) -> JobsConfig {
    let jobs = &config.written.jobs;
    JobsConfig {
        lease: Duration::from_secs(jobs.lease_duration_s.into()),
        attempts_max: jobs.attempts_max,
        concurrent_max: jobs.concurrent_max,
        rules: config.written.rules.clone(),
        device: Device {
            name: config.written.appliance.name.clone(),
            manufacturer: "Pericard".into(),
            model: "Pericard".into(),
            serial: config.written.appliance.name.clone(),
            software_version: env!("CARGO_PKG_VERSION").into(),
            ae_title: config.ae_title.clone(),
        },
    }
}

fn api_config(config: &Config) -> ApiConfig {
    let https = &config.written.https;
    ApiConfig {
        connections_max: https.connections_max,
        upload_max_mib: https.upload_max_mib,
        ..ApiConfig::new(config.written.appliance.data_dir.join("spool"))
    }
}

/// The DICOM door, as configured.
#[must_use]
pub fn dimse_config(config: &Config) -> DimseConfig {
    let dicom = &config.written.dicom;
    let mut dimse = DimseConfig::new(config.ae_title.clone());
    dimse.called_ae_must_match = dicom.called_ae_must_match;
    dimse.peers.clone_from(&config.peers);
    dimse.unlisted = config.unlisted;
    dimse.limits.associations_max = dicom.associations_max;
    dimse.limits.pdu_bytes_max = dicom.pdu_max_kib * 1024;
    dimse
}

fn deliver(
    config: &Config,
    store: Store,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let jobs = &config.written.jobs;
    let delivery = DeliveryConfig {
        backoff_min: Duration::from_secs(jobs.delivery_retry_s.into()),
        backoff_max: Duration::from_secs(jobs.delivery_retry_max_s.into()),
        ..DeliveryConfig::default()
    };
    let caller = Caller {
        ae_title: config.ae_title.clone(),
        limits: RequestLimits::default(),
    };
    pericard_dimse::deliver(delivery, caller, config.peers.clone(), (store, clock), stop)
}

/// A room that cannot fail.
async fn endless(room: impl Future<Output = ()> + Send) -> Result<(), Infallible> {
    room.await;
    Ok(())
}

/// The version as the frame has it.
fn release() -> [u16; 3] {
    let mut parts = env!("CARGO_PKG_VERSION")
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// What a certificate that is made here is good for: this machine by every name it is known to go by.
fn certificate_names(config: &Config) -> Vec<String> {
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

//! The demonstration's directory, configuration, registry and doors.

use super::hub::Shown;
use super::pacs::Pacs;
use crate::cli::CommandError;
use crate::config::{Config, PeerMay, PeerSection, Written};
use crate::places::Places;
use crate::serve::{Doors, Open};
use pericard_domain::actor::{Actor, Role};
use pericard_domain::rule::{Match, Rule};
use pericard_registry::{Registry, RegistryError};
use pericard_store::access::NewToken;
use serde::Serialize;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;

/// What the peer that gets the results is called.
pub(crate) const PACS_NAME: &str = "demo-pacs";
/// Its application entity title.
pub(crate) const PACS_AE_TITLE: &str = "DEMOPACS";

/// Everything that the demonstration stands on.
pub(crate) struct Stage {
    pub(crate) dir: PathBuf,
    pub(crate) config: Config,
    pub(crate) https: SocketAddr,
    pub(crate) dicom: SocketAddr,
    pub(crate) pacs: Pacs,
    pub(crate) samples: PathBuf,
}

/// `demo.json`: where scripts find the appliance.
#[derive(Debug, Serialize)]
struct Found<'a> {
    https: String,
    dicom: String,
    ae_title: &'a str,
    token: &'a str,
    ca: PathBuf,
    config: PathBuf,
    data: &'a Path,
    pid: u32,
    /// With `--hub`: `hub`, `hub_token`, `hub_ca`, `hub_config` and `hub_data`.
    #[serde(flatten)]
    hub: Option<&'a Shown>,
}

impl Stage {
    /// Makes the directory and the configuration, imports the models, binds the doors: the usual ports when they are
    /// free, others when not.
    pub(crate) async fn set(
        dir: Option<PathBuf>,
        places: Places,
    ) -> Result<(Self, Doors), CommandError> {
        let dir = new_dir(dir)?;
        check_places(&places)?;
        let mut written = Written::for_demo(&dir, &places);
        let doors = Doors {
            https: bind(written.https.listen).await?,
            dicom: bind(written.dicom.listen).await?,
            dicom_tls: None,
            hl7: None,
            hl7_tls: None,
        };
        let received = TcpListener::bind((written.dicom.listen.ip(), 0))
            .await
            .map_err(CommandError::failed)?;
        let at = |door: &TcpListener| door.local_addr().map_err(CommandError::failed);
        (written.https.listen, written.dicom.listen) = (at(&doors.https)?, at(&doors.dicom)?);
        let pacs_at = at(&received)?;
        written.peers = vec![PeerSection {
            name: PACS_NAME.into(),
            ae_title: PACS_AE_TITLE.into(),
            address: pacs_at.ip().to_string(),
            port: Some(pacs_at.port()),
            may: vec![PeerMay::Store],
            commit: false,
            certificates: Vec::new(),
            worklist_interval_s: 0,
            counts: false,
            fetch: Vec::new(),
            web: None,
            web_certificates: Vec::new(),
        }];
        written.rules = rules();
        write(&dir, &written)?;
        import_models(&written, &places.models)?;
        let (https, dicom) = (written.https.listen, written.dicom.listen);
        let config =
            Config::meant(written).map_err(|mistakes| CommandError::Failed(mistakes.join("\n")))?;
        let pacs = Pacs::new(received, dir.join("pacs"), dicom, &config)?;
        Ok((
            Self {
                dir,
                config,
                https,
                dicom,
                pacs,
                samples: places.samples,
            },
            doors,
        ))
    }

    /// Issues a token and writes `demo.json`. Gives the token's secret.
    pub(super) async fn announce(
        &self,
        open: &Open,
        hub: Option<&Shown>,
    ) -> Result<String, CommandError> {
        let minted = pericard_api::mint().map_err(CommandError::failed)?;
        let token = NewToken {
            label: "demonstration".into(),
            roles: Role::ALL.to_vec(),
            secret_sha256: minted.sha256,
            expires_at: None,
        };
        open.store.issue_token(token, Actor::CommandLine).await?;
        let found = Found {
            https: self.https.to_string(),
            dicom: self.dicom.to_string(),
            ae_title: self.config.ae_title.as_str(),
            token: &minted.secret,
            ca: self.ca(),
            config: self.dir.join("pericard.toml"),
            data: &self.config.written.appliance.data_dir,
            pid: std::process::id(),
            hub,
        };
        let text = serde_json::to_string_pretty(&found).map_err(CommandError::failed)?;
        // Renamed into place: a script that sees the file sees all of it.
        let new = self.dir.join("demo.json.new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, self.dir.join("demo.json")))
            .map_err(CommandError::failed)?;
        Ok(minted.secret)
    }

    /// Writes another configuration in the place of the one before.
    pub(super) fn write(&self, written: &Written) -> Result<(), CommandError> {
        write(&self.dir, written)
    }

    /// The certificate that clients are to trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.config.written.appliance.data_dir.join("tls/ca.pem")
    }
}

fn write(dir: &Path, written: &Written) -> Result<(), CommandError> {
    let text = toml::to_string(written).map_err(CommandError::failed)?;
    fs::write(dir.join("pericard.toml"), text).map_err(CommandError::failed)
}

fn new_dir(dir: Option<PathBuf>) -> Result<PathBuf, CommandError> {
    let dir = dir.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("pericard-demo-{}", std::process::id()))
    });
    fs::create_dir_all(&dir)
        .map_err(|e| CommandError::Failed(format!("{}: {e}", dir.display())))?;
    let _ = fs::remove_file(dir.join("demo.json")); // of an earlier run: a script must not take it for this one's
    dir.canonicalize().map_err(CommandError::failed)
}

fn check_places(places: &Places) -> Result<(), CommandError> {
    let missing = [&places.onnxruntime, &places.models]
        .into_iter()
        .find(|place| !place.exists());
    match missing {
        Some(place) => Err(CommandError::Failed(format!(
            "{} does not exist; `cargo xtask fetch` gets it, or name another with --onnxruntime and --models",
            place.display()
        ))),
        None => Ok(()),
    }
}

/// The usual port when it is free, another when not.
pub(super) async fn bind(usual: SocketAddr) -> Result<TcpListener, CommandError> {
    match TcpListener::bind(usual).await {
        Ok(door) => Ok(door),
        Err(_) => TcpListener::bind((usual.ip(), 0))
            .await
            .map_err(CommandError::failed),
    }
}

fn import_models(written: &Written, packages: &Path) -> Result<(), CommandError> {
    let registry = Registry::open(&written.appliance.data_dir.join("registry"))?;
    for entry in fs::read_dir(packages).map_err(CommandError::failed)? {
        let path = entry.map_err(CommandError::failed)?.path();
        if path.join("pericard-model.toml").exists() {
            let package = registry.import(&path)?;
            match registry.activate(&package.model.name, &package.model.version) {
                Ok(_) | Err(RegistryError::Retired { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn rules() -> Vec<Rule> {
    let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let rule = |name: &str, modalities: &[&str], descriptions: &[&str], model: &str| Rule {
        name: name.into(),
        when: Match {
            modalities: owned(modalities),
            descriptions: owned(descriptions),
            ..Match::default()
        },
        models: owned(&[model]),
        priority: pericard_domain::job::Priority::Routine,
        idle_timeout_s: 2,
        requires: Vec::new(),
        wait_max_s: 1,
        priors: None,
        messages: Vec::new(),
        destinations: owned(&[PACS_NAME]),
        results: pericard_domain::rule::ResultKind::usual(),
        report_failures: true,
    };
    vec![
        rule(
            "text in pixels",
            &["US", "CR", "DX", "SC", "OT", "XC"],
            &[],
            "burned-in-text",
        ),
        rule("brain volume", &["MR"], &["*T1*"], "brain-extraction"),
    ]
}

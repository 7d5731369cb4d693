//! What can be read again while associations are open: certificates, peers, rules, and what is logged.
//!
//! A configuration is taken up whole or not at all, as far as it can be without a restart. Open associations keep what they
//! were accepted with; the next ones, the next study and the next delivery meet what is new.

use crate::config::{Config, ConfigError, Written};
use crate::serve::certificate_paths;
use crate::tls::{Renewable, TlsError, dicom_identity, dicom_shown, https_shown};
use crate::{journal, settings};
use pericard_api::{Door, Setting, ShownCertificate};
use pericard_dimse::{Peer, Tls};
use pericard_domain::model::Package;
use pericard_domain::rule::Rule;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// The lists that rooms read anew each time.
pub(crate) struct Lists {
    /// Who may call, and who gets results.
    pub(crate) peers: watch::Sender<Arc<[Peer]>>,
    /// Whose orders are heard, and who is told of results.
    pub(crate) hl7_peers: watch::Sender<Arc<[pericard_hl7::Peer]>>,
    /// Which studies go to which models.
    pub(crate) rules: watch::Sender<Arc<[Rule]>>,
    /// What the doors show.
    pub(crate) certificates: watch::Sender<Arc<[ShownCertificate]>>,
    /// Every key, for people.
    pub(crate) settings: watch::Sender<Arc<[Setting]>>,
}

impl Lists {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            peers: watch::channel(config.peers.as_slice().into()).0,
            hl7_peers: watch::channel(config.hl7_peers.as_slice().into()).0,
            rules: watch::channel(config.written.rules.as_slice().into()).0,
            certificates: watch::channel(Arc::default()).0, // known once they are read
            settings: watch::channel(settings::in_effect(&config.written).into()).0,
        }
    }
}

/// Everything that is in effect and can be changed without a restart.
pub struct InEffect {
    /// What does not change before a restart.
    pub(crate) begun_with: Config,
    /// What is loaded: a rule cannot name another.
    pub(crate) packages: Arc<[Package]>,
    /// The HTTPS door's certificate.
    pub(crate) https: Arc<Renewable>,
    /// What the DICOM network knows us by; `None` without TLS.
    pub(crate) dicom: Option<Tls>,
    pub(crate) lists: Lists,
}

/// Why what was read before holds.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file, with its line.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A door beyond loopback with nobody known.
    #[error("{0}")]
    Unguarded(String),
    /// A rule would send studies to a model that is not there.
    #[error(
        "rules {rule:?}: the model {model:?} is not loaded; `systemctl restart pericard` loads what is live"
    )]
    NotLoaded {
        /// Which rule.
        rule: String,
        /// Which model.
        model: String,
    },
    /// What is logged cannot be changed.
    #[error("appliance.log_level: {0}")]
    Level(String),
}

impl InEffect {
    /// Reads the file again, and takes up what can change now. Gives the sections that have changed beyond that, and wait
    /// for a restart.
    ///
    /// # Errors
    /// When any of it cannot be taken up; everything then stays as it was.
    pub fn read_again(&self, file: &Path) -> Result<Vec<String>, ReloadError> {
        let new = Config::read(file)?;
        // The HTTPS door is open already: who has tokens is not the file's to say.
        new.open_door(1)
            .map_or(Ok(()), |why| Err(ReloadError::Unguarded(why)))?;
        self.refuse_unloaded(&new.written.rules)?;
        let https = certificate_paths(&Config {
            certificate: new.certificate.clone(),
            ..self.begun_with.clone()
        })?;
        let certificate = Renewable::read(&https)?;
        let shown: Arc<[ShownCertificate]> = https_shown(&https)
            .into_iter()
            .chain(self.dicom_shown(&new))
            .collect();
        let identity = match &new.dicom_tls {
            Some(paths) => Some(dicom_identity(paths)?),
            None => None,
        };
        if let Some((tls, identity)) = self.dicom.as_ref().zip(identity) {
            tls.renew(identity).map_err(TlsError::from)?; // the last that can be refused
        }
        journal::set_level(&new.written.appliance.log_level).map_err(ReloadError::Level)?;
        let merged = merged(&self.begun_with.written, &new.written);
        self.https.renew(certificate);
        self.lists.certificates.send_replace(shown);
        self.lists.peers.send_replace(new.peers.into());
        self.lists.hl7_peers.send_replace(new.hl7_peers.into());
        self.lists
            .rules
            .send_replace(merged.rules.as_slice().into());
        let settings = settings::in_effect(&merged).into();
        self.lists.settings.send_replace(settings);
        Ok(differing(&merged, &new.written))
    }

    /// That of DICOM over TLS once `new` is in effect; without one in `new`, the door goes on with what it has.
    fn dicom_shown(&self, new: &Config) -> Option<ShownCertificate> {
        self.dicom.as_ref()?;
        let known = self.lists.certificates.borrow().clone();
        match &new.dicom_tls {
            Some(paths) => dicom_shown(paths),
            None => known.iter().find(|s| s.door == Door::Dicom).copied(),
        }
    }

    fn refuse_unloaded(&self, rules: &[Rule]) -> Result<(), ReloadError> {
        let is_loaded = |name: &String| self.packages.iter().any(|p| p.model.name == *name);
        for rule in rules {
            if let Some(model) = rule.models.iter().find(|name| !is_loaded(name)) {
                let (rule, model) = (rule.name.clone(), model.clone());
                return Err(ReloadError::NotLoaded { rule, model });
            }
        }
        Ok(())
    }
}

/// What is in effect once `new` has been taken up where that needs no restart.
fn merged(begun_with: &Written, new: &Written) -> Written {
    let mut merged = begun_with.clone();
    merged.peers.clone_from(&new.peers);
    merged.hl7_peers.clone_from(&new.hl7_peers);
    merged.rules.clone_from(&new.rules);
    merged
        .appliance
        .log_level
        .clone_from(&new.appliance.log_level);
    merged.https.certificate.clone_from(&new.https.certificate);
    merged.https.key.clone_from(&new.https.key);
    let (old, tls) = (&mut merged.dicom.tls, &new.dicom.tls);
    // Whether there are any decides which doors there are, and doors wait.
    if old.certificate.is_some() && tls.certificate.is_some() {
        old.certificate.clone_from(&tls.certificate);
        old.key.clone_from(&tls.key);
        old.authorities.clone_from(&tls.authorities);
    }
    merged
}

fn differing(one: &Written, other: &Written) -> Vec<String> {
    let sections = |written: &Written| serde_json::to_value(written).unwrap_or_default();
    let (one, other) = (sections(one), sections(other));
    let names = other.as_object().into_iter().flatten();
    let differ = names.filter(|(name, section)| one[name.as_str()] != **section);
    differ.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_told_from_what_does_not() {
        let written = |text: &str| toml::from_str::<Written>(text).unwrap();
        let tls = "[dicom.tls]\ncertificate = '/c'\nkey = '/k'\nauthorities = '/a'\n";
        let peer = "[[peers]]\nname = 'ct'\nae_title = 'CT1'\naddress = '10.0.0.1'\n";
        for (then, now, waits) in [
            ("", "[appliance]\nlog_level = 'debug'\n", &[][..]),
            ("", peer, &[]),
            (peer, "", &[]),
            ("", "[https]\ncertificate = '/c'\nkey = '/k'\n", &[]),
            (tls, &tls.replace("/c", "/d"), &[]),
            ("", tls, &["dicom"]),
            (tls, "", &["dicom"]),
            ("", "[https]\nlisten = '127.0.0.1:9443'\n", &["https"]),
            (
                "",
                "[jobs]\nattempts_max = 5\n[models]\ncores = 1\n",
                &["models", "jobs"],
            ),
        ] {
            let (then, now) = (written(then), written(now));
            assert_eq!(differing(&merged(&then, &now), &now), waits, "{now:?}");
        }
    }
}

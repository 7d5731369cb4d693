//! `hub.toml`: as written ([`Written`]), and as meant ([`HubConfig`]). The shipped sample, `packaging/etc/hub.toml`, is the
//! manual and a test.

use crate::config::{ConfigError, lines};
use pericard_hub::Shown;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where the hub's configuration is when nobody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/pericard/hub.toml";

/// The file, as written.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// What the hub is called, and where it keeps its data.
    pub hub: HubSection,
    /// The door.
    pub https: HttpsSection,
}

/// `[hub]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubSection {
    /// Its name, which hospitals know its key by.
    pub name: String,
    /// Where it keeps database and keys.
    pub data_dir: PathBuf,
    /// A PostgreSQL server of this machine that keeps the database instead of a file, as libpq writes it.
    pub postgresql: Option<String>,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
}

/// `[https]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpsSection {
    /// Address and port.
    pub listen: SocketAddr,
    /// Where hospitals call; the door's own address when not said.
    pub hospitals_call: Option<SocketAddr>,
    /// A chain that browsers trust, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Further names and addresses for a certificate that is made here.
    pub names: Vec<String>,
}

impl Default for HubSection {
    fn default() -> Self {
        Self {
            name: "national-hub".into(),
            data_dir: "/var/lib/pericard-hub".into(),
            postgresql: None,
            log_level: "info".into(),
        }
    }
}

impl Default for HttpsSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9443)),
            hospitals_call: None,
            certificate: None,
            key: None,
            names: Vec::new(),
        }
    }
}

/// The configuration, as meant.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// As written, with the defaults filled in.
    pub written: Written,
    /// What the door shows.
    pub shown: Shown,
}

impl HubConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, a key is unknown or of the wrong type (with its line), or a value makes no sense.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let error = |mistakes: Vec<String>| ConfigError {
            file: file.display().to_string(),
            mistakes,
        };
        let text = std::fs::read_to_string(file).map_err(|e| error(vec![e.to_string()]))?;
        let written = toml::from_str(&text).map_err(|e| error(vec![e.to_string()]))?;
        let placed = |mistake| lines::placed(&text, mistake);
        Self::meant(written).map_err(|mistakes| error(mistakes.into_iter().map(placed).collect()))
    }

    /// What was written, checked.
    ///
    /// # Errors
    /// Every mistake, not only the first.
    pub fn meant(written: Written) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let name = &written.hub.name;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_graphic() && c != '+') {
            mistakes.push("hub.name: printable ASCII characters without spaces and '+'".into());
        }
        if !written.hub.data_dir.is_absolute() {
            mistakes.push("hub.data_dir: must be an absolute path".into());
        }
        if let Some(server) = &written.hub.postgresql {
            mistakes.extend(server_mistakes(server));
        }
        if let Err(why) = crate::journal::filter(&written.hub.log_level) {
            mistakes.push(format!("hub.log_level: {why}"));
        }
        let shown = shown(&written.https).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            Shown::Made(Vec::new())
        });
        if mistakes.is_empty() {
            Ok(Self { written, shown })
        } else {
            Err(mistakes)
        }
    }

    /// Where hospitals call a hub whose door is here.
    #[must_use]
    pub fn hospitals_call(&self) -> SocketAddr {
        let https = &self.written.https;
        https.hospitals_call.unwrap_or(https.listen)
    }

    /// Why this door may not be opened, when it may not: beyond loopback, somebody must be known first.
    #[must_use]
    pub fn open_door(&self, tokens: usize) -> Option<String> {
        let listen = self.written.https.listen;
        (!listen.ip().is_loopback() && tokens == 0).then(|| {
            format!(
                "https.listen is {listen}, beyond loopback, but no token is good; run `pericard hub token issue` first"
            )
        })
    }
}

/// What is wrong with where a server is said to be: nothing goes over a line here that is not encrypted, and no secret is
/// in a configuration.
fn server_mistakes(server: &str) -> Option<String> {
    let mut said = server
        .split_whitespace()
        .filter_map(|part| part.split_once('='));
    let hosts: Vec<&str> = said
        .clone()
        .filter(|(key, _)| *key == "host")
        .map(|(_, host)| host)
        .collect();
    let is_here =
        |host: &&str| host.starts_with('/') || ["localhost", "127.0.0.1", "::1"].contains(host);
    if hosts.is_empty() || !hosts.iter().all(is_here) {
        let why = "give host=/run/postgresql, or another server of this machine: the line to it is not encrypted";
        return Some(format!("hub.postgresql: {why}"));
    }
    said.any(|(key, _)| key == "password").then(|| {
        let why = "no password stands in this file; PostgreSQL's peer authentication asks for none";
        format!("hub.postgresql: {why}")
    })
}

fn shown(https: &HttpsSection) -> Result<Shown, String> {
    match (&https.certificate, &https.key) {
        (Some(chain), Some(key)) => Ok(Shown::Given {
            chain: chain.clone(),
            key: key.clone(),
        }),
        (None, None) => {
            let own = ["localhost".to_owned(), https.listen.ip().to_string()];
            let called = https.hospitals_call.map(|at| at.ip().to_string());
            let mut names: Vec<String> = own.into_iter().chain(called).collect();
            names.extend(https.names.iter().cloned());
            names.sort();
            names.dedup();
            Ok(Shown::Made(names))
        }
        _ => Err("https.certificate: it and key belong together; give both or none".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../packaging/etc/hub.toml");

    #[test]
    fn the_sample_is_the_defaults_and_names_every_key() {
        let sample: Written = toml::from_str(SAMPLE).expect("a configuration");
        HubConfig::meant(sample.clone()).expect("it makes sense");
        let value = |written| toml::Value::try_from(written).expect("a value");
        assert_eq!(
            value(sample),
            value(Written::default()),
            "packaging/etc/hub.toml and the defaults in hub/config.rs differ"
        );
        let keys = [
            "name",
            "data_dir",
            "postgresql",
            "log_level",
            "listen",
            "hospitals_call",
        ];
        for key in keys.iter().chain(&["certificate", "key", "names"]) {
            assert!(SAMPLE.contains(&format!("{key} =")), "{key} is not named");
        }
        let all = value(Written {
            hub: HubSection {
                postgresql: Some("host=/run/postgresql".into()),
                ..HubSection::default()
            },
            https: HttpsSection {
                hospitals_call: Some(HttpsSection::default().listen),
                certificate: Some("/c".into()),
                key: Some("/k".into()),
                ..HttpsSection::default()
            },
        });
        let tables = all.as_table().expect("sections").values();
        let count: usize = tables.filter_map(|s| s.as_table()).map(|s| s.len()).sum();
        assert_eq!(count, keys.len() + 3, "a key is not in this test's list");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("[hub]\nport = 1", "line 2"),
            ("[hub]\nname = 'two words'", "hub.name"),
            ("[hub]\ndata_dir = 'here'", "hub.data_dir"),
            ("[hub]\nlog_level = 'loud'", "hub.log_level"),
            (
                "[hub]\npostgresql = 'host=db.example dbname=hub'",
                "not encrypted",
            ),
            ("[hub]\npostgresql = 'dbname=hub'", "host=/run/postgresql"),
            (
                "[hub]\npostgresql = 'host=/run/postgresql password=x'",
                "no password",
            ),
            ("[https]\nlisten = 'everywhere'", "line 2"),
            ("[https]\nkey = '/k'", "belong together"),
        ] {
            let found = match toml::from_str::<Written>(text) {
                Err(error) => error.to_string(),
                Ok(written) => HubConfig::meant(written).expect_err("a mistake").join("\n"),
            };
            assert!(found.contains(expected), "{text}\n-> {found}");
        }
    }

    #[test]
    fn no_door_beyond_loopback_without_a_token() {
        let open = |text: &str, tokens| {
            let written = toml::from_str(text).expect("a configuration");
            HubConfig::meant(written).expect("meant").open_door(tokens)
        };
        assert_eq!(open("", 0), None);
        let beyond = "[https]\nlisten = '0.0.0.0:9443'";
        assert!(open(beyond, 0).expect("refused").contains("token issue"));
        assert_eq!(open(beyond, 1), None);
    }
}

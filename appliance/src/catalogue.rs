//! The catalogue: which number the hub gave to which model. It is a signed note that the hub exports and that is carried
//! here, one model a line: number, name, version, SHA-256 of the manifest.
//!
//! ```text
//! pericard-catalogue/v1
//! 300 burned-in-text 1.0.0 9f86d0818884...
//! ```

use pericard_audit::note::{self, VerifierKey};
use pericard_domain::digest::Digest;
use pericard_domain::model::ModelRef;
use pericard_egress::CatalogueId;
use std::path::{Path, PathBuf};

const HEAD: &str = "pericard-catalogue/v1";

/// The catalogue cannot be believed or read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file cannot be read.
    #[error("the catalogue {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not signed by the key of the configuration.
    #[error("the catalogue is not the hub's: {0}")]
    Unsigned(#[from] note::NoteError),
    /// The key of the configuration is none.
    #[error("egress.catalogue_key: {0}")]
    Key(#[from] note::KeyError),
    /// It is signed, and no catalogue.
    #[error(
        "line {0} of the catalogue is not a number, a name, a version and a digest; ask the hub for another export"
    )]
    Line(usize),
}

/// The numbers of models. Those in no catalogue are told of together, as number 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    models: Vec<(ModelRef, CatalogueId)>,
}

impl Catalogue {
    /// Reads a catalogue and believes it when this key signed it.
    ///
    /// # Errors
    /// When it cannot be read, was not signed by the key, or is no catalogue.
    pub fn read(path: &Path, key: &str) -> Result<Self, CatalogueError> {
        let signed = std::fs::read_to_string(path).map_err(|source| CatalogueError::Io {
            path: path.to_owned(),
            source,
        })?;
        let key: VerifierKey = key.parse()?;
        let opened = note::open(&signed, &[key])?;
        let mut lines = (1..).zip(opened.text.lines());
        if lines.next().is_none_or(|(_, head)| head != HEAD) {
            return Err(CatalogueError::Line(1));
        }
        let models = lines.map(|(at, line)| model(line).ok_or(CatalogueError::Line(at)));
        Ok(Self {
            models: models.collect::<Result<_, _>>()?,
        })
    }

    /// The model's number: it must be the very manifest, not only the name.
    #[must_use]
    pub fn id(&self, model: &ModelRef) -> CatalogueId {
        let found = self.models.iter().find(|(known, _)| known == model);
        found.map_or(CatalogueId::NONE, |(_, id)| *id)
    }
}

fn model(line: &str) -> Option<(ModelRef, CatalogueId)> {
    let mut parts = line.split(' ');
    let id = parts.next()?.parse().ok().filter(|id| *id > 0)?;
    let model = ModelRef {
        name: parts.next()?.to_owned(),
        version: parts.next()?.to_owned(),
        digest: parts.next()?.parse::<Digest>().ok()?,
    };
    parts.next().is_none().then_some((model, CatalogueId(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_audit::SigningKey;

    #[test]
    fn a_catalogue_is_believed_when_the_hub_signed_it_and_means_the_very_manifest() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("catalogue");
        let hub = SigningKey::from_seed("hub.example", &[1; 32]).expect("a key");
        let other = SigningKey::from_seed("hub.example", &[2; 32]).expect("a key");
        let digest = "ab".repeat(32);
        let text = format!("{HEAD}\n300 chest 1.2.0 {digest}\n7 brain 2.0 {digest}\n");
        let write = |text: &str, key| {
            std::fs::write(&path, note::sign(text, &[key]).expect("signed")).expect("written");
            Catalogue::read(&path, &hub.verifier().to_string())
        };
        let catalogue = write(&text, &hub).expect("believed");
        let mut model = ModelRef {
            name: "chest".into(),
            version: "1.2.0".into(),
            digest: digest.parse().expect("a digest"),
        };
        assert_eq!(catalogue.id(&model), CatalogueId(300));
        model.digest = "cd".repeat(32).parse().expect("a digest");
        assert_eq!(catalogue.id(&model), CatalogueId::NONE);

        assert!(matches!(
            write(&text, &other),
            Err(CatalogueError::Unsigned(_))
        ));
        for (bad, line) in [
            ("something else\n".to_owned(), 1),
            (format!("{HEAD}\n0 chest 1 {digest}\n"), 2),
            (format!("{HEAD}\n5 chest 1 {digest}\n6 chest {digest}\n"), 3),
            (format!("{HEAD}\n70000 chest 1 {digest}\n"), 2),
        ] {
            let refused = write(&bad, &hub);
            assert!(
                matches!(refused, Err(CatalogueError::Line(at)) if at == line),
                "{bad}"
            );
        }
    }
}

//! `pericard cert`: the hospital's own authority signs the HTTPS door's certificate.

use super::{CommandError, ConfigFile, output};
use crate::config::Config;
use crate::tls::{self, CertificatePaths};
use clap::Subcommand;
use pericard_api::SUCCESSOR_DUE_DAYS;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the packages make a directory for it: root writes, the service reads.
const DIRECTORY: &str = "/etc/pericard/tls";
const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server.key";
/// The key of a request that has not been answered yet.
const KEY_REQUESTED: &str = "server.key.requested";

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Make the certificate that the first start would make, and show its fingerprint and what clients must trust
    Init {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Make a key, and print the request that the hospital's authority signs
    Request {
        /// A name or address that clients call this appliance by; the first is its common name
        #[arg(long = "name", required = true)]
        names: Vec<String>,
        /// Where the key waits for its certificate
        #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
        dir: PathBuf,
        /// Make another key although one waits: what is signed for that one can then not be installed any more
        #[arg(long)]
        again: bool,
    },
    /// Install what the authority gave back, after checking that it fits the key, the chain, the names and the time
    Install {
        /// The certificate and the authorities above it, PEM, the appliance's own first
        chain: PathBuf,
        /// The authority's certificate, PEM, when the chain does not hold it
        #[arg(long, value_name = "FILE")]
        authority: Option<PathBuf>,
        /// A name that clients call this appliance by; refused when the certificate is not good for it
        #[arg(long = "name", required = true)]
        names: Vec<String>,
        /// Where the key waits, and where both go
        #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
        dir: PathBuf,
    },
}

pub(crate) fn run(command: CertCommand) -> Result<(), CommandError> {
    match command {
        CertCommand::Init { config } => init(&config.read()?),
        CertCommand::Request { names, dir, again } => {
            if !again {
                refuse_waiting(&dir)?;
            }
            output::line(request(&names, &dir)?.trim_end());
            eprintln!(
                "the key waits in {}; have the request signed, then `pericard cert install`",
                dir.join(KEY_REQUESTED).display()
            );
            Ok(())
        }
        CertCommand::Install {
            chain,
            authority,
            names,
            dir,
        } => {
            let offer = Offer::read(&chain, authority.as_deref(), &dir)?;
            if let Some(warning) = offer.check(&names, UnixTime::now())? {
                eprintln!("{warning}");
            }
            install(&offer, &dir)
        }
    }
}

fn init(config: &Config) -> Result<(), CommandError> {
    let dir = config.written.appliance.data_dir.join("tls");
    let names = crate::serve::certificate_names(config);
    let paths = tls::own_certificate(&dir, &names).map_err(CommandError::failed)?;
    let fingerprint = tls::fingerprint(&paths).map_err(CommandError::failed)?;
    output::line(format!("{fingerprint}  {}", paths.certificate.display()));
    output::line(format!("clients trust  {}", dir.join("ca.pem").display()));
    Ok(())
}

/// The authority may take days: its answer fits the key that waits, and no other.
fn refuse_waiting(dir: &Path) -> Result<(), CommandError> {
    let waiting = dir.join(KEY_REQUESTED);
    match fs::symlink_metadata(&waiting) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(&waiting, &error)),
        Ok(_) => Err(refused(
            &waiting,
            "waits for its certificate already; `pericard cert install` what the authority gives back, or give --again \
             for another key, which that certificate will not fit",
        )),
    }
}

fn request(names: &[String], dir: &Path) -> Result<String, CommandError> {
    let key = KeyPair::generate().map_err(CommandError::failed)?;
    let mut params = CertificateParams::new(names).map_err(CommandError::failed)?;
    if let Some(first) = names.first() {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, first.as_str());
    }
    let request = params
        .serialize_request(&key)
        .and_then(|request| request.pem())
        .map_err(CommandError::failed)?;
    fs::create_dir_all(dir).map_err(|e| failed(dir, &e))?;
    write(&dir.join(KEY_REQUESTED), 0o640, &key.serialize_pem())?;
    Ok(request)
}

/// What the authority gave back, beside the key that waits for it.
struct Offer {
    chain: Vec<CertificateDer<'static>>,
    /// As given, to be installed unchanged.
    chain_pem: String,
    authority: Option<CertificateDer<'static>>,
    key_pem: String,
    paths: CertificatePaths,
}

impl Offer {
    fn read(chain: &Path, authority: Option<&Path>, dir: &Path) -> Result<Self, CommandError> {
        let waiting = dir.join(KEY_REQUESTED);
        // Without a request the key in use goes on: a certificate that was renewed for the same key.
        let key = if waiting.exists() {
            waiting
        } else {
            dir.join(KEY)
        };
        let chain_pem = fs::read_to_string(chain).map_err(|e| failed(chain, &e))?;
        let certificates = |pem: &str, file: &Path| {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            match all {
                Ok(all) if !all.is_empty() => Ok(all),
                Ok(_) => Err(refused(file, "holds no certificate in PEM")),
                Err(error) => Err(refused(file, &error.to_string())),
            }
        };
        let authority = match authority {
            None => None,
            Some(file) => {
                let pem = fs::read_to_string(file).map_err(|e| failed(file, &e))?;
                certificates(&pem, file)?.into_iter().next()
            }
        };
        Ok(Self {
            chain: certificates(&chain_pem, chain)?,
            chain_pem,
            authority,
            key_pem: fs::read_to_string(&key).map_err(|e| failed(&key, &e))?,
            paths: CertificatePaths {
                certificate: chain.to_owned(),
                key,
            },
        })
    }

    /// Refuses what clients would refuse; a certificate that ends soon is a warning.
    fn check(&self, names: &[String], now: UnixTime) -> Result<Option<String>, CommandError> {
        let (file, key_file) = (&self.paths.certificate, &self.paths.key);
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|error| refused(key_file, &error.to_string()))?;
        pericard_api::tls_config(self.chain.clone(), key).map_err(|error| {
            let why = format!(
                "does not fit the key {}: {error}; was another request signed?",
                key_file.display()
            );
            refused(file, &why)
        })?;
        self.check_chain(now)
            .map_err(|error| refused(file, &error))?;
        let leaf = ParsedCertificate::try_from(&self.chain[0])
            .map_err(|error| refused(file, &error.to_string()))?;
        for name in names {
            let server = ServerName::try_from(name.clone())
                .map_err(|_| CommandError::Usage(format!("{name:?} is no name or address")))?;
            verify_server_name(&leaf, &server)
                .map_err(|_| refused(file, &format!("is not good for the name {name:?}")))?;
        }
        let soon = Duration::from_secs(now.as_secs() + SUCCESSOR_DUE_DAYS * 86_400);
        let then = UnixTime::since_unix_epoch(soon);
        let warning = format!(
            "{}: ends within {SUCCESSOR_DUE_DAYS} days; ask for its successor now",
            file.display()
        );
        Ok(self.check_chain(then).err().map(|_| warning))
    }

    /// Every certificate is signed by the next, up to the authority or, without one, the last of the chain.
    fn check_chain(&self, now: UnixTime) -> Result<(), String> {
        let anchor = self.authority.as_ref().or(self.chain.last());
        let anchor = anchor.ok_or("holds no certificate")?.clone();
        if self.chain.len() == 1 && self.authority.is_none() {
            return Err(
                "holds the certificate alone: append the authorities above it, or name --authority"
                    .into(),
            );
        }
        let mut roots = RootCertStore::empty();
        roots.add(anchor).map_err(|error| error.to_string())?;
        let leaf = ParsedCertificate::try_from(&self.chain[0]).map_err(|e| e.to_string())?;
        let algorithms =
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &roots,
            &self.chain[1..],
            now,
            algorithms.all,
        )
        .map_err(|error| error.to_string())
    }
}

fn install(offer: &Offer, dir: &Path) -> Result<(), CommandError> {
    let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
    write(&key, 0o640, &offer.key_pem)?;
    write(&certificate, 0o644, &offer.chain_pem)?;
    if offer.paths.key != key {
        fs::remove_file(&offer.paths.key).map_err(|e| failed(&offer.paths.key, &e))?;
    }
    let installed = CertificatePaths { certificate, key };
    let fingerprint = tls::fingerprint(&installed).map_err(CommandError::failed)?;
    output::line(format!(
        "{fingerprint}  {}",
        installed.certificate.display()
    ));
    eprintln!(
        "in pericard.toml, under [https]:\n  certificate = {:?}\n  key = {:?}\nthen `systemctl reload pericard`",
        installed.certificate, installed.key
    );
    Ok(())
}

/// Whole or not at all, readable by the group of its directory: the service's.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), CommandError> {
    let beside = path.with_extension("new");
    let put = || {
        let _ = fs::remove_file(&beside); // what an interrupted run left
        let mut options = fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create_new(true).open(&beside)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        if let Some(dir) = path.parent() {
            chown(&beside, None, Some(fs::metadata(dir)?.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    put().map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("{}: {error}", path.display()))
}

fn refused(path: &Path, why: &str) -> CommandError {
    CommandError::Failed(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateSigningRequestParams, IsCa, Issuer};
    use time::OffsetDateTime;

    /// A hospital's authority.
    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        pem: String,
    }

    impl Authority {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let pem = params.self_signed(&key).unwrap().pem();
            let issuer = Issuer::new(params, key);
            Self { issuer, pem }
        }

        fn signed(&self, request: &str, days: i64) -> String {
            let mut params = CertificateSigningRequestParams::from_pem(request).unwrap();
            params.params.not_before = OffsetDateTime::now_utc() - time::Duration::HOUR;
            params.params.not_after = OffsetDateTime::now_utc() + time::Duration::days(days);
            params.signed_by(&self.issuer).unwrap().pem()
        }
    }

    fn names() -> Vec<String> {
        vec!["pericard.hospital.example".into(), "10.1.2.3".into()]
    }

    fn offered(dir: &Path, pem: &str) -> Offer {
        let file = dir.join("given.pem");
        fs::write(&file, pem).unwrap();
        Offer::read(&file, None, dir).unwrap()
    }

    fn refusal(offer: &Offer) -> String {
        let checked = offer.check(&names(), UnixTime::now());
        checked.expect_err("refused").to_string()
    }

    #[test]
    fn a_request_is_signed_checked_and_installed() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let request = request(&names(), dir.path()).unwrap();
        let pem = authority.signed(&request, 365) + &authority.pem;
        let offer = offered(dir.path(), &pem);
        assert_eq!(offer.check(&names(), UnixTime::now()).unwrap(), None);
        install(&offer, dir.path()).unwrap();
        let paths = CertificatePaths {
            certificate: dir.path().join(CERTIFICATE),
            key: dir.path().join(KEY),
        };
        tls::server_config(&paths).unwrap();
        let mode = fs::metadata(&paths.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(!dir.path().join(KEY_REQUESTED).exists());
        // The same key, renewed for ten days: taken, with a word.
        let renewed = offered(
            dir.path(),
            &(authority.signed(&request, 10) + &authority.pem),
        );
        let warning = renewed.check(&names(), UnixTime::now()).unwrap();
        assert!(warning.unwrap().contains("30 days"));
    }

    #[test]
    fn a_key_that_waits_for_its_certificate_is_not_written_over_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let asked = |again| {
            run(CertCommand::Request {
                names: names(),
                dir: dir.path().to_owned(),
                again,
            })
        };
        let key = || fs::read_to_string(dir.path().join(KEY_REQUESTED)).unwrap();
        asked(false).unwrap();
        let first = key();
        let said = asked(false).expect_err("one waits").to_string();
        assert!(said.contains("--again"), "{said}");
        assert_eq!(key(), first);
        asked(true).unwrap();
        assert_ne!(key(), first);
    }

    #[test]
    fn what_clients_would_refuse_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (authority, stranger) = (Authority::new(), Authority::new());
        let request_pem = request(&names(), dir.path()).unwrap();
        let leaf = authority.signed(&request_pem, 365);
        // Another key's: the request was made anew meanwhile.
        let other = tempfile::tempdir().unwrap();
        request(&names(), other.path()).unwrap();
        let said = refusal(&offered(other.path(), &(leaf.clone() + &authority.pem)));
        assert!(said.contains("does not fit the key"), "{said}");
        // A chain that is none, and one that is not whole.
        let said = refusal(&offered(dir.path(), &(leaf.clone() + &stranger.pem)));
        assert!(said.contains("given.pem"), "{said}");
        let said = refusal(&offered(dir.path(), &leaf));
        assert!(said.contains("alone"), "{said}");
        // Over.
        let over = authority.signed(&request_pem, -1);
        assert!(refusal(&offered(dir.path(), &(over + &authority.pem))).contains("given.pem"));
        // Another name.
        let offer = offered(dir.path(), &(leaf + &authority.pem));
        let other = ["elsewhere.example".to_owned()];
        let said = offer.check(&other, UnixTime::now()).unwrap_err();
        assert!(said.to_string().contains("elsewhere.example"), "{said}");
    }
}

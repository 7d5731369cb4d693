//! What the hub is known by: the key that it signs with, the authority that signs hospitals' certificates, and its door's
//! own key. Made at the first start, and from then on the same: hospitals pin them.

use pericard_audit::SigningKey;
use pericard_audit::note::KeyError;
use pericard_door::TlsUnusable;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// How long a hospital's certificate is good for. The hub takes it by its digest, and can suspend the hospital at once.
pub const HOSPITAL_VALIDITY_DAYS: i64 = 3_653;
/// How long the door's own certificate is good for, which is made anew at each start: what browsers accept at most.
pub const DOOR_VALIDITY_DAYS: i64 = 397;
/// How long the authority's certificate is good for.
const AUTHORITY_VALIDITY_DAYS: i64 = 10_958;
const SIGNING_KEY: &str = "hub.key";
const AUTHORITY_KEY: &str = "authority.key";
/// The certificate that clients trust.
pub const AUTHORITY: &str = "authority.pem";
const DOOR_KEY: &str = "door.key";

/// The hub's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file does not hold what it must.
    #[error("{path}: {reason}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The signing key cannot be made.
    #[error("the hub's name: {0}")]
    Name(#[from] KeyError),
    /// The key was made under another name.
    #[error(
        "the hub's key is {kept:?}, and hospitals know it by that name: it cannot become {asked:?}"
    )]
    Renamed {
        /// Its name.
        kept: String,
        /// The name in the configuration.
        asked: String,
    },
    /// The system gave no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Certificate and key do not open a door.
    #[error("the door: {0}")]
    Door(#[from] TlsUnusable),
}

/// What the door shows: made here, or an authority's that browsers know already.
#[derive(Debug, Clone)]
pub enum Shown {
    /// Made here, for these names and addresses.
    Made(Vec<String>),
    /// PEM files: the chain, and its key. Hospitals pin the key: a renewed certificate keeps it.
    Given {
        /// The chain, the door's own certificate first.
        chain: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// The hub's keys.
pub struct Keys {
    signing: Arc<SigningKey>,
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    door_key: PrivateKeyDer<'static>,
}

impl Keys {
    /// Reads them from this folder; those that are not there are made.
    ///
    /// # Errors
    /// When a file cannot be read, written or used, or the hub was called otherwise when its key was made.
    pub fn open(dir: &Path, name: &str, shown: &Shown, now_s: u64) -> Result<Self, KeysError> {
        let file = |path: &Path, error| KeysError::File {
            path: path.to_owned(),
            error,
        };
        fs::create_dir_all(dir).map_err(|error| file(dir, error))?;
        let signing = signing(&dir.join(SIGNING_KEY), name)?;
        let authority_key = key_pair(&dir.join(AUTHORITY_KEY))?;
        let path = dir.join(AUTHORITY);
        let params = authority_params(name, now_s)?;
        if !path.exists() {
            keep(&path, 0o644, &params.self_signed(&authority_key)?.pem())?;
        }
        let authority = CertificateDer::from_pem_file(&path).map_err(|e| unusable(&path, e))?;
        let issuer = Issuer::new(params, authority_key);
        let (chain, door_key) = match shown {
            Shown::Made(names) => made(&dir.join(DOOR_KEY), names, &issuer, now_s)?,
            Shown::Given { chain, key } => given(chain, key)?,
        };
        Ok(Self {
            signing: Arc::new(signing),
            issuer,
            authority,
            chain,
            door_key,
        })
    }

    /// Copies the keys in this folder into another, for a backup.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn back_up(dir: &Path, to: &Path) -> Result<(), KeysError> {
        for (name, mode) in [
            (SIGNING_KEY, 0o600),
            (AUTHORITY_KEY, 0o600),
            (AUTHORITY, 0o644),
            (DOOR_KEY, 0o600),
        ] {
            let from = dir.join(name);
            // A door with a certificate of somebody else's has no key here.
            if from.exists() {
                keep(&to.join(name), mode, &read(&from)?)?;
            }
        }
        Ok(())
    }

    /// What the hub signs with: enrolments, cosignatures, advisories, the catalogue.
    #[must_use]
    pub const fn signing(&self) -> &Arc<SigningKey> {
        &self.signing
    }

    /// What the door needs: it asks for a hospital's certificate, and lets people in without.
    ///
    /// # Errors
    /// When certificate and key do not fit.
    pub fn tls(&self) -> Result<Arc<ServerConfig>, KeysError> {
        let (chain, key) = (self.chain.clone(), self.door_key.clone_key());
        Ok(pericard_door::tls_config_asking(
            chain,
            key,
            self.authority.clone(),
        )?)
    }

    /// What hospitals pin: SHA-256 of the public key in the door's certificate.
    ///
    /// # Errors
    /// When the certificate is none.
    pub fn spki_sha256(&self) -> Result<[u8; 32], KeysError> {
        let own = self.chain.first().map(ParsedCertificate::try_from);
        let own = own.transpose().map_err(TlsUnusable::from)?;
        // A chain of no certificate was refused when it was read.
        let spki = own.map(|own| own.subject_public_key_info());
        Ok(Sha256::digest(spki.as_deref().unwrap_or_default()).into())
    }

    /// A client certificate for the key in this request (PKCS#10, DER), which the request must be signed with. Nothing else
    /// of the request is taken over: who it is for, the hub knows by its digest.
    ///
    /// # Errors
    /// When it is no such request.
    pub fn certify(
        &self,
        request: &[u8],
        now_s: u64,
    ) -> Result<CertificateDer<'static>, KeysError> {
        let asked = CertificateSigningRequestParams::from_der(
            &CertificateSigningRequestDer::from(request.to_vec()),
        )?;
        let mut params = params("pericard-egress", &[], (now_s, HOSPITAL_VALIDITY_DAYS))?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(&asked.public_key, &self.issuer)?.into())
    }
}

fn signing(path: &Path, name: &str) -> Result<SigningKey, KeysError> {
    if !path.exists() {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeysError::Random)?;
        let key = SigningKey::from_seed(name, &seed)?;
        keep(path, 0o600, &(key.to_secret_text() + "\n"))?;
    }
    let key = SigningKey::from_secret_text(&read(path)?).map_err(|e| unusable(path, e))?;
    if key.name() != name {
        return Err(KeysError::Renamed {
            kept: key.name().to_owned(),
            asked: name.to_owned(),
        });
    }
    Ok(key)
}

fn authority_params(name: &str, now_s: u64) -> Result<CertificateParams, KeysError> {
    let mut params = params(
        &format!("{name} authority"),
        &[],
        (now_s, AUTHORITY_VALIDITY_DAYS),
    )?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn made(
    path: &Path,
    names: &[String],
    issuer: &Issuer<'static, KeyPair>,
    now_s: u64,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), KeysError> {
    let key = key_pair(path)?;
    let mut params = params("Pericard hub", names, (now_s, DOOR_VALIDITY_DAYS))?;
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, issuer)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| unusable(path, e))?;
    Ok((vec![certificate.into()], key))
}

fn given(
    chain: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), KeysError> {
    let certificates = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect);
    let certificates: Vec<_> = certificates.map_err(|e| unusable(chain, e))?;
    if certificates.is_empty() {
        return Err(unusable(chain, "holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, e))?;
    Ok((certificates, key))
}

fn params(
    common_name: &str,
    names: &[String],
    (now_s, days): (u64, i64),
) -> Result<CertificateParams, KeysError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let now = i64::try_from(now_s).ok();
    let now = now.and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok());
    let now = now.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    // A day of grace for clocks that are behind.
    params.not_before = now - Duration::DAY;
    params.not_after = now + Duration::days(days);
    Ok(params)
}

fn key_pair(path: &Path) -> Result<KeyPair, KeysError> {
    if !path.exists() {
        keep(path, 0o600, &KeyPair::generate()?.serialize_pem())?;
    }
    KeyPair::from_pem(&read(path)?).map_err(|e| unusable(path, e))
}

fn read(path: &Path) -> Result<String, KeysError> {
    fs::read_to_string(path).map_err(|error| KeysError::File {
        path: path.to_owned(),
        error,
    })
}

/// Writes a file that was not there: whole under its name or not at all, since a half key would be taken for ours.
fn keep(path: &Path, mode: u32, text: &str) -> Result<(), KeysError> {
    let keep = || {
        let young = path.with_extension("young");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        let mut file = options.open(&young)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&young, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    };
    keep().map_err(|error| KeysError::File {
        path: path.to_owned(),
        error,
    })
}

fn unusable(path: &Path, reason: impl std::fmt::Display) -> KeysError {
    KeysError::Unusable {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

//! Certificates: the HTTPS door's, which is the hospital's own or one made at the first start, and those of DICOM over TLS.

use pericard_api::{Door, SUCCESSOR_DUE_DAYS, ShownCertificate};
use pericard_dimse::{TlsIdentity, TlsUnusable};
use pericard_domain::time::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

/// How long a certificate that is made here is good for: what browsers accept at most.
const VALIDITY_DAYS: i64 = 397;
/// Who signs what is made here: by this name it is known.
const OWN_AUTHORITY: &str = "Pericard first-start authority";

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePaths {
    /// The chain, PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// Where the files of DICOM over TLS are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DicomTlsPaths {
    /// What we show to peers.
    pub own: CertificatePaths,
    /// The authorities that sign the peers' certificates, PEM.
    pub authorities: PathBuf,
}

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or the key is not what it must be.
    #[error("{path}: {reason}")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The files of DICOM over TLS do not belong together.
    #[error("dicom.tls: {0}")]
    Dicom(#[from] TlsUnusable),
}

/// The certificate in `dir`, made when there is none: `server.pem`, `server.key`, and `ca.pem` for clients to trust.
///
/// The authority that signs it exists for this one signature: its key is thrown away, so nobody can sign with it again.
///
/// # Errors
/// When a file cannot be read or written.
pub fn own_certificate(dir: &Path, names: &[String]) -> Result<CertificatePaths, TlsError> {
    let paths = CertificatePaths {
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    };
    if !(paths.certificate.exists() && paths.key.exists()) {
        fs::create_dir_all(dir).map_err(|source| TlsError::Io {
            path: dir.to_owned(),
            source,
        })?;
        let unusable = |e: rcgen::Error| TlsError::Unusable {
            path: paths.certificate.clone(),
            reason: e.to_string(),
        };
        let made = make(names, VALIDITY_DAYS).map_err(unusable)?;
        write(&dir.join("ca.pem"), 0o644, &made.authority)?;
        write(&paths.key, 0o600, &made.key)?;
        write(&paths.certificate, 0o644, &made.certificate)?;
    }
    Ok(paths)
}

/// Takes the certificate in `dir` away when it was made here and its successor is due, so that [`own_certificate`] makes one
/// anew. Anybody else's is left as it is. `true` when it was taken away: clients must then trust another `ca.pem`.
///
/// # Errors
/// When the file cannot be removed.
pub fn retire_own_certificate(dir: &Path) -> Result<bool, TlsError> {
    let path = dir.join("server.pem");
    let Ok(chain) = certificates(&path) else {
        return Ok(false); // none yet, or what the door will refuse with a reason
    };
    let is_own = |certificate: X509Certificate<'_>| {
        let mut names = certificate.issuer().iter_common_name();
        names.any(|name| name.as_str().is_ok_and(|name| name == OWN_AUTHORITY))
    };
    let is_own = chain
        .first()
        .and_then(|der| parse_x509_certificate(der).ok())
        .is_some_and(|(_, certificate)| is_own(certificate));
    let due_in = std::time::Duration::from_secs(SUCCESSOR_DUE_DAYS * 86_400);
    let due = (OffsetDateTime::now_utc() + due_in).unix_timestamp();
    if !is_own || ends_at_s(&chain).is_none_or(|end| end > due) {
        return Ok(false);
    }
    // The certificate goes first and comes last: whenever a crash comes between, the next start makes all of it.
    fs::remove_file(&path).map_err(|source| TlsError::Io { path, source })?;
    Ok(true)
}

/// When the certificate that the HTTPS door shows ends; `None` when the file does not say.
pub fn https_shown(paths: &CertificatePaths) -> Option<ShownCertificate> {
    shown(Door::Https, paths)
}

/// When the certificate that DICOM over TLS shows ends; `None` when the file does not say.
pub fn dicom_shown(paths: &DicomTlsPaths) -> Option<ShownCertificate> {
    shown(Door::Dicom, &paths.own)
}

/// A door is not kept shut because the end of its certificate cannot be told: that is said, and nothing watches it.
fn shown(door: Door, paths: &CertificatePaths) -> Option<ShownCertificate> {
    let chain = certificates(&paths.certificate).ok()?;
    let Some(end) = ends_at_s(&chain) else {
        let path = paths.certificate.display();
        tracing::warn!("{path} does not say when it ends: nothing will warn of its end");
        return None;
    };
    let ends_at = Timestamp::from_millis(end.saturating_mul(1000));
    Some(ShownCertificate { door, ends_at })
}

/// When that certificate of a chain ends which ends first, seconds since 1970: clients refuse the whole chain from then on.
fn ends_at_s(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let ends: Option<Vec<i64>> = chain
        .iter()
        .map(|der| {
            let (_, certificate) = parse_x509_certificate(der).ok()?;
            Some(certificate.validity().not_after.timestamp())
        })
        .collect();
    ends?.into_iter().min()
}

/// What the HTTPS door needs: TLS 1.3 only, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When the files do not hold a certificate and its key.
pub fn server_config(paths: &CertificatePaths) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |path: &Path, reason: String| TlsError::Unusable {
        path: path.to_owned(),
        reason,
    };
    let chain = certificates(&paths.certificate)?;
    pericard_api::tls_config(chain, private_key(&paths.key)?)
        .map_err(|e| unusable(&paths.certificate, e.to_string()))
}

/// What the DICOM network knows us by, and whom it believes.
///
/// # Errors
/// When a file does not hold what it must.
pub fn dicom_identity(paths: &DicomTlsPaths) -> Result<TlsIdentity, TlsError> {
    Ok(TlsIdentity {
        chain: certificates(&paths.own.certificate)?,
        key: private_key(&paths.own.key)?,
        authorities: certificates(&paths.authorities)?,
    })
}

/// As [`server_config`], with a certificate that can be read again while the door is open.
///
/// # Errors
/// When the files do not hold a certificate and its key.
pub fn renewable(
    paths: &CertificatePaths,
) -> Result<(Arc<ServerConfig>, Arc<Renewable>), TlsError> {
    let mut config = (*server_config(paths)?).clone();
    let read = ReadCertificate(Arc::clone(&config.cert_resolver));
    let renewable = Arc::new(Renewable(RwLock::new(read)));
    config.cert_resolver = Arc::clone(&renewable) as Arc<dyn ResolvesServerCert>;
    Ok((Arc::new(config), renewable))
}

/// A door's certificate that can be read again: open connections keep what they have, new ones get the new one.
#[derive(Debug)]
pub struct Renewable(RwLock<ReadCertificate>);

/// A certificate that was read with its key, and fits it.
#[derive(Debug, Clone)]
pub struct ReadCertificate(Arc<dyn ResolvesServerCert>);

impl Renewable {
    /// Reads a certificate, for [`Renewable::renew`].
    ///
    /// # Errors
    /// When the files do not hold a certificate and its key.
    pub fn read(paths: &CertificatePaths) -> Result<ReadCertificate, TlsError> {
        let config = server_config(paths)?;
        Ok(ReadCertificate(Arc::clone(&config.cert_resolver)))
    }

    /// Shows this one from now on.
    pub fn renew(&self, renewed: ReadCertificate) {
        // A writer that panicked left the whole old value or the whole new one.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = renewed;
    }
}

impl ResolvesServerCert for Renewable {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        current.0.resolve(hello)
    }
}

/// SHA-256 of the server's certificate, as a person compares it.
///
/// # Errors
/// When the file does not hold a certificate.
pub fn fingerprint(paths: &CertificatePaths) -> Result<String, TlsError> {
    let chain = certificates(&paths.certificate)?;
    let digest = Sha256::digest(
        chain
            .first()
            .map_or(&[][..], |certificate| certificate.as_ref()),
    );
    Ok(digest
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect::<Vec<_>>()
        .join(":"))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| TlsError::Unusable {
        path: path.to_owned(),
        reason: e.to_string(),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |reason: String| TlsError::Unusable {
        path: path.to_owned(),
        reason,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e: rustls::pki_types::pem::Error| unusable(e.to_string()))?;
    if chain.is_empty() {
        Err(unusable("holds no certificate".into()))
    } else {
        Ok(chain)
    }
}

struct Made {
    authority: String,
    certificate: String,
    key: String,
}

fn make(names: &[String], days: i64) -> Result<Made, rcgen::Error> {
    let (from, until) = (
        OffsetDateTime::now_utc() - Duration::HOUR,
        OffsetDateTime::now_utc() + Duration::days(days),
    );
    let params = |common_name: &str, names: &[String]| {
        CertificateParams::new(names).map(|mut params| {
            params
                .distinguished_name
                .push(DnType::CommonName, common_name);
            (params.not_before, params.not_after) = (from, until);
            params
        })
    };
    let authority_key = KeyPair::generate()?;
    let mut authority = params(OWN_AUTHORITY, &[])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate()?;
    let mut server = params("Pericard", names)?;
    server.use_authority_key_identifier_extension = true;
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = server.signed_by(&key, &issuer)?;
    Ok(Made {
        authority: authority_certificate.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), TlsError> {
    let create = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    create().map_err(|source| TlsError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let paths = own_certificate(dir.path(), &names).unwrap();
        let first = fingerprint(&paths).unwrap();
        assert_eq!(
            fingerprint(&own_certificate(dir.path(), &names).unwrap()).unwrap(),
            first
        );
        assert_eq!(first.len(), 32 * 3 - 1);
        assert_eq!(
            fs::metadata(&paths.key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        server_config(&paths).unwrap();
    }

    /// What the first start made, so long ago that this many days are left.
    fn aged(dir: &Path, days: i64) -> CertificatePaths {
        let paths = own_certificate(dir, &["localhost".to_owned()]).unwrap();
        let made = make(&["localhost".to_owned()], days).unwrap();
        for (name, text) in [
            ("ca.pem", made.authority),
            ("server.key", made.key),
            ("server.pem", made.certificate),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        paths
    }

    #[test]
    fn one_that_was_made_here_is_made_anew_before_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned()];
        let left = |paths: &CertificatePaths| {
            let ends_at = https_shown(paths).unwrap().ends_at;
            ends_at.as_millis() / 1000 - OffsetDateTime::now_utc().unix_timestamp()
        };
        let authority = || fs::read(dir.path().join("ca.pem")).unwrap();
        assert!(
            !retire_own_certificate(dir.path()).unwrap(),
            "there is none"
        );
        let paths = aged(dir.path(), 31);
        assert!(!retire_own_certificate(dir.path()).unwrap());
        let paths_due = aged(dir.path(), 10);
        assert_eq!(paths_due, paths);
        assert_eq!((left(&paths) + 60) / 86_400, 10);
        let before = authority();
        assert!(retire_own_certificate(dir.path()).unwrap());
        let anew = own_certificate(dir.path(), &names).unwrap();
        assert_eq!((left(&anew) + 60) / 86_400, VALIDITY_DAYS);
        assert_ne!(authority(), before);
        server_config(&anew).unwrap();
        assert!(!retire_own_certificate(dir.path()).unwrap());
    }

    #[test]
    fn one_of_the_hospital_s_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let paths = own_certificate(dir.path(), &["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = OffsetDateTime::now_utc() + Duration::days(10);
        let theirs = params.self_signed(&key).unwrap().pem();
        fs::write(&paths.certificate, &theirs).unwrap();
        assert!(!retire_own_certificate(dir.path()).unwrap());
        assert_eq!(fs::read_to_string(&paths.certificate).unwrap(), theirs);
    }

    #[test]
    fn a_wrong_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let paths = own_certificate(dir.path(), &["localhost".to_owned()]).unwrap();
        fs::write(&paths.certificate, "not a certificate").unwrap();
        assert!(
            server_config(&paths)
                .unwrap_err()
                .to_string()
                .contains("server.pem")
        );
    }
}

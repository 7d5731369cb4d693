//! Certificates: the HTTPS door's, which is the hospital's own or one made at the first start, and those of DICOM over TLS.

use pericard_dimse::{TlsIdentity, TlsUnusable};
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

/// How long a certificate that is made here is good for: what browsers accept at most.
const VALIDITY_DAYS: i64 = 397;

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
        let made = make(names).map_err(unusable)?;
        write(&dir.join("ca.pem"), 0o644, &made.authority)?;
        write(&paths.key, 0o600, &made.key)?;
        write(&paths.certificate, 0o644, &made.certificate)?;
    }
    Ok(paths)
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

fn make(names: &[String]) -> Result<Made, rcgen::Error> {
    let (from, until) = (
        OffsetDateTime::now_utc() - Duration::HOUR,
        OffsetDateTime::now_utc() + Duration::days(VALIDITY_DAYS),
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
    let mut authority = params("Pericard first-start authority", &[])?;
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

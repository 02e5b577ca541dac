//! TLS to the database, in libpq's modes (PostgreSQL manual, "SSL Support").
//!
//! | mode | encrypted | the server's certificate |
//! | --- | --- | --- |
//! | `disable` | no | |
//! | `prefer` | if the server offers it | not checked |
//! | `require` | yes | not checked |
//! | `verify-ca` | yes | by the CA of `DB_SSL_ROOT_CERT` |
//! | `verify-full` | yes | by that CA, or one that the system trusts, and for the host's name |
//!
//! Unlike libpq, `prefer` does not try again in plain text after a handshake that failed, and a host's
//! name must be in the certificate's `subjectAltName`: the common name does not count (RFC 9525).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::{Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{DatabaseConfig, SslMode};
use crate::sync::lock;

/// The TLS stream that the connector makes, or plain TCP.
pub type DbConnection =
    Connection<Socket, <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream>;

/// Why no connection can be made safely: settings or files, never the network.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("verify-ca needs DB_SSL_ROOT_CERT, the PEM file of the CA")]
    NoRootCert,

    #[error("{} cannot be read as a PEM file of certificates: {reason}", path.display())]
    BadRootCert { path: PathBuf, reason: String },

    #[error(
        "the system's trust store holds no certificates ({0}); set DB_SSL_ROOT_CERT to a CA's PEM file"
    )]
    NoSystemCerts(String),

    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Whether connections to this database can be checked as they are to be; reads the CA file, and blocks.
pub fn check_ca_file(database: &DatabaseConfig) -> Result<(), TlsError> {
    connector(database.ssl_mode, database.ssl_root_cert.as_deref()).map(drop)
}

/// The mode for tokio-postgres, which only knows whether to encrypt; [`connector`] does the checks.
pub fn ssl_mode(mode: SslMode) -> tokio_postgres::config::SslMode {
    use tokio_postgres::config::SslMode as Encrypt;
    match mode {
        SslMode::Disable => Encrypt::Disable,
        SslMode::Prefer => Encrypt::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Encrypt::Require,
    }
}

/// TLS of the connections to one database. Their CA may change while the service runs: each new connection is made with the file as it
/// is then, or, where that is unusable, as it was.
pub struct Tls {
    mode: SslMode,
    root_cert: Option<PathBuf>,
    /// A std mutex: held while the file is read, on a thread that may block, so that an older reading never takes the place of a later one.
    current: Mutex<Current>,
}

struct Current {
    /// What the file held when it was last read, usable or not; nothing where it could not be read, or where there is none.
    pem: Option<Vec<u8>>,
    connector: MakeRustlsConnect,
}

impl Tls {
    /// Reads the CA file; blocks.
    pub fn new(mode: SslMode, root_cert: Option<PathBuf>) -> Result<Self, TlsError> {
        // First, so that a change between the two is seen later.
        let pem = root_cert.as_ref().and_then(|path| std::fs::read(path).ok());
        let connector = connector(mode, root_cert.as_deref())?;
        Ok(Self {
            mode,
            root_cert,
            current: Mutex::new(Current { pem, connector }),
        })
    }

    /// For a connection that is made now. The file may be on a disk that does not answer: how long it is waited for is the caller's
    /// to bound.
    pub async fn connector(self: &Arc<Self>) -> MakeRustlsConnect {
        let Some(path) = self.root_cert.clone() else {
            return self.current().connector.clone();
        };
        let tls = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || tls.renewed(&path));
        // It fails only where the runtime ends.
        reading
            .await
            .unwrap_or_else(|_| self.current().connector.clone())
    }

    /// With the file as it is now, if that is usable; blocks.
    fn renewed(&self, path: &Path) -> MakeRustlsConnect {
        let mut current = self.current();
        let pem = std::fs::read(path).ok();
        if pem != current.pem {
            current.pem = pem;
            match connector(self.mode, Some(path)) {
                Ok(connector) => {
                    log::info!(
                        "DB_SSL_ROOT_CERT: {} has changed and is used",
                        path.display()
                    );
                    current.connector = connector;
                }
                Err(error) => log::warn!(
                    "DB_SSL_ROOT_CERT: {error}; new connections go on with the certificates that it held before"
                ),
            }
        }
        current.connector.clone()
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        lock(&self.current)
    }
}

/// What makes the TLS streams of connections in this mode. Reads the CA file; blocks.
///
/// Use it together with [`ssl_mode`]: this alone does not forbid plain text.
pub fn connector(mode: SslMode, root_cert: Option<&Path>) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let any_host = |roots| {
        Arc::new(AnyHost {
            provider: provider.clone(),
            roots,
        })
    };
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        // Never asked, since nothing is encrypted; if it were, no certificate would pass.
        SslMode::Disable => any_host(Some(RootCertStore::empty())),
        SslMode::Prefer | SslMode::Require => any_host(None),
        SslMode::VerifyCa => {
            let path = root_cert.ok_or(TlsError::NoRootCert)?;
            any_host(Some(roots_of(path)?))
        }
        SslMode::VerifyFull => {
            let roots = match root_cert {
                Some(path) => roots_of(path)?,
                None => system_roots()?,
            };
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?
        }
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // Older servers ignore it; direct negotiation, since version 17, demands it.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

/// The certificates of a CA file. One that cannot be a trust anchor is an error, not skipped.
fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let bad = |reason: String| TlsError::BadRootCert {
        path: path.to_owned(),
        reason,
    };
    // Read first: the PEM reader's own error says less about the file.
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems ship a few certificates that do not parse; those are skipped, as everybody does.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoSystemCerts(reasons.join("; ")));
    }
    Ok(roots)
}

/// Checks that the server holds its certificate's key, whatever its host.
#[derive(Debug)]
struct AnyHost {
    provider: Arc<CryptoProvider>,
    /// One of them must have signed the certificate. `None`: any certificate is taken.
    roots: Option<RootCertStore>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// A file of this test process, gone when dropped.
    struct TempFile(PathBuf);

    impl TempFile {
        fn new(name: &str, content: &[u8]) -> Self {
            let path =
                std::env::temp_dir().join(format!("pgchat-tls-{}-{name}", std::process::id()));
            std::fs::write(&path, content).expect("a file in the temporary directory");
            Self(path)
        }
    }

    impl Drop for TempFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn error(mode: SslMode, root_cert: Option<&Path>) -> String {
        match connector(mode, root_cert) {
            Ok(_) => panic!("{mode:?} with {root_cert:?} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn modes_without_a_check_need_no_certificates() {
        for mode in [SslMode::Disable, SslMode::Prefer, SslMode::Require] {
            assert!(connector(mode, None).is_ok(), "{mode:?}");
        }
    }

    #[test]
    fn every_mode_that_checks_forbids_plain_text() {
        use tokio_postgres::config::SslMode as Encrypt;
        for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            assert_eq!(ssl_mode(mode), Encrypt::Require);
        }
        assert_eq!(ssl_mode(SslMode::Prefer), Encrypt::Prefer);
        assert_eq!(ssl_mode(SslMode::Disable), Encrypt::Disable);
    }

    #[test]
    fn verify_ca_without_a_ca_is_refused() {
        assert!(error(SslMode::VerifyCa, None).contains("needs DB_SSL_ROOT_CERT"));
    }

    #[test]
    fn a_ca_file_that_is_missing_or_holds_no_certificate_is_refused() {
        let base64_of_garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut_off = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let files = [
            TempFile::new("empty", b""),
            TempFile::new("text", b"hello"),
            TempFile::new("binary", &[0xff, 0x00, 0x80]),
            TempFile::new("garbage", base64_of_garbage),
            TempFile::new("cut", cut_off),
            TempFile::new("key", key),
        ];
        let missing = Path::new("/nonexistent/ca.pem");
        let paths = files.iter().map(|file| file.0.as_path());
        for path in paths.chain([missing, Path::new("/")]) {
            for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
                let error = error(mode, Some(path));
                let start = format!("{} cannot be read as a PEM file", path.display());
                assert!(error.starts_with(&start), "{error}");
            }
        }
        assert!(error(SslMode::VerifyFull, Some(missing)).contains("No such file"));
    }

    /// As on a disk that does not answer: a pipe into which nobody has written.
    #[tokio::test]
    async fn a_ca_file_that_is_not_read_yet_holds_up_nothing_else() {
        let file = TempFile::new("slow", b"as it was");
        let tls = Tls::new(SslMode::Require, Some(file.0.clone())).expect("TLS");
        std::fs::remove_file(&file.0).expect("removed");
        let made = Command::new("mkfifo").arg(&file.0).status();
        assert!(made.expect("mkfifo").success());

        let (tell, told) = mpsc::channel();
        let path = file.0.clone();
        let disk = thread::spawn(move || {
            let in_time = told.recv_timeout(Duration::from_secs(10)).is_ok();
            // In any case, or a runtime that waits would do so for ever.
            std::fs::write(path, b"as it is").expect("written");
            in_time
        });
        let tls = Arc::new(tls);
        let connecting = tokio::spawn(async move { tls.connector().await });
        tokio::task::yield_now().await;
        tell.send(()).expect("the disk waits");
        connecting.await.expect("a connector");
        assert!(disk.join().expect("written"), "the runtime waited for it");
    }
}

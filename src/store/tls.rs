//! STUB until the branch with TLS is merged.
use crate::config::SslMode;
use std::path::Path;
use tokio_postgres_rustls::MakeRustlsConnect;
pub fn ssl_mode(_mode: SslMode) -> tokio_postgres::config::SslMode {
    tokio_postgres::config::SslMode::Disable
}
pub fn connector(_mode: SslMode, _root: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

//! Certificates, and what TLS is made of.

use std::{path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::{Config, Error};

/// What every encrypted connection begins with. Clones are the same.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ServerConfig>);

impl Tls {
    /// Loads what the configuration names; none if it names no certificate.
    pub(crate) fn load(config: &Config) -> Result<Option<Tls>, Error> {
        let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) else {
            return Ok(None);
        };
        let chain = certificates("tls_certificate", certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("tls_key", key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("tls_certificate", certificate, &error))?;
        let builder = match &config.tls_client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates("tls_client_ca", path)? {
                    roots.add(authority).map_err(|error| unusable("tls_client_ca", path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| unusable("tls_client_ca", path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let server = builder
            .with_single_cert(chain, secret)
            .map_err(|error| unusable("tls_certificate", certificate, &error))?;
        Ok(Some(Tls(Arc::new(server))))
    }

    /// TLS for one connection.
    pub(crate) fn accept(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.0))
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match all {
        Ok(all) if all.is_empty() => Err(unusable(what, path, &"it holds no certificate")),
        Ok(all) => Ok(all),
        Err(error) => Err(unusable(what, path, &error)),
    }
}

fn unusable(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Certificate { what, path: path.to_owned(), reason: reason.to_string() }
}

//! Whom probes over TLS trust, and what they find out about certificates.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use shared::clock;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Cause;

/// A configuration that trusts the authorities in a file, or else those of the host.
///
/// # Errors
/// When there are none.
pub(super) fn client(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Cause> {
    let mut roots = RootCertStore::empty();
    let certificates = match ca {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path);
            certificates.map_err(|_| Cause::NoAuthorities)?.flatten().collect()
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(Cause::NoAuthorities);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    // Unlike our own control plane, a web server may be older than TLS 1.3.
    let builder =
        builder.with_protocol_versions(rustls::ALL_VERSIONS).map_err(|_| Cause::NoAuthorities)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Why TLS failed.
pub(super) fn cause(error: &io::Error) -> Cause {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match error {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Cause::CertificateExpired,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Cause::CertificateNotYetValid,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Cause::CertificateOfAnother,
        Some(rustls::Error::InvalidCertificate(_)) => Cause::CertificateUntrusted,
        _ => Cause::Tls,
    }
}

/// How long a certificate is still good; none when it can't be read.
pub(super) fn good_for(certificate: &CertificateDer<'_>) -> Option<Duration> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let end = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Duration::from_secs(end).saturating_sub(clock::since_epoch()))
}

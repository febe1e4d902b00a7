//! TLS for QUIC flows, here and in simulations: one key that all servers have and all clients
//! expect.

use std::sync::Arc;
use std::sync::LazyLock;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::ServerConfig;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::UnixTime;
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;

/// TLS of a client.
pub fn client() -> Arc<QuicClientConfig> {
    CLIENT.clone()
}

/// TLS of a server.
pub fn server() -> Arc<QuicServerConfig> {
    SERVER.clone()
}

static CLIENT: LazyLock<Arc<QuicClientConfig>> = LazyLock::new(|| {
    let verifier = Arc::new(OneKey { provider: PROVIDER.clone() });
    let config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Arc::new(config.try_into().expect("the provider has QUIC's initial suite"))
});

static SERVER: LazyLock<Arc<QuicServerConfig>> = LazyLock::new(|| {
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(KEY.clone())));
    config.send_tls13_tickets = 0;
    Arc::new(config.try_into().expect("the provider has QUIC's initial suite"))
});

/// X25519 alone: a handshake fits into one datagram each way, and costs little.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let kx_groups = vec![aws_lc_rs::kx_group::X25519];
    Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
});

/// Whoever reads this knows the key, so it protects nothing.
static KEY: LazyLock<Arc<CertifiedKey>> = LazyLock::new(|| {
    // RFC 8410, section 7: an Ed25519 private key in PKCS #8, the last 32 bytes of which are the key.
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend_from_slice(&[7; 32]);
    let key = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))
        .expect("any 32 bytes are an Ed25519 key");
    let public = key.public_key().expect("Ed25519 has raw public keys");
    let certificate = CertificateDer::from(public.as_ref().to_vec());
    Arc::new(CertifiedKey::new(vec![certificate], key))
});

/// Takes [`KEY`] and nothing else.
#[derive(Debug)]
struct OneKey {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OneKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if KEY.cert.first() == Some(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("QUIC has no TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(certificate.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

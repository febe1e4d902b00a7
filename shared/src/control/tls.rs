//! TLS 1.3 as the control plane uses it: raw Ed25519 keys on both sides (RFC 7250), one key
//! exchange, no tickets, no early data.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group, sign::any_eddsa_type};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
};

use super::PROTOCOL;
use super::identity::{PrivateKey, PublicKey};

/// The client's side: proves `key`, accepts the server that `pin` names.
pub(crate) fn client(
    key: &PrivateKey,
    pin: Arc<ServerPin>,
    clock: Arc<dyn TimeProvider>,
) -> Result<rustls::ClientConfig, Error> {
    let resolver = AlwaysResolvesClientRawPublicKeys::new(certified(key)?);
    let mut config = rustls::ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The server's side: proves `key`, accepts the clients that `guest_list` admits.
pub(crate) fn server(
    key: &PrivateKey,
    guest_list: Arc<GuestList>,
    clock: Arc<dyn TimeProvider>,
) -> Result<rustls::ServerConfig, Error> {
    let resolver = AlwaysResolvesServerRawPublicKeys::new(certified(key)?);
    let mut config = rustls::ServerConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(guest_list)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Accepts one server key, and remembers which key it was shown.
#[derive(Debug)]
pub(crate) struct ServerPin {
    expected: PublicKey,
    seen: OnceLock<PublicKey>,
}

impl ServerPin {
    pub(crate) fn new(expected: PublicKey) -> Self {
        Self { expected, seen: OnceLock::new() }
    }

    /// The key that the server showed, if it was another than the expected one.
    pub(crate) fn other_key(&self) -> Option<PublicKey> {
        self.seen.get().copied().filter(|seen| *seen != self.expected)
    }
}

impl ServerCertVerifier for ServerPin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = raw_key(end_entity, intermediates)?;
        let seen = self.seen.get_or_init(|| key);
        if key != self.expected || *seen != key {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_is_not_spoken())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts the client keys that its owner knows at this moment, asked at every handshake.
pub(crate) struct GuestList(Box<dyn Fn(&PublicKey) -> bool + Send + Sync>);

impl GuestList {
    pub(crate) fn new(admits: impl Fn(&PublicKey) -> bool + Send + Sync + 'static) -> Self {
        Self(Box::new(admits))
    }
}

impl fmt::Debug for GuestList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuestList")
    }
}

impl ClientCertVerifier for GuestList {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !(self.0)(&raw_key(end_entity, intermediates)?) {
            // Goes out as the alert that `is_access_denied` recognises at the client.
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_is_not_spoken())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The key that the peer of an established connection proved.
pub(crate) fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    PublicKey::from_spki(chain.first()?)
}

/// TLS alert 49, access_denied (RFC 8446, section 6.2): what a server sends to a key that it does
/// not know.
pub(crate) const ALERT_ACCESS_DENIED: u8 = 49;
/// TLS alert 120, no_application_protocol (RFC 7301, section 3.2): no wire version in common.
pub(crate) const ALERT_NO_PROTOCOL: u8 = 120;

/// AWS-LC with its three TLS 1.3 suites, and no key exchange but the post-quantum hybrid.
///
/// QUIC's Initial packets need TLS_AES_128_GCM_SHA256 (RFC 9001, section 5.2).
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: vec![kx_group::X25519MLKEM768], ..default_provider() })
}

fn certified(key: &PrivateKey) -> Result<Arc<CertifiedKey>, Error> {
    let der = key.to_pkcs8();
    let signing_key = any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_slice()))?;
    let spki = signing_key.public_key().ok_or(Error::General("no public key".into()))?;
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki.as_ref().to_vec())], signing_key)))
}

fn raw_key(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<PublicKey, Error> {
    if !intermediates.is_empty() {
        return Err(CertificateError::BadEncoding.into());
    }
    PublicKey::from_spki(end_entity).ok_or(CertificateError::BadEncoding.into())
}

fn verify_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
    let algorithms = default_provider().signature_verification_algorithms;
    if dss.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    verify_tls13_signature_with_raw_key(message, &spki, dss, &algorithms)
}

fn tls12_is_not_spoken() -> Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::{ClientConnection, ServerConnection};

    use super::*;

    #[test]
    fn clocks_that_are_decades_apart_do_not_matter() {
        let (epoch, far) = (Duration::ZERO, Duration::from_secs(4_000_000_000));
        for (client_time, server_time) in [(epoch, far), (far, epoch)] {
            let (mut client, mut server) = pair(Calendar(client_time), Calendar(server_time));

            shake_hands(&mut client, &mut server).unwrap();

            assert!(!client.is_handshaking() && !server.is_handshaking());
        }
    }

    #[test]
    fn the_handshake_is_post_quantum_and_proves_both_keys() {
        let (mut client, mut server) = pair(Calendar(Duration::ZERO), Calendar(Duration::ZERO));

        shake_hands(&mut client, &mut server).unwrap();

        let group = client.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(client.alpn_protocol(), Some(PROTOCOL));
        for chain in [client.peer_certificates(), server.peer_certificates()] {
            assert!(PublicKey::from_spki(&chain.unwrap()[0]).is_some());
        }
    }

    #[test]
    fn another_wire_version_is_refused() {
        let (_, mut server) = pair(Calendar(Duration::ZERO), Calendar(Duration::ZERO));
        let pin = Arc::new(ServerPin::new(PrivateKey::generate().public()));
        let mut config = client(&PrivateKey::generate(), pin, Arc::new(Calendar(Duration::ZERO)));
        config.as_mut().unwrap().alpn_protocols = vec![b"hawser/999".to_vec()];
        let name = ServerName::try_from("x.invalid").unwrap();
        let mut client = ClientConnection::new(Arc::new(config.unwrap()), name).unwrap();

        let error = shake_hands(&mut client, &mut server).unwrap_err();

        assert_eq!(error, Error::NoApplicationProtocol);
    }

    fn pair(
        client_clock: Calendar,
        server_clock: Calendar,
    ) -> (ClientConnection, ServerConnection) {
        let (client_key, server_key) = (PrivateKey::generate(), PrivateKey::generate());
        let pin = Arc::new(ServerPin::new(server_key.public()));
        let client_config = client(&client_key, pin, Arc::new(client_clock)).unwrap();
        let known = client_key.public();
        let guests = Arc::new(GuestList::new(move |key| *key == known));
        let server_config = server(&server_key, guests, Arc::new(server_clock)).unwrap();
        let name = ServerName::try_from("x.invalid").unwrap();
        (
            ClientConnection::new(Arc::new(client_config), name).unwrap(),
            ServerConnection::new(Arc::new(server_config)).unwrap(),
        )
    }

    fn shake_hands(
        client: &mut ClientConnection,
        server: &mut ServerConnection,
    ) -> Result<(), Error> {
        while client.is_handshaking() || server.is_handshaking() {
            let mut flight = Vec::new();
            client.write_tls(&mut flight).unwrap();
            server.read_tls(&mut flight.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut flight = Vec::new();
            server.write_tls(&mut flight).unwrap();
            client.read_tls(&mut flight.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    /// A machine's idea of the date, as time since 1970.
    #[derive(Debug)]
    struct Calendar(Duration);

    impl TimeProvider for Calendar {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(self.0))
        }
    }
}

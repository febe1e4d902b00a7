//! The root secret of a session.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The data plane's root secret, agreed in the control connection's handshake and known to both
/// ends (RFC 8446, section 7.5). Wiped when dropped, never shown.
#[derive(Clone, Eq, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct RootSecret([u8; 32]);

impl RootSecret {
    /// The secret itself, to derive keys from.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes the secret from an established connection.
    ///
    /// # Errors
    /// When the handshake is not complete.
    pub(crate) fn export(
        connection: &quinn::Connection,
    ) -> Result<Self, quinn::crypto::ExportKeyingMaterialError> {
        let mut secret = Self([0; 32]);
        connection.export_keying_material(&mut secret.0, EXPORTER_LABEL, super::PROTOCOL)?;
        Ok(secret)
    }
}

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSecret(..)")
    }
}

/// Labels begin so by RFC 8446, section 7.5 and RFC 5705, section 4.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-hawser-root";

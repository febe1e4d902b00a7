//! Who a machine is: an Ed25519 key pair, written as one line of base64.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::hkdf;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::key_file;
use crate::entropy;

/// A machine's private key: an Ed25519 seed (RFC 8032, section 5.1.5). Wiped when dropped.
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<[u8; KEY_LEN]>);

impl PrivateKey {
    /// Makes a key.
    pub fn generate() -> Self {
        Self(Zeroizing::new(entropy::seed()))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it cannot be read, is no key, or others than its owner may read it.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = key_file::read(path)?;
        text.trim().parse().map_err(|_| KeyError::NoKeyInFile { path: path.to_owned() })
    }

    /// Writes a key file that only its owner may read (0600), whole or not at all. A file that is
    /// there is replaced.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        key_file::write(path, &self.to_text())
    }

    /// The key as one line of base64, wiped when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(self.0.as_slice())
            .expect("any 32 bytes are an Ed25519 seed");
        let bytes = pair.public_key().as_ref();
        PublicKey(bytes.try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// A key for another purpose, the same each time for the same `purpose` (RFC 5869).
    pub(crate) fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"hawser identity")
            .extract(self.0.as_slice())
            .expand(&[purpose], hkdf::HKDF_SHA256)
            .and_then(|output| output.fill(key.as_mut_slice()))
            .expect("HKDF-SHA-256 gives 32 bytes");
        key
    }

    /// The key in PKCS #8 (RFC 8410, section 7), wiped when dropped.
    pub(crate) fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + KEY_LEN));
        der.extend_from_slice(&PKCS8_PREFIX);
        der.extend_from_slice(self.0.as_slice());
        der
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A machine's public key: what an operator copies from one end to the other.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// The key's 32 bytes (RFC 8032, section 5.1.2).
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Reads the form that TLS carries (RFC 8410, section 4), `None` if it is another algorithm.
    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        spki.strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok()).map(Self)
    }
}

impl From<[u8; KEY_LEN]> for PublicKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(|bytes| Self(*bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is wrong with a key or its file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not 32 bytes in base64.
    #[error("not a key: a key is 44 characters of base64, as `hawser keygen` prints it")]
    Malformed,
    /// The file holds something else.
    #[error("{} holds no key: a key is one line of 44 characters of base64", path.display())]
    NoKeyInFile {
        /// The file.
        path: PathBuf,
    },
    /// The file can be read by others than its owner.
    #[error(
        "{path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`, and make a new \
         key if others had access to it",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file cannot be read.
    #[error("read the key file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("write the key file {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    if text.len() != TEXT_LEN {
        return Err(KeyError::Malformed);
    }
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyError::Malformed)?);
    let key: &[u8; KEY_LEN] = bytes.as_slice().try_into().map_err(|_| KeyError::Malformed)?;
    Ok(Zeroizing::new(*key))
}

const KEY_LEN: usize = 32;
/// Base64 of 32 bytes, with its padding.
const TEXT_LEN: usize = 44;
/// `SEQUENCE { SEQUENCE { OID 1.3.101.112 } BIT STRING (32 bytes) }` up to the key.
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// `SEQUENCE { INTEGER 0, SEQUENCE { OID 1.3.101.112 }, OCTET STRING { OCTET STRING } }` up to the
/// seed.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_public_key_is_that_of_rfc_8032() {
        // RFC 8032, section 7.1, test 1.
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");

        let key = PrivateKey(Zeroizing::new(seed));

        assert_eq!(key.public().as_bytes(), &public);
    }

    #[test]
    fn debug_output_shows_no_private_key() {
        let key = PrivateKey::generate();

        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_stay_the_same() {
        let key = PrivateKey::generate();

        assert_eq!(key.derive(b"one"), key.derive(b"one"));
        assert_ne!(key.derive(b"one"), key.derive(b"two"));
    }

    #[test]
    fn an_error_about_a_key_never_shows_it() {
        let error = "AAAA".parse::<PrivateKey>().unwrap_err();

        assert!(!error.to_string().contains("AAAA"));
    }

    proptest! {
        #[test]
        fn text_and_key_are_the_same(bytes: [u8; 32]) {
            let key = PublicKey(bytes);

            prop_assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
            let json = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        }

        #[test]
        fn no_text_upsets_the_parser(text in ".{0,60}") {
            if let Ok(key) = text.parse::<PublicKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }

    fn hex(text: &str) -> [u8; 32] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }
}

//! Sealing and opening of datagrams.

use crate::wire::TAG_LEN;

mod fast;
mod portable;

/// An authenticated cipher under one key.
pub trait Aead: Send {
    /// Encrypts `content` in place and returns the tag over it and `associated`.
    fn seal(&self, nonce: [u8; 12], associated: &[u8], content: &mut [u8]) -> [u8; TAG_LEN];

    /// Decrypts `content` in place. Returns whether the tag holds; if not, `content` is garbage.
    fn open(
        &self,
        nonce: [u8; 12],
        associated: &[u8],
        content: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool;
}

/// A cipher and the code that computes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suite {
    /// AES-256-GCM (RFC 5116) by aws-lc: the fastest where the processor has AES instructions.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439) by aws-lc.
    ChaCha20Poly1305,
    /// ChaCha20-Poly1305 in portable Rust: the same bytes on the wire.
    ChaCha20Poly1305Portable,
}

impl Suite {
    /// The name in the control plane. The portable code is the same suite as the fast one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 | Self::ChaCha20Poly1305Portable => "chacha20-poly1305",
        }
    }

    /// The suite of this name, computed the fast way.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Aes256Gcm, Self::ChaCha20Poly1305].into_iter().find(|suite| suite.name() == name)
    }

    /// Prepares the cipher for one key, so that no datagram pays for it.
    pub fn key(self, key: &[u8; KEY_LEN]) -> Box<dyn Aead> {
        match self {
            Self::Aes256Gcm => Box::new(fast::Fast::aes(key)),
            Self::ChaCha20Poly1305 => Box::new(fast::Fast::chacha(key)),
            Self::ChaCha20Poly1305Portable => Box::new(portable::Portable::new(key)),
        }
    }
}

/// Both suites take 256-bit keys.
pub const KEY_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn portable_and_fast_code_agree(
            key: [u8; 32], nonce: [u8; 12], associated: [u8; 8],
            content in prop::collection::vec(any::<u8>(), 0..1500),
        ) {
            let fast = Suite::ChaCha20Poly1305.key(&key);
            let portable = Suite::ChaCha20Poly1305Portable.key(&key);
            let mut one = content.clone();
            let mut two = content.clone();

            let tag = fast.seal(nonce, &associated, &mut one);

            prop_assert_eq!(tag, portable.seal(nonce, &associated, &mut two));
            prop_assert_eq!(&one, &two);
            prop_assert!(portable.open(nonce, &associated, &mut one, &tag));
            prop_assert_eq!(one, content);
        }
    }

    #[test]
    fn one_changed_bit_is_refused_by_every_suite() {
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305, Suite::ChaCha20Poly1305Portable] {
            let cipher = suite.key(&[7; 32]);
            let mut content = *b"a packet";
            let tag = cipher.seal([1; 12], b"header", &mut content);
            let mut bad = tag;
            bad[3] ^= 1;

            assert!(!cipher.open([1; 12], b"header", &mut content.clone(), &bad));
            assert!(!cipher.open([1; 12], b"Header", &mut content.clone(), &tag));
            assert!(!cipher.open([2; 12], b"header", &mut content.clone(), &tag));
            assert!(cipher.open([1; 12], b"header", &mut content, &tag));
            assert_eq!(&content, b"a packet");
        }
    }

    /// RFC 8439, section 2.8.2, cross-checks both implementations against the standard itself.
    #[test]
    fn the_standard_vector_of_chacha20_poly1305_holds() {
        let key: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
        let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
        let associated = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let mut content = *b"Ladies and Gentlemen of the class of '99: If I could offer you only \
            one tip for the future, sunscreen would be it.";

        let tag = Suite::ChaCha20Poly1305.key(&key).seal(nonce, &associated, &mut content);

        assert_eq!(content[..4], [0xd3, 0x1a, 0x8d, 0x34]);
        assert_eq!(
            tag,
            [
                0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60,
                0x06, 0x91
            ]
        );
    }
}

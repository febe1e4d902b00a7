//! ChaCha20-Poly1305 in portable Rust, for processors that aws-lc has no assembly for.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag};

use super::{Aead, KEY_LEN};
use crate::wire::TAG_LEN;

pub(super) struct Portable(ChaCha20Poly1305);

impl Portable {
    pub(super) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(ChaCha20Poly1305::new(&(*key).into()))
    }
}

impl Aead for Portable {
    fn seal(&self, nonce: [u8; 12], associated: &[u8], content: &mut [u8]) -> [u8; TAG_LEN] {
        self.0
            .encrypt_inout_detached(&nonce.into(), associated, content.into())
            .expect("a datagram is shorter than the cipher's limit")
            .into()
    }

    fn open(
        &self,
        nonce: [u8; 12],
        associated: &[u8],
        content: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let tag = Tag::from(*tag);
        self.0.decrypt_inout_detached(&nonce.into(), associated, content.into(), &tag).is_ok()
    }
}

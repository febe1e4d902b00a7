//! The ciphers of aws-lc: assembly for the processor at hand.

use aws_lc_rs::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

use super::{Aead, KEY_LEN};
use crate::wire::TAG_LEN;

pub(super) struct Fast(LessSafeKey);

impl Fast {
    pub(super) fn aes(key: &[u8; KEY_LEN]) -> Self {
        Self::new(&AES_256_GCM, key)
    }

    pub(super) fn chacha(key: &[u8; KEY_LEN]) -> Self {
        Self::new(&CHACHA20_POLY1305, key)
    }

    fn new(algorithm: &'static Algorithm, key: &[u8; KEY_LEN]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(algorithm, key).expect("keys have 32 bytes")))
    }
}

impl Aead for Fast {
    fn seal(&self, nonce: [u8; 12], associated: &[u8], content: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(associated), content)
            .expect("a datagram is shorter than a cipher's limit");
        tag.as_ref().try_into().expect("tags have 16 bytes")
    }

    fn open(
        &self,
        nonce: [u8; 12],
        associated: &[u8],
        content: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place_separate_tag(nonce, Aad::from(associated), tag, content).is_ok()
    }
}

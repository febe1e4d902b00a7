//! Connection ids that we can recognise as ours, and that say which dial attempt they belong to.
//!
//! ```text
//! mark 1 · nonce 7 · tag 8        tag = HMAC-SHA-256(key, mark ‖ nonce), its first 8 bytes
//! ```
//! The tag makes an id unguessable for who has not seen it on the wire, so that a forged datagram
//! never draws an answer and never changes where a client's answers go.

use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;

use crate::entropy;

/// Makes and recognises the ids of one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionIds {
    mark: u8,
    key: Arc<hmac::Key>,
}

impl ConnectionIds {
    /// Ids under `key` that carry `mark`.
    pub(crate) fn new(key: &[u8; 32], mark: u8) -> Self {
        Self { mark, key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)) }
    }

    /// The same key with another mark.
    pub(crate) fn with_mark(&self, mark: u8) -> Self {
        Self { mark, key: Arc::clone(&self.key) }
    }

    /// The mark of `id` if it was made under our key.
    pub(crate) fn mark_of(&self, id: &[u8]) -> Option<u8> {
        let (body, tag) = id.split_at_checked(BODY_LEN)?;
        let expected = self.tag(body);
        constant_time::verify_slices_are_equal(&expected, tag).ok()?;
        body.first().copied()
    }

    fn tag(&self, body: &[u8]) -> [u8; TAG_LEN] {
        let tag = hmac::sign(&self.key, body);
        tag.as_ref().first_chunk().copied().expect("HMAC-SHA-256 has 32 bytes")
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_LEN];
        entropy::fill(&mut id[..BODY_LEN]);
        id[0] = self.mark;
        let tag = self.tag(&id[..BODY_LEN]);
        id[BODY_LEN..].copy_from_slice(&tag);
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.mark_of(id).filter(|mark| *mark == self.mark).map(|_| ()).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// Bytes in one of our connection ids.
pub(crate) const ID_LEN: usize = BODY_LEN + TAG_LEN;
const BODY_LEN: usize = 8;
/// Guessing one takes 2^63 datagrams on average.
const TAG_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_recognised_under_its_key_only() {
        let mut ours = ConnectionIds::new(&[1; 32], 7);
        let theirs = ConnectionIds::new(&[2; 32], 7);

        let id = ours.generate_cid();

        assert_eq!(ours.mark_of(&id), Some(7));
        assert_eq!(ours.with_mark(9).mark_of(&id), Some(7));
        assert!(ours.validate(&id).is_ok());
        assert!(ours.with_mark(9).validate(&id).is_err());
        assert_eq!(theirs.mark_of(&id), None);
    }

    #[test]
    fn a_changed_or_short_id_is_not_ours() {
        let mut ids = ConnectionIds::new(&[1; 32], 7);
        let id = ids.generate_cid().to_vec();

        for at in 0..id.len() {
            let mut changed = id.clone();
            changed[at] ^= 1;
            assert_eq!(ids.mark_of(&changed), None, "byte {at}");
            assert_eq!(ids.mark_of(&id[..at]), None, "{at} bytes");
        }
    }
}

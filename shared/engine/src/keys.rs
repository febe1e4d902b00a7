//! The keys of a session: one chain of epochs for each direction, ratcheted in-band.
//!
//! ```text
//! root (from the control connection) + activation (drawn by the server)
//!   └─ HKDF-Extract ─┬─ "up"   ─ secret 0 ─ ratchet ─ secret 1 ─ ...
//!                    └─ "down" ─ secret 0 ─ ratchet ─ secret 1 ─ ...
//!                                  └─ key 0              └─ key 1
//! ```
//! A secret is forgotten as soon as its successor is derived, so an epoch's key does not reveal
//! those before it. Both directions move through the epochs together: whoever seals in a later
//! epoch first is followed by the other, and nobody goes on to a third before the second is seen.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::Zeroizing;

use crate::aead::{Aead, KEY_LEN, Suite};

/// The secret that a session's keys are derived from; both ends hold the same.
pub type RootSecret = Zeroizing<[u8; 32]>;

/// Drawn by the server whenever it takes up a session, so that no two activations share a key.
pub type Activation = [u8; 16];

/// The way a datagram goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

/// The keys of one direction, from an epoch on.
pub(crate) struct KeyChain {
    suite: Suite,
    /// The epoch whose secret this is.
    epoch: u32,
    secret: Zeroizing<[u8; 32]>,
}

impl KeyChain {
    pub(crate) fn new(
        suite: Suite,
        root: &RootSecret,
        activation: &Activation,
        direction: Direction,
    ) -> Self {
        let prk = Salt::new(HKDF_SHA256, activation).extract(&root[..]);
        let label: &[u8] = match direction {
            Direction::Down => b"hawser/1 down",
            Direction::Up => b"hawser/1 up",
        };
        Self { suite, epoch: 0, secret: expand(&prk, label) }
    }

    /// Gives the cipher of the epoch that is next in the chain, and goes on to the one after it.
    pub(crate) fn advance(&mut self) -> (u32, Box<dyn Aead>) {
        let prk = Prk::new_less_safe(HKDF_SHA256, &self.secret[..]);
        let key: Zeroizing<[u8; KEY_LEN]> = expand(&prk, b"hawser/1 key");
        let epoch = self.epoch;
        self.secret = expand(&prk, b"hawser/1 ratchet");
        self.epoch += 1;
        (epoch, self.suite.key(&key))
    }
}

/// Seals datagrams with the key of one epoch.
pub(crate) struct SealingKeys {
    pub(crate) epoch: u32,
    pub(crate) cipher: Box<dyn Aead>,
    chain: KeyChain,
}

impl SealingKeys {
    pub(crate) fn new(mut chain: KeyChain) -> Self {
        let (epoch, cipher) = chain.advance();
        Self { epoch, cipher, chain }
    }

    /// Goes on to the next epoch.
    pub(crate) fn ratchet(&mut self) {
        (self.epoch, self.cipher) = self.chain.advance();
    }
}

/// Opens datagrams of the newest epoch seen, of the two before it, and of the one after it.
pub(crate) struct OpeningKeys {
    newest: u32,
    /// By epoch modulo 4.
    ciphers: [Option<Box<dyn Aead>>; 4],
    chain: KeyChain,
}

impl OpeningKeys {
    pub(crate) fn new(mut chain: KeyChain) -> Self {
        let (_, current) = chain.advance();
        let (_, next) = chain.advance();
        Self { newest: 0, ciphers: [Some(current), Some(next), None, None], chain }
    }

    /// The cipher for the epoch that has these two bits. `None` if it is too old.
    pub(crate) fn cipher(&self, bits: u8) -> Option<(u32, &dyn Aead)> {
        let ahead = (u32::from(bits).wrapping_sub(self.newest)) & 3;
        let epoch = match ahead {
            0 | 1 => self.newest + ahead,
            _ => self.newest.checked_sub(4 - ahead)?,
        };
        self.ciphers[usize::from(bits & 3)].as_deref().map(|cipher| (epoch, cipher))
    }

    /// Notes that a datagram of `epoch` was authentic. Returns whether the epoch is a newer one.
    pub(crate) fn on_authentic(&mut self, epoch: u32) -> bool {
        if epoch <= self.newest {
            return false;
        }
        self.newest = epoch;
        let (next, cipher) = self.chain.advance();
        self.ciphers[next as usize & 3] = Some(cipher);
        true
    }
}

/// HKDF-Expand (RFC 5869) to 32 bytes.
fn expand(prk: &Prk, label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    prk.expand(&[label], Bytes32)
        .and_then(|okm| okm.fill(&mut out[..]))
        .expect("32 bytes are within HKDF's limit");
    out
}

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_direction_agree_through_the_epochs() {
        let mut sealing = SealingKeys::new(chain(Direction::Up));
        let mut opening = OpeningKeys::new(chain(Direction::Up));

        for epoch in 0..100u32 {
            let mut content = *b"content";
            let tag = sealing.cipher.seal([0; 12], b"", &mut content);
            let (found, cipher) = opening.cipher((epoch & 3) as u8).expect("epoch is at hand");
            assert_eq!(found, epoch);
            assert!(cipher.open([0; 12], b"", &mut content, &tag));
            assert_eq!(opening.on_authentic(epoch), epoch > 0);
            sealing.ratchet();
        }
    }

    #[test]
    fn the_directions_and_activations_have_different_keys() {
        let seal = |chain| SealingKeys::new(chain).cipher.seal([0; 12], b"", &mut [0; 16]);
        let other = KeyChain::new(Suite::Aes256Gcm, &root(), &[2; 16], Direction::Up);

        let tags = [seal(chain(Direction::Up)), seal(chain(Direction::Down)), seal(other)];

        assert!(tags[0] != tags[1] && tags[0] != tags[2] && tags[1] != tags[2]);
    }

    #[test]
    fn two_old_epochs_stay_open_and_a_third_does_not() {
        let mut opening = OpeningKeys::new(chain(Direction::Up));
        assert_eq!(opening.cipher(3).map(|(epoch, _)| epoch), None);

        for epoch in 1..=5 {
            opening.on_authentic(epoch);
        }

        assert_eq!(opening.newest, 5);
        assert_eq!(
            [0, 1, 2, 3].map(|b| opening.cipher(b).map(|(e, _)| e)),
            [Some(4), Some(5), Some(6), Some(3)]
        );
    }

    fn root() -> RootSecret {
        Zeroizing::new([1; 32])
    }

    fn chain(direction: Direction) -> KeyChain {
        KeyChain::new(Suite::Aes256Gcm, &root(), &[1; 16], direction)
    }
}

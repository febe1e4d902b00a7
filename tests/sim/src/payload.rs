//! What the flows carry: a byte pattern that depends on the offset alone.
//!
//! The receiver of a stream can therefore tell that each byte is the one that was sent at this
//! place, without the two ends sharing any state.

use std::sync::LazyLock;

/// Longest piece that [`at`] returns: more than any packet holds.
pub const PIECE_MAX: usize = PERIOD;

/// Returns the `len` bytes at `offset` of the stream.
///
/// # Panics
///
/// When `len` is greater than [`PIECE_MAX`].
pub fn at(offset: u64, len: usize) -> &'static [u8] {
    assert!(len <= PIECE_MAX);
    let start = (offset % PERIOD as u64) as usize;
    &PATTERN[start..start + len]
}

/// Returns whether `bytes` are those of the stream at `offset`.
pub fn matches(offset: u64, bytes: &[u8]) -> bool {
    bytes
        .chunks(PIECE_MAX)
        .zip((offset..).step_by(PIECE_MAX))
        .all(|(piece, offset)| piece == at(offset, piece.len()))
}

/// The pattern's period: a prime, so that no packet size divides it and a displaced packet shows.
const PERIOD: usize = 65_521;

/// Two periods, so that every piece is contiguous.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut pattern: Vec<u8> = (0..PERIOD)
        .map(|_| {
            // Marsaglia's xorshift64: any sequence without a short period does.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect();
    pattern.extend_from_within(..);
    pattern
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_displaced_piece_does_not_match() {
        let piece = at(1_000_000, 1400);

        assert!(matches(1_000_000, piece));
        assert!(!matches(1_000_001, piece));
        assert!(!matches(1_001_400, piece));
    }

    #[test]
    fn the_pattern_goes_on_over_its_period() {
        let across = at(PERIOD as u64 - 10, 20);

        assert_eq!(&across[10..], at(0, 10));
        assert!(matches(PERIOD as u64 - 10, across));
    }
}

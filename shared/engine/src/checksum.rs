//! The Internet checksum (RFC 1071).

/// The one's complement sum of `bytes`, taken as big-endian 16-bit words.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    // In the machine's order, which is turned once at the end (RFC 1071, section 2 B), and in lanes
    // that the compiler puts side by side.
    let mut lanes = [0u64; 8];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    for word in blocks.remainder().chunks(4) {
        let mut last = [0; 4];
        last[..word.len()].copy_from_slice(word);
        total += u64::from(u32::from_ne_bytes(last));
    }
    u64::from(u16::from_be(fold(total)))
}

fn fold(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Folds a sum to its complement, as headers carry it.
pub(crate) fn finish(total: u64) -> u16 {
    !fold(total)
}

/// The sum of the pseudo-header of TCP, UDP and ICMPv6 (RFC 9293, 3.1; RFC 8200, 8.1).
/// `addresses` are source and destination in a row.
pub(crate) fn pseudo(addresses: &[u8], protocol: u8, len: usize) -> u64 {
    sum(addresses) + u64::from(protocol) + len as u64
}

/// Corrects a checksum for one changed 16-bit word (RFC 1624, equation 3).
pub(crate) fn adjust(checksum: u16, old: u16, new: u16) -> u16 {
    finish(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1071_holds() {
        assert_eq!(finish(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), !0xddf2);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_words(bytes: Vec<u8>) {
            let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
            let plain: u64 = bytes.chunks(2).map(word).sum();

            prop_assert_eq!(finish(sum(&bytes)), finish(plain));
        }

        #[test]
        fn an_adjusted_checksum_equals_a_fresh_one(mut bytes: [u8; 20], new: u16) {
            // All-zero data has two representations of its sum; headers are never all zero.
            bytes[0] = 0x45;
            let before = finish(sum(&bytes));
            let old = u16::from_be_bytes([bytes[4], bytes[5]]);
            bytes[4..6].copy_from_slice(&new.to_be_bytes());

            prop_assert_eq!(adjust(before, old, new), finish(sum(&bytes)));
        }
    }
}

//! The Internet checksum (RFC 1071).

/// The one's complement sum of `bytes`, taken as big-endian 16-bit words, not yet folded.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let mut total = 0u64;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        total += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum to its complement, as headers carry it.
pub(crate) fn finish(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
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

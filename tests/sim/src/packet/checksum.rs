//! The Internet checksum, RFC 1071, in the machine's own byte order.
//!
//! The one's complement sum does not depend on the byte order in which words are read, as long as the
//! result is written back in the same order (RFC 1071, section 2), and a wide word adds as the words in
//! it do.

use std::net::IpAddr;

use super::Protocol;

/// The sum of `bytes` before it is folded.
pub(super) fn sum(bytes: &[u8]) -> u128 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum: u128 = words.iter().map(|&word| u128::from(u64::from_ne_bytes(word))).sum();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    sum += u128::from(u64::from_ne_bytes(last));
    sum
}

/// The sum of the pseudo-header of TCP and UDP (RFC 9293, section 3.1, and RFC 8200, section 8.1).
pub(super) fn pseudo(
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    transport_len: usize,
) -> u128 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    let mut rest = [0; 8];
    rest[..4].copy_from_slice(&(transport_len as u32).to_be_bytes());
    rest[7] = protocol as u8;
    address(source) + address(destination) + sum(&rest)
}

/// The checksum of a sum: zero when the summed bytes hold their own right checksum.
pub(super) fn fold(sum: u128) -> u16 {
    let mut sum = sum;
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

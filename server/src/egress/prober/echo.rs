//! Echo requests and replies: ICMP (RFC 792) and ICMPv6 (RFC 4443, section 4).

use shared::host::Family;

/// What tells our echoes from others: an identifier, and a token that nobody can guess.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Token {
    pub(super) identifier: u16,
    pub(super) secret: [u8; 8],
}

/// type 1 · code 1 · checksum 2 · identifier 2 · sequence 2 · secret 8
pub(super) const ECHO_LEN: usize = 16;

/// An echo request.
///
/// The checksum of ICMPv6 covers addresses that only the kernel knows; it fills it in.
pub(super) fn request(family: Family, token: Token, sequence: u16) -> [u8; ECHO_LEN] {
    let mut echo = [0; ECHO_LEN];
    echo[0] = kinds(family).request;
    echo[4..6].copy_from_slice(&token.identifier.to_be_bytes());
    echo[6..8].copy_from_slice(&sequence.to_be_bytes());
    echo[8..].copy_from_slice(&token.secret);
    if family == Family::V4 {
        let sum = checksum(&echo);
        echo[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    echo
}

/// The sequence number in a packet of a raw socket, if it is a reply to one of our requests.
pub(super) fn reply(family: Family, token: Token, packet: &[u8]) -> Option<u16> {
    let echo = match family {
        // A raw socket of IPv4 gives the IP header too (raw(7)); one of IPv6 does not.
        Family::V4 => packet.get(usize::from(packet.first()? & 0x0f) * 4..)?,
        Family::V6 => packet,
    };
    let echo: &[u8; ECHO_LEN] = echo.get(..ECHO_LEN)?.try_into().ok()?;
    let ours = echo[0] == kinds(family).reply
        && echo[1] == 0
        && echo[4..6] == token.identifier.to_be_bytes()
        && echo[8..] == token.secret;
    ours.then(|| u16::from_be_bytes([echo[6], echo[7]]))
}

struct Kinds {
    request: u8,
    reply: u8,
}

fn kinds(family: Family) -> Kinds {
    match family {
        Family::V4 => Kinds { request: 8, reply: 0 },
        Family::V6 => Kinds { request: 128, reply: 129 },
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token { identifier: 0x1234, secret: *b"hawser!!" };

    #[test]
    fn a_request_has_a_sum_that_comes_out_even() {
        let echo = request(Family::V4, TOKEN, 7);

        assert_eq!(checksum(&echo), 0);
        assert_eq!(echo[0], 8);
    }

    #[test]
    fn a_reply_gives_its_sequence_number_back() {
        let mut echo = request(Family::V6, TOKEN, 0xbeef);
        echo[0] = 129;
        let mut packet = vec![0x46; 24];
        let mut v4 = request(Family::V4, TOKEN, 9);
        v4[0] = 0;
        packet.extend(v4);

        assert_eq!(reply(Family::V6, TOKEN, &echo), Some(0xbeef));
        assert_eq!(reply(Family::V4, TOKEN, &packet), Some(9), "behind IP options");
    }

    #[test]
    fn anything_else_is_not_ours() {
        let mut echo = request(Family::V6, TOKEN, 1);
        assert_eq!(reply(Family::V6, TOKEN, &echo), None, "a request");
        echo[0] = 129;
        echo[9] ^= 1;
        assert_eq!(reply(Family::V6, TOKEN, &echo), None, "another's secret");
        for length in 0..ECHO_LEN {
            assert_eq!(reply(Family::V6, TOKEN, &echo[..length]), None);
            assert_eq!(reply(Family::V4, TOKEN, &echo[..length]), None);
        }
        assert_eq!(reply(Family::V4, TOKEN, &[0x4f; 20]), None);
    }
}

//! The few bytes of a QUIC header that can be read without keys (RFC 9000, section 17; RFC 8999).

/// Whether a datagram belongs to the control plane: QUIC's fixed bit is set (RFC 9000, section
/// 17.2), which the data plane's own datagrams never do.
///
/// In a buffer of coalesced segments this must be asked of each segment.
pub fn is_control(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & FIXED_BIT != 0)
}

/// What a datagram says about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Header<'a> {
    /// A packet of an established connection, or a stateless reset. The id is there if the
    /// datagram is long enough for one of ours.
    Short { destination: Option<&'a [u8]> },
    /// What may begin a handshake.
    Initial { destination: &'a [u8], token: Token },
    /// Any other packet with a long header.
    Long { destination: &'a [u8] },
}

/// Whether an Initial carries an address validation token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    Absent,
    Present,
}

impl<'a> Header<'a> {
    /// Reads a header, `None` if it is malformed. `id_len` is the length of our own ids.
    pub(crate) fn parse(datagram: &'a [u8], id_len: usize) -> Option<Self> {
        let (&first, rest) = datagram.split_first()?;
        if first & FIXED_BIT == 0 {
            return None;
        }
        if first & LONG_BIT == 0 {
            return Some(Self::Short { destination: rest.get(..id_len) });
        }
        // Both ends speak version 1 only, so there is nothing to negotiate.
        let rest = rest.strip_prefix(&VERSION_1)?;
        let (destination, rest) = prefixed(rest)?;
        let (_source, rest) = prefixed(rest)?;
        if first & TYPE_BITS != TYPE_INITIAL {
            return Some(Self::Long { destination });
        }
        // A length of zero is one zero byte; longer encodings of zero are legal, but nobody sends
        // them, and taking them for a token costs its sender nothing but a smaller allowance.
        let token = if *rest.first()? == 0 { Token::Absent } else { Token::Present };
        Some(Self::Initial { destination, token })
    }
}

/// Splits off a field that a one-byte length precedes.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(len))
}

const LONG_BIT: u8 = 0x80;
const FIXED_BIT: u8 = 0x40;
const TYPE_BITS: u8 = 0x30;
const TYPE_INITIAL: u8 = 0x00;
const VERSION_1: [u8; 4] = [0, 0, 0, 1];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_data_plane_and_the_control_plane_are_told_apart_by_one_bit() {
        assert!(is_control(&[0x40]));
        assert!(is_control(&[0xc3, 0, 0, 0, 1]));
        assert!(!is_control(&[0x30, 0x40]));
        assert!(!is_control(&[]));
    }

    #[test]
    fn a_short_header_carries_only_the_id() {
        let header = Header::parse(&[0x41, 1, 2, 3, 4, 5], 4);

        assert_eq!(header, Some(Header::Short { destination: Some(&[1, 2, 3, 4]) }));
    }

    #[test]
    fn an_initial_shows_its_id_and_whether_it_has_a_token() {
        let bare = [0xc0, 0, 0, 0, 1, 2, 7, 8, 1, 9, 0, 0];
        let mut with_token = bare;
        with_token[10] = 5;

        let expect = |token| Some(Header::Initial { destination: &[7, 8], token });
        assert_eq!(Header::parse(&bare, 4), expect(Token::Absent));
        assert_eq!(Header::parse(&with_token, 4), expect(Token::Present));
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let header = Header::parse(&bytes, 16);

            prop_assert!(header.is_none() || is_control(&bytes));
        }
    }
}

//! How a control connection ends, and how one end tells the other.
//!
//! A refusal or a goodbye travels in QUIC's own closing frame (RFC 9000, section 19.19): a number
//! and a line of text. It needs no stream, arrives in one datagram, and is repeated by QUIC as long
//! as the peer keeps sending.

use std::fmt;

use quinn::{ConnectionError, TransportErrorCode, VarInt};

use super::tls::{ALERT_ACCESS_DENIED, ALERT_NO_PROTOCOL};

/// The server will not let this client in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refusal {
    /// Which kind of refusal.
    pub code: RefusalCode,
    /// One line for people.
    pub reason: String,
}

impl Refusal {
    /// A refusal; of a longer reason, the first part is sent.
    pub fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// Why a server refuses a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalCode {
    /// The server shuts down and takes nobody.
    Draining,
    /// No place or no address is free.
    Full,
    /// Another code, from a server that is newer than this client.
    Other(u32),
    /// The client asks for what the server does not offer.
    Unsuitable,
    /// The client was removed.
    Removed,
    /// The server does not know the client's key.
    UnknownKey,
    /// No version of the wire format in common.
    Version,
}

impl RefusalCode {
    fn number(self) -> u32 {
        match self {
            Self::UnknownKey => 0x101,
            Self::Removed => 0x102,
            Self::Full => 0x103,
            Self::Version => 0x104,
            Self::Draining => 0x105,
            Self::Unsuitable => 0x106,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u32) -> Self {
        match number {
            0x101 => Self::UnknownKey,
            0x102 => Self::Removed,
            0x103 => Self::Full,
            0x104 => Self::Version,
            0x105 => Self::Draining,
            0x106 => Self::Unsuitable,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "the server does not know this key",
            Self::Removed => "the server has removed this client",
            Self::Full => "the server is full",
            Self::Version => "the server speaks another version",
            Self::Draining => "the server is shutting down",
            Self::Unsuitable => "the server does not offer what this client asks for",
            Self::Other(number) => return write!(f, "the server refuses (code {number:#x})"),
        })
    }
}

/// One end leaves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Goodbye {
    /// Which kind of goodbye.
    pub code: GoodbyeCode,
    /// One line for people.
    pub reason: String,
}

impl Goodbye {
    /// A goodbye; of a longer reason, the first part is sent.
    pub fn new(code: GoodbyeCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

impl fmt::Display for Goodbye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            return self.code.fmt(f);
        }
        write!(f, "{}: {}", self.code, self.reason)
    }
}

/// Why one end leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GoodbyeCode {
    /// It was asked to end.
    Ended,
    /// The peer sent what this version does not allow.
    Misbehaved,
    /// Another code, from a peer that is newer than this end.
    Other(u32),
    /// The client was removed from the server's configuration.
    Removed,
    /// The same machine has a fresh control connection.
    Renewed,
    /// Another machine joined with the same key.
    Replaced,
}

impl GoodbyeCode {
    fn number(self) -> u32 {
        match self {
            Self::Ended => 0x201,
            Self::Removed => 0x202,
            Self::Replaced => 0x203,
            Self::Renewed => 0x204,
            Self::Misbehaved => 0x205,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u32) -> Self {
        match number {
            0x201 => Self::Ended,
            0x202 => Self::Removed,
            0x203 => Self::Replaced,
            0x204 => Self::Renewed,
            0x205 => Self::Misbehaved,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for GoodbyeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "ended",
            Self::Removed => "removed",
            Self::Replaced => "replaced by another machine with the same key",
            Self::Renewed => "renewed by a fresh connection",
            Self::Misbehaved => "the peer misbehaved",
            Self::Other(number) => return write!(f, "ended (code {number:#x})"),
        })
    }
}

/// Why a control connection is over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// QUIC or TLS failed; the text says how.
    Broken(String),
    /// This end said goodbye.
    Left(Goodbye),
    /// The peer said goodbye.
    Goodbye(Goodbye),
    /// The peer refuses.
    Refused(Refusal),
    /// The peer has restarted and knows nothing of the connection (RFC 9000, section 10.3).
    Restarted,
    /// Nothing was heard from the peer for longer than the idle time.
    Silent,
}

impl Cause {
    /// Whether the server decided against this client, so that trying again is of no use.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Goodbye(goodbye) => {
                matches!(goodbye.code, GoodbyeCode::Removed | GoodbyeCode::Replaced)
            }
            Self::Refused(refusal) => refusal.code != RefusalCode::Draining,
            Self::Broken(_) | Self::Left(_) | Self::Restarted | Self::Silent => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(text) => write!(f, "the connection failed: {text}"),
            Self::Left(goodbye) => write!(f, "this end left ({goodbye})"),
            Self::Goodbye(goodbye) => write!(f, "the peer left ({goodbye})"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Restarted => f.write_str("the peer has restarted"),
            Self::Silent => f.write_str("the peer fell silent"),
        }
    }
}

impl From<ConnectionError> for Cause {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let reason = plain(&String::from_utf8_lossy(&close.reason));
                match u32::try_from(close.error_code.into_inner()) {
                    Ok(number @ 0x100..=0x1ff) => {
                        Self::Refused(Refusal { code: RefusalCode::from_number(number), reason })
                    }
                    Ok(number) => {
                        Self::Goodbye(Goodbye { code: GoodbyeCode::from_number(number), reason })
                    }
                    Err(_) => Self::Broken(format!("closed with code {}", close.error_code)),
                }
            }
            ConnectionError::ConnectionClosed(close) => refused_by_tls(close.error_code)
                .map_or_else(|| Self::Broken(plain(&close.to_string())), Self::Refused),
            ConnectionError::Reset => Self::Restarted,
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::LocallyClosed => {
                Self::Left(Goodbye::new(GoodbyeCode::Ended, String::new()))
            }
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::CidsExhausted => Self::Broken(plain(&error.to_string())),
        }
    }
}

/// Closes a connection with a refusal.
pub(crate) fn refuse(connection: &quinn::Connection, refusal: &Refusal) {
    close(connection, refusal.code.number(), &refusal.reason);
}

/// Closes a connection with a goodbye.
pub(crate) fn say_goodbye(connection: &quinn::Connection, goodbye: &Goodbye) {
    close(connection, goodbye.code.number(), &goodbye.reason);
}

fn close(connection: &quinn::Connection, number: u32, reason: &str) {
    connection.close(VarInt::from_u32(number), plain(reason).as_bytes());
}

fn refused_by_tls(code: TransportErrorCode) -> Option<Refusal> {
    let (code, reason) = if code == TransportErrorCode::crypto(ALERT_ACCESS_DENIED) {
        (RefusalCode::UnknownKey, "add it there with `hawser-server client add NAME --pubkey KEY`")
    } else if code == TransportErrorCode::crypto(ALERT_NO_PROTOCOL) {
        (RefusalCode::Version, "install versions of both ends that are no more than one apart")
    } else {
        return None;
    };
    Some(Refusal::new(code, reason))
}

/// Text from elsewhere, fit for a terminal and short enough for one datagram.
fn plain(text: &str) -> String {
    let mut plain: String = text.chars().filter(|c| !c.is_control()).collect();
    plain.truncate(plain.floor_char_boundary(REASON_MAX));
    plain
}

/// Bytes of a reason; the frame must fit into one datagram of 1200 bytes.
const REASON_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        use {GoodbyeCode as G, RefusalCode as R};
        for code in [R::UnknownKey, R::Removed, R::Full, R::Version, R::Draining, R::Unsuitable] {
            assert_eq!(R::from_number(code.number()), code);
            assert!((0x100..=0x1ff).contains(&code.number()));
        }
        for code in [G::Ended, G::Removed, G::Replaced, G::Renewed, G::Misbehaved] {
            assert_eq!(G::from_number(code.number()), code);
            assert!((0x200..=0x2ff).contains(&code.number()));
        }
        assert_eq!(R::from_number(0x1fe), R::Other(0x1fe));
    }

    #[test]
    fn a_reason_cannot_paint_the_terminal_or_fill_the_datagram() {
        assert_eq!(plain("a\x1b[31mb\nc"), "a[31mbc");
        assert_eq!(plain(&"é".repeat(600)).len(), REASON_MAX);
        assert_eq!(plain(&format!("x{}", "é".repeat(600))).len(), REASON_MAX - 1);
    }

    #[test]
    fn only_a_decision_of_the_server_is_a_refusal() {
        let goodbye = |code| Cause::Goodbye(Goodbye::new(code, ""));
        let refused = |code| Cause::Refused(Refusal::new(code, ""));

        assert!(goodbye(GoodbyeCode::Replaced).is_refusal());
        assert!(goodbye(GoodbyeCode::Removed).is_refusal());
        assert!(refused(RefusalCode::UnknownKey).is_refusal());
        assert!(!refused(RefusalCode::Draining).is_refusal());
        assert!(!goodbye(GoodbyeCode::Ended).is_refusal());
        assert!(!Cause::Silent.is_refusal());
    }
}

//! Why a dial failed, by whose fault.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::control::ending::Refusal;
use crate::control::identity::PublicKey;

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// This end cannot even begin.
    #[error("the handshake cannot begin: {0}")]
    Impossible(String),
    /// There is no link, or none of the server's address family.
    #[error(
        "no link can reach the server: no interface that may be used has a default route for the \
         address family of {0}"
    )]
    NoLink(String),
    /// The server decided against this client.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Nothing answered.
    #[error("no answer from the server in {waited:.1?}; tried {}. {REMEDY}", Listed(tried))]
    Unreachable {
        /// Everything that was tried, and what came of it.
        tried: Vec<Tried>,
        /// How long.
        waited: Duration,
    },
    /// No name of the server has an address.
    #[error("{0}: see whether the name is right and the resolver works without the tunnel")]
    Unresolved(String),
    /// Something answers at the server's address, with another key.
    #[error(
        "the machine at {address} proved the key {found}, but the server's key is {expected}: if \
         the server got a new key, put it into this client's configuration; if not, another \
         machine answers in the server's place"
    )]
    WrongServerKey {
        /// Where it answered.
        address: SocketAddr,
        /// The key in the configuration.
        expected: PublicKey,
        /// The key that was proven.
        found: PublicKey,
    },
}

/// One link and address that was tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tried {
    /// The link's name.
    pub link: String,
    /// The server's address.
    pub address: SocketAddr,
    /// What came of it.
    pub outcome: String,
}

struct Listed<'a>(&'a [Tried]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Tried { link, address, outcome }) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{address} by {link} ({outcome})")?;
        }
        Ok(())
    }
}

const REMEDY: &str = "See whether hawser-server runs there, and whether a firewall on the way \
                      lets UDP to this port through";

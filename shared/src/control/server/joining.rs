//! A client that asks to be let in.

use std::net::SocketAddr;

use tokio::sync::oneshot;

use super::{ClientConnection, ConnectionNumber};
use crate::control::ending::Refusal;
use crate::control::message::{Grant, Hello};
use crate::control::secret::RootSecret;

/// A client that has proven its key and said hello. Answer it by [`grant`](Self::grant) or
/// [`refuse`](Self::refuse); dropping it refuses too.
#[derive(Debug)]
pub struct Joining {
    /// The connection: its number, the client's name and key, where it comes from.
    pub connection: ClientConnection,
    /// What the client said.
    pub hello: Hello,
    /// The root secret that both ends share.
    pub secret: RootSecret,
    /// The connection that a grant will end, if this key is in already.
    pub predecessor: Option<Predecessor>,
    pub(super) answer: oneshot::Sender<Result<Grant, Refusal>>,
}

/// The connection that a grant ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Predecessor {
    /// Which one.
    pub connection: ConnectionNumber,
    /// Where it came from.
    pub remote: SocketAddr,
    /// Whether it is another machine or the same one coming again.
    pub machine: Machine,
}

/// Which machine a key's two connections belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Machine {
    /// Another one, or the same after its program was started anew.
    Another,
    /// The same run of the same program.
    Same,
}

impl Joining {
    /// Lets the client in, and ends its predecessor.
    pub fn grant(self, grant: Grant) {
        // If the client is gone, there is nobody to tell.
        let _ = self.answer.send(Ok(grant));
    }

    /// Keeps the client out.
    pub fn refuse(self, refusal: Refusal) {
        let _ = self.answer.send(Err(refusal));
    }
}

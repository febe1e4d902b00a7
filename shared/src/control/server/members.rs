//! The clients that are in: at most one connection for each key.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{ClientConnection, ConnectionNumber};
use crate::control::identity::PublicKey;
use crate::control::wire::lock;

/// The connections of clients that were let in, by key.
///
/// Its size is bounded by the number of keys that the server knows.
#[derive(Debug, Default)]
pub(super) struct Members(Mutex<BTreeMap<PublicKey, ClientConnection>>);

impl Members {
    /// Takes a client in; returns the connection that this replaces.
    pub(super) fn insert(&self, connection: ClientConnection) -> Option<ClientConnection> {
        lock(&self.0).insert(connection.key, connection)
    }

    /// Removes a connection, unless another took its place.
    pub(super) fn remove(&self, key: &PublicKey, number: ConnectionNumber) {
        let mut members = lock(&self.0);
        if members.get(key).is_some_and(|member| member.number == number) {
            members.remove(key);
        }
    }

    pub(super) fn find(&self, key: &PublicKey) -> Option<ClientConnection> {
        lock(&self.0).get(key).cloned()
    }

    pub(super) fn all(&self) -> Vec<ClientConnection> {
        lock(&self.0).values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

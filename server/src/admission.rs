//! Who may connect.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use ipnet::IpNet;
use shared::control::{Admission, ClientName, PublicKey};

use crate::clients::Client;

/// The clients as the handshakes see them; changed while the server runs.
#[derive(Debug)]
pub(crate) struct GuestBook {
    clients: RwLock<BTreeMap<String, Client>>,
}

impl GuestBook {
    pub(crate) fn new<'c>(clients: impl IntoIterator<Item = &'c Client>) -> Self {
        let by_name = |client: &Client| (client.name.clone(), client.clone());
        Self { clients: RwLock::new(clients.into_iter().map(by_name).collect()) }
    }

    pub(crate) fn insert(&self, client: Client) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        clients.insert(client.name.clone(), client);
    }

    pub(crate) fn remove(&self, name: &str) -> Option<Client> {
        self.clients.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// The networks behind all clients.
    pub(crate) fn prefixes(&self) -> Vec<IpNet> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.values().flat_map(|client| client.prefixes.iter().copied()).collect()
    }

    pub(crate) fn client(&self, name: &str) -> Option<Client> {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Admission for GuestBook {
    fn identify(&self, key: &PublicKey) -> Option<ClientName> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.values().find(|client| client.public_key == *key).map(|c| c.name.as_str().into())
    }
}

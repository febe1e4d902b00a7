//! The server's addresses: names are looked up for every dial, outside the tunnel.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::control::wire::lock;

/// The names of one server, and what they last meant.
#[derive(Debug)]
pub(crate) struct Names(Vec<Name>);

#[derive(Debug)]
struct Name {
    text: String,
    last: Mutex<Vec<SocketAddr>>,
}

impl Names {
    pub(crate) fn new(names: Vec<String>) -> Self {
        let name = |text| Name { text, last: Mutex::default() };
        Self(names.into_iter().take(NAMES_MAX).map(name).collect())
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The addresses of the name at `index`. When the resolver does not answer, those that it gave
    /// last time: it may be the very outage that makes us dial.
    pub(crate) async fn resolve(&self, index: usize) -> Result<Vec<SocketAddr>, String> {
        let Some(name) = self.0.get(index) else { return Ok(Vec::new()) };
        if let Ok(address) = name.text.parse() {
            return Ok(vec![address]);
        }
        let failure = match timeout(LOOKUP_MAX, lookup_host(&name.text)).await {
            Ok(Ok(addresses)) => {
                let addresses: Vec<_> = addresses.take(ADDRESSES_MAX).collect();
                lock(&name.last).clone_from(&addresses);
                if !addresses.is_empty() {
                    return Ok(addresses);
                }
                "it has no address".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the resolver does not answer".to_owned(),
        };
        let last = lock(&name.last).clone();
        if last.is_empty() { Err(format!("resolve {}: {failure}", name.text)) } else { Ok(last) }
    }
}

/// Names of one server.
const NAMES_MAX: usize = 16;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long the resolver may take before the last known addresses must do.
const LOOKUP_MAX: Duration = Duration::from_secs(2);

//! The server's addresses: names are looked up for every dial, outside the tunnel.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::DialLink;
use super::lookup::lookup;
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

    /// What all names are known to mean.
    pub(crate) fn known(&self) -> Vec<SocketAddr> {
        let meaning = |name: &Name| match name.text.parse() {
            Ok(address) => vec![address],
            Err(_) => lock(&name.last).clone(),
        };
        self.0.iter().flat_map(meaning).collect()
    }

    /// The addresses of the name at `index`: what the system's resolver says, or, outside the
    /// tunnel, those behind it, whoever is first. When none answers, those of last time: it may be
    /// the very outage that makes us dial.
    pub(crate) async fn resolve(
        &self,
        index: usize,
        links: &[DialLink],
    ) -> Result<Vec<SocketAddr>, String> {
        let Some(name) = self.0.get(index) else { return Ok(Vec::new()) };
        if let Ok(address) = name.text.parse() {
            return Ok(vec![address]);
        }
        let looked_up = timeout(LOOKUP_MAX, look_up(&name.text, links)).await;
        let failure = match looked_up.unwrap_or(Err("the resolver does not answer".to_owned())) {
            Ok(mut addresses) => {
                addresses.truncate(ADDRESSES_MAX);
                lock(&name.last).clone_from(&addresses);
                return Ok(addresses);
            }
            Err(failure) => failure,
        };
        let last = lock(&name.last).clone();
        if last.is_empty() { Err(format!("resolve {}: {failure}", name.text)) } else { Ok(last) }
    }
}

async fn look_up(text: &str, links: &[DialLink]) -> Result<Vec<SocketAddr>, String> {
    let outside = async {
        let Some((host, port)) = text.rsplit_once(':') else { return Vec::new() };
        let Ok(port) = port.parse() else { return Vec::new() };
        let addresses = lookup(host, links).await;
        addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
    };
    let system = async {
        let addresses = lookup_host(text).await.map_err(|error| error.to_string())?;
        let addresses: Vec<SocketAddr> = addresses.collect();
        if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
    };
    let (mut outside, mut system) = (pin!(outside), pin!(system));
    tokio::select! {
        found = &mut outside => {
            if found.is_empty() { system.await } else { Ok(found) }
        }
        found = &mut system => match found {
            Ok(found) => Ok(found),
            Err(failure) => {
                let found = outside.await;
                if found.is_empty() { Err(failure) } else { Ok(found) }
            }
        }
    }
}

/// Names of one server.
const NAMES_MAX: usize = 16;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long the resolver may take before the last known addresses must do.
const LOOKUP_MAX: Duration = Duration::from_secs(2);

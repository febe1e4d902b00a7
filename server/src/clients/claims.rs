//! What belongs to whom: keys, leases and prefixes, each to one client.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use shared::{config::Wrong, control::PublicKey};

use super::{Client, overlap};
use crate::leases::{Pools, of_hosts};

/// What clients have, with their names.
#[derive(Debug, Default)]
pub(super) struct Claims {
    keys: BTreeMap<PublicKey, String>,
    leases: BTreeMap<IpAddr, String>,
    /// By their first address; no two overlap.
    prefixes: BTreeMap<IpAddr, (IpNet, String)>,
}

impl Claims {
    /// Notes what a client has.
    pub(super) fn add(&mut self, client: &Client) {
        let name = || client.name.clone();
        self.keys.insert(client.public_key, name());
        self.leases.extend(client.lease.addresses().map(|address| (address, name())));
        let prefixes = client.prefixes.iter().map(|it| (it.network(), (*it, name())));
        self.prefixes.extend(prefixes);
    }

    /// Whether nothing of the client belongs to another.
    pub(super) fn admit(&self, client: &Client, pools: Pools) -> bool {
        self.judge_key(&client.public_key).is_ok()
            && client.lease.addresses().all(|address| self.judge_lease(address).is_ok())
            && client.prefixes.iter().all(|prefix| self.judge_prefix(*prefix, pools).is_ok())
    }

    /// All leases.
    pub(super) fn leases(&self) -> BTreeSet<IpAddr> {
        self.leases.keys().copied().collect()
    }

    /// Whether a key is free.
    pub(super) fn judge_key(&self, key: &PublicKey) -> Result<(), Wrong> {
        match self.keys.get(key) {
            None => Ok(()),
            Some(name) => Err(Wrong::new(format!("the client \"{name}\" has this public key"))
                .right("each client needs its own")),
        }
    }

    /// Whether an address is free.
    pub(super) fn judge_lease(&self, address: IpAddr) -> Result<(), Wrong> {
        match self.leases.get(&address) {
            None => Ok(()),
            Some(name) => Err(Wrong::new(format!("the client \"{name}\" has {address}"))
                .right("write a free address")),
        }
    }

    /// Whether a prefix may stand behind a client, and stands behind no other.
    pub(super) fn judge_prefix(&self, prefix: IpNet, pools: Pools) -> Result<(), Wrong> {
        of_hosts(prefix)?;
        if let Some(pool) = pools.networks().find(|pool| overlap(pool, &prefix)) {
            return Err(Wrong::new(format!("{prefix} overlaps with the pool {pool}")));
        }
        // None of ours overlap, so that only the last one to begin in time can reach into it.
        let before = self.prefixes.range(..=prefix.broadcast()).next_back();
        match before.filter(|(_, (other, _))| overlap(other, &prefix)) {
            None => Ok(()),
            Some((_, (other, name))) => {
                Err(Wrong::new(format!("{prefix} overlaps with {other} of the client \"{name}\"")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leases::Lease;

    #[test]
    fn overlapping_prefixes_are_found_whichever_is_wider() {
        let mut claims = Claims::default();
        claims.add(&client(&["10.1.0.0/16", "10.3.3.0/24", "fd01::/48"]));

        for bad in [
            "10.1.2.0/24",
            "10.1.0.0/16",
            "10.0.0.0/8",
            "10.3.0.0/16",
            "fd01::/64",
            "fd00::/8",
            "0.0.0.0/0",
            "::/0",
            "10.77.5.0/24",
            "224.0.0.0/24",
            "127.0.0.0/8",
            "ff02::/16",
        ] {
            assert!(claims.judge_prefix(bad.parse().unwrap(), pools()).is_err(), "{bad}");
        }
        for good in ["10.2.0.0/16", "10.3.4.0/24", "10.4.0.0/14", "fd02::/48", "::ffff:0:0/96"] {
            assert_eq!(claims.judge_prefix(good.parse().unwrap(), pools()), Ok(()), "{good}");
        }
    }

    #[test]
    fn keys_and_leases_belong_to_one_client() {
        let mut claims = Claims::default();
        let first = client(&[]);
        claims.add(&first);

        assert!(claims.judge_key(&first.public_key).unwrap_err().what().contains("\"a\""));
        assert!(claims.judge_lease("10.77.0.2".parse().unwrap()).is_err());
        assert!(!claims.admit(&first, pools()));
    }

    fn client(prefixes: &[&str]) -> Client {
        Client {
            name: "a".to_owned(),
            public_key: PublicKey::from([7; 32]),
            lease: Lease { v4: "10.77.0.2".parse().unwrap(), v6: None },
            prefixes: prefixes.iter().map(|it| it.parse().unwrap()).collect(),
            modes: Vec::new(),
        }
    }

    fn pools() -> Pools {
        Pools { v4: "10.77.0.0/16".parse().unwrap(), v6: None }
    }
}

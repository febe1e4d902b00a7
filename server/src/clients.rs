//! The clients: one file for each.

use std::fmt::Write as _;

use ipnet::IpNet;
use shared::{
    config::{Document, Placed, Wrong, cidr, parsed, word},
    control::PublicKey,
    exit::Error,
    mode::Mode,
};

use self::claims::Claims;
pub(crate) use self::folder::{Changes, ClientsFolder};
use crate::leases::{Lease, Pools};

pub(crate) mod command;

mod claims;
mod folder;
mod watch;

/// One client, as its file says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Client {
    /// The stem of the file's name.
    pub(crate) name: String,
    /// Who it is; no other client has it.
    pub(crate) public_key: PublicKey,
    /// Its inner addresses; no other client has them.
    pub(crate) lease: Lease,
    /// The networks behind it, at most [`PREFIXES_MAX`]; they overlap with nobody's.
    pub(crate) prefixes: Vec<IpNet>,
    /// The modes that it may choose; all of them when empty.
    pub(crate) modes: Vec<Mode>,
}

impl Client {
    /// Reads a client's file. What `claims` has belongs to others.
    ///
    /// # Errors
    /// Lists all that is wrong.
    fn read(document: &Document, name: &str, pools: Pools, claims: &Claims) -> Result<Self, Error> {
        document.read(|table| {
            let wanted = "a public key: 44 characters of base64, as `hawser pubkey` prints it";
            let public_key = table.required("public_key", |value| {
                let key = word(wanted)(value)?;
                claims.judge_key(&key)?;
                Ok(key)
            });
            let v4 = table.required("lease", |value| {
                let address = word("an IPv4 address")(value)?;
                pools.judge(std::net::IpAddr::V4(address))?;
                claims.judge_lease(address.into())?;
                Ok(address)
            });
            let v6 = table.optional("lease6", |value| {
                let address = word("an IPv6 address")(value)?;
                pools.judge(std::net::IpAddr::V6(address))?;
                claims.judge_lease(address.into())?;
                Ok(address)
            });
            let prefixes = table.list("prefixes", |value| {
                let prefix = cidr(value)?;
                claims.judge_prefix(prefix, pools)?;
                Ok(prefix)
            });
            for (index, prefix) in prefixes.iter().enumerate() {
                if prefixes[..index].iter().any(|it| overlap(it.get_ref(), prefix.get_ref())) {
                    let wrong =
                        Wrong::new(format!("{} overlaps with one before", prefix.get_ref()));
                    table.note(prefix.span(), wrong.right("remove one"));
                }
            }
            table.limit("prefixes", prefixes.len(), PREFIXES_MAX);
            let modes = table.list("modes", parsed);
            Some(Self {
                name: name.to_owned(),
                public_key: public_key?.into_inner(),
                lease: Lease { v4: v4?.into_inner(), v6: v6.map(Placed::into_inner) },
                prefixes: prefixes.into_iter().map(Placed::into_inner).collect(),
                modes: modes.into_iter().map(Placed::into_inner).collect(),
            })
        })
    }

    /// The client's file.
    fn to_toml(&self) -> String {
        let mut out = format!("# hawser-server: the client \"{}\"\n", self.name);
        let _ = writeln!(out, "public_key = \"{}\"", self.public_key);
        let _ = writeln!(out, "# Its addresses inside the tunnel.");
        let _ = writeln!(out, "lease = \"{}\"", self.lease.v4);
        if let Some(v6) = self.lease.v6 {
            let _ = writeln!(out, "lease6 = \"{v6}\"");
        }
        let quoted: Vec<String> = self.prefixes.iter().map(|it| format!("\"{it}\"")).collect();
        let _ = writeln!(out, "# Networks behind it.");
        let _ = writeln!(out, "prefixes = [{}]", quoted.join(", "));
        let _ = writeln!(out, "# Which modes it may choose (all of them without this line).");
        let _ = writeln!(out, "#modes = [\"split\", \"duplicate\"]");
        out
    }

    /// Whether the client may choose `mode`.
    pub(crate) fn may_choose(&self, mode: Mode) -> bool {
        self.modes.is_empty() || self.modes.contains(&mode)
    }
}

/// A branch has a few networks; thousands belong in a routing protocol.
const PREFIXES_MAX: usize = 64;

/// Whether two networks have an address in common.
fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

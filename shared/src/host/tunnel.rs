//! Which packets of the client's host enter the tunnel.

use ipnet::IpNet;

use super::{Family, HostState, Mark, Result, Route, Rule, families};

/// The mark of our outer sockets (SO_MARK), by which they stay out of a full tunnel.
///
/// A byte of its own, so that marks of others (Tailscale has the third byte, Kubernetes bits 14
/// and 15, wg-quick 51820) stay intact beside it.
pub const OUTER_MARK: Mark = Mark { value: 0x4800_0000, mask: 0xff00_0000 };

/// Which destinations lead into the tunnel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destinations {
    /// All but what the main table has a route for that is no default route: a full tunnel.
    All,
    /// These.
    Only(Vec<IpNet>),
}

/// What leads into the tunnel, and what it has to carry it.
#[derive(Clone, Copy, Debug)]
pub struct TunnelRoutes<'a> {
    /// The TUN, which is up.
    pub tun: &'a str,
    /// What leads into it.
    pub destinations: &'a Destinations,
    /// The families that the tunnel has inner addresses for. A full tunnel refuses the other one,
    /// so that nothing goes around it and programs try the family that works.
    pub inner: &'a [Family],
    /// The interfaces of the links. One that comes later needs
    /// [`HostState::loosen_reverse_path_filter`] of its own.
    pub links: &'a [String],
}

/// Installs the routes.
///
/// A full tunnel has a table of its own, asked for by two rules before the main table: first main
/// without its default routes, then, for packets without our mark, the table with the tunnel. Our
/// outer sockets carry [`OUTER_MARK`] and are bound to their interface, so a server's address
/// never leads into the tunnel, whatever the routes say.
///
/// # Errors
/// When the kernel or the journal refuses.
pub async fn install_routes(host: &HostState, tunnel: &TunnelRoutes<'_>) -> Result<()> {
    for link in tunnel.links {
        // The route back to a server may lead into the tunnel.
        host.loosen_reverse_path_filter(link).await?;
    }
    match tunnel.destinations {
        Destinations::Only(prefixes) => {
            let carried =
                prefixes.iter().filter(|net| tunnel.inner.contains(&Family::of_net(**net)));
            let route = |net: &IpNet| Route::to_interface(net.trunc(), tunnel.tun);
            host.add_routes(carried.map(route)).await
        }
        Destinations::All => install_full(host, tunnel).await,
    }
}

async fn install_full(host: &HostState, tunnel: &TunnelRoutes<'_>) -> Result<()> {
    let table = free_table(host).await?;
    for family in families()? {
        let route = if tunnel.inner.contains(&family) {
            Route { table, ..Route::to_interface(family.default_net(), tunnel.tun) }
        } else {
            Route::unreachable(family, table)
        };
        host.add_route(route).await?;
        let main = Rule::lookup(family, PRIORITY, Route::MAIN).without_default();
        let through = Rule::lookup(family, PRIORITY + 1, table).with_mark(OUTER_MARK);
        // The rule that needs the other one comes last: nothing is cut off in between.
        host.add_rule(main).await?;
        host.add_rule(Rule { invert: true, ..through }).await?;
    }
    Ok(())
}

/// The first table of ours that nobody has a route in.
async fn free_table(host: &HostState) -> Result<u32> {
    let mut taken = Vec::new();
    for family in Family::ALL {
        let ours = |route: &Route| TABLES.contains(&route.table);
        taken.extend(
            host.netlink().routes(family, None, ours).await?.iter().map(|route| route.table),
        );
    }
    Ok(TABLES.clone().find(|table| !taken.contains(table)).unwrap_or(TABLES.start))
}

/// "HA" in ASCII and what follows: as many full tunnels as anybody would want at once.
const TABLES: std::ops::Range<u32> = 18_497..18_505;
/// Before the main table (32766) and before what wg-quick and networkd add there.
const PRIORITY: u32 = 9200;

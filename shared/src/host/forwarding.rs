//! Lets the host forward by single interfaces.

use super::{Family, HostState, Result, read_sysctl, sysctl_path};

/// Lets packets that come in by an interface be forwarded, where the host doesn't do so already.
///
/// IPv4 is asked for by interface. IPv6 is too where the kernel can (force_forwarding, Linux 6.17);
/// elsewhere the whole host becomes a router, and interfaces that take their routes from router
/// advertisements are told to go on doing that (accept_ra 2), as a router otherwise would not.
///
/// # Errors
/// When a sysctl can't be set, or remembered.
pub async fn enable_forwarding(host: &HostState, interface: &str) -> Result<()> {
    for family in families()? {
        match family {
            Family::V4 => enable_v4(host, interface).await?,
            Family::V6 => enable_v6(host, interface).await?,
        }
    }
    host.loosen_reverse_path_filter(interface).await
}

/// The families that this kernel has.
///
/// # Errors
/// When /proc/sys can't be read.
pub fn families() -> Result<Vec<Family>> {
    let mut families = vec![Family::V4];
    if read_sysctl("net/ipv6/conf/all/forwarding")?.is_some() {
        families.push(Family::V6);
    }
    Ok(families)
}

async fn enable_v4(host: &HostState, interface: &str) -> Result<()> {
    let path = sysctl_path("ipv4", interface, "forwarding");
    if read_sysctl(&path)?.is_some() {
        host.set_sysctl(&path, "1").await?;
    }
    Ok(())
}

async fn enable_v6(host: &HostState, interface: &str) -> Result<()> {
    let all = sysctl_path("ipv6", "all", "forwarding");
    if read_sysctl(&all)?.as_deref() != Some("0") {
        return Ok(());
    }
    let one = sysctl_path("ipv6", interface, "force_forwarding");
    if read_sysctl(&one)?.is_some() {
        host.set_sysctl(&one, "1").await?;
        return Ok(());
    }
    for link in host.netlink().default_links().await? {
        let accept = sysctl_path("ipv6", &link.interface, "accept_ra");
        let learns = link.v6.is_some_and(|gateway| gateway.protocol == ROUTER_ADVERTISEMENT);
        if learns && read_sysctl(&accept)?.as_deref() == Some("1") {
            host.set_sysctl(&accept, "2").await?;
        }
    }
    host.set_sysctl(&all, "1").await
}

/// RTPROT_RA of linux/rtnetlink.h.
const ROUTER_ADVERTISEMENT: u8 = 9;

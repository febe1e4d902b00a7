//! Namespaces, devices, addresses and routes of a lab.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::control::{Machine, UplinkState};
use crate::link::Switch;
use crate::namespace::Namespace;
use crate::namespace::netlink::Netlink;
use crate::topology::{
    DEVICE_MTU, INET_ADDRESS, Node, SERVER_ADDRESS, Topology, client_node, lan_address,
    link_address, uplink_address,
};

/// The namespaces of a lab, and what was put into them.
#[derive(Debug)]
pub(super) struct Wiring {
    namespaces: BTreeMap<Node, Namespace>,
}

impl Wiring {
    /// Makes everything but the ends of the links.
    pub(super) fn make(topology: &Topology) -> Result<Self> {
        let mut namespaces = BTreeMap::new();
        for node in topology.nodes() {
            let namespace = Namespace::create()?;
            namespace.enter(prepare).with_context(|| format!("prepare the machine {node}"))?;
            namespaces.insert(node, namespace);
        }
        let wiring = Self { namespaces };
        wiring.add_loopback_addresses(Node::Server, SERVER_ADDRESS)?;
        for index in 0..topology.uplinks {
            wiring.add_uplink(index)?;
        }
        if topology.uplinks > 0 {
            wiring.add_loopback_addresses(Node::Inet, INET_ADDRESS)?;
        }
        if topology.lan == Switch::On {
            wiring.add_lan()?;
        }
        Ok(wiring)
    }

    pub(super) fn machines(&self) -> Vec<Machine> {
        let machine =
            |(node, namespace): (&Node, &Namespace)| Machine { node: *node, pid: namespace.pid() };
        self.namespaces.iter().map(machine).collect()
    }

    /// Makes the client's end of a link, with a default route by it.
    pub(super) fn add_client_end(&self, topology: &Topology, link: usize) -> Result<SyncDevice> {
        let spec = &topology.links[link];
        self.namespace(client_node(spec.client))?.enter(|| {
            let device = open_device(&spec.name, spec.device_mtu)?;
            set_up_client_end(&spec.name, link)?;
            Ok(device)
        })
    }

    /// Makes the server's end of a link.
    pub(super) fn add_server_end(&self, topology: &Topology, link: usize) -> Result<SyncDevice> {
        let spec = &topology.links[link];
        self.namespace(Node::Server)?.enter(|| {
            let device = open_device(&spec.name, DEVICE_MTU)?;
            set_up_end(&spec.name, link, 2)?;
            Ok(device)
        })
    }

    /// Makes both ends of a link that the kernel joins.
    pub(super) fn add_wire(&self, topology: &Topology, link: usize) -> Result<()> {
        let spec = &topology.links[link];
        let server = self.namespace(Node::Server)?;
        self.namespace(client_node(spec.client))?.enter(|| {
            let netlink = Netlink::open()?;
            // Two devices of one name can't be where they are made.
            let far = format!("{}-far", &spec.name[..spec.name.len().min(11)]);
            netlink.add_pair(&spec.name, &far)?;
            netlink.rename(&far, &spec.name, server.pid())
        })?;
        server.enter(|| set_up_end(&spec.name, link, 2))?;
        self.namespace(client_node(spec.client))?.enter(|| set_up_client_end(&spec.name, link))
    }

    /// Packets dropped by the kernel at the client's and the server's end of a link.
    pub(super) fn packets_dropped(&self, topology: &Topology, link: usize) -> [u64; 2] {
        let spec = &topology.links[link];
        [client_node(spec.client), Node::Server].map(|node| {
            let dropped = self.namespace(node).and_then(|namespace| {
                namespace.enter(|| Netlink::open()?.packets_dropped(&spec.name))
            });
            // A device that is unplugged drops nothing.
            dropped.unwrap_or(0)
        })
    }

    /// Changes an uplink that is as `before` says.
    pub(super) fn set_uplink(
        &self,
        index: u8,
        before: UplinkState,
        state: UplinkState,
    ) -> Result<()> {
        let exit = exit_name(index);
        self.namespace(Node::Inet)?.enter(|| {
            let mut rules =
                format!("add table inet faults_{exit}\ndelete table inet faults_{exit}\n");
            match state {
                UplinkState::Silent => rules += &silence(&exit),
                UplinkState::Lossy => rules += &lossy(&exit),
                UplinkState::Cut | UplinkState::Up => {}
            }
            if before != UplinkState::Up || state != UplinkState::Up {
                run_nft(&rules)?;
            }
            let netlink = Netlink::open()?;
            match state {
                UplinkState::Cut => netlink.set_down(&exit),
                UplinkState::Silent | UplinkState::Lossy | UplinkState::Up => {
                    netlink.set_up(&exit)?;
                    // The kernel takes IPv6 addresses off a device that goes down.
                    for (address, prefix) in uplink_address(index, 2).into_iter().zip(PREFIXES) {
                        netlink.add_address(&exit, address, prefix)?;
                    }
                    Ok(())
                }
            }
        })
    }

    fn add_uplink(&self, index: u8) -> Result<()> {
        let (device, exit) = (format!("up{index}"), exit_name(index));
        let inet = self.namespace(Node::Inet)?;
        self.namespace(Node::Server)?.enter(|| {
            let netlink = Netlink::open()?;
            netlink.add_pair(&device, &exit)?;
            netlink.move_to(&exit, inet.pid())?;
            netlink.set_up(&device)?;
            for (address, prefix) in uplink_address(index, 1).into_iter().zip(PREFIXES) {
                netlink.add_address(&device, address, prefix)?;
            }
            Ok(())
        })?;
        self.set_uplink(index, UplinkState::Up, UplinkState::Up)?;
        self.namespace(Node::Server)?.enter(|| {
            let netlink = Netlink::open()?;
            for gateway in uplink_address(index, 2) {
                netlink.add_default_route(&device, gateway, METRIC + u32::from(index))?;
            }
            Ok(())
        })
    }

    fn add_lan(&self) -> Result<()> {
        let lan = self.namespace(Node::Lan)?;
        self.namespace(Node::Client)?.enter(|| {
            let netlink = Netlink::open()?;
            netlink.add_pair("lan0", "eth0")?;
            netlink.move_to("eth0", lan.pid())?;
            netlink.set_up("lan0")?;
            for (address, prefix) in lan_address(1).into_iter().zip(PREFIXES) {
                netlink.add_address("lan0", address, prefix)?;
            }
            Ok(())
        })?;
        lan.enter(|| {
            let netlink = Netlink::open()?;
            netlink.set_up("eth0")?;
            for (address, prefix) in lan_address(2).into_iter().zip(PREFIXES) {
                netlink.add_address("eth0", address, prefix)?;
            }
            for gateway in lan_address(1) {
                netlink.add_default_route("eth0", gateway, METRIC)?;
            }
            Ok(())
        })
    }

    fn add_loopback_addresses(&self, node: Node, addresses: [std::net::IpAddr; 2]) -> Result<()> {
        self.namespace(node)?.enter(|| {
            let netlink = Netlink::open()?;
            for (address, prefix) in addresses.into_iter().zip([32, 128]) {
                netlink.add_address("lo", address, prefix)?;
            }
            Ok(())
        })
    }

    fn namespace(&self, node: Node) -> Result<&Namespace> {
        self.namespaces.get(&node).with_context(|| format!("this lab has no machine {node}"))
    }
}

/// Makes a fresh namespace usable.
fn prepare() -> Result<()> {
    Netlink::open()?.set_up("lo")?;
    // Strict reverse path filters, which some hosts hand down, drop what comes in by one link and
    // would be answered by another. Where sysctls are read-only the kernel's own default is off.
    for name in ["all", "default"] {
        let _ = set_sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "0");
    }
    Ok(())
}

/// Sets the client's end of a link up, with a default route by it.
fn set_up_client_end(name: &str, link: usize) -> Result<()> {
    set_up_end(name, link, 1)?;
    let netlink = Netlink::open()?;
    for gateway in link_address(link, 2) {
        netlink.add_default_route(name, gateway, METRIC + link as u32)?;
    }
    Ok(())
}

/// Sets one end of a link up, with its addresses: 1 is the client's, 2 the server's.
fn set_up_end(name: &str, link: usize, host: u8) -> Result<()> {
    let netlink = Netlink::open()?;
    netlink.set_up(name)?;
    for (address, prefix) in link_address(link, host).into_iter().zip(PREFIXES) {
        netlink.add_address(name, address, prefix)?;
    }
    Ok(())
}

/// Opens a TUN device without offloads, so that each read is a packet as the wire would carry it.
fn open_device(name: &str, mtu: u16) -> Result<SyncDevice> {
    let device = DeviceBuilder::new()
        .name(name)
        .mtu(mtu)
        .offload(false)
        .enable(false)
        .build_sync()
        .with_context(|| format!("make the device {name}"))?;
    device.set_nonblocking(true).with_context(|| format!("set {name} non-blocking"))?;
    // Not by the builder: its ioctl is denied in a user namespace, netlink is not.
    Netlink::open()?.set_queue(name, DEVICE_QUEUE)?;
    Ok(device)
}

fn set_sysctl(name: &str, value: &str) -> Result<()> {
    fs::write(format!("/proc/sys/{name}"), value).with_context(|| {
        format!("set {} to {value}; is /proc/sys read-only here?", name.replace('/', "."))
    })
}

/// The rules that let everything vanish at the far end of an uplink, neighbour discovery for IPv4
/// apart: the gateway seems to be there.
fn silence(exit: &str) -> String {
    format!(
        "table inet faults_{exit} {{
            chain in {{
                type filter hook prerouting priority -400; policy accept;
                iifname \"{exit}\" drop
            }}
            chain out {{
                type filter hook postrouting priority 400; policy accept;
                oifname \"{exit}\" drop
            }}
        }}\n"
    )
}

/// The rule that lets three of ten packets vanish on their way to the server.
fn lossy(exit: &str) -> String {
    format!(
        "table inet faults_{exit} {{
            chain out {{
                type filter hook postrouting priority 400; policy accept;
                oifname \"{exit}\" numgen random mod 10 < 3 drop
            }}
        }}\n"
    )
}

fn run_nft(rules: &str) -> Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run nft, which silences an uplink; install the package nftables")?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(rules.as_bytes()).context("write to nft")?;
    }
    let output = nft.wait_with_output().context("wait for nft")?;
    if !output.status.success() {
        bail!("nft refused the rules: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn exit_name(index: u8) -> String {
    format!("exit{index}")
}

/// Prefix lengths of all subnets of a lab, IPv4 and IPv6.
const PREFIXES: [u8; 2] = [24, 64];
/// Metric of the first default route; the next links and uplinks get higher ones.
const METRIC: u32 = 100;
/// Packets a device holds for the emulator: bursts of several flows fit, and the limits that
/// count are those of the links.
const DEVICE_QUEUE: u32 = 4000;

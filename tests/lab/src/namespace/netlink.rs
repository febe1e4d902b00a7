//! Devices, addresses and routes of the namespace that the thread is in, by rtnetlink.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{LinkAttribute, Stats64};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::runtime::Runtime;

/// A netlink socket in one namespace.
#[derive(Debug)]
pub struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

impl Netlink {
    /// Opens a socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _inside = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection().context("open netlink")?;
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    /// Index of a device.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn index(&self, name: &str) -> Result<u32> {
        let wanted = self.handle.link().get().match_name(name.to_owned()).execute();
        let link = self.runtime.block_on(async move {
            let mut wanted = wanted;
            wanted.try_next().await
        });
        let link = link.with_context(|| format!("find device {name}"))?;
        Ok(link.with_context(|| format!("there is no device {name}"))?.header.index)
    }

    /// Sets a device up.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn set_up(&self, name: &str) -> Result<()> {
        let message = LinkUnspec::new_with_index(self.index(name)?).up().build();
        let request = self.handle.link().set(message).execute();
        self.runtime.block_on(request).with_context(|| format!("set {name} up"))
    }

    /// Sets a device down.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn set_down(&self, name: &str) -> Result<()> {
        let message = LinkUnspec::new_with_index(self.index(name)?).down().build();
        let request = self.handle.link().set(message).execute();
        self.runtime.block_on(request).with_context(|| format!("set {name} down"))
    }

    /// Lets a device hold so many packets.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn set_queue(&self, name: &str, packets: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(self.index(name)?).txqueuelen(packets).build();
        let request = self.handle.link().set(message).execute();
        self.runtime.block_on(request).with_context(|| format!("set the queue of {name}"))
    }

    /// Makes a pair of devices joined back to back.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn add_pair(&self, name: &str, peer: &str) -> Result<()> {
        let request = self.handle.link().add(LinkVeth::new(name, peer).build()).execute();
        self.runtime.block_on(request).with_context(|| format!("make the pair {name}, {peer}"))
    }

    /// Moves a device to the namespace of the process `pid`.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn move_to(&self, name: &str, pid: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(self.index(name)?).setns_by_pid(pid).build();
        let request = self.handle.link().set(message).execute();
        self.runtime.block_on(request).with_context(|| format!("move {name}"))
    }

    /// Moves a device to the namespace of the process `pid`, where it gets another name.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn rename(&self, name: &str, to: &str, pid: u32) -> Result<()> {
        let message =
            LinkUnspec::new_with_index(self.index(name)?).name(to.to_owned()).setns_by_pid(pid);
        let request = self.handle.link().set(message.build()).execute();
        self.runtime.block_on(request).with_context(|| format!("move {name} and call it {to}"))
    }

    /// Gives a device an address, usable at once. An address that is there already is kept.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn add_address(&self, name: &str, address: IpAddr, prefix: u8) -> Result<()> {
        let mut request = self.handle.address().add(self.index(name)?, address, prefix).replace();
        // Duplicates can't be; to look for them would hold the address back for a second.
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        let done = self.runtime.block_on(request.execute());
        done.with_context(|| format!("give {name} the address {address}/{prefix}"))
    }

    /// Adds the default route of the gateway's family.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn add_default_route(&self, name: &str, gateway: IpAddr, metric: u32) -> Result<()> {
        let index = self.index(name)?;
        let route = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .gateway(gateway)
                .output_interface(index)
                .priority(metric)
                .build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .gateway(gateway)
                .output_interface(index)
                .priority(metric)
                .build(),
        };
        let done = self.runtime.block_on(self.handle.route().add(route).execute());
        done.with_context(|| format!("add the default route by {gateway} on {name}"))
    }

    /// How many packets the kernel dropped because nobody read the device fast enough.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn packets_dropped(&self, name: &str) -> Result<u64> {
        let wanted = self.handle.link().get().match_name(name.to_owned()).execute();
        let link = self.runtime.block_on(async move {
            let mut wanted = wanted;
            wanted.try_next().await
        });
        let attributes = link?.with_context(|| format!("there is no device {name}"))?.attributes;
        let dropped = attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::Stats64(Stats64 { tx_dropped, .. }) => Some(tx_dropped),
            _ => None,
        });
        Ok(dropped.unwrap_or(0))
    }
}

//! Somebody on the path who copies what the client sends.
//!
//! He sends each packet on at once from an address of his own and holds the original back, so his
//! copy wins the race. What the server sends to his address he catches.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::packet::{End, Headers};
use crate::link::{Link, LinkConfig, Rate};

/// The copier of one link.
#[derive(Debug)]
pub(super) struct Copier {
    addresses: [IpAddr; 2],
    /// The originals he holds back.
    pub(super) held: Link<Vec<u8>>,
    catch: Catch,
    caught_at_us: Option<u64>,
}

/// What a copier has got.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Catch {
    /// Packets he copied.
    pub packets_copied: u64,
    /// Packets that were sent to him.
    pub packets_caught: u64,
    /// Bytes that were sent to him.
    pub bytes_caught: u64,
    /// The shortest time between two packets sent to him, in microseconds.
    pub interval_min_us: Option<u64>,
}

impl Copier {
    /// `addresses` are his, IPv4 and IPv6; he is ahead of the originals by `lead_us`.
    pub(super) fn new(addresses: [IpAddr; 2], lead_us: u64) -> Self {
        let held = Link::new(LinkConfig::new(Rate::Unlimited, lead_us), 0);
        Self { addresses, held, catch: Catch::default(), caught_at_us: None }
    }

    /// Takes an original of the client; returns his copy.
    pub(super) fn copy(&mut self, now_us: u64, packet: Vec<u8>) -> Option<Vec<u8>> {
        let headers = Headers::parse(&packet)?;
        let mut copy = packet.clone();
        let own = self.addresses[usize::from(headers.source.is_ipv6())];
        headers.rewrite(&mut copy, End::Source, own, None);
        let len = packet.len();
        self.held.push(now_us, packet, len, 0).ok()?;
        self.catch.packets_copied += 1;
        Some(copy)
    }

    /// Whether this packet of the server is for him, and if so keeps it.
    pub(super) fn catches(&mut self, now_us: u64, packet: &[u8]) -> bool {
        let for_him = Headers::parse(packet)
            .is_some_and(|headers| self.addresses.contains(&headers.destination));
        if for_him {
            self.catch.packets_caught += 1;
            self.catch.bytes_caught += packet.len() as u64;
            if let Some(before_us) = self.caught_at_us.replace(now_us) {
                let interval_us = now_us.saturating_sub(before_us);
                let shortest = self.catch.interval_min_us.unwrap_or(u64::MAX);
                self.catch.interval_min_us = Some(shortest.min(interval_us));
            }
        }
        for_him
    }

    pub(super) fn catch(&self) -> Catch {
        self.catch
    }
}

//! Plain counters, one struct for each thing counted.

/// What was sent on one path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PathSent {
    /// Datagrams of any kind.
    pub datagrams: u64,
    /// Their bytes, from our header to the tag.
    pub bytes: u64,
    /// Datagrams found lost.
    pub lost: u64,
    /// Datagrams acknowledged.
    pub acknowledged: u64,
}

/// What was received on one path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PathReceived {
    /// Authentic datagrams, received once.
    pub datagrams: u64,
    /// Their bytes, from our header to the tag.
    pub bytes: u64,
    /// Those that arrived with a congestion mark.
    pub ce: u64,
    /// Those that an earlier-numbered one arrived after.
    pub reordered: u64,
}

/// What a session sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OutboundStats {
    /// Inner packets taken in, counted as the segments they are sent as.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments sent for the first time, without copies.
    pub packets_sent: u64,
    /// Bytes of those, without headers of ours.
    pub bytes_sent: u64,
    /// Copies sent beside the first transmission.
    pub copies: u64,
    /// Bytes of those.
    pub copy_bytes: u64,
    /// Copies that were not sent, because the path for them was full.
    pub copies_skipped: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Bytes of those.
    pub retransmission_bytes: u64,
    /// Bytes of our headers and tags on datagrams that carry packets.
    pub header_bytes: u64,
    /// Bytes of datagrams that carry no packet: messages, feedback, padding.
    pub message_bytes: u64,
    /// Segments dropped because the queue was full.
    pub dropped_full: u64,
    /// Segments dropped because their flow's queue had been standing.
    pub dropped_standing: u64,
    /// Segments marked for it instead (ECN).
    pub marked: u64,
    /// Packets dropped because they were no well-formed IP packets.
    pub dropped_malformed: u64,
    /// Packets dropped because no path carries their size.
    pub dropped_too_big: u64,
    /// Segments given up without knowing whether they arrived.
    pub given_up: u64,
    /// Key epochs begun.
    pub epochs: u64,
}

/// What a session received.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InboundStats {
    /// Inner packets delivered.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that had been delivered already.
    pub duplicates: u64,
    /// Packets that had to wait for an earlier one of their lane.
    pub held: u64,
    /// Packets delivered after their place was given up.
    pub late: u64,
    /// Packets given up: those not counted late as well are lost.
    pub skipped: u64,
    /// Of those given up, how many might still have come, but not within the longest wait.
    pub expired: u64,
    /// Datagrams too short, of an unknown kind, or with content that makes no sense.
    pub malformed: u64,
    /// Datagrams whose tag did not hold.
    pub forged: u64,
    /// Datagrams with a packet number received before.
    pub replayed: u64,
    /// Datagrams numbered or keyed too far back.
    pub too_old: u64,
    /// Datagrams stamped too far back.
    pub stale: u64,
    /// Packets that the peer may not send to or from where they claim.
    pub refused: u64,
    /// Packets dropped because the network marked congestion on what can't be marked (RFC 6040).
    pub unmarkable: u64,
    /// Packets delivered out of turn because the memory for waiting ones was used up.
    pub overflowed: u64,
}

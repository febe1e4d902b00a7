//! How QUIC is set up for the control plane (RFC 9000), the same at both ends.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::{EndpointConfig, IdleTimeout, TransportConfig, VarInt};

use super::connection_id::ConnectionIds;

/// The endpoint: version 1 only, the fixed bit always set, ids and resets under our keys.
pub(crate) fn endpoint(reset_key: &[u8; 32], ids: ConnectionIds) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset_key)));
    config
        .supported_versions(vec![VERSION])
        .grease_quic_bit(false)
        .min_reset_interval(RESET_INTERVAL_MIN)
        .cid_generator(move || Box::new(ids.clone()));
    config
        .max_udp_payload_size(super::wire::DATAGRAM_MAX as u16)
        .expect("the limit is between 1200 and 65 527");
    config
}

/// The connection: one stream that the client opens, small buffers, datagrams of 1200 bytes.
pub(crate) fn connection(streams_from_peer: u32) -> TransportConfig {
    let idle = VarInt::from_u32(IDLE_MAX.as_millis() as u32);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_from_peer))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(DATAGRAM_LEN)
        .min_mtu(DATAGRAM_LEN)
        .mtu_discovery_config(None)
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(false)
        .allow_spin(false);
    config
}

/// Nothing heard for so long ends a control connection. The data plane notices a dead path in a
/// fraction of it; this is for the peer that vanished without a word.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(20);
/// Four of these fit into [`IDLE_MAX`], so three in a row may be lost.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A first guess at the round trip, so that a lost first flight is sent again after 300 ms (RFC
/// 9002, section 6.2.2 suggests 333 ms, and hence 999 ms).
pub(crate) const INITIAL_RTT: Duration = Duration::from_millis(100);
/// The smallest that QUIC allows (RFC 9000, section 14), which every path carries.
const DATAGRAM_LEN: u16 = 1200;
/// Four of the longest messages.
const WINDOW: u32 = 4 * super::message::MESSAGE_MAX as u32;
/// A server that restarts under a thousand clients tells all of them within a second or so. A reset
/// is smaller than what drew it, and only a connection id under our key draws one.
const RESET_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// QUIC version 1.
const VERSION: u32 = 1;

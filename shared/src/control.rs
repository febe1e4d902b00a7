//! The control plane: one QUIC connection between a client and its server.
//!
//! It runs on the same UDP sockets as the data plane, told apart by bit 0x40 of a datagram's first
//! byte ([`is_control`]), and quinn never owns a socket: the data plane's threads push what they
//! read into a [`Dialer`] or a [`ControlServer`], and what quinn sends leaves through a
//! [`ControlSend`].
//!
//! | end    | begins with            | gives                                                   |
//! |--------|------------------------|---------------------------------------------------------|
//! | client | [`Dialer::dial`]       | a [`Control`]: root secret, [`Grant`], events           |
//! | server | [`ControlServer::start`] | [`ServerEvent`]s: [`Joining`], message, left          |
//!
//! Both ends prove an Ed25519 key (RFC 7250 raw public keys in TLS 1.3, key exchange X25519MLKEM768
//! and nothing else); no certificate, no date, no ticket. Neither end trusts anything that another
//! machine can write on the wire before the peer's key is proven.
//!
//! Everything here runs on tokio; `push` may be called from any thread.

pub mod client;
pub mod ending;
pub mod identity;
pub mod message;
pub mod server;
pub mod wire;

mod boot_clock;
mod connection_id;
mod header;
mod key_file;
mod message_stream;
mod secret;
mod tls;
mod transport;

#[cfg(test)]
mod tests;

pub use client::{
    Control, ControlEvent, ControlHandle, DialError, DialLink, Dialer, ServerName, Tried,
};
pub use ending::{Cause, Goodbye, GoodbyeCode, Refusal, RefusalCode};
pub use header::is_control;
pub use identity::{KeyError, PrivateKey, PublicKey};
pub use message::{
    Activation, Grant, Hello, Instance, Message, MessageError, Settings, Suite, Unsent,
};
pub use secret::RootSecret;
pub use server::{
    Admission, ClientConnection, ClientName, ConnectionNumber, ControlServer, ControlStats,
    Joining, Machine, Predecessor, ServerEvent,
};
pub use wire::{ControlSend, Route};

/// The application protocol of TLS (RFC 7301): it names the version of our wire format.
pub const PROTOCOL: &[u8] = b"hawser/1";

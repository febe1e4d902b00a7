//! What the two ends say to each other: JSON after a four-byte length, at most 64 KiB.
//!
//! Control is rare and people debug it, hence JSON. Fields and kinds that this version does not
//! know are skipped, so that a newer peer may say more; what it does know must keep to the limits
//! below, or the whole message is refused.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::mpsc::error::TrySendError;

use crate::entropy;

/// One message.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Message {
    /// The client's first.
    Hello(Hello),
    /// The server's answer.
    Grant(Grant),
    /// The server's settings have changed.
    Update(Settings),
    /// The sender will leave soon: open a connection elsewhere, or ask again later.
    Drain,
    /// Says nothing, but draws an acknowledgement, or a reset from a peer that has restarted.
    Ping,
    /// A kind that this version does not know. Never sent.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// What a client says first.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hello {
    /// The AEADs that the client speaks, the one its processor does fastest first. Empty when this
    /// version knows none of them.
    #[serde(deserialize_with = "known_suites")]
    pub suites: Vec<Suite>,
    /// The session slot (20 bit) of the receiver index by which the client wants to be addressed.
    pub slot: u32,
    /// Which run of which machine this is: the same at a reconnect, another on another machine.
    pub instance: Instance,
    /// The steering mode that the client asks for, by its name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The client's software version, for the server's log.
    #[serde(default)]
    pub software: String,
}

/// What the server gives a client that it lets in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Grant {
    /// The session slot (20 bit) of the receiver index by which the server wants to be addressed.
    pub slot: u32,
    /// The AEAD of the session, one of those that the client named.
    pub suite: Suite,
    /// Which run of the server this session belongs to; it goes into the derivation of its keys.
    pub activation: Activation,
    /// Where another machine with the same key was connected from, if this one replaced it. The
    /// server's control plane fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<SocketAddr>,
    /// The server's software version, for the client's log.
    #[serde(default)]
    pub software: String,
    /// What may change during the session.
    pub settings: Settings,
}

/// What the server decides about a client's tunnel, and may change while it runs.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// The client's inner addresses, with the prefix lengths to configure.
    pub addresses: Vec<IpNet>,
    /// The server's own inner addresses.
    pub server_addresses: Vec<IpAddr>,
    /// The networks that the clients' addresses come from.
    pub pools: Vec<IpNet>,
    /// The networks behind the client: what is addressed to them comes by the tunnel.
    pub prefixes: Vec<IpNet>,
    /// Where the client is to send packets through the tunnel.
    pub routes: Vec<IpNet>,
    /// Resolvers to use inside the tunnel.
    pub dns: Vec<IpAddr>,
    /// The steering mode from client to server, by its name in the configuration.
    pub mode_up: String,
    /// The steering mode from server to client, likewise.
    pub mode_down: String,
    /// The addresses at which the server can be reached, as `HOST:PORT`.
    pub advertised: Vec<String>,
    /// How often an idle path should show that it lives, in milliseconds, if the server minds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_ms: Option<u32>,
    /// The largest inner packet that the server expects to fit, in bytes, if it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

impl Message {
    /// Reads a message, without its length.
    ///
    /// # Errors
    /// When it is too long, no JSON of the right shape, or breaks a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_MAX {
            return Err(MessageError::TooLong(bytes.len()));
        }
        let message: Self = serde_json::from_slice(bytes)?;
        message.keep_limits()?;
        Ok(message)
    }

    /// Writes a message with its length in front: four bytes, the highest first.
    ///
    /// # Errors
    /// When it breaks a limit that its reader insists on.
    pub fn emit(&self) -> Result<Vec<u8>, MessageError> {
        self.keep_limits()?;
        let mut bytes = vec![0; LENGTH_LEN];
        serde_json::to_writer(&mut bytes, self)?;
        let len = bytes.len() - LENGTH_LEN;
        if len > MESSAGE_MAX {
            return Err(MessageError::TooLong(len));
        }
        bytes[..LENGTH_LEN].copy_from_slice(&(len as u32).to_be_bytes());
        Ok(bytes)
    }

    fn keep_limits(&self) -> Result<(), MessageError> {
        match self {
            Self::Hello(hello) => hello.keep_limits(),
            Self::Grant(grant) => grant.keep_limits(),
            Self::Update(settings) => settings.keep_limits(),
            Self::Drain | Self::Ping | Self::Unknown => Ok(()),
        }
    }
}

impl Hello {
    fn keep_limits(&self) -> Result<(), MessageError> {
        slot("slot", self.slot)?;
        count("suites", &self.suites, SUITES_MAX)?;
        name("mode", self.mode.as_deref().unwrap_or_default())?;
        text("software", &self.software)
    }
}

impl Grant {
    fn keep_limits(&self) -> Result<(), MessageError> {
        slot("slot", self.slot)?;
        text("software", &self.software)?;
        self.settings.keep_limits()
    }
}

impl Settings {
    fn keep_limits(&self) -> Result<(), MessageError> {
        count("addresses", &self.addresses, ADDRESSES_MAX)?;
        count("server-addresses", &self.server_addresses, ADDRESSES_MAX)?;
        count("pools", &self.pools, ADDRESSES_MAX)?;
        count("prefixes", &self.prefixes, ADDRESSES_MAX)?;
        count("routes", &self.routes, ROUTES_MAX)?;
        count("dns", &self.dns, ADDRESSES_MAX)?;
        count("advertised", &self.advertised, ADDRESSES_MAX)?;
        name("mode-up", &self.mode_up)?;
        name("mode-down", &self.mode_down)?;
        self.advertised.iter().try_for_each(|address| text("advertised", address))
    }
}

/// An AEAD of the data plane.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Suite {
    /// AES-256-GCM (NIST SP 800-38D).
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439).
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl Suite {
    /// The name on the wire and in the logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Aes256Gcm, Self::ChaCha20Poly1305].into_iter().find(|suite| suite.name() == name)
    }

    /// The suite that the server takes: the one whose places in both lists sum to the least; the
    /// client's order (`theirs`) decides a tie. `None` if they share none.
    pub fn choose(ours: &[Self], theirs: &[Self]) -> Option<Self> {
        let cost = |suite: &Self| {
            let place = |list: &[Self]| list.iter().position(|other| other == suite);
            Some(place(ours)? + place(theirs)?)
        };
        theirs
            .iter()
            .filter_map(|suite| Some((cost(suite)?, *suite)))
            .min_by_key(|(cost, _)| *cost)
            .map(|(_, suite)| suite)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Sixteen random bytes that name one run of a server.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Activation(pub [u8; 16]);

/// Sixteen random bytes that name one run of a client.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Instance(pub [u8; 16]);

macro_rules! sixteen_bytes {
    ($name:ident) => {
        impl $name {
            /// Makes one.
            pub fn generate() -> Self {
                let mut bytes = [0; 16];
                entropy::fill(&mut bytes);
                Self(bytes)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), STANDARD.encode(self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&STANDARD.encode(self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
                let bytes = bytes
                    .try_into()
                    .map_err(|_| serde::de::Error::custom("expected sixteen bytes in base64"))?;
                Ok(Self(bytes))
            }
        }
    };
}

sixteen_bytes!(Activation);
sixteen_bytes!(Instance);

/// What is wrong with a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is longer than [`MESSAGE_MAX`].
    #[error("a message of {0} bytes is longer than the {MESSAGE_MAX} allowed")]
    TooLong(usize),
    /// It is not JSON, or not of the right shape.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A field breaks its limit.
    #[error("the field `{0}` breaks its limit")]
    Limit(&'static str),
    /// The stream ended in the middle of a message.
    #[error("the stream ended inside a message")]
    Truncated,
    /// The connection is over.
    #[error("the connection is over: {0}")]
    Connection(quinn::ConnectionError),
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsent {
    /// The peer has not taken the messages before it yet.
    #[error("the peer has not taken the messages before it yet")]
    Full,
    /// The connection is over.
    #[error("the connection is over")]
    Over,
}

impl From<TrySendError<Message>> for Unsent {
    fn from(error: TrySendError<Message>) -> Self {
        match error {
            TrySendError::Full(_) => Self::Full,
            TrySendError::Closed(_) => Self::Over,
        }
    }
}

fn slot(field: &'static str, slot: u32) -> Result<(), MessageError> {
    if slot < SLOTS { Ok(()) } else { Err(MessageError::Limit(field)) }
}

fn count<T>(field: &'static str, list: &[T], max: usize) -> Result<(), MessageError> {
    if list.len() <= max { Ok(()) } else { Err(MessageError::Limit(field)) }
}

/// A word of our configuration language, or nothing.
fn name(field: &'static str, name: &str) -> Result<(), MessageError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() <= NAME_MAX && name.chars().all(fits) {
        return Ok(());
    }
    Err(MessageError::Limit(field))
}

/// A line that may be shown to people.
fn text(field: &'static str, text: &str) -> Result<(), MessageError> {
    if text.len() <= TEXT_MAX && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(MessageError::Limit(field))
}

/// Suites that this version does not know are skipped, as unknown fields are.
fn known_suites<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Suite>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().filter_map(|name| Suite::from_name(name)).collect())
}

/// Bytes in the longest message, its length not counted.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// Bytes of the length in front of a message.
pub(crate) const LENGTH_LEN: usize = 4;
/// Session slots of the receiver index: 20 bit.
const SLOTS: u32 = 1 << 20;
/// There are two suites; the rest is for those that newer peers add.
const SUITES_MAX: usize = 16;
/// Addresses of one kind: a handful in practice.
const ADDRESSES_MAX: usize = 64;
/// Routes in one message; the longest is 43 bytes with its quotes and comma, so they all fit.
const ROUTES_MAX: usize = 1024;
/// Bytes in a steering mode's name.
const NAME_MAX: usize = 32;
/// Bytes in a line of text: a host name of 253 and a port.
const TEXT_MAX: usize = 260;

#[cfg(test)]
mod tests;

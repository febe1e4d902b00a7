//! The multipath engine: one session's packets over many paths, and back into one order.
//!
//! It is a pure state machine. Time and randomness are arguments; no socket, clock, thread or lock
//! is in it. `handle_*` tells it what happened, `poll_*` asks what to do: see [`Session`].

#![forbid(unsafe_code)]

pub mod aead;
mod buffer;
mod checksum;
mod clamp;
mod class;
mod filter;
mod icmp;
mod inbound;
mod ingress;
mod keys;
mod merge;
mod notice;
mod outbound;
mod packet;
mod path;
mod replay;
mod scheduler;
mod segment;
mod session;
mod slots;
pub mod stats;
mod steering;
mod time;
mod trial;
pub mod wire;

pub use buffer::PacketBuffer;
pub use class::{Class, Dscp, Match, Rule, Rules};
pub use filter::{Filter, Prefix};
pub use inbound::{HELD_BYTES_MAX, Inbound};
pub use keys::{Activation, RootSecret};
pub use merge::{Merged, Merger, ROW_PARTS_MAX, RowHeader};
pub use notice::{Heard, Told};
pub use outbound::{EpochLimits, Event, Outbound, SLOT_BYTES_MAX, Transmit};
pub use packet::{Ecn, PACKET_MAX};
pub use path::{FourTuple, Hint, PathId, PathSnapshot, PathState, cause::Cause};
pub use scheduler::Mode;
pub use segment::{Offload, Segments};
pub use session::{Session, SessionConfig, Side};
pub use steering::Steering;
pub use time::{Span, Time};
pub use trial::{Ablation, Trial};

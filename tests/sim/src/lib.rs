//! The engine in virtual time.
//!
//! Everything here is a function of its inputs and its seed: times are `u64` microseconds that the
//! caller passes in, there is no clock, no thread and no socket. [`flow`] holds the inner senders,
//! [`packet`] the packets that they exchange, [`pipe`] a world of one link that holds the senders
//! against what is known of real ones.

pub mod flow;
pub mod packet;
pub mod pair;
pub mod payload;
pub mod pipe;
pub mod ranges;
pub mod world;

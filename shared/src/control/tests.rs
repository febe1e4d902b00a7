//! Client and server against each other: over a network in memory, in virtual time and with seeded
//! loss, and over loopback.

mod endings;
mod ends;
mod flood;
mod joining;
mod loopback;
mod network;
mod racing;
mod roaming;

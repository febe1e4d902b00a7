//! Namespaces, link emulator and traffic tools.
//!
//! The kernel of many machines has no network emulation, so the lab brings its own: [`link`] is a
//! model of one direction of an access link in virtual time, and [`emulator`] plays it between TUN
//! devices in real time. [`Lab`] raises machines and links for a test, the program `lab` does so by
//! hand, and [`traffic`] measures what a link or a tunnel carries.

pub mod clock;
pub mod control;
pub mod daemon;
pub mod emulator;
pub mod lab;
pub mod link;
pub mod namespace;
pub mod topology;
pub mod traffic;

pub use control::UplinkState;
pub use lab::{Lab, Tool};
pub use link::{Change, Link, LinkConfig, Switch};
pub use topology::{Direction, LinkSpec, Node, SharedBottleneck, Topology};

//! Namespaces, link emulator and traffic tools.

pub mod link;

pub use link::{Change, Link, LinkConfig};

//! The real programs in namespaces. Figures are printed as `FIGURE name value unit`.

#![expect(clippy::disallowed_methods, reason = "tests of real programs wait in real time")]

#[path = "netns/traffic.rs"]
mod traffic;

#[path = "netns/aggregation.rs"]
mod aggregation;
#[path = "netns/clients.rs"]
mod clients;
#[path = "netns/duplicate.rs"]
mod duplicate;
#[path = "netns/epochs.rs"]
mod epochs;
#[path = "netns/errors.rs"]
mod errors;
#[path = "netns/failover.rs"]
mod failover;
#[path = "netns/flood.rs"]
mod flood;
#[path = "netns/hints.rs"]
mod hints;
#[path = "netns/host.rs"]
mod host;
#[path = "netns/instances.rs"]
mod instances;
#[path = "netns/links.rs"]
mod links;
#[path = "netns/restart.rs"]
mod restart;
#[path = "netns/security.rs"]
mod security;
#[path = "netns/uplinks.rs"]
mod uplinks;
#[path = "netns/views.rs"]
mod views;
#[path = "netns/watch.rs"]
mod watch;

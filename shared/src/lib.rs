//! What client and server share: the driver, the control plane, host state, status.

pub mod classes;
pub mod clock;
pub mod config;
pub mod control;
pub mod driver;
pub mod entropy;
pub mod exit;
pub mod grid;
pub mod host;
pub mod host_port;
pub mod keys;
pub mod lock;
pub mod logging;
pub mod metrics;
pub mod mode;
pub mod name_query;
pub mod ready;
pub mod rekey;
pub mod routes;
pub mod signals;
pub mod status;
pub mod stored;
pub mod suites;
pub mod trial;
pub mod tun;
pub mod udp;

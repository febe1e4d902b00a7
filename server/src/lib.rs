//! What `hawser-server` is made of, as far as tests reach for it without the program.

pub mod egress;
pub mod egress_config;
pub mod limits;
pub mod policy;
pub mod probe_config;
pub mod rate;
pub mod uplink_config;

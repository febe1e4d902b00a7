//! What client and server share: the driver, the control plane, host state, status.

pub mod clock;
pub mod entropy;

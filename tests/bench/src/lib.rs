//! What the engine is held against: scenarios, each described once, and two ways to run them.
//!
//! A [`scenario`] is data: links, what changes on them, what is sent, and the figures that must
//! hold. A [`case`] is a scenario with a sender, a direction and a seed. It is run in
//! [virtual time](virtual_time) by the simulator or in [`namespaces`] by the real programs; both
//! give a [`row`] of the same figures, which [`table`] shows as text and [`picture`] as a picture.

pub mod ablation;
pub mod case;
pub mod cli;
pub mod egress;
pub mod face_to_face;
pub mod instructions;
pub mod namespaces;
pub mod peer;
pub mod picture;
pub mod progress;
pub mod relay;
pub mod row;
pub mod scenario;
pub mod series;
pub mod snapshot;
pub mod speed;
pub mod store;
pub mod table;
pub mod virtual_time;

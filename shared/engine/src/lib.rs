//! The multipath engine.

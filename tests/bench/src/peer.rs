//! Other systems over the same links.

use std::path::PathBuf;

use anyhow::Result;

use crate::case::Case;
use crate::namespaces::Stop;
use crate::row::Comparison;

/// Runs the same flow through other systems.
///
/// # Errors
/// When one does not come up.
pub fn run(
    _case: &Case,
    _own_mbit: f64,
    _scripts: &[PathBuf],
    _has_mptcp: bool,
    _stop: &Stop,
) -> Result<Vec<Comparison>> {
    Ok(Vec::new())
}

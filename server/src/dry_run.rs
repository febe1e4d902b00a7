//! `hawser-server dry-run`: what the configuration would do if the uplinks were in some state.

use std::{
    io::{self, Write as _},
    path::Path,
};

use hawser_server::egress::{Supposition, foresee};
use shared::{
    exit::Error,
    grid::{Cell, Colour, Grid},
};

use crate::config::Config;

/// Prints a line for each class that chooses on its own.
///
/// # Errors
/// When the configuration is wrong, or an uplink is supposed that it doesn't name.
pub(crate) fn dry_run(path: &Path, supposed: &[Supposition]) -> Result<(), Error> {
    let config = Config::load(path)?;
    if config.egress.uplinks.is_empty() {
        let none =
            format!("{} has no uplinks: packets leave by the host's own routes", path.display());
        return Err(Error::configuration(none).with_remedy("add an `[[uplink]]`"));
    }
    let foreseen = foresee(&config.egress, supposed)?;
    let mut grid = Grid::new(&["CLASS", "NEW FLOWS", "WHY", "FLOWS THAT BEGIN ANEW"]);
    for it in &foreseen {
        let flushed = match it.flushed.as_slice() {
            [] => "-".to_owned(),
            several => format!("those of {}", several.join(" and ")),
        };
        grid.push(vec![
            Cell::text(it.class),
            Cell::text(it.to_string()),
            Cell::text(it.reason.to_string()),
            Cell::text(flushed),
        ]);
    }
    io::stdout()
        .write_all(grid.render("", Colour::of_stdout()).as_bytes())
        .map_err(|error| Error::from_io("write to standard output", &error))
}

//! Where the log goes: to standard error, as much as was asked for.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::exit::Error;

/// Starts the log. `filter` is a level or a list of `target=level`; without it the variable
/// RUST_LOG counts, and without that everything from [`DEFAULT_FILTER`] up is logged.
///
/// # Errors
/// When the filter is not understood.
pub fn start(filter: Option<&str>) -> Result<(), Error> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let asked = filter.map(str::to_owned).or(from_environment).filter(|text| !text.is_empty());
    let text = asked.as_deref().unwrap_or(DEFAULT_FILTER);
    let filter = parse(text)?;
    // The journal has its own clock.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = if journal {
        registry.with(layer.without_time()).try_init()
    } else {
        registry.with(layer).try_init()
    };
    started.map_err(|error| Error::failed(format_args!("cannot start the log: {error}")))
}

/// Changes of paths, sessions and uplinks, and what is wrong.
pub const DEFAULT_FILTER: &str = "info";

/// The netlink library warns of every message that comes while a watch is being closed. Whoever asks
/// for more of it, by name, gets it.
const HUSHED: &str = "netlink_proto=error";

fn parse(text: &str) -> Result<EnvFilter, Error> {
    let hushed = if text.contains("netlink_proto") { text } else { &format!("{text},{HUSHED}") };
    EnvFilter::builder().parse(hushed).map_err(|error| {
        Error::configuration(format_args!("the log filter \"{text}\" is not understood: {error}"))
            .with_remedy(
                "write error, warn, info, debug or trace, or a list such as \"info,engine=trace\"",
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_lists_are_understood_and_nonsense_is_refused() {
        for good in ["warn", "info,engine=trace", DEFAULT_FILTER] {
            assert!(parse(good).is_ok(), "{good}");
        }
        assert!(parse("engine=loud").unwrap_err().to_string().contains("engine=loud"));
    }
}

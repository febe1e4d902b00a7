//! Tells whoever started us that the tunnel works.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::IpAddr,
};

use sd_notify::NotifyState;

/// Says that the program is ready: one line `ready ADDRESS…` on standard error, and a
/// notification to the service manager.
pub fn announce(inner: &[IpAddr]) {
    let line = line(inner);
    let _ = writeln!(io::stderr(), "{line}");
    let status = NotifyState::Status(&line);
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready, status]) {
        tracing::warn!(%error, "could not tell the service manager that we are ready");
    }
}

/// Tells the service manager that the program is about to end.
pub fn announce_end() {
    // Nothing is left to be done about an error here.
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

fn line(inner: &[IpAddr]) -> String {
    let mut line = "ready".to_owned();
    for address in inner {
        let _ = write!(line, " {address}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_inner_addresses() {
        let inner = ["10.7.0.2".parse().unwrap(), "fd07::2".parse().unwrap()];

        assert_eq!(line(&inner), "ready 10.7.0.2 fd07::2");
        assert_eq!(line(&[]), "ready");
    }
}

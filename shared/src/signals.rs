//! The signals by which a program is asked to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Error;

/// Ctrl-C, `kill`, and a terminal that is closed.
///
/// Made before the first change to the host: from then on none of these ends the program at once,
/// so whatever was changed is undone.
#[derive(Debug)]
pub struct Signals([Signal; 3]);

impl Signals {
    /// Takes the signals from here on. Needs tokio.
    ///
    /// # Errors
    /// When the system has no handler left.
    pub fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::from_io("handle signals", &error));
        Ok(Self([
            listen(SignalKind::hangup())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
        ]))
    }

    /// Returns when one has come since the program began to listen. May be cancelled.
    pub async fn asked_to_end(&mut self) {
        let [hangup, interrupt, terminate] = &mut self.0;
        tokio::select! {
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

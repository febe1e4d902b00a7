//! Waiting that ends when somebody asks to stop, so that nothing is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::clock::monotonic_ns;
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that SIGINT and SIGTERM ask.
    ///
    /// # Errors
    /// When the signals can't be watched.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("watch for signals")?;
        let asked = stop.0.clone();
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            asked.store(true, Ordering::Relaxed);
        });
        Ok(stop)
    }

    /// Whether it was asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps.
    ///
    /// # Errors
    /// When somebody asks to stop.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        self.sleep_until(monotonic_ns() + time.as_nanos() as u64)
    }

    /// Sleeps until this time of the lab's clock.
    ///
    /// # Errors
    /// When somebody asks to stop.
    pub fn sleep_until(&self, at_ns: u64) -> Result<()> {
        loop {
            if self.is_asked() {
                bail!("somebody asked to stop");
            }
            let left_ns = at_ns.saturating_sub(monotonic_ns());
            if left_ns == 0 {
                return Ok(());
            }
            thread::sleep(Duration::from_nanos(left_ns.min(STEP_NS)));
        }
    }
}

/// How long a wish to stop may wait.
const STEP_NS: u64 = 50_000_000;

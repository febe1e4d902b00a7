//! A traffic tool that runs on a machine of a lab.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use crate::traffic::READY;

/// A running traffic tool. It is killed when dropped before its end.
#[derive(Debug)]
pub struct Tool {
    child: Child,
    name: String,
    /// Collects the report, so that a long one can't block the tool.
    report: Option<JoinHandle<std::io::Result<String>>>,
    /// Collects what it complains about.
    complaints: Option<JoinHandle<std::io::Result<String>>>,
}

impl Tool {
    /// Waits until a tool that listens does so.
    pub(super) fn watch(mut child: Child, arguments: &[&str]) -> Result<Self> {
        let stdout = child.stdout.take().context("the tool has a standard output")?;
        let stderr = child.stderr.take().context("the tool has a standard error")?;
        let mut stderr = BufReader::new(stderr);
        let name = arguments.first().copied().unwrap_or_default().to_owned();
        if arguments.contains(&"--listen") {
            let mut first = String::new();
            stderr.read_line(&mut first).context("wait for the tool to listen")?;
            if first.trim() != READY {
                child.wait().context("wait for the tool's end")?;
                bail!("{name}: {}", first.trim());
            }
        }
        let read = |mut from: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut text = String::new();
                from.read_to_string(&mut text).map(|_| text)
            })
        };
        let (report, complaints) = (Some(read(Box::new(stdout))), Some(read(Box::new(stderr))));
        Ok(Self { child, name, report, complaints })
    }

    /// Waits for its end and gives its report.
    ///
    /// # Errors
    /// When it failed: what it says.
    pub fn report<R: DeserializeOwned>(mut self) -> Result<R> {
        let status = self.child.wait().context("wait for the tool's end")?;
        let report = collect(self.report.take())?;
        if !status.success() {
            bail!("{}: {}", self.name, collect(self.complaints.take())?.trim());
        }
        serde_json::from_str(&report).with_context(|| format!("read the report of {}", self.name))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Both fail when it has ended already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(text: Option<JoinHandle<std::io::Result<String>>>) -> Result<String> {
    match text.map(JoinHandle::join) {
        Some(Ok(text)) => text.context("read what the tool says"),
        Some(Err(_)) | None => bail!("what the tool says is lost"),
    }
}

//! Queues of interfaces, made through the program `tc`.

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{HostError, Result};

/// The handle of all queues that we make: "HA" in ASCII.
pub const QUEUES_HANDLE: u16 = 0x4841;

/// Whether the kernel has chosen the interface's queues, or we have.
pub(super) async fn refuse_others(interface: &str) -> Result<()> {
    match root(interface).await? {
        Root::Default | Root::Ours => Ok(()),
        Root::Other(other) => Err(HostError::Queued { interface: interface.to_owned(), other }),
    }
}

/// Replaces the queues of an interface by those of the first script that the kernel can.
pub(super) async fn set(interface: &str, scripts: &[String]) -> Result<()> {
    let mut result = Ok(());
    for script in scripts {
        remove(interface).await?;
        result = batch(interface, script).await;
        if result.is_ok() {
            return Ok(());
        }
    }
    // Half of them would be worse than none.
    remove(interface).await?;
    result
}

/// Removes our queues; the kernel then puts its own in their place.
pub(super) async fn remove(interface: &str) -> Result<()> {
    match root(interface).await? {
        Root::Ours => batch(interface, &format!("qdisc del dev {interface} root\n")).await,
        Root::Default | Root::Other(_) => Ok(()),
    }
}

enum Root {
    /// What the kernel gives by itself.
    Default,
    Ours,
    Other(String),
}

async fn root(interface: &str) -> Result<Root> {
    let output = tc(&["-j", "qdisc", "show", "dev", interface, "root"], "").await?;
    if !output.status.success() {
        // The interface is gone, and its queues with it.
        return Ok(Root::Default);
    }
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let first = &listed[0];
    let (kind, handle) = (first["kind"].as_str(), first["handle"].as_str());
    Ok(match (kind, handle) {
        (_, Some(handle)) if handle == format!("{QUEUES_HANDLE:x}:") => Root::Ours,
        (Some(kind), Some(handle)) if handle != "0:" => Root::Other(format!("{kind} {handle}")),
        _ => Root::Default,
    })
}

async fn batch(interface: &str, script: &str) -> Result<()> {
    let output = tc(&["-batch", "-"], script).await?;
    if output.status.success() {
        return Ok(());
    }
    let mut stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if stderr.contains("Operation not permitted") {
        return Err(HostError::Rights { what: format!("make queues for {interface}") });
    }
    stderr.truncate(stderr.floor_char_boundary(STDERR_MAX));
    Err(HostError::Tc { interface: interface.to_owned(), stderr })
}

async fn tc(arguments: &[&str], script: &str) -> Result<Output> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => HostError::NoTc,
        _ => HostError::system("run tc", error),
    };
    let mut child = Command::new("tc")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // tc that ends early says why on stderr.
        let _ = stdin.write_all(script.as_bytes()).await;
    }
    child.wait_with_output().await.map_err(failed)
}

/// More of what tc says is of no use to anybody.
const STDERR_MAX: usize = 500;

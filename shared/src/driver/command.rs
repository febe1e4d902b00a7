//! What the data plane's thread can be asked to do.

use std::{sync::Arc, time::Duration};

use engine::{FourTuple, Hint, Mode, PathId, SessionConfig, wire::message::Preference};
use ipnet::IpNet;
use tokio::sync::oneshot;

use super::DriverReport;
use crate::udp::PathSocket;

/// One order for the data plane's thread.
pub enum Command {
    /// Serve a session.
    AddSession(Box<NewSession>),
    /// Read and write a socket.
    AddSocket(u16, Arc<PathSocket>),
    /// Change a path of a session.
    ChangePath(u32, PathId, PathChange),
    /// Serve a session no more.
    RemoveSession(u32),
    /// Use a socket no more.
    RemoveSocket(u16),
    /// Say how everything is.
    Report(oneshot::Sender<DriverReport>),
    /// Steer a session's packets in this mode.
    SetMode(u32, Mode),
}

/// A session to be served.
pub struct NewSession {
    /// Our slot of the session, by which its datagrams find it.
    pub slot: u32,
    /// What the engine makes the session of.
    pub config: SessionConfig,
    /// Inner destinations whose packets belong to the session.
    pub prefixes: Vec<IpNet>,
    /// The session whose packets this one takes over. It goes on receiving until it is removed.
    pub replaces: Option<u32>,
    /// Paths to be opened at once, and how they are to be used.
    pub paths: Vec<(PathId, FourTuple, Preference)>,
}

/// What happened to a path's link.
#[derive(Clone, Copy, Debug)]
pub enum PathChange {
    /// It is gone for good.
    Close,
    /// It carries nothing at the moment: how the kernel said so, and when by the clock since boot.
    Fail(Hint, Duration),
    /// It has another address or socket.
    Move(FourTuple),
    /// There is a new link.
    Open(FourTuple, Preference),
    /// Something about it changed: look whether it carries again.
    Wake,
}

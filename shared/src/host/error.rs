//! What can go wrong on the host, in words that name the thing and the remedy.

use std::io;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::exit::{Error, Exit};

/// The result of a change to the host.
pub type Result<T> = std::result::Result<T, HostError>;

/// Why the host could not be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A kernel feature, or a right, is missing for what `what` names.
    #[error("{what}: permission denied; run as root, or grant CAP_NET_ADMIN and CAP_NET_RAW")]
    Rights {
        /// What was attempted.
        what: String,
    },
    /// The kernel refused.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// No interface of this name.
    #[error("no interface `{0}`: `ip link` lists those that exist")]
    NoInterface(String),
    /// nft is not installed.
    #[error("`nft` is not installed: apt-get install nftables")]
    NoNft,
    /// tc is not installed.
    #[error("`tc` is not installed, and `capacity` needs it: apt-get install iproute2")]
    NoTc,
    /// tc refused.
    #[error("tc refused the queues of `{interface}`: {stderr}")]
    Tc {
        /// The interface that they were for.
        interface: String,
        /// What tc said.
        stderr: String,
    },
    /// Somebody else has given the interface queues.
    #[error(
        "`{interface}` has queues of somebody else ({other}), which are left alone: remove \
         `capacity` of the uplink, or `tc qdisc del dev {interface} root`"
    )]
    Queued {
        /// The interface.
        interface: String,
        /// What is there.
        other: String,
    },
    /// nft refused a script.
    #[error("nft refused the table `{table}`: {stderr}")]
    Nft {
        /// The table that the script was for.
        table: String,
        /// What nft said.
        stderr: String,
    },
    /// The name can't be the name of a file and of an nft table.
    #[error(
        "`{0}` can't be a name: use 1 to 32 letters, digits, `-`, `_` and `.`, not starting with a sign"
    )]
    Name(String),
    /// Somebody else's route is where ours would have to be.
    #[error(
        "{destination} is reached by another way already ({other}): choose other networks for the \
         tunnel, or remove that route"
    )]
    Occupied {
        /// Where both lead.
        destination: IpNet,
        /// The route that is there, as `ip route` writes it.
        other: String,
    },
    /// The configuration asks for what can't be.
    #[error("{0}")]
    Impossible(String),
    /// Another process holds the name.
    #[error("`{name}` is running already ({path} is locked): stop it, or choose another --name")]
    Running {
        /// The name.
        name: String,
        /// The lock.
        path: PathBuf,
    },
    /// The journal could not be read or written.
    #[error("{path}: {source}")]
    Journal {
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The journal is full.
    #[error("more than {0} changes to the host: this is a bug or a loop")]
    TooMany(usize),
}

impl HostError {
    /// What the program ends with when it can't go on after this.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Rights { .. } | Self::NoNft | Self::NoTc => Exit::Rights,
            Self::Impossible(_) | Self::Name(_) | Self::Running { .. } => Exit::Configuration,
            Self::System { .. }
            | Self::NoInterface(_)
            | Self::Nft { .. }
            | Self::Tc { .. }
            | Self::Queued { .. }
            | Self::Occupied { .. }
            | Self::Journal { .. }
            | Self::TooMany(_) => Exit::Failed,
        }
    }

    pub(super) fn system(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Rights { what },
            _ => Self::System { what, source },
        }
    }

    /// The error number of the kernel, if it was the kernel that refused.
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        Self::new(error.exit(), error)
    }
}

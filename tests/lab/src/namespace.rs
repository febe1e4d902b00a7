//! Network namespaces that live as long as a process of ours.
//!
//! Each machine of a lab is a network namespace held open by a process that waits for its standard
//! input to end. When whoever raised the lab dies, by whatever signal, the inputs end, the holders
//! exit, and the kernel takes the namespaces with everything in them. Without root all of it
//! happens inside one user namespace, which needs no rights on most hosts.

pub mod netlink;

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// One network namespace and the process that holds it.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
    network: File,
}

impl Namespace {
    /// Makes an empty network namespace.
    ///
    /// # Errors
    /// When the host forbids it.
    pub fn create() -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("hold").stdin(Stdio::piped()).stdout(Stdio::null());
        // SAFETY: between fork and exec only one system call is made, and nothing is allocated.
        unsafe {
            command.pre_exec(|| Ok(rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)?));
        }
        let holder = command.spawn().context("make a network namespace")?;
        let path = format!("/proc/{}/ns/net", holder.id());
        let network = File::open(&path).with_context(|| format!("open {path}"))?;
        Ok(Self { holder, network })
    }

    /// The process that holds it: `/proc/PID/ns/net` is the namespace.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// The namespace's file.
    pub fn file(&self) -> &File {
        &self.network
    }

    /// Runs `work` inside, on a thread of its own.
    ///
    /// # Errors
    /// Those of `work`, or that the namespace can't be entered.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        let network = self.network.as_fd();
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(network, Some(LinkNameSpaceType::Network))
                    .context("enter a network namespace")?;
                work()
            });
            inside.join().map_err(|_| anyhow!("the work inside a namespace panicked"))?
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The end of its input ends the holder.
        drop(self.holder.stdin.take());
        if let Err(error) = self.holder.wait() {
            eprintln!("lab: wait for a namespace's holder: {error}");
        }
    }
}

/// Waits until standard input ends: the whole life of a holder.
///
/// # Errors
/// When standard input can't be read.
pub fn hold() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink()).context("read standard input")?;
    Ok(())
}

/// Gains the rights to make namespaces and devices: by those the process has, else by a user
/// namespace of its own. Must be called while the process has one thread.
///
/// # Errors
/// What the host forbids, in one sentence with the remedy.
pub fn gain_rights() -> Result<Rights> {
    let rights = if has_network_rights()? { Rights::Own } else { enter_user_namespace()? };
    let device = Path::new("/dev/net/tun");
    match File::options().read(true).write(true).open(device) {
        Ok(_) => Ok(rights),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!("/dev/net/tun may not be opened; let this user: chmod 0666 /dev/net/tun")
        }
        Err(error) => bail!(
            "/dev/net/tun can't be opened ({error}); load its module: modprobe tun, or in a \
             container pass the device: --device /dev/net/tun"
        ),
    }
}

/// Where the rights to make namespaces come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rights {
    /// The process had them.
    Own,
    /// From a user namespace made for this purpose.
    UserNamespace,
}

/// Lets `command` run in the namespaces of the process `pid`.
///
/// # Errors
/// When the process is gone or its namespaces may not be entered.
pub fn run_beside(pid: u32, command: &mut Command) -> Result<()> {
    let open = |kind: &str| {
        let path = format!("/proc/{pid}/ns/{kind}");
        File::open(&path).with_context(|| format!("{path}: is the lab still up?"))
    };
    let network = open("net")?;
    // Entering a user namespace that one is already in is an error.
    let same =
        fs::read_link(format!("/proc/{pid}/ns/user"))? == fs::read_link("/proc/self/ns/user")?;
    let user = if same { None } else { Some(open("user")?) };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated; the
    // closure owns the files.
    unsafe {
        command.pre_exec(move || {
            if let Some(user) = &user {
                move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
            }
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(())
        });
    }
    Ok(())
}

/// Whether the process may make network namespaces (CAP_SYS_ADMIN) and devices (CAP_NET_ADMIN).
fn has_network_rights() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .context("/proc/self/status has no CapEff line")?;
    let needed = (1 << CAP_NET_ADMIN) | (1 << CAP_SYS_ADMIN);
    Ok(effective & needed == needed)
}

fn enter_user_namespace() -> Result<Rights> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // SAFETY: the caller promises one thread, so no other thread can see half a change.
    let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) };
    if let Err(error) = unshared {
        bail!("{} ({error})", why_no_user_namespace());
    }
    // Without giving up setgroups, an unprivileged process may not map its group.
    fs::write("/proc/self/setgroups", "deny").context("give up setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("map the user")?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("map the group")?;
    if !has_network_rights()? {
        bail!("{}", why_no_user_namespace());
    }
    Ok(Rights::UserNamespace)
}

fn why_no_user_namespace() -> &'static str {
    let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    if sysctl("kernel/apparmor_restrict_unprivileged_userns").trim() == "1" {
        "this host lets unprivileged users make user namespaces but not use them; run as root, or \
         sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else if sysctl("kernel/unprivileged_userns_clone").trim() == "0" {
        "this host forbids unprivileged user namespaces; run as root, or sysctl \
         kernel.unprivileged_userns_clone=1"
    } else if sysctl("user/max_user_namespaces").trim() == "0" {
        "this host allows no user namespaces; run as root, or sysctl user.max_user_namespaces=1000"
    } else {
        "this host forbids user namespaces; run as root, or in a container with CAP_SYS_ADMIN and \
         CAP_NET_ADMIN"
    }
}

/// linux/capability.h
const CAP_NET_ADMIN: u32 = 12;
/// linux/capability.h
const CAP_SYS_ADMIN: u32 = 21;

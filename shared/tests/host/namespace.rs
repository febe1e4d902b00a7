//! Network namespaces for tests: as root, or without any right in a user namespace.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use shared::clock::since_boot;

/// Whether this process is in a network namespace of its own. If it is not, the test of this name
/// is run once more in a process that is, and must succeed there.
///
/// # Panics
/// When a tool is missing, with the command that installs it, or when that run fails.
pub(crate) fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run("ip link set lo up");
        return true;
    }
    for (tool, package) in TOOLS {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
        let found = found.is_ok_and(|output| output.status.success());
        assert!(found, "`{tool}` is missing: apt-get install {package}");
    }
    let root = rustix::process::geteuid().is_root();
    let user: &[&str] = if root { &[] } else { &["--user", "--map-root-user"] };
    let status = Command::new("unshare")
        .args(user)
        .arg("--net")
        .arg(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare starts");
    assert!(
        status.success(),
        "`{test}` failed in its namespace ({status}); if it says that unshare is not permitted: \
         run as root, or sysctl kernel.unprivileged_userns_clone=1"
    );
    false
}

/// Another namespace, as long as this value lives.
pub(crate) struct Namespace {
    holder: Child,
}

impl Namespace {
    /// Makes one, with its loopback up.
    pub(crate) fn new() -> Self {
        // The holder ends by itself if the test is killed.
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "300"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare starts");
        let namespace = Self { holder };
        let of = |pid: String| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let own = of("self".to_owned());
        eventually("a namespace is there", Duration::from_secs(5), || {
            let there = of(namespace.pid().to_string());
            (there.is_some() && there != own).then_some(())
        });
        namespace.run("ip link set lo up");
        namespace
    }

    /// The process that holds it, as `ip link ... netns` wants it.
    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Runs shell commands in it and returns what they print.
    pub(crate) fn run(&self, script: &str) -> String {
        run(&format!("nsenter --net=/proc/{}/ns/net sh -ec '{script}'", self.pid()))
    }

    /// Starts a shell command in it that goes on; whoever starts it ends it.
    #[allow(dead_code, reason = "not every test starts programs")]
    pub(crate) fn spawn(&self, script: &str) -> Child {
        Command::new("nsenter")
            .args([&format!("--net=/proc/{}/ns/net", self.pid()), "sh", "-ec", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter starts")
    }

    /// Makes something in it: a socket stays there for life.
    pub(crate) fn make<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.pid());
        std::thread::scope(|scope| {
            let maker = scope.spawn(move || {
                let file = File::open(path).expect("the namespace has a file");
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), kind).expect("it can be entered");
                make()
            });
            maker.join().expect("it is made")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs shell commands in the namespace of this process and returns what they print.
pub(crate) fn run(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().expect("sh starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything of the network configuration that we could change: rules, routes, nft tables,
/// addresses and sysctls.
pub(crate) fn everything() -> String {
    let mut all = run("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; \
                       nft -s list ruleset; ip -o address");
    for family in ["ipv4", "ipv6"] {
        for interface in sorted(&format!("/proc/sys/net/{family}/conf")) {
            for parameter in sorted(&interface) {
                // Some are readable only once they are set.
                if let Ok(value) = fs::read_to_string(&parameter) {
                    all += &format!("{parameter} {}\n", value.trim());
                }
            }
        }
    }
    all += &run("cat /proc/sys/net/ipv4/ip_forward");
    all
}

/// What differs between two texts, line by line.
pub(crate) fn difference(before: &str, after: &str) -> String {
    let lines = |text: &str, other: &str, sign: char| {
        let other: Vec<&str> = other.lines().collect();
        let only = text.lines().filter(|line| !other.contains(line));
        only.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    lines(before, after, '-') + &lines(after, before, '+')
}

/// Waits for something to be there.
///
/// # Panics
/// When it isn't within the time.
pub(crate) fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let began = since_boot();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since_boot() - began < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn sorted(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there").flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path().display().to_string()).collect();
    paths.sort();
    paths
}

const INSIDE: &str = "HAWSER_TEST_NAMESPACE";
const TOOLS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux"), ("unshare", "util-linux")];

//! Raises a lab with the real programs in it: what the tests of this crate share.

#![expect(clippy::disallowed_methods, reason = "tests of real programs wait in real time")]

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{Lab, Node, Topology};
use shared::status::Snapshot;

/// The server's inner addresses.
pub const SERVER: [&str; 2] = ["10.200.0.1", "fd20::1"];
/// The first client's inner addresses.
pub const CLIENT: [&str; 2] = ["10.200.0.2", "fd20::2"];

/// How a tunnel is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The client's `--mode`.
    pub mode: Option<&'static str>,
    /// Where the server is advertised; 10.70.0.1:4500 if empty.
    pub advertise: Vec<&'static str>,
    /// Appended to the server's configuration.
    pub server: String,
    /// Whether clients reach each other.
    pub between_clients: bool,
    /// Appended to the client's configuration.
    pub client: String,
    /// The client's routes, as `--routes` of `init` says them.
    pub routes: Option<&'static str>,
    /// Arguments of `client add`.
    pub add: Vec<&'static str>,
}

/// A lab with a server and a client in it.
pub struct Tunnel {
    /// The client.
    pub client: Program,
    /// The server.
    pub server: Program,
    /// The network around them.
    pub lab: Lab,
    /// Their configurations.
    pub folder: tempfile::TempDir,
}

impl Tunnel {
    /// Raises everything and waits until the client is ready.
    ///
    /// # Errors
    /// When something does not come up: with what the programs said.
    pub fn up(topology: &Topology, options: &Options) -> Result<Self> {
        let lab = Lab::up(topology)?;
        let folder = configure(options)?;
        let server = start_server(&lab, folder.path())?;
        let client = start_client(&lab, Node::Client, &folder.path().join("alice.toml"), options)?;
        client.wait_ready()?;
        Ok(Self { client, server, lab, folder })
    }

    /// Whether the host behind the server's uplinks answers the client.
    pub fn reaches_inet(&self) -> bool {
        let ping = ["-c", "1", "-W", "1", "-q", "10.99.0.1"];
        run_on(&self.lab, Node::Client, "ping", &ping).is_ok()
    }

    /// What the client says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn client_status(&self) -> Result<Snapshot> {
        status(&self.lab, Node::Client, "hawser", "alice")
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn server_status(&self) -> Result<Snapshot> {
        status(&self.lab, Node::Server, "hawser-server", "server")
    }

    /// Waits until the client sees so many paths up.
    ///
    /// # Errors
    /// When they are not up in five seconds.
    pub fn wait_paths_up(&self, count: usize) -> Result<()> {
        eventually(Duration::from_secs(5), || {
            let status = self.client_status()?;
            let paths = status.sessions.iter().flat_map(|session| &session.paths);
            let up = |state: &Option<String>| state.as_deref().is_some_and(|s| s.starts_with("up"));
            Ok(paths.filter(|path| up(&path.up.state)).count() >= count)
        })
    }

    /// Ends both programs as a user would, and checks that they end well.
    ///
    /// # Errors
    /// When one ends otherwise.
    pub fn end(mut self) -> Result<()> {
        for program in [&mut self.client, &mut self.server] {
            let status = program.terminate()?;
            ensure!(
                status.code() == Some(0),
                "{} ended with {status}: {}",
                program.name,
                program.log()
            );
        }
        Ok(())
    }
}

/// Makes a server's configuration with the client `alice`.
///
/// # Errors
/// What the programs say.
pub fn configure(options: &Options) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let advertise = if options.advertise.is_empty() {
        vec!["10.70.0.1:4500"]
    } else {
        options.advertise.clone()
    };
    let mut init = Command::new(binary("hawser-server")?);
    init.args(["init", "--listen", "0.0.0.0:4500", "--listen", "[::]:4500"]);
    for address in advertise {
        init.args(["--advertise", address]);
    }
    init.args(["--pool", "10.200.0.0/24", "--pool6", "fd20::/64"]);
    init.args(options.routes.iter().flat_map(|routes| ["--routes", routes]));
    run(init.arg(folder.path()))?;
    let config = folder.path().join("server.toml");
    let mut text = fs::read_to_string(&config)? + &options.server;
    if options.between_clients {
        text = text.replace("client_to_client = false", "client_to_client = true");
    }
    fs::write(&config, text)?;
    let file = add_client(folder.path(), "alice", &options.add)?;
    let text = fs::read_to_string(&file)? + &options.client;
    fs::write(&file, text)?;
    Ok(folder)
}

/// Adds a client and writes its configuration beside the server's.
///
/// # Errors
/// What the program says.
pub fn add_client(folder: &Path, name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let mut add = Command::new(binary("hawser-server")?);
    add.args(["client", "add", name, "--config"]).arg(folder.join("server.toml")).args(arguments);
    let text = run(&mut add)?;
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Starts the server and waits until it is ready.
///
/// # Errors
/// When it does not come up.
pub fn start_server(lab: &Lab, folder: &Path) -> Result<Program> {
    let mut command = Command::new(binary("hawser-server")?);
    command.args(["run", "--config"]).arg(folder.join("server.toml"));
    let program = Program::start(lab, Node::Server, "hawser-server", command)?;
    program.wait_ready()?;
    Ok(program)
}

/// Starts a client; it may not be ready yet.
///
/// # Errors
/// When it can't be started.
pub fn start_client(lab: &Lab, node: Node, config: &Path, options: &Options) -> Result<Program> {
    let mut command = Command::new(binary("hawser")?);
    command.args(["up", "--config"]).arg(config);
    command.args(options.mode.iter().flat_map(|mode| ["--mode", mode]));
    Program::start(lab, node, "hawser", command)
}

/// Runs a program on a machine of the lab to its end, and gives what it printed.
///
/// # Errors
/// When it fails: with what it complained about.
pub fn run_on(lab: &Lab, node: Node, program: impl AsRef<OsStr>, with: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(with).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = lab.run_in(node, command)?.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{with:?}: {}: {complaint}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Asks a running program.
///
/// # Errors
/// When it does not answer.
pub fn status(lab: &Lab, node: Node, program: &str, name: &str) -> Result<Snapshot> {
    let text = run_on(lab, node, binary(program)?, &["status", "--json", "--name", name])?;
    serde_json::from_str(&text).context("read the status")
}

/// A program that runs, and what it said.
pub struct Program {
    child: Child,
    name: &'static str,
    lines: mpsc::Receiver<String>,
    said: std::cell::RefCell<Vec<String>>,
}

impl Program {
    /// Starts a program on a machine of the lab.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(lab: &Lab, node: Node, name: &'static str, mut command: Command) -> Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null());
        let mut child = lab.run_in(node, command)?;
        let stderr = child.stderr.take().context("the program has a standard error")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Whoever dropped the program does not read on.
                let _ = sender.send(line);
            }
        });
        Ok(Self { child, name, lines, said: Default::default() })
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it does not in ten seconds: with what it said.
    pub fn wait_ready(&self) -> Result<String> {
        self.wait_for("ready", Duration::from_secs(10))
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Errors
    /// When it does not come in time: with what came.
    pub fn wait_for(&self, text: &str, time: Duration) -> Result<String> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                bail!("{} did not say \"{text}\" but:\n{}", self.name, self.log());
            };
            self.said.borrow_mut().push(line.clone());
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Everything that it said.
    pub fn log(&self) -> String {
        let mut said = self.said.borrow_mut();
        said.extend(self.lines.try_iter());
        said.join("\n")
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// When it does not end in five seconds.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM);
        self.wait(Duration::from_secs(5))
    }

    /// Ends it without asking.
    ///
    /// # Errors
    /// When it does not end in five seconds.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(rustix::process::Signal::KILL);
        self.wait(Duration::from_secs(5))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait(&mut self, time: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                self.hear_out();
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("{} does not end:\n{}", self.name, self.log())
    }

    /// Takes in what it said last, which may come after its end is known.
    fn hear_out(&self) {
        let end = Instant::now() + Duration::from_secs(1);
        let left = || end.saturating_duration_since(Instant::now());
        while let Ok(line) = self.lines.recv_timeout(left()) {
            self.said.borrow_mut().push(line);
        }
    }

    /// Its resident memory, in KiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.context("a process has a size")?.trim().trim_end_matches(" kB");
        size.parse().context("read the size")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tries again and again until the condition holds.
///
/// # Errors
/// When it does not hold in time.
pub fn eventually(time: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        let held = condition();
        if matches!(held, Ok(true)) {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("the condition did not hold in {time:?} (last: {held:?})");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The configuration of one of the server's uplinks, each of its own tier, with probes so often.
pub fn uplink(index: u8, interval: &str) -> String {
    format!(
        "\n[[uplink]]\nname = \"up{index}\"\ninterface = \"up{index}\"\ntier = {}\n\
         probe = \"icmp 10.98.{index}.2\"\ninterval = \"{interval}\"\n",
        index + 1
    )
}

/// A program of ours, as `cargo build --bins` made it.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().context("find the running program")?;
    let beside = here.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = beside.into_iter().find(|path| path.exists());
    found
        .with_context(|| format!("{name} is not built: run `cargo build --workspace --bins` first"))
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// When it fails: with what it complained about.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {complaint}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

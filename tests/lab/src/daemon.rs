//! Raises a lab and answers for it.

mod wiring;

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result, anyhow, bail};

use self::wiring::Wiring;
use crate::control::{
    LinkDrops, LinkStatus, Machine, Request, Response, Status, UplinkState, WayStatus, read_line,
};
use crate::emulator::{Emulator, Port, Remote};
use crate::link::{LinkConfig, Switch};
use crate::namespace::{Rights, gain_rights};
use crate::topology::{Direction, Topology};

/// A lab that stands. It vanishes when this is dropped, or the process ends.
#[derive(Debug)]
pub struct Daemon {
    topology: Topology,
    wiring: Wiring,
    remote: Remote,
    uplinks: Mutex<Vec<UplinkState>>,
    listener: UnixListener,
    socket: PathBuf,
    rights: Rights,
}

impl Daemon {
    /// Makes the namespaces, devices and links of `topology`, and listens on `socket`. Must be
    /// called while the process has one thread.
    ///
    /// # Errors
    /// What the host forbids, with the remedy.
    pub fn raise(topology: Topology, socket: &Path) -> Result<Self> {
        if let Err(why) = topology.validate() {
            bail!("{why}");
        }
        let rights = gain_rights()?;
        let listener = listen(socket)?;
        let wiring = Wiring::make(&topology)?;
        let mut emulator = Emulator::new(&topology)?;
        for link in 0..topology.links.len() {
            if topology.links[link].wire == Switch::On {
                wiring.add_wire(&topology, link)?;
                continue;
            }
            emulator.plug(link, Port::Client, Some(wiring.add_client_end(&topology, link)?))?;
            emulator.plug(link, Port::Server, Some(wiring.add_server_end(&topology, link)?))?;
        }
        let remote = emulator.start()?;
        let uplinks = Mutex::new(vec![UplinkState::Up; topology.uplinks.into()]);
        let socket = socket.to_owned();
        Ok(Self { topology, wiring, remote, uplinks, listener, socket, rights })
    }

    /// Where the rights came from.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// The machines and who holds them.
    pub fn machines(&self) -> Vec<Machine> {
        self.wiring.machines()
    }

    /// Answers requests until the process ends.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn serve(&self) -> Result<()> {
        for stream in self.listener.incoming() {
            match stream {
                Ok(stream) => {
                    // Whoever asks and goes away harms nobody else.
                    let _ = self.answer(&stream);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("accept on the control socket"),
            }
        }
        Ok(())
    }

    /// How everything is.
    ///
    /// # Errors
    /// When the emulator has stopped.
    pub fn status(&self) -> Result<Status> {
        let count = self.topology.links.len();
        let (tallies, settings, shared, own) = self.remote.ask(move |emulator| {
            let tallies: Vec<_> = (0..count).filter_map(|link| emulator.tallies(link)).collect();
            let settings: Vec<_> = (0..count).filter_map(|link| emulator.settings(link)).collect();
            (tallies, settings, emulator.shared_tallies(), emulator.own_tally())
        })?;
        let mut links = Vec::new();
        for (index, ((spec, tally), [up, down])) in
            self.topology.links.iter().zip(tallies).zip(settings).enumerate()
        {
            let [client_dropped, server_dropped] =
                self.wiring.packets_dropped(&self.topology, index);
            links.push(LinkStatus {
                name: spec.name.clone(),
                up: WayStatus {
                    setting: describe(&up),
                    counters: tally.up,
                    kernel_dropped: client_dropped,
                },
                down: WayStatus {
                    setting: describe(&down),
                    counters: tally.down,
                    kernel_dropped: server_dropped,
                },
                nat_packets_refused: tally.nat_packets_refused,
                copier: tally.copier,
            });
        }
        Ok(Status {
            machines: self.machines(),
            links,
            shared,
            uplinks: self.uplinks.lock().map(|states| states.clone()).unwrap_or_default(),
            now_us: own.now_us,
            emulator_cpu_us: own.cpu_us,
            realtime: own.realtime,
            packets_unwritten: own.packets_unwritten,
        })
    }

    fn answer(&self, stream: &UnixStream) -> Result<()> {
        let line = read_line(stream)?;
        let response = match serde_json::from_str(&line) {
            Ok(request) => {
                self.handle(request).unwrap_or_else(|error| Response::Refused(format!("{error:#}")))
            }
            Err(error) => Response::Refused(format!("not a request: {error}")),
        };
        let mut line = serde_json::to_vec(&response)?;
        line.push(b'\n');
        (&mut &*stream).write_all(&line).context("answer on the control socket")
    }

    fn handle(&self, request: Request) -> Result<Response> {
        let position = |name: &str| self.topology.position(name).map_err(anyhow::Error::msg);
        match request {
            Request::Copier { link, lead_us } => {
                let link = position(&link)?;
                self.remote.ask(move |emulator| emulator.set_copier(link, lead_us))?;
            }
            Request::LogDrops { max } => {
                self.remote.ask(move |emulator| emulator.log_drops(max))?;
            }
            Request::Plug { link, switch } => self.plug(position(&link)?, switch)?,
            Request::Rebind { link } => {
                let index = position(&link)?;
                if !self.remote.ask(move |emulator| emulator.rebind(index))? {
                    bail!("link '{link}' has no NAT; raise it with nat=on");
                }
            }
            Request::Reset => self.remote.ask(Emulator::reset)?,
            Request::Set { link, edits } => {
                let link = position(&link)?;
                self.remote.ask(move |emulator| emulator.edit(link, edits))?;
            }
            Request::Status => return Ok(Response::Status(Box::new(self.status()?))),
            Request::TakeDrops => return self.take_drops(),
            Request::Uplink { index, state } => self.set_uplink(index, state)?,
        }
        Ok(Response::Done)
    }

    fn plug(&self, link: usize, switch: Switch) -> Result<()> {
        let spec = &self.topology.links[link];
        if spec.wire == Switch::On {
            bail!("link '{}' is a wire: set it down by `ip link`", spec.name);
        }
        self.remote.ask(move |emulator| emulator.plug(link, Port::Client, None))??;
        if switch == Switch::On {
            let device = self.wiring.add_client_end(&self.topology, link)?;
            self.remote.ask(move |emulator| emulator.plug(link, Port::Client, Some(device)))??;
        }
        Ok(())
    }

    fn take_drops(&self) -> Result<Response> {
        let count = self.topology.links.len();
        let logs = self.remote.ask(move |emulator| {
            let mut take = |link| {
                [Direction::Up, Direction::Down]
                    .map(|direction| (link, direction, emulator.take_drops(link, direction)))
            };
            (0..count).flat_map(&mut take).collect::<Vec<_>>()
        })?;
        let drops = logs.into_iter().map(|(link, direction, log)| LinkDrops {
            link: self.topology.links[link].name.clone(),
            direction,
            log,
        });
        Ok(Response::Drops(drops.collect()))
    }

    fn set_uplink(&self, index: u8, state: UplinkState) -> Result<()> {
        if index >= self.topology.uplinks {
            bail!("no uplink {index}; this lab has {} (--uplinks)", self.topology.uplinks);
        }
        let mut states =
            self.uplinks.lock().map_err(|_| anyhow!("a change of an uplink panicked"))?;
        let current = &mut states[usize::from(index)];
        self.wiring.set_uplink(index, *current, state)?;
        *current = state;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A socket that is left is cleared by whoever takes the name next.
        let _ = fs::remove_file(&self.socket);
    }
}

fn listen(socket: &Path) -> Result<UnixListener> {
    if socket.exists() {
        if UnixStream::connect(socket).is_ok() {
            bail!("a lab of this name is up ({}); end it or use --name", socket.display());
        }
        fs::remove_file(socket).with_context(|| format!("clear {}", socket.display()))?;
    }
    UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))
}

/// A link's setting as the command line would have it.
fn describe(config: &LinkConfig) -> String {
    let rate = match config.rate.mean_bits_per_second() {
        None => "unlimited".to_owned(),
        Some(bits) => format!("{:.1}M", bits as f64 / 1e6),
    };
    let mut text = format!("{rate}/{:.1}ms", config.delay_us as f64 / 1000.0);
    if matches!(config.rate, crate::link::Rate::Trace(_)) {
        text.push_str(" trace");
    }
    if config.jitter.sigma_us > 0 {
        text.push_str(&format!(" jitter={:.1}ms", config.jitter.sigma_us as f64 / 1000.0));
    }
    match config.loss {
        crate::link::Loss::Bursts { mean, burst } => {
            text.push_str(&format!(" loss={:.2}% burst={burst}", mean * 100.0));
        }
        crate::link::Loss::GilbertElliott { .. } => text.push_str(" loss=gilbert-elliott"),
        crate::link::Loss::Independent { probability } => {
            text.push_str(&format!(" loss={:.2}%", probability * 100.0));
        }
        crate::link::Loss::None => {}
    }
    if config.duplication > 0.0 {
        text.push_str(&format!(" duplicate={:.2}%", config.duplication * 100.0));
    }
    if config.mtu != 1500 {
        text.push_str(&format!(" mtu={}", config.mtu));
    }
    if config.blackhole == Switch::On {
        text.push_str(" BLACKHOLE");
    }
    text
}

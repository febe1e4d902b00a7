//! The client, the server and its providers: two, and a third where a test connects it.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use hawser_server::egress::{Cause, Duty, Egress, Event, EventKind, Origin, State};
use hawser_server::egress_config::EgressConfig;
use hawser_server::policy::{Choose, Key, Policy};
use hawser_server::probe_config::ProbeConfig;
use hawser_server::uplink_config::UplinkConfig;
use shared::exit::Error;
use shared::host::HostState;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::namespace::{Namespace, eventually, run};

/// The namespaces, with the server in that of this process.
pub(crate) struct Lab {
    pub(crate) client: Namespace,
    pub(crate) isp1: Namespace,
    pub(crate) isp2: Namespace,
    pub(crate) isp3: Namespace,
    pub(crate) folder: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self {
            client: Namespace::new(),
            isp1: Namespace::new(),
            isp2: Namespace::new(),
            isp3: Namespace::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        run(&format!(
            "ip link add hawser0 type veth peer name inner netns {}
             ip address add 10.9.0.1/24 dev hawser0
             ip address add 2001:db8:9::1/64 dev hawser0 nodad
             ip link set hawser0 up
             ip route add 10.99.0.0/24 dev hawser0
             ip -6 route add 2001:db8:99::/64 dev hawser0",
            lab.client.pid()
        ));
        lab.client.run(
            "ip address add 10.9.0.2/24 dev inner
             ip address add 10.99.0.2/32 dev inner
             ip address add 2001:db8:9::2/64 dev inner nodad
             ip address add 2001:db8:99::2/128 dev inner nodad
             ip link set inner up
             ip route add default via 10.9.0.1
             ip -6 route add default via 2001:db8:9::1",
        );
        lab.connect(1);
        lab.connect(2);
        answer(&lab.client, "client", "10.9.0.2:5000");
        for (isp, name) in [(&lab.isp1, "isp1"), (&lab.isp2, "isp2"), (&lab.isp3, "isp3")] {
            isp.run(
                "ip address add 203.0.113.9/32 dev lo; ip address add 2001:db8:ffff::9/128 dev lo nodad",
            );
            for host in ["203.0.113.9", "[2001:db8:ffff::9]"] {
                answer(isp, name, &format!("{host}:4000"));
                listen(isp, &format!("{host}:4001"));
            }
        }
        answer_here("server", "198.51.100.2:5001");
        // Links come up, and addresses become usable, a moment after they were asked to.
        eventually("the lab is up", Duration::from_secs(10), || {
            let links = run("ip -o link show up").matches("LOWER_UP").count() == 4;
            let settled = !run("ip -6 address").contains("tentative");
            let linklocal = run("ip -6 -o address show scope link").lines().count() == 3;
            (links && settled && linklocal).then_some(())
        });
        lab
    }

    /// Connects a provider: 1 with the best default route of the host, 2 with the next; from 3 on the
    /// lines are all of the third one.
    pub(crate) fn connect(&self, number: u8) {
        let (isp, net, peer) = match number {
            1 => (&self.isp1, "192.0.2".to_owned(), "peer".to_owned()),
            2 => (&self.isp2, "198.51.100".to_owned(), "peer".to_owned()),
            _ => (&self.isp3, format!("198.18.{number}"), format!("peer{number}")),
        };
        let metric = 100 * u32::from(number);
        let pid = isp.pid();
        run(&format!("ip link add wan{number} type veth peer name {peer} netns {pid}"));
        isp.run(&format!(
            "ip address add {net}.1/24 dev {peer}
             ip address add 2001:db8:{number}::1/64 dev {peer} nodad
             ip link set {peer} up"
        ));
        run(&format!(
            "echo 0 > /proc/sys/net/ipv6/conf/wan{number}/accept_dad
             ip address add {net}.2/24 dev wan{number}
             ip address add 2001:db8:{number}::2/64 dev wan{number} nodad
             ip link set wan{number} up
             ip route add default via {net}.1 dev wan{number} metric {metric}
             ip -6 route add default via 2001:db8:{number}::1 dev wan{number} metric {metric}"
        ));
    }

    pub(crate) fn start(&self, uplinks: Vec<UplinkConfig>) -> Running {
        self.try_start(EgressConfig { uplinks, ..EgressConfig::default() }).unwrap()
    }

    /// With uplink a in use, and b of the next tier healthy.
    pub(crate) fn pair(&self) -> Running {
        let running = self.start(vec![uplink("a", "wan1", 1), uplink("b", "wan2", 2)]);
        running.await_all_healthy();
        running.await_active("a");
        running
    }

    /// All uplinks of the lowest tier share the flows.
    pub(crate) fn share(&self, key: Key, uplinks: Vec<UplinkConfig>) -> Running {
        let rest = Policy { choose: Choose::Share, key, ..Policy::default() };
        self.by(vec![rest], uplinks)
    }

    /// With these policies, the rest first.
    pub(crate) fn by(&self, policies: Vec<Policy>, uplinks: Vec<UplinkConfig>) -> Running {
        let slow_start = SLOW_START;
        self.try_start(EgressConfig { uplinks, policies, slow_start, ..EgressConfig::default() })
            .unwrap()
    }

    pub(crate) fn try_start(&self, config: EgressConfig) -> Result<Running, Error> {
        let runtime = Runtime::new().unwrap();
        let started = runtime.block_on(async {
            let host = HostState::open_in(self.folder.path(), "x").await.unwrap();
            let egress = Egress::start(config, origin(), &host).await?;
            Ok::<_, Error>((host, egress))
        });
        let (host, egress) = started?;
        Ok(Running { runtime, host, egress })
    }

    /// A flow of each family from the client to the far address.
    pub(crate) fn flows(&self) -> [Flow; 2] {
        [self.flow("203.0.113.9:4000"), self.flow("[2001:db8:ffff::9]:4000")]
    }

    pub(crate) fn flow(&self, to: &str) -> Flow {
        let any = if to.starts_with('[') { "[2001:db8:9::2]:0" } else { "10.9.0.2:0" };
        self.flow_from(any, to)
    }

    pub(crate) fn flow_from(&self, from: &str, to: &str) -> Flow {
        Flow::new(&self.client, from, to)
    }

    /// A flow from a provider inwards.
    pub(crate) fn visit(&self, isp: &Namespace, to: &str) -> Flow {
        Flow::new(isp, "203.0.113.9:0", to)
    }
}

/// The inner sources of the client.
pub(crate) fn origin() -> Origin {
    Origin {
        tun: "hawser0".to_owned(),
        sources: ["10.9.0.0/24", "2001:db8:9::/64"].map(|net| net.parse().unwrap()).to_vec(),
        between_clients: false,
        pool6: "2001:db8:9::/64".parse().ok(),
    }
}

/// An uplink that asks the far address ten times a second.
pub(crate) fn uplink(name: &str, interface: &str, tier: u8) -> UplinkConfig {
    UplinkConfig {
        interface: Some(interface.to_owned()),
        tier,
        probes: vec![ProbeConfig::Icmp { target: "203.0.113.9".parse().unwrap() }],
        interval: Duration::from_millis(100),
        ..UplinkConfig::new(name)
    }
}

/// An egress at work.
#[derive(Debug)]
pub(crate) struct Running {
    runtime: Runtime,
    host: HostState,
    egress: Egress,
}

impl Running {
    pub(crate) fn await_health(&self, name: &str, state: State) {
        self.await_health_within(name, state, Duration::from_secs(15));
    }

    fn await_health_within(&self, name: &str, state: State, time: Duration) {
        let wanted = state.to_string();
        eventually(&format!("{name} is {wanted}"), time, || {
            let uplinks = self.egress.snapshot();
            let found = uplinks.iter().find(|uplink| uplink.name == name);
            found.is_some_and(|uplink| uplink.state == wanted).then_some(())
        });
    }

    pub(crate) fn await_all_healthy(&self) {
        for uplink in self.snapshot() {
            self.await_health(&uplink.name, State::Up);
        }
    }

    /// Waits until new flows take this uplink, which is healthy.
    pub(crate) fn await_active(&self, name: &str) {
        self.await_active_within(name, Duration::from_secs(15));
    }

    pub(crate) fn await_active_within(&self, name: &str, time: Duration) {
        self.await_health_within(name, State::Up, time);
        eventually(&format!("{name} is active"), Duration::from_secs(5), || {
            let active = self.egress.snapshot().into_iter().filter(|uplink| uplink.active);
            active.map(|uplink| uplink.name).eq([name]).then_some(())
        });
    }

    pub(crate) fn snapshot(&self) -> Vec<shared::status::Uplink> {
        self.egress.snapshot()
    }

    pub(crate) fn refusals(&self) -> &[String] {
        self.egress.refusals()
    }

    /// The changes of the verdict on one uplink, in order.
    pub(crate) fn events_of(&self, name: &str) -> Vec<(State, State, Cause)> {
        let change = |kind| match kind {
            EventKind::Health { uplink, from, to, cause } if uplink == name => {
                Some((from, to, cause))
            }
            _ => None,
        };
        self.egress.events().into_iter().filter_map(|event| change(event.kind)).collect()
    }

    /// The last events.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.egress.events()
    }

    /// The uplinks that new flows of a class take.
    pub(crate) fn active_for(&self, class: &str) -> Vec<String> {
        let takes = |uplink: &shared::status::Uplink| uplink.classes.iter().any(|it| it == class);
        let uplinks = self.egress.snapshot().into_iter();
        uplinks.filter(takes).map(|uplink| uplink.name).collect()
    }

    /// How many events are of a kind.
    pub(crate) fn kinds(&self, of: impl Fn(&EventKind) -> bool) -> usize {
        self.egress.events().iter().filter(|event| of(&event.kind)).count()
    }

    pub(crate) fn configure(&self, config: EgressConfig) {
        self.runtime.block_on(self.egress.configure(config)).unwrap();
    }

    pub(crate) fn set_duty(&self, uplink: &str, duty: Duty) {
        self.runtime.block_on(self.egress.set_duty(uplink, duty)).unwrap();
    }

    pub(crate) fn set_sources(&self, sources: &[&str]) {
        let sources = sources.iter().map(|net| net.parse().unwrap()).collect();
        self.runtime.block_on(self.egress.set_sources(sources)).unwrap();
    }

    pub(crate) fn stop(self) {
        for event in self.egress.events() {
            println!("{:>3} {:>9.1} ms {}", event.seq, event.at.as_secs_f64() * 1e3, event.kind);
        }
        self.runtime.block_on(self.egress.stop());
        drop(self.host);
    }
}

/// Short, as nobody likes to wait for tests.
pub(crate) const SLOW_START: Duration = Duration::from_secs(2);

/// One flow of UDP: always the same addresses and ports, as its sender sees them.
pub(crate) struct Flow {
    socket: UdpSocket,
    asked: u32,
}

/// Who answered, and which address and port he saw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) provider: String,
    pub(crate) source: IpAddr,
    port: u16,
}

impl Flow {
    fn new(namespace: &Namespace, from: &str, to: &str) -> Self {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let socket = namespace.make(|| {
            let socket = UdpSocket::bind(from).unwrap();
            socket.connect(to).unwrap();
            socket
        });
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { socket, asked: 0 }
    }

    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Asks once. Late answers to earlier questions don't count.
    pub(crate) fn ask(&mut self) -> Option<Answer> {
        self.asked += 1;
        let question = self.asked.to_string();
        self.socket.send(question.as_bytes()).ok()?;
        let mut answer = [0; 128];
        loop {
            let length = self.socket.recv(&mut answer).ok()?;
            let text = String::from_utf8_lossy(&answer[..length]);
            let mut words = text.split(' ');
            if words.next() != Some(&question) {
                continue;
            }
            let provider = words.next()?.to_owned();
            let seen: SocketAddr = words.next()?.parse().ok()?;
            return Some(Answer { provider, source: seen.ip(), port: seen.port() });
        }
    }

    pub(crate) fn ask_until_answered(&mut self) -> Answer {
        eventually("an answer", Duration::from_secs(5), || self.ask())
    }

    pub(crate) fn ask_until(&mut self, provider: &str) -> Answer {
        eventually(&format!("an answer of {provider}"), Duration::from_secs(15), || {
            self.ask().filter(|answer| answer.provider == provider)
        })
    }

    /// The server's address toward a provider, in the family of this flow.
    pub(crate) fn address_at(&self, provider: &str) -> IpAddr {
        let v4 = self.socket.local_addr().unwrap().is_ipv4();
        let address = match (provider, v4) {
            ("isp1", true) => "192.0.2.2",
            ("isp1", false) => "2001:db8:1::2",
            (_, true) => "198.51.100.2",
            (_, false) => "2001:db8:2::2",
        };
        address.parse().unwrap()
    }
}

fn answer(namespace: &Namespace, name: &'static str, at: &str) {
    let at: SocketAddr = at.parse().unwrap();
    let socket = namespace.make(|| UdpSocket::bind(at).unwrap());
    answer_on(socket, name);
}

fn answer_here(name: &'static str, at: &str) {
    answer_on(UdpSocket::bind(at).unwrap(), name);
}

fn answer_on(socket: UdpSocket, name: &'static str) {
    std::thread::spawn(move || {
        let mut question = [0; 64];
        loop {
            // An error is of a datagram before: one that could not be delivered.
            let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
            let question = String::from_utf8_lossy(&question[..length]).into_owned();
            let _ = socket.send_to(format!("{question} {name} {from}").as_bytes(), from);
        }
    });
}

/// Accepts connections, and ends them.
fn listen(namespace: &Namespace, at: &str) {
    let at: SocketAddr = at.parse().unwrap();
    let listener = namespace.make(|| TcpListener::bind(at).unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            drop(connection);
        }
    });
}

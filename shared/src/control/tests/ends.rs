//! A server that lets in whom it knows, and clients for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::network::{Network, server_address};
use crate::control::wire::lock;
use crate::control::{
    Activation, Admission, Cause, ClientName, Control, ControlEvent, ControlSend, ControlServer,
    DialError, DialLink, Dialer, Grant, Hello, Instance, Message, PrivateKey, PublicKey,
    ServerEvent, ServerName, Settings, Suite,
};

/// A server with its main loop.
pub(super) struct Server {
    pub(super) control: ControlServer,
    pub(super) key: PrivateKey,
    pub(super) known: Arc<Known>,
    pub(super) log: mpsc::UnboundedReceiver<Logged>,
}

/// What the main loop saw.
#[derive(Debug)]
pub(super) enum Logged {
    Joined { name: ClientName, secret: [u8; 32], hello: Hello, again: bool },
    Left { name: ClientName, cause: Cause },
    Message(Message),
}

/// The clients that the server knows.
#[derive(Default)]
pub(super) struct Known(Mutex<BTreeMap<PublicKey, ClientName>>);

impl Known {
    pub(super) fn add(&self, name: &str, key: PublicKey) {
        lock(&self.0).insert(key, name.into());
    }

    pub(super) fn remove(&self, key: &PublicKey) {
        lock(&self.0).remove(key);
    }
}

impl Admission for Known {
    fn identify(&self, key: &PublicKey) -> Option<ClientName> {
        lock(&self.0).get(key).cloned()
    }
}

impl Server {
    pub(super) fn start(out: Arc<dyn ControlSend>) -> Self {
        Self::restart(PrivateKey::generate(), Arc::default(), out)
    }

    pub(super) fn on(network: &Arc<Network>) -> Self {
        let server = Self::start(network.server_side());
        network.set_server(Some(server.control.clone()));
        server
    }

    pub(super) fn restart(key: PrivateKey, known: Arc<Known>, out: Arc<dyn ControlSend>) -> Self {
        let admission = Arc::clone(&known) as Arc<dyn Admission>;
        let (control, events) = ControlServer::start(&key, admission, out).unwrap();
        let (sender, log) = mpsc::unbounded_channel();
        tokio::spawn(main_loop(events, sender));
        Self { control, key, known, log }
    }

    pub(super) fn name(&self) -> ServerName {
        ServerName { key: self.key.public(), addresses: vec![server_address(1).to_string()] }
    }

    /// The next thing that the main loop saw.
    pub(super) async fn next(&mut self) -> Logged {
        within(self.log.recv()).await.expect("the main loop lives")
    }
}

async fn main_loop(mut events: mpsc::Receiver<ServerEvent>, log: mpsc::UnboundedSender<Logged>) {
    while let Some(event) = events.recv().await {
        let logged = match event {
            ServerEvent::Joining(joining) => {
                let logged = Logged::Joined {
                    name: joining.connection.name().clone(),
                    secret: *joining.secret.as_bytes(),
                    hello: joining.hello.clone(),
                    again: joining.predecessor.is_some(),
                };
                joining.grant(grant());
                logged
            }
            ServerEvent::Left { name, cause, .. } => Logged::Left { name, cause },
            ServerEvent::Message { message, .. } => Logged::Message(message),
        };
        let _ = log.send(logged);
    }
}

/// A client with its dialer.
pub(super) struct Client {
    pub(super) dialer: Dialer,
    pub(super) hello: Hello,
}

impl Client {
    /// A client that the server knows, on the network.
    pub(super) fn known(number: u8, network: &Arc<Network>, server: &Server) -> Self {
        let key = PrivateKey::generate();
        server.known.add(&format!("client-{number}"), key.public());
        Self::with_key(number, network, server.name(), key)
    }

    pub(super) fn with_key(
        number: u8,
        network: &Arc<Network>,
        server: ServerName,
        key: PrivateKey,
    ) -> Self {
        let dialer = Dialer::new(key, server, network.client_side(number));
        network.add_client(number, dialer.clone());
        Self { dialer, hello: hello() }
    }

    pub(super) async fn dial(&self, links: &[u32]) -> Result<Control, DialError> {
        self.dialer.dial(&dial_links(links), &self.hello, Duration::from_secs(10)).await
    }
}

pub(super) fn dial_links(sockets: &[u32]) -> Vec<DialLink> {
    let link = |socket: &u32| DialLink {
        socket_v4: Some(*socket),
        socket_v6: None,
        name: format!("link{socket}"),
    };
    sockets.iter().map(link).collect()
}

pub(super) fn hello() -> Hello {
    Hello {
        suites: vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305],
        slot: 5,
        instance: Instance::generate(),
        mode: Some("split".into()),
        software: "test".into(),
    }
}

pub(super) fn grant() -> Grant {
    let settings = Settings {
        addresses: vec!["10.77.0.2/24".parse().unwrap()],
        mode_up: "split".into(),
        mode_down: "split".into(),
        ..Settings::default()
    };
    Grant {
        slot: 9,
        suite: Suite::Aes256Gcm,
        activation: Activation([7; 16]),
        replaced: None,
        software: "test".into(),
        settings,
    }
}

/// Why a connection closes.
pub(super) async fn closed(control: &mut Control) -> Cause {
    loop {
        match within(control.next_event()).await {
            Some(ControlEvent::Closed(cause)) => return cause,
            Some(ControlEvent::Update(_) | ControlEvent::Drain) => {}
            None => panic!("no cause was given"),
        }
    }
}

/// Awaits what must happen; a minute (virtual, in most tests) is long enough for everything here.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it happens within a minute")
}

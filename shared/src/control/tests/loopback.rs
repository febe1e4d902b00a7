//! Real sockets, and many clients at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::ends::{Server, dial_links, hello};
use crate::control::{ControlSend, Dialer, PrivateKey, Route, ServerName, is_control};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_join_at_once_over_loopback() {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = socket.local_addr().unwrap();
    let server = Server::start(Arc::new(Socket(Arc::clone(&socket))));
    let control = server.control.clone();
    let key = server.key.public();
    tokio::spawn(read(socket, move |bytes, route| control.push(bytes, route, 0)));
    let name = ServerName { key, addresses: vec![address.to_string()] };
    let began = Instant::now();

    let dials: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let key = PrivateKey::generate();
            server.known.add(&format!("client-{n}"), key.public());
            tokio::spawn(join(key, name.clone()))
        })
        .collect();
    let mut joins = Vec::new();
    for dial in dials {
        joins.push(dial.await.unwrap());
    }

    let took = began.elapsed();
    joins.sort_unstable();
    let stats = server.control.stats();
    println!(
        "{CLIENTS} clients joined in {took:?} ({:.0} a second, both ends on this machine), p50 \
         {:?}, worst {:?}; {stats:?}",
        CLIENTS as f64 / took.as_secs_f64(),
        joins[CLIENTS / 2],
        joins[CLIENTS - 1]
    );
    assert_eq!(stats.members, CLIENTS as u64);
    assert_eq!(stats.grants, CLIENTS as u64);
}

async fn join(key: PrivateKey, name: ServerName) -> Duration {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let dialer = Dialer::new(key, name, Arc::new(Socket(Arc::clone(&socket))));
    let mail = dialer.clone();
    tokio::spawn(read(socket, move |bytes, _| mail.push(bytes, 0)));
    let began = Instant::now();
    let control = dialer.dial(&dial_links(&[0]), &hello(), Duration::from_secs(30)).await.unwrap();
    let took = began.elapsed();
    // It stays until the runtime goes.
    std::mem::forget(control);
    took
}

struct Socket(Arc<UdpSocket>);

impl ControlSend for Socket {
    fn send(&self, datagram: &[u8], route: &Route, _ecn: u8) -> io::Result<()> {
        self.0.try_send_to(datagram, route.remote).map(|_| ())
    }
}

async fn read(socket: Arc<UdpSocket>, push: impl Fn(&[u8], &Route)) {
    let mut buffer = [0; 2048];
    while let Ok((len, remote)) = socket.recv_from(&mut buffer).await {
        if is_control(&buffer[..len]) {
            push(&buffer[..len], &Route { socket: 0, remote, local: None });
        }
    }
}

const CLIENTS: usize = 200;

//! Forged first datagrams by the thousand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::ends::{Client, Server, within};
use super::joining::link;
use super::network::{Network, server_address};
use crate::control::boot_clock::BootClock;
use crate::control::tls::{self, ServerPin};
use crate::control::{ControlEvent, Message, PrivateKey, Route, transport};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_joins_amid_ten_thousand_forged_handshakes_in_a_second() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut member = Client::known(2, &network, &server).dial(&[1]).await.unwrap();
    // Twelve thousand in all: the first two exhaust the allowance for bursts at once.
    let forged = forge(12_000);
    let control = server.control.clone();
    let pace = Duration::from_micros(100);
    for (n, datagram) in forged.iter().take(2000).enumerate() {
        control.push(datagram, &from_anywhere(n), 0);
    }

    let flood = std::thread::spawn(move || {
        for (n, datagram) in forged.iter().enumerate().skip(2000) {
            control.push(datagram, &from_anywhere(n), 0);
            std::thread::sleep(pace);
        }
    });
    let began = Instant::now();
    let joined = client.dial(&[1]).await;
    let took = began.elapsed();
    tokio::task::spawn_blocking(|| flood.join()).await.unwrap().unwrap();

    let stats = server.control.stats();
    println!("joined after {took:?} amid the flood; {stats:?}");
    assert!(joined.is_ok());
    assert_eq!(stats.grants, 2);
    assert!(stats.retries_sent > 500, "{stats:?}");
    assert!(stats.initials_limited > 1000, "{stats:?}");
    assert!(stats.handshakes_started < 500, "{stats:?}");
    assert!(stats.half_open <= 128, "{stats:?}");
    // And who was in before is still there.
    for connection in server.control.connections() {
        connection.send(Message::Drain).unwrap();
    }
    assert_eq!(within(member.next_event()).await, Some(ControlEvent::Drain));
}

#[tokio::test(start_paused = true)]
async fn damaged_first_flights_come_to_nothing() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut rng = rand::rngs::StdRng::seed_from_u64(11);
    let count = 2000;

    for (n, mut datagram) in forge(count).into_iter().enumerate() {
        let at = rng.random_range(7..datagram.len());
        if n % 2 == 0 {
            datagram[at] ^= 1 << rng.random_range(0..8);
        } else {
            datagram.truncate(at);
        }
        server.control.push(&datagram, &from_anywhere(n), 0);
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let stats = server.control.stats();
    assert_eq!(stats.datagrams_received, count as u64);
    assert_eq!(
        (stats.handshakes_completed, stats.half_open, stats.members),
        (0, 0, 0),
        "{stats:?}"
    );
    assert_eq!(stats.datagrams_sent, 0, "{stats:?}");
    assert!(client.dial(&[1]).await.is_ok());
}

/// The first datagrams of so many handshakes that nobody will complete, each valid in itself.
fn forge(count: usize) -> Vec<Vec<u8>> {
    let pin = Arc::new(ServerPin::new(PrivateKey::generate().public()));
    let tls = tls::client(&PrivateKey::generate(), pin, Arc::new(BootClock)).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport::connection(0)));
    let now = Instant::now().into_std();
    let endpoint = Arc::new(quinn_proto::EndpointConfig::default());
    (0..count)
        .map(|_| {
            let mut endpoint = quinn_proto::Endpoint::new(endpoint.clone(), None, false, None);
            let (_, mut connection) =
                endpoint.connect(now, config.clone(), server_address(1), "x.invalid").unwrap();
            let mut datagram = Vec::new();
            let transmit = connection.poll_transmit(now, 1, &mut datagram);
            assert!(transmit.is_some_and(|transmit| transmit.size == datagram.len()));
            datagram
        })
        .collect()
}

fn from_anywhere(n: usize) -> Route {
    let [.., a, b, c] = n.to_be_bytes();
    let local = Some(server_address(1).ip());
    Route { socket: 1, remote: SocketAddr::from(([198, a, b, c], 1000)), local }
}

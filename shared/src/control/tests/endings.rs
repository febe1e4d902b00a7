//! How connections end, and that both ends learn of it.

use std::time::Duration;

use tokio::time::Instant;

use super::ends::{Client, Logged, Server, closed};
use super::joining::link;
use super::network::{Link, Network};
use crate::control::transport::IDLE_MAX;
use crate::control::{Cause, Goodbye, GoodbyeCode};

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_missed_at_once() {
    let network = Network::new(1, [(1, link())]);
    let mut server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let control = client.dial(&[1]).await.unwrap();
    server.next().await;

    control.close(Goodbye::new(GoodbyeCode::Ended, "asked to end")).await;

    let Logged::Left { name, cause } = server.next().await else { panic!("nobody left") };
    assert_eq!(&*name, "client-1");
    assert_eq!(cause, Cause::Goodbye(Goodbye::new(GoodbyeCode::Ended, "asked to end")));
    assert_eq!(server.control.stats().members, 0);
}

#[tokio::test(start_paused = true)]
async fn a_removed_client_is_out_within_a_round_trip_and_stays_out() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut control = client.dial(&[1]).await.unwrap();
    let connection = server.control.connections().remove(0);
    let began = Instant::now();

    server.known.remove(&connection.key());
    connection.end(Goodbye::new(GoodbyeCode::Removed, ""));

    let cause = closed(&mut control).await;
    assert!(matches!(&cause, Cause::Goodbye(g) if g.code == GoodbyeCode::Removed), "{cause}");
    assert!(cause.is_refusal());
    assert!(began.elapsed() < Duration::from_millis(20), "{:?}", began.elapsed());
    assert!(client.dial(&[1]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_says_goodbye_to_all() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let clients = [1, 2, 3].map(|n| Client::known(n, &network, &server));
    let mut controls = Vec::new();
    for client in &clients {
        controls.push(client.dial(&[1]).await.unwrap());
    }

    server.control.stop(Goodbye::new(GoodbyeCode::Ended, "maintenance")).await;

    for control in &mut controls {
        let cause = closed(control).await;
        assert_eq!(cause, Cause::Goodbye(Goodbye::new(GoodbyeCode::Ended, "maintenance")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_says_so_within_one_round_trip() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut control = client.dial(&[1]).await.unwrap();
    // What the old server has to say is lost with it.
    network.set_server(None);
    let fresh = Server::restart(server.key.clone(), server.known.clone(), network.server_side());
    network.set_server(Some(fresh.control.clone()));
    let began = Instant::now();

    control.handle().ping();
    let cause = closed(&mut control).await;

    assert_eq!(cause, Cause::Restarted);
    println!("a restart was told after {:?}, the round trip is 20 ms", began.elapsed());
    assert!(began.elapsed() <= Duration::from_millis(25), "{:?}", began.elapsed());
    assert!(client.dial(&[1]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_server_with_another_key_cannot_end_a_connection_by_a_reset() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut control = client.dial(&[1]).await.unwrap();
    let impostor = Server::start(network.server_side());
    network.set_server(Some(impostor.control.clone()));

    control.handle().ping();
    let told = tokio::time::timeout(Duration::from_secs(2), control.next_event()).await;

    assert!(told.is_err(), "{told:?}");
    assert_eq!(impostor.control.stats().datagrams_sent, 0);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_at_both_ends() {
    let network = Network::new(1, [(1, link())]);
    let mut server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut control = client.dial(&[1]).await.unwrap();
    server.next().await;
    let began = Instant::now();

    network.set_link(1, Link { loss: 1.0, ..link() });

    assert_eq!(closed(&mut control).await, Cause::Silent);
    assert!(began.elapsed() < IDLE_MAX + Duration::from_secs(10), "{:?}", began.elapsed());
    let Logged::Left { cause, .. } = server.next().await else { panic!("nobody left") };
    assert_eq!(cause, Cause::Silent);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_stays() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut control = client.dial(&[1]).await.unwrap();

    let event = tokio::time::timeout(10 * IDLE_MAX, control.next_event()).await;

    assert!(event.is_err(), "{event:?}");
    assert_eq!(server.control.stats().members, 1);
}

#[tokio::test(start_paused = true)]
async fn garbage_changes_only_counters() {
    use rand::{RngExt, SeedableRng};
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let control = client.dial(&[1]).await.unwrap();
    // The handshake's last acknowledgements go first.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = server.control.stats();
    let dropped_before = client.dialer.datagrams_dropped();
    let mut rng = rand::rngs::StdRng::seed_from_u64(7);
    let count = 20_000;

    for _ in 0..count {
        let mut datagram = vec![0; rng.random_range(1..1600)];
        rng.fill(&mut datagram[..]);
        datagram[0] |= 0x40;
        server.control.push(&datagram, &super::network::came_from(1, 1), 0);
        client.dialer.push(&datagram, 0);
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    let after = server.control.stats();
    assert_eq!(after.datagrams_received, before.datagrams_received + count);
    assert_eq!(after.datagrams_sent, before.datagrams_sent, "nothing is answered");
    assert_eq!((after.members, after.half_open), (1, 0));
    assert_eq!(after.handshakes_started, before.handshakes_started);
    assert!(client.dialer.datagrams_dropped() > dropped_before);
    // And the connection still works.
    control.handle().ping();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(server.control.stats().datagrams_sent > after.datagrams_sent);
}

//! Several links, of which one suffices.

use std::time::Duration;

use tokio::time::Instant;

use super::ends::{Client, Server};
use super::joining::link;
use super::network::{Link, Network};

#[tokio::test(start_paused = true)]
async fn the_first_link_wins_when_all_are_well() {
    let network = Network::new(1, [(1, link()), (2, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let began = Instant::now();

    let control = client.dial(&[2, 1]).await.unwrap();

    assert_eq!(control.link(), "link2");
    // Two round trips for handshake and hello.
    assert!(began.elapsed() <= Duration::from_millis(60), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_link_costs_one_step() {
    let network = Network::new(1, [(1, Link { loss: 1.0, ..link() }), (2, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let began = Instant::now();

    let control = client.dial(&[1, 2]).await.unwrap();

    assert_eq!(control.link(), "link2");
    assert!(began.elapsed() <= Duration::from_millis(160), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_race_is_not_let_in() {
    let slow = Link { delay: Duration::from_millis(80), ..Link::default() };
    let network = Network::new(1, [(1, slow), (2, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);

    let control = client.dial(&[1, 2]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;

    assert_eq!(control.link(), "link2");
    let stats = server.control.stats();
    assert_eq!((stats.grants, stats.members, stats.half_open), (1, 1, 0));
    assert!(stats.races_lost + stats.handshakes_failed >= 1, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_up_during_the_dial_is_found_soon() {
    for outage in [Duration::from_millis(500), Duration::from_secs(3), Duration::from_secs(8)] {
        let network = Network::new(1, [(1, link()), (2, link())]);
        let server = Server::on(&network);
        let client = Client::known(1, &network, &server);
        network.set_server(None);
        let control = server.control.clone();
        let began = Instant::now();

        let rise = async {
            tokio::time::sleep(outage).await;
            network.set_server(Some(control));
        };
        let (joined, ()) = tokio::join!(client.dial(&[1, 2]), rise);

        assert!(joined.is_ok());
        let after = began.elapsed() - outage;
        println!("joined {after:?} after the server returned from {outage:?}");
        assert!(after <= Duration::from_secs(1), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_third_of_the_initials_lost_still_joins_within_a_second() {
    let slow = Duration::from_millis(1500);
    let pairs = [("20/60 ms", [10, 30], Duration::from_secs(1)), ("60/120 ms", [30, 60], slow)];
    for (name, delays, p95_max) in pairs {
        let mut joins = Vec::new();
        for seed in 0..RUNS {
            let links = [1, 2].map(|n| {
                let delay = Duration::from_millis(delays[n as usize - 1]);
                (n, Link { delay, initial_loss: 0.3, ..Link::default() })
            });
            let network = Network::new(seed, links);
            let server = Server::on(&network);
            let client = Client::known(1, &network, &server);
            let began = Instant::now();

            client.dial(&[1, 2]).await.unwrap();

            joins.push(began.elapsed());
        }
        joins.sort_unstable();
        let at = |percent: usize| joins[(joins.len() - 1) * percent / 100];
        println!(
            "30 % of Initials lost on both links, {name}: joined after p50 {:?}, p95 {:?}, \
             p99 {:?}, worst {:?} of {RUNS}",
            at(50),
            at(95),
            at(99),
            at(100)
        );
        assert!(at(95) <= p95_max, "{:?}", at(95));
    }
}

const RUNS: u64 = 200;

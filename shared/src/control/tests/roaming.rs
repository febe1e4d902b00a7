//! The control connection moves with the client.

use std::time::Duration;

use super::ends::{Client, Server, within};
use super::joining::link;
use super::network::{Link, Network, client_address, server_address};
use crate::control::{Cause, ControlEvent, Message, Route};

#[tokio::test(start_paused = true)]
async fn the_server_follows_the_client_to_another_link() {
    let network = Network::new(1, [(1, link()), (2, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut control = client.dial(&[1]).await.unwrap();
    let connection = server.control.connections().remove(0);
    assert_eq!(connection.remote(), client_address(1, 1));

    network.set_link(1, Link { loss: 1.0, ..link() });
    control.handle().set_route(Route { socket: 2, ..control.route() });

    within(async {
        while connection.remote() != client_address(1, 2) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    connection.send(Message::Drain).unwrap();
    assert_eq!(within(control.next_event()).await, Some(ControlEvent::Drain));
}

#[tokio::test(start_paused = true)]
async fn answers_leave_from_the_address_that_the_client_sends_to() {
    // Behind its NAT, the client only hears the address that it sent to last.
    let network = Network::new(1, [(1, Link { strict_nat: true, ..link() })]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut control = client.dial(&[1]).await.unwrap();
    let connection = server.control.connections().remove(0);

    control.handle().set_route(Route { remote: server_address(2), ..control.route() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    connection.send(Message::Drain).unwrap();

    let event = tokio::time::timeout(Duration::from_secs(1), control.next_event()).await;
    assert_eq!(event.unwrap(), Some(ControlEvent::Drain));
}

#[tokio::test(start_paused = true)]
async fn a_connection_outlives_a_loss_of_a_third_of_everything() {
    let network = Network::new(3, [(1, Link { loss: 0.33, ..link() })]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut control = within(client.dial(&[1])).await.unwrap();
    let connection = server.control.connections().remove(0);

    for _ in 0..20 {
        connection.send(Message::Drain).unwrap();
        let event = within(control.next_event()).await;
        assert!(!matches!(event, Some(ControlEvent::Closed(Cause::Silent)) | None), "{event:?}");
    }
}

//! Who gets in, and who does not.

use std::sync::Arc;
use std::time::Duration;

use super::ends::{Client, Logged, Server, closed, dial_links, grant, hello};
use super::network::{Link, Network, server_address};
use crate::control::{
    Cause, ControlEvent, DialError, Dialer, GoodbyeCode, Message, PrivateKey, RefusalCode,
    ServerName, Settings,
};

#[tokio::test(start_paused = true)]
async fn a_known_client_joins_and_both_ends_share_the_secret() {
    let network = Network::new(1, [(1, link())]);
    let mut server = Server::on(&network);
    let client = Client::known(1, &network, &server);

    let control = client.dial(&[1]).await.unwrap();

    let Logged::Joined { name, secret, hello, again } = server.next().await else {
        panic!("the client did not join")
    };
    assert_eq!(&*name, "client-1");
    assert_eq!(&secret, control.secret().as_bytes());
    assert_ne!(secret, [0; 32]);
    assert_eq!(hello, client.hello);
    assert!(!again);
    assert_eq!(control.grant(), &grant());
    assert_eq!(control.link(), "link1");
    let stats = server.control.stats();
    assert_eq!((stats.grants, stats.members, stats.half_open), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn each_connection_has_a_secret_of_its_own() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);

    let first = client.dial(&[1]).await.unwrap();
    let second = client.dial(&[1]).await.unwrap();

    assert_ne!(first.secret(), second.secret());
}

#[tokio::test(start_paused = true)]
async fn a_server_with_another_key_is_named_with_its_key() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let expected = PrivateKey::generate().public();
    let name = ServerName { key: expected, ..server.name() };
    let client = Client::with_key(1, &network, name, PrivateKey::generate());

    let error = client.dial(&[1]).await.unwrap_err();

    let DialError::WrongServerKey { address, expected: named, found } = &error else {
        panic!("{error}")
    };
    assert_eq!((*address, *named, *found), (server_address(1), expected, server.key.public()));
    assert!(error.to_string().contains(&found.to_string()), "{error}");
    assert_eq!(server.control.stats().grants, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_known_is_told_what_to_do() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let key = PrivateKey::generate();
    let public = key.public();
    let client = Client::with_key(1, &network, server.name(), key);

    let error = client.dial(&[1]).await.unwrap_err();

    let DialError::Refused(refusal) = &error else { panic!("{error}") };
    assert_eq!(refusal.code, RefusalCode::UnknownKey);
    assert!(error.to_string().contains(&public.to_string()), "{error}");
    let stats = server.control.stats();
    assert_eq!((stats.grants, stats.members), (0, 0));
    assert!(stats.unknown_keys > 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_added_while_the_server_runs_gets_in() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let key = PrivateKey::generate();
    let public = key.public();
    let client = Client::with_key(1, &network, server.name(), key);
    client.dial(&[1]).await.unwrap_err();

    server.known.add("late", public);

    assert!(client.dial(&[1]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn another_machine_with_the_key_replaces_the_first_and_both_are_told() {
    let network = Network::new(1, [(1, link())]);
    let mut server = Server::on(&network);
    let key = PrivateKey::generate();
    server.known.add("twin", key.public());
    let one = Client::with_key(1, &network, server.name(), key.clone());
    let two = Client::with_key(2, &network, server.name(), key);

    let mut first = one.dial(&[1]).await.unwrap();
    let mut second = two.dial(&[1]).await.unwrap();

    let cause = closed(&mut first).await;
    let Cause::Goodbye(goodbye) = &cause else { panic!("{cause}") };
    assert_eq!(goodbye.code, GoodbyeCode::Replaced);
    assert!(goodbye.reason.contains("10.0.2.1"), "{cause}");
    assert!(cause.is_refusal());
    let replaced = second.grant().replaced.expect("the second is told");
    assert_eq!(replaced.to_string(), "10.0.1.1:1");
    assert!(matches!(server.next().await, Logged::Joined { again: false, .. }));
    assert!(matches!(server.next().await, Logged::Joined { again: true, .. }));
    assert!(matches!(server.next().await, Logged::Left { cause: Cause::Left(_), .. }));
    assert_eq!(server.control.stats().replacements, 1);
    assert_eq!(server.control.stats().members, 1);
    // And the second stays.
    server.control.connections()[0].send(Message::Drain).unwrap();
    assert_eq!(second.next_event().await, Some(ControlEvent::Drain));
}

#[tokio::test(start_paused = true)]
async fn the_same_machine_renews_its_connection_quietly() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);

    let mut old = client.dial(&[1]).await.unwrap();
    let fresh = client.dial(&[1]).await.unwrap();

    let cause = closed(&mut old).await;
    assert!(matches!(&cause, Cause::Goodbye(g) if g.code == GoodbyeCode::Renewed), "{cause}");
    assert!(!cause.is_refusal());
    assert_eq!(fresh.grant().replaced, None);
    assert_eq!(server.control.stats().replacements, 0);
}

#[tokio::test(start_paused = true)]
async fn fresh_settings_reach_the_client() {
    let network = Network::new(1, [(1, link())]);
    let server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let mut control = client.dial(&[1]).await.unwrap();
    let settings = Settings { mode_down: "duplicate".into(), ..grant().settings };

    let connections = server.control.connections();
    connections[0].send(Message::Update(settings.clone())).unwrap();

    assert_eq!(control.next_event().await, Some(ControlEvent::Update(settings)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_reported_with_all_that_was_tried() {
    let network = Network::new(1, [(1, link()), (2, link())]);
    let server = PrivateKey::generate().public();
    let addresses = vec![server_address(1).to_string(), "[2001:db8::1]:4500".into()];
    let name = ServerName { key: server, addresses };
    let dialer = Dialer::new(PrivateKey::generate(), name, network.client_side(1));

    let time_max = Duration::from_secs(7);
    let error = dialer.dial(&dial_links(&[1, 2]), &hello(), time_max).await.unwrap_err();

    let DialError::Unreachable { tried, waited } = &error else { panic!("{error}") };
    assert_eq!(tried.len(), 2, "{error}");
    assert!(*waited >= time_max && *waited < time_max + Duration::from_secs(1));
    for part in ["192.0.2.1:4500 by link1", "192.0.2.1:4500 by link2", "firewall"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_name_without_an_address_is_named() {
    let network = Network::new(1, [(1, link())]);
    let addresses = vec!["no-such-host.invalid:4500".into()];
    let name = ServerName { key: PrivateKey::generate().public(), addresses };
    let dialer = Dialer::new(PrivateKey::generate(), name, network.client_side(1));

    let time_max = Duration::from_secs(5);
    let error = dialer.dial(&dial_links(&[1]), &hello(), time_max).await.unwrap_err();

    assert!(matches!(error, DialError::Unresolved(_)), "{error}");
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn without_a_link_of_the_right_family_nothing_is_tried() {
    let network = Network::new(1, [(1, link())]);
    let addresses = vec!["[2001:db8::1]:4500".into()];
    let name = ServerName { key: PrivateKey::generate().public(), addresses };
    let dialer = Dialer::new(PrivateKey::generate(), name, network.client_side(1));

    let time_max = Duration::from_secs(5);
    let error = dialer.dial(&dial_links(&[1]), &hello(), time_max).await.unwrap_err();

    assert!(matches!(error, DialError::NoLink(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_the_client_says_reaches_the_main_loop() {
    let network = Network::new(1, [(1, link())]);
    let mut server = Server::on(&network);
    let client = Client::known(1, &network, &server);
    let control = client.dial(&[1]).await.unwrap();
    server.next().await;

    control.handle().ping();
    control.handle().send(Message::Drain).unwrap();

    let Logged::Message(message) = server.next().await else { panic!("no message") };
    assert_eq!(message, Message::Drain, "a ping is not passed on");
}

pub(super) fn link() -> Link {
    Link { delay: Duration::from_millis(10), ..Link::default() }
}

/// Both ends run on any thread.
const _: () = {
    const fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Dialer>();
    assert_shared::<Arc<crate::control::ControlServer>>();
    assert_shared::<crate::control::ControlHandle>();
};

//! Messages survive the wire, and nothing else upsets their reader.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

#[test]
fn a_hello_is_readable_json() {
    let hello = Message::Hello(Hello {
        suites: vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305],
        slot: 17,
        instance: Instance([0; 16]),
        mode: Some("split".into()),
        software: "hawser 0.1.0".into(),
    });

    let bytes = hello.emit().unwrap();

    assert_eq!(
        std::str::from_utf8(&bytes[LENGTH_LEN..]).unwrap(),
        r#"{"type":"hello","suites":["aes-256-gcm","chacha20-poly1305"],"slot":17,"instance":"AAAAAAAAAAAAAAAAAAAAAA==","mode":"split","software":"hawser 0.1.0"}"#
    );
}

#[test]
fn what_a_newer_peer_adds_is_skipped() {
    let json = br#"{"type":"hello","suites":["aegis-128l","aes-256-gcm"],"slot":1,
        "instance":"AAAAAAAAAAAAAAAAAAAAAA==","colour":{"deep":[1,2,{"x":null}]}}"#;

    let Message::Hello(hello) = Message::parse(json).unwrap() else { panic!("not a hello") };

    assert_eq!(hello.suites, [Suite::Aes256Gcm]);
    assert_eq!(Message::parse(br#"{"type":"horoscope","sign":"crab"}"#).unwrap(), Message::Unknown);
}

#[test]
fn limits_hold_in_both_directions() {
    let grant = |change: fn(&mut Grant)| {
        let mut grant = Grant {
            slot: 1,
            suite: Suite::Aes256Gcm,
            activation: Activation([1; 16]),
            replaced: None,
            software: String::new(),
            settings: Settings::default(),
        };
        change(&mut grant);
        Message::Grant(grant)
    };
    type Breach = (&'static str, fn(&mut Grant));
    let breaches: [Breach; 5] = [
        ("slot", |grant| grant.slot = 1 << 20),
        ("software", |grant| grant.software = "a\nb".into()),
        ("mode-up", |grant| grant.settings.mode_up = "Split!".into()),
        ("routes", |grant| {
            grant.settings.routes = vec!["10.0.0.0/8".parse().unwrap(); ROUTES_MAX + 1];
        }),
        ("advertised", |grant| grant.settings.advertised = vec!["x".repeat(TEXT_MAX + 1)]),
    ];

    for (field, change) in breaches {
        let message = grant(change);
        let error = message.emit().unwrap_err();
        assert!(matches!(error, MessageError::Limit(named) if named == field), "{error}");

        let json = serde_json::to_vec(&message).unwrap();
        assert!(matches!(Message::parse(&json), Err(MessageError::Limit(named)) if named == field));
    }
    assert!(grant(|_| ()).emit().is_ok());
}

#[test]
fn the_fullest_grant_fits() {
    let net: IpNet = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120".parse().unwrap();
    let settings = Settings {
        addresses: vec![net; ADDRESSES_MAX],
        server_addresses: vec![net.addr(); ADDRESSES_MAX],
        prefixes: vec![net; ADDRESSES_MAX],
        routes: vec![net; ROUTES_MAX],
        ..Settings::default()
    };

    assert!(Message::Update(settings).emit().is_ok());
}

#[test]
fn the_suite_is_the_one_that_both_do_well() {
    use Suite::{Aes256Gcm as A, ChaCha20Poly1305 as C};

    assert_eq!(Suite::choose(&[A, C], &[A, C]), Some(A));
    assert_eq!(Suite::choose(&[C, A], &[C, A]), Some(C));
    assert_eq!(Suite::choose(&[A, C], &[C, A]), Some(C), "the client decides a tie");
    assert_eq!(Suite::choose(&[A, C], &[C]), Some(C));
    assert_eq!(Suite::choose(&[A], &[C]), None);
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_read(message in message()) {
        let bytes = message.emit().unwrap();

        let (len, json) = bytes.split_at(LENGTH_LEN);
        prop_assert_eq!(u32::from_be_bytes(len.try_into().unwrap()) as usize, json.len());
        prop_assert_eq!(Message::parse(json).unwrap(), message);
    }

    #[test]
    fn garbage_is_refused_and_nothing_more(bytes in vec(any::<u8>(), 0..512)) {
        prop_assert!(Message::parse(&bytes).is_err());
    }

    #[test]
    fn a_damaged_message_is_read_within_its_limits_or_refused(
        message in message(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut json = message.emit().unwrap().split_off(LENGTH_LEN);
        let at = at.index(json.len());
        json[at] = byte;

        if let Ok(read) = Message::parse(&json) {
            prop_assert!(read.keep_limits().is_ok());
        }
    }
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let json = format!(r#"{{"type":"ping","x":{}"#, "[".repeat(60_000));

    assert!(Message::parse(json.as_bytes()).is_err());
}

// What the tests draw from.

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello().prop_map(Message::Hello),
        grant().prop_map(Message::Grant),
        settings().prop_map(Message::Update),
        Just(Message::Drain),
        Just(Message::Ping),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let suites = vec(suite(), 1..4);
    (suites, 0..SLOTS, any::<[u8; 16]>(), option::of("[a-z0-9-]{0,32}"), "[ -~]{0,60}").prop_map(
        |(suites, slot, instance, mode, software)| Hello {
            suites,
            slot,
            instance: Instance(instance),
            mode,
            software,
        },
    )
}

fn grant() -> impl Strategy<Value = Grant> {
    (0..SLOTS, suite(), any::<[u8; 16]>(), option::of(any::<SocketAddr>()), settings()).prop_map(
        |(slot, suite, activation, replaced, settings)| Grant {
            slot,
            suite,
            activation: Activation(activation),
            // Flow labels and zones are no part of what the wire carries.
            replaced: replaced.map(|from| SocketAddr::new(from.ip(), from.port())),
            software: "hawser-server 0.1.0".into(),
            settings,
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let lists = (vec(net(), 0..4), vec(any::<IpAddr>(), 0..4), vec(net(), 0..40));
    let scalars = (option::of(any::<u32>()), option::of(any::<u16>()), "[a-z-]{0,20}");
    (lists, scalars, vec("[ -~]{0,80}", 0..4)).prop_map(|(lists, scalars, advertised)| Settings {
        addresses: lists.0.clone(),
        server_addresses: lists.1.clone(),
        prefixes: lists.0.clone(),
        pools: lists.0,
        routes: lists.2,
        dns: lists.1,
        mode_up: scalars.2.clone(),
        mode_down: scalars.2,
        advertised,
        keepalive_ms: scalars.0,
        mtu: scalars.1,
    })
}

fn suite() -> impl Strategy<Value = Suite> {
    prop_oneof![Just(Suite::Aes256Gcm), Just(Suite::ChaCha20Poly1305)]
}

fn net() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), 0..=32u8).prop_map(|(ip, len)| IpNet::new(ip, len).unwrap())
}

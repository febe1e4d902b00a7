//! Host state in real network namespaces.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "host/namespace.rs"]
mod namespace;

use std::future::Future;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use namespace::{Namespace, difference, eventually, everything, inside, run};
use shared::host::{
    Carrier, Destinations, Family, HostError, HostState, LinkEvent, LinkWatch, Mark, Netlink,
    OUTER_MARK, Route, Rule, TunnelRoutes, install_routes, read_sysctl,
};
use socket2::{Domain, Socket, Type};

#[test]
fn undoing_leaves_the_host_as_it_was() {
    if !inside("undoing_leaves_the_host_as_it_was") {
        return;
    }
    let _far = two_links();
    let before = everything();
    let folder = tempfile::tempdir().unwrap();

    let (during, strict) = in_runtime(async {
        let host = HostState::open_in(folder.path(), "x").await.unwrap();
        change_everything(&host).await;
        let seen = (everything(), read_sysctl("net/ipv4/conf/wan1/rp_filter").unwrap());
        host.undo().await.unwrap();
        seen
    });

    assert_eq!(difference(&before, &everything()), "");
    let changed = difference(&before, &during);
    for line in [
        "+ 10.8.0.0/24 dev hawser0 proto 72 scope link",
        "+ default via 192.0.2.1 dev wan1 table 300 proto 72",
        "+ unreachable default table 300 proto 72 metric 4278198272",
        "+ 9300:\tfrom all fwmark 0x10000/0xff0000 lookup 300 proto 72",
        "+ 9301:\tnot from all fwmark 0x10000/0xff0000 lookup main suppress_prefixlength 0 proto 72",
        "+ table inet hawser-x {",
    ] {
        assert!(
            changed.lines().any(|found| found.trim_end() == line),
            "{line} is not in\n{changed}"
        );
    }
    assert!(changed.contains("10.7.0.1/24"), "{changed}");
    assert!(changed.contains("2001:db8:7::/64 dev hawser0"), "{changed}");
    assert_eq!(strict.as_deref(), Some("2"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nor a file");
}

#[test]
fn a_dropped_state_is_undone_too() {
    if !inside("a_dropped_state_is_undone_too") {
        return;
    }
    let _far = two_links();
    let before = everything();
    let folder = tempfile::tempdir().unwrap();

    in_runtime(async {
        let host = HostState::open_in(folder.path(), "x").await.unwrap();
        change_everything(&host).await;
    });

    assert_eq!(difference(&before, &everything()), "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_scope_is_undone_alone_and_a_change_alone_too() {
    if !inside("a_scope_is_undone_alone_and_a_change_alone_too") {
        return;
    }
    let _far = two_links();
    let folder = tempfile::tempdir().unwrap();

    in_runtime(async {
        let host = HostState::open_in(folder.path(), "x").await.unwrap();
        let part = host.scope("part");
        let one = Route::to_interface("10.1.0.0/24".parse().unwrap(), "hawser0");
        let two = Route::to_interface("10.2.0.0/24".parse().unwrap(), "hawser0");
        let three = Route::to_interface("10.3.0.0/24".parse().unwrap(), "hawser0");
        host.add_route(one.clone()).await.unwrap();
        part.add_routes([two.clone(), three.clone()]).await.unwrap();
        let ours = async || {
            let routes =
                host.netlink().routes(Family::V4, None, |route| route.protocol == 72).await;
            routes.unwrap().into_iter().map(|route| route.destination).collect::<Vec<_>>()
        };

        part.remove_route(two.clone()).await.unwrap();
        assert_eq!(ours().await, [one.destination, three.destination]);
        part.remove_route(one.clone()).await.unwrap();
        assert_eq!(ours().await, [one.destination, three.destination], "not of this scope");
        part.undo().await.unwrap();
        assert_eq!(ours().await, [one.destination]);
        host.undo().await.unwrap();
        assert_eq!(ours().await, []);
    });
}

#[test]
fn what_others_have_changed_since_is_left_alone() {
    if !inside("what_others_have_changed_since_is_left_alone") {
        return;
    }
    let _far = two_links();
    // Of others, and as like ours as can be.
    run("ip route add 10.7.0.0/24 dev wan2 proto 72 metric 5; \
         ip rule add priority 9300 fwmark 0x20000/0xff0000 lookup 300; nft add table inet hawser-y");
    let before = everything();
    let folder = tempfile::tempdir().unwrap();

    in_runtime(async {
        let host = HostState::open_in(folder.path(), "x").await.unwrap();
        change_everything(&host).await;
        host.set_sysctl("net/ipv4/conf/wan2/forwarding", "1").await.unwrap();
        run("echo 0 > /proc/sys/net/ipv4/conf/wan1/rp_filter; ip route del 10.7.0.0/24 metric 0");
        host.undo().await.unwrap();
    });

    let changed = difference(&before, &everything());
    let expected = "- /proc/sys/net/ipv4/conf/wan1/rp_filter 1\n\
                    + /proc/sys/net/ipv4/conf/wan1/rp_filter 0\n";
    assert_eq!(changed, expected);
}

#[test]
fn a_full_tunnel_takes_all_but_our_own_datagrams() {
    if !inside("a_full_tunnel_takes_all_but_our_own_datagrams") {
        return;
    }
    let _far = two_links();
    let before = everything();
    let folder = tempfile::tempdir().unwrap();
    let device = |to: &str| {
        let found = run(&format!("ip route get {to} 2>&1 || true"));
        let mut words = found.split_whitespace();
        words.find(|word| *word == "dev").and_then(|_| words.next()).map(str::to_owned)
    };

    in_runtime(async {
        let host = HostState::open_in(folder.path(), "x").await.unwrap();
        let links = ["wan1".to_owned(), "wan2".to_owned()];
        let tunnel = TunnelRoutes {
            tun: "hawser0",
            destinations: &Destinations::All,
            inner: &[Family::V4],
            links: &links,
        };
        install_routes(&host, &tunnel).await.unwrap();

        assert_eq!(device("203.0.113.9").as_deref(), Some("hawser0"));
        assert_eq!(device("192.0.2.77").as_deref(), Some("wan1"), "neighbours stay reachable");
        let mark = OUTER_MARK.value;
        for link in &links {
            let outer = device(&format!("203.0.113.9 oif {link} mark {mark:#x}"));
            assert_eq!(outer.as_ref(), Some(link));
        }
        assert_eq!(device("2001:db8::9"), None, "a family that the tunnel lacks is refused");
        host.undo().await.unwrap();
    });

    assert_eq!(difference(&before, &everything()), "");
}

#[test]
fn prefixes_lead_into_the_tunnel_even_when_they_hold_the_server() {
    if !inside("prefixes_lead_into_the_tunnel_even_when_they_hold_the_server") {
        return;
    }
    let far = two_links();
    let server = answering(&far, "203.0.113.9:4000");
    let folder = tempfile::tempdir().unwrap();

    in_runtime(async {
        let host = HostState::open_in(folder.path(), "x").await.unwrap();
        let destinations = Destinations::Only(vec!["203.0.113.0/24".parse().unwrap()]);
        let links = ["wan1".to_owned(), "wan2".to_owned()];
        let inner = [Family::V4, Family::V6];
        let tunnel = TunnelRoutes {
            tun: "hawser0",
            destinations: &destinations,
            inner: &inner,
            links: &links,
        };
        install_routes(&host, &tunnel).await.unwrap();

        assert!(run("ip route get 203.0.113.77").contains("dev hawser0"));
        for (link, source) in [("wan1", "192.0.2.2"), ("wan2", "198.51.100.2")] {
            assert_eq!(asked_by(link, server), source.parse().ok(), "{link}");
        }
    });
}

/// The facts that the module's documentation states about sockets that are bound to a device.
#[test]
fn a_bound_socket_takes_the_default_route_of_its_device() {
    if !inside("a_bound_socket_takes_the_default_route_of_its_device") {
        return;
    }
    let far = two_links();
    let server = answering(&far, "203.0.113.9:4000");
    run("echo 0 > /proc/sys/net/ipv4/conf/wan1/rp_filter");
    // As any router that is not a proxy: it answers ARP for its own address only.
    far.run("echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore");

    // wan1 has the better default route, wan2 is used all the same.
    assert_eq!(asked_by("wan1", server), "192.0.2.2".parse().ok());
    assert_eq!(asked_by("wan2", server), "198.51.100.2".parse().ok());

    run("echo 1 > /proc/sys/net/ipv4/conf/wan2/rp_filter");
    assert_eq!(asked_by("wan2", server), None, "a strict filter drops the answer");
    run("echo 2 > /proc/sys/net/ipv4/conf/wan2/rp_filter");
    assert_eq!(asked_by("wan2", server), "198.51.100.2".parse().ok());

    run("ip route del default dev wan2; ip route add default via 198.51.100.1 dev wan2 table 77");
    assert_eq!(asked_by("wan2", server), None, "a default route in another table is not asked");
}

#[test]
fn links_are_found_by_their_default_routes() {
    if !inside("links_are_found_by_their_default_routes") {
        return;
    }
    let _far = two_links();
    run("ip -6 route add default via fe80::1 dev wan2");

    let links = in_runtime(async { Netlink::open().unwrap().default_links().await.unwrap() });

    assert_eq!(
        links.iter().map(|link| link.interface.as_str()).collect::<Vec<_>>(),
        ["wan1", "wan2"]
    );
    let gateway = links[1].v4.as_ref().unwrap();
    assert_eq!(gateway.address, "198.51.100.1".parse().ok());
    assert_eq!(gateway.source, "198.51.100.2".parse().ok());
    assert_eq!(gateway.metric, 200);
    assert_eq!(links[1].v6.as_ref().unwrap().address, "fe80::1".parse().ok());
    assert_eq!(links[0].v6, None);
}

#[test]
fn what_happens_to_links_is_told() {
    if !inside("what_happens_to_links_is_told") {
        return;
    }
    let far = two_links();
    in_runtime(async {
        let netlink = Netlink::open().unwrap();
        let mut watch = netlink.watch().await.unwrap();

        far.run("ip link set peer1 down");
        let down = LinkEvent::Carrier { name: "wan1".to_owned(), carrier: Carrier::Down };
        await_event(&mut watch, &down).await;
        far.run("ip link set peer1 up");
        let up = LinkEvent::Carrier { name: "wan1".to_owned(), carrier: Carrier::Up };
        await_event(&mut watch, &up).await;
        run("ip address add 192.0.2.3/24 dev wan1");
        let name = "wan1".to_owned();
        let address = "192.0.2.3/24".parse().unwrap();
        await_event(&mut watch, &LinkEvent::AddressAdded { name: name.clone(), address }).await;
        run("ip address del 192.0.2.3/24 dev wan1");
        await_event(&mut watch, &LinkEvent::AddressRemoved { name, address }).await;
        run("ip route del default dev wan2");
        let (family, name) = (Family::V4, Some("wan2".to_owned()));
        let removed = LinkEvent::DefaultRouteRemoved { family, table: 254, name: name.clone() };
        await_event(&mut watch, &removed).await;
        run("ip route add default via 198.51.100.1 dev wan2");
        await_event(&mut watch, &LinkEvent::DefaultRouteAdded { family, table: 254, name }).await;
        let index = netlink.interface("wan2").await.unwrap().index;
        run("ip link del wan2");
        await_event(&mut watch, &LinkEvent::Vanished { index, name: "wan2".to_owned() }).await;
        run("ip link add wan3 type veth peer name peer3");
        let index = netlink.interface("wan3").await.unwrap().index;
        let (name, carrier) = ("wan3".to_owned(), Carrier::Down);
        await_event(&mut watch, &LinkEvent::Appeared { index, name, carrier }).await;
    });
}

#[test]
fn a_crowd_of_routes_drowns_nothing_that_matters() {
    if !inside("a_crowd_of_routes_drowns_nothing_that_matters") {
        return;
    }
    let _far = two_links();
    in_runtime(async {
        let mut watch = Netlink::open().unwrap().watch().await.unwrap();

        // Nobody reads meanwhile, and these are more than a socket holds.
        run(
            "seq 0 19999 | awk '{ print \"route add 32.\" int($1 / 256) \".\" $1 % 256 \".0/24 dev wan1\" }' \
             | ip -batch -; ip route del default dev wan2",
        );

        let (family, name) = (Family::V4, Some("wan2".to_owned()));
        let removed = LinkEvent::DefaultRouteRemoved { family, table: 254, name };
        assert_eq!(watch.next().await, Some(removed), "nothing before it, and nothing missed");
    });
}

#[test]
fn errors_name_the_thing() {
    if !inside("errors_name_the_thing") {
        return;
    }
    let _far = two_links();
    let folder = tempfile::tempdir().unwrap();
    in_runtime(async {
        let host = HostState::open_in(folder.path(), "x").await.unwrap();

        let twice = HostState::open_in(folder.path(), "x").await.unwrap_err();
        assert!(matches!(twice, HostError::Running { .. }), "{twice}");
        let name = HostState::open_in(folder.path(), "../x").await.unwrap_err();
        assert!(name.to_string().contains("../x"), "{name}");
        let missing = host.netlink().set_up("nowhere0").await.unwrap_err();
        assert!(missing.to_string().contains("nowhere0"), "{missing}");
        let nft = host.nft("hawser-x", "nonsense").await.unwrap_err();
        assert!(nft.to_string().contains("hawser-x"), "{nft}");
        let sysctl = host.set_sysctl("net/ipv4/nonsense", "1").await.unwrap_err();
        assert!(sysctl.to_string().contains("net/ipv4/nonsense"), "{sysctl}");
        let route = Route { gateway: "203.0.113.1".parse().ok(), ..to_hawser("10.0.0.0/8") };
        let refused = host.add_route(route).await.unwrap_err();
        assert!(refused.to_string().contains("203.0.113.1"), "{refused}");
    });
}

#[test]
fn a_route_of_somebody_else_stays_and_is_named() {
    if !inside("a_route_of_somebody_else_stays_and_is_named") {
        return;
    }
    let _far = two_links();
    let before = everything();
    let folder = tempfile::tempdir().unwrap();

    in_runtime(async {
        let host = HostState::open_in(folder.path(), "x").await.unwrap();
        // The network of a link, which the kernel reaches by it.
        let error = host.add_route(to_hawser("192.0.2.0/24")).await.unwrap_err().to_string();
        assert!(error.contains("192.0.2.0/24") && error.contains("wan1"), "{error}");
        assert_eq!(difference(&before, &everything()), "");
        host.undo().await.unwrap();
    });

    assert_eq!(difference(&before, &everything()), "");
}

#[test]
fn the_same_change_twice_is_one_change() {
    if !inside("the_same_change_twice_is_one_change") {
        return;
    }
    let _far = two_links();
    let before = everything();
    let folder = tempfile::tempdir().unwrap();

    in_runtime(async {
        let host = HostState::open_in(folder.path(), "x").await.unwrap();
        change_everything(&host).await;
        let once = everything();
        change_everything(&host).await;
        assert_eq!(difference(&once, &everything()), "");
        host.undo().await.unwrap();
    });

    assert_eq!(difference(&before, &everything()), "");
}

/// One change of every kind.
async fn change_everything(host: &HostState) {
    host.add_address("hawser0", "10.7.0.1/24".parse().unwrap()).await.unwrap();
    host.add_address("hawser0", "2001:db8:7::1/64".parse().unwrap()).await.unwrap();
    host.add_route(to_hawser("10.8.0.0/24")).await.unwrap();
    // The kernel's own route with the address leads there already.
    host.add_route(to_hawser("10.7.0.0/24")).await.unwrap();
    let through = Route {
        gateway: "192.0.2.1".parse().ok(),
        table: 300,
        ..Route::to_interface(Family::V4.default_net(), "wan1")
    };
    host.add_route(through).await.unwrap();
    for family in Family::ALL {
        host.add_route(Route::unreachable(family, 300)).await.unwrap();
        let mark = Mark { value: 0x1_0000, mask: 0xff_0000 };
        host.add_rule(Rule::lookup(family, 9300, 300).with_mark(mark)).await.unwrap();
        let main = Rule::lookup(family, 9301, Route::MAIN).with_mark(mark).without_default();
        host.add_rule(Rule { invert: true, ..main }).await.unwrap();
    }
    let script = "add table inet hawser-x; add chain inet hawser-x forward";
    host.nft("hawser-x", script).await.unwrap();
    host.loosen_reverse_path_filter("wan1").await.unwrap();
}

/// hawser0 (a stand-in for a TUN), and two links to one far namespace, wan1 with the better default
/// route and a strict reverse path filter.
fn two_links() -> Namespace {
    let far = Namespace::new();
    let pid = far.pid();
    run("ip link add hawser0 type veth peer name inner0 && ip link set hawser0 up && \
         ip link set inner0 up");
    for (number, net, metric) in [(1, "192.0.2", 100), (2, "198.51.100", 200)] {
        run(&format!(
            "ip link add wan{number} type veth peer name peer{number} netns {pid}
             echo 0 > /proc/sys/net/ipv6/conf/wan{number}/accept_dad
             ip address add {net}.2/24 dev wan{number}
             ip link set wan{number} up"
        ));
        far.run(&format!(
            "ip address add {net}.1/24 dev peer{number}; ip link set peer{number} up"
        ));
        run(&format!("ip route add default via {net}.1 dev wan{number} metric {metric}"));
    }
    far.run("ip address add 203.0.113.9/32 dev lo");
    run("echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter; \
         echo 1 > /proc/sys/net/ipv4/conf/wan1/rp_filter; \
         echo 0 > /proc/sys/net/ipv4/conf/wan2/rp_filter");
    let up = || run("ip -o link show up").matches("LOWER_UP").count() >= 4;
    eventually("the links are up", Duration::from_secs(5), || up().then_some(()));
    // Link-local addresses come a moment later, and with them routes.
    eventually("IPv6 is settled", Duration::from_secs(5), || {
        let addresses = run("ip -6 -o address show scope link");
        let settled = addresses.lines().count() >= 4 && !addresses.contains("tentative");
        settled.then_some(())
    });
    far
}

/// A server that tells whoever asks what its address is.
fn answering(namespace: &Namespace, address: &str) -> SocketAddr {
    let address: SocketAddr = address.parse().unwrap();
    let socket = namespace.make(|| UdpSocket::bind(address).unwrap());
    std::thread::spawn(move || {
        let mut question = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(from.ip().to_string().as_bytes(), from);
        }
    });
    address
}

/// The address that a server sees of a socket bound to a device; none when no answer comes back.
fn asked_by(device: &str, server: SocketAddr) -> Option<IpAddr> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.bind_device(Some(device.as_bytes())).unwrap();
    socket.set_mark(OUTER_MARK.value).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    for _ in 0..5 {
        // An error is an answer as well: none.
        if socket.send_to(b"who", server).is_err() {
            continue;
        }
        let mut answer = [0; 64];
        if let Ok((length, _)) = socket.recv_from(&mut answer) {
            return String::from_utf8_lossy(&answer[..length]).parse().ok();
        }
    }
    None
}

async fn await_event(watch: &mut LinkWatch, wanted: &LinkEvent) {
    let seen = tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(event) = watch.next().await {
            if event == *wanted {
                return;
            }
        }
        panic!("the watch has ended");
    });
    seen.await.unwrap_or_else(|_| panic!("{wanted:?} was not told"));
}

fn to_hawser(net: &str) -> Route {
    Route::to_interface(net.parse().unwrap(), "hawser0")
}

fn in_runtime<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

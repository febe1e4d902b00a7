//! Asks the host's resolvers by the links themselves.
//!
//! In a full tunnel what the system's resolver sends goes into the tunnel, which may be the very
//! thing that is down. These questions leave by a link, whatever the routes say, as our datagrams
//! do.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use simple_dns::rdata::RData;
use simple_dns::{Packet, QTYPE, Question, TYPE};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::DialLink;
use crate::host::OUTER_MARK;
use crate::name_query::{ANSWER_MAX, is_answer, question};

/// The addresses of `name`, as the first resolver says that knows any; none if none does.
pub(super) async fn lookup(name: &str, links: &[DialLink]) -> Vec<IpAddr> {
    let mut asked = FuturesUnordered::new();
    for resolver in resolvers() {
        for link in links.iter().take(LINKS_MAX) {
            let Ok(socket) = socket_on(&link.name, resolver) else { continue };
            let name = name.to_owned();
            // What a stranger's answer may do to the parser ends with the task.
            asked.push(tokio::spawn(async move { ask(&name, &socket).await }));
        }
    }
    while let Some(answered) = asked.next().await {
        match answered {
            Ok(addresses) if !addresses.is_empty() => return addresses,
            _ => {}
        }
    }
    Vec::new()
}

/// The host's resolvers. Where a local one stands between, those that it asks, if it tells.
fn resolvers() -> Vec<IpAddr> {
    let read = |file: &str| -> Vec<IpAddr> {
        let text = fs::read_to_string(file).unwrap_or_default();
        let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
        named.filter_map(|rest| rest.trim().parse().ok()).collect()
    };
    let remote = |files: [&str; 2]| -> Vec<IpAddr> {
        let all = files.into_iter().flat_map(read).filter(|address| !address.is_loopback());
        all.take(RESOLVERS_MAX).collect()
    };
    remote(["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"])
}

/// A socket on a link, connected to a resolver.
fn socket_on(interface: &str, resolver: IpAddr) -> io::Result<UdpSocket> {
    let to = SocketAddr::new(resolver, PORT);
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_mark(OUTER_MARK.value)?;
    socket.set_nonblocking(true)?;
    socket.connect(&to.into())?;
    UdpSocket::from_std(socket.into())
}

/// Asks for both families at once, again if need be, and gives what comes within a second.
async fn ask(name: &str, socket: &UdpSocket) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut missing = [TYPE::A, TYPE::AAAA].to_vec();
    let questions = missing.iter().filter_map(|&kind| {
        let (id, question) = question(name, kind)?;
        Some(((kind, id), question))
    });
    let questions: Vec<_> = questions.collect();
    for _ in 0..TRIES {
        for ((kind, _), question) in &questions {
            if missing.contains(kind) && socket.send(question).await.is_err() {
                return found;
            }
        }
        let answers = async {
            let mut bytes = [0; ANSWER_MAX];
            while !missing.is_empty() {
                let Ok(len) = socket.recv(&mut bytes).await else { return };
                let Some((kind, id, addresses)) = answer(&bytes[..len]) else { continue };
                if questions.iter().any(|(key, _)| *key == (kind, id)) {
                    missing.retain(|other| *other != kind);
                    found.extend(addresses);
                }
            }
        };
        if timeout(TRY, answers).await.is_ok() {
            break;
        }
    }
    found
}

/// What an answer is to: the type and the number, which both have to be those of the question (RFC
/// 5452, section 9.1); and the addresses in it.
fn answer(bytes: &[u8]) -> Option<(TYPE, u16, Vec<IpAddr>)> {
    let packet = Packet::parse(bytes).ok()?;
    let [Question { qtype: QTYPE::TYPE(kind), .. }] = packet.questions[..] else { return None };
    if !is_answer(&packet) {
        return None;
    }
    let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(a) => Some(Ipv4Addr::from(a.address).into()),
        RData::AAAA(aaaa) => Some(Ipv6Addr::from(aaaa.address).into()),
        _ => None,
    });
    Some((kind, packet.id(), addresses.collect()))
}

/// The port of resolvers (RFC 1035, section 4.2).
const PORT: u16 = 53;
/// As many as the C library asks (resolv.conf(5), MAXNS).
const RESOLVERS_MAX: usize = 3;
/// Links by which they are asked.
const LINKS_MAX: usize = 4;
/// Questions are asked so often,
const TRIES: usize = 3;
/// and so far apart.
const TRY: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use simple_dns::rdata::{A, AAAA};
    use simple_dns::{CLASS, ResourceRecord};

    use super::*;

    #[tokio::test]
    async fn both_families_are_found_although_the_first_question_is_lost() {
        let (client, resolver) = pair().await;
        let answering = async {
            let mut bytes = [0; 512];
            resolver.recv(&mut bytes).await.expect("a question, which is lost");
            loop {
                let len = resolver.recv(&mut bytes).await.expect("a question");
                resolver.send(&reply(&bytes[..len])).await.expect("sent");
            }
        };

        let found = tokio::select! {
            found = ask("vpn.example.net", &client) => found,
            () = answering => unreachable!("it goes on"),
        };

        let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
        found.sort();
        assert_eq!(found, ["192.0.2.7", "2001:db8::7"]);
    }

    #[tokio::test]
    async fn noise_and_strange_numbers_are_passed_over() {
        let (client, resolver) = pair().await;
        let answering = async {
            let mut bytes = [0; 512];
            loop {
                let len = resolver.recv(&mut bytes).await.expect("a question");
                let mut strange = reply(&bytes[..len]);
                strange[0] ^= 0x55;
                for datagram in [&bytes[..len], &strange, &[0xff; 40], &[]] {
                    resolver.send(datagram).await.expect("sent");
                }
            }
        };

        let found = tokio::select! {
            found = ask("vpn.example.net", &client) => found,
            () = answering => unreachable!("it goes on"),
        };

        assert_eq!(found, [] as [IpAddr; 0]);
    }

    #[test]
    fn what_can_not_be_a_name_is_not_asked_for() {
        assert!(question(&"x".repeat(70), TYPE::A).is_none());
        assert!(question("vpn.example.net.", TYPE::A).is_some());
    }

    async fn pair() -> (UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind("127.0.0.1:0");
        let (one, two) = (bind().await.expect("a socket"), bind().await.expect("a socket"));
        one.connect(two.local_addr().expect("bound")).await.expect("connected");
        two.connect(one.local_addr().expect("bound")).await.expect("connected");
        (one, two)
    }

    fn reply(question: &[u8]) -> Vec<u8> {
        let question = Packet::parse(question).expect("a question");
        let mut reply = Packet::new_reply(question.id());
        reply.questions.clone_from(&question.questions);
        for asked in &question.questions {
            let data = match asked.qtype {
                QTYPE::TYPE(TYPE::A) => RData::A(A { address: 0xc000_0207 }),
                _ => RData::AAAA(AAAA { address: 0x2001_0db8 << 96 | 7 }),
            };
            reply.answers.push(ResourceRecord::new(asked.qname.clone(), CLASS::IN, 60, data));
        }
        reply.build_bytes_vec().expect("a reply")
    }
}

//! QUIC: quinn's own protocol machine in virtual time.
//!
//! What is long goes over several streams at once, because quinn's receiver gives a connection up
//! when more than 1024 pieces of one stream wait for what is missing before them, as after a slow
//! start.
//!
//! The bytes of the packets are not the same from run to run, because the keys are not; their times
//! and lengths are.

mod instant;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use lab::traffic::identity;
use quinn_proto::ClientConfig;
use quinn_proto::Connection;
use quinn_proto::ConnectionHandle;
use quinn_proto::DatagramEvent;
use quinn_proto::Dir;
use quinn_proto::EcnCodepoint;
use quinn_proto::Endpoint;
use quinn_proto::EndpointConfig;
use quinn_proto::Event;
use quinn_proto::ServerConfig;
use quinn_proto::StreamEvent;
use quinn_proto::StreamId;
use quinn_proto::TransportConfig;
use quinn_proto::VarInt;
use quinn_proto::congestion::BbrConfig;
use quinn_proto::congestion::CubicConfig;
use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::flow::Congestion;
use crate::flow::Flow;
use crate::flow::Load;
use crate::flow::Report;
use crate::flow::Role;
use crate::packet;
use crate::packet::FourTuple;
use crate::packet::Packet;
use crate::packet::Parsed;
use crate::payload;

/// What one end of a connection is to do.
#[derive(Clone, Copy, Debug)]
pub struct QuicConfig {
    /// Addresses, as this end sees them.
    pub tuple: FourTuple,
    /// Whether it connects, at `start`, or waits.
    pub role: Role,
    /// What it sends, on streams that it opens. Both ends may.
    pub load: Load,
    /// Largest packet, bytes, IP header included; at least 1 248.
    pub mtu: u16,
    /// How its window grows.
    pub congestion: Congestion,
    /// When a client connects, microseconds.
    pub start: u64,
    /// What its random numbers come from, but for the keys.
    pub seed: u64,
}

impl QuicConfig {
    /// A connection with quinn's defaults and larger windows, over an MTU of 1500, which begins at 0.
    pub fn new(tuple: FourTuple, role: Role, load: Load) -> Self {
        Self { tuple, role, load, mtu: 1500, congestion: Congestion::Cubic, start: 0, seed: 0 }
    }

    fn datagram_max(&self) -> u16 {
        self.mtu.saturating_sub((self.tuple.header_len() + packet::UDP_LEN) as u16)
    }
}

/// One end of a QUIC connection.
#[derive(Debug)]
pub struct Quic {
    config: QuicConfig,
    endpoint: Endpoint,
    transport: Arc<TransportConfig>,
    connection: Option<(ConnectionHandle, Connection)>,
    outgoing: Vec<Outgoing>,
    incoming: Vec<Incoming>,
    /// Datagrams that belong to no connection.
    responses: VecDeque<Vec<u8>>,
    /// When the connection wants to be asked again.
    timeout: Option<u64>,
    identification: u16,
    report: Report,
}

/// A stream that this end opened.
#[derive(Clone, Copy, Debug)]
struct Outgoing {
    id: StreamId,
    total: u64,
    written: u64,
    is_acknowledged: bool,
}

/// A stream that the peer opened.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    id: StreamId,
    read: u64,
    has_ended: bool,
}

impl Quic {
    /// One end of a connection.
    ///
    /// # Panics
    ///
    /// When the MTU has no room for QUIC's smallest datagram, 1200 bytes.
    pub fn new(config: QuicConfig) -> Self {
        assert!(config.datagram_max() >= 1200, "an MTU of {}", config.mtu);
        let transport = Arc::new(transport(&config));
        let server = (config.role == Role::Server).then(|| {
            let mut server = ServerConfig::with_crypto(identity::server());
            server.transport_config(transport.clone());
            Arc::new(server)
        });
        let mut endpoint = EndpointConfig::default();
        let seed = StdRng::seed_from_u64(config.seed).random();
        endpoint.rng_seed(Some(seed));
        Self {
            endpoint: Endpoint::new(Arc::new(endpoint), server, false, None),
            transport,
            config,
            connection: None,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            responses: VecDeque::new(),
            timeout: (config.role == Role::Client).then_some(config.start),
            identification: 0,
            report: Report::default(),
        }
    }

    fn handle(&mut self, now: u64, packet: &[u8]) -> Option<()> {
        let parsed = Parsed::parse(packet)?;
        if parsed.four_tuple() != self.config.tuple {
            return None;
        }
        let datagram = BytesMut::from(parsed.udp_payload()?);
        self.report.packets_received += 1;
        let ecn = EcnCodepoint::from_bits(parsed.ecn);
        let at = instant::at(now);
        let mut response = Vec::new();
        let event = self.endpoint.handle(at, parsed.source, None, ecn, datagram, &mut response);
        match event {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                let (_, connection) = self.connection.as_mut()?;
                connection.handle_event(event);
            }
            Some(DatagramEvent::NewConnection(incoming)) if self.connection.is_none() => {
                let accepted = self.endpoint.accept(incoming, at, &mut response, None);
                self.connection = accepted.ok();
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.endpoint.ignore(incoming),
            Some(DatagramEvent::Response(transmit)) => {
                response.truncate(transmit.size);
                if self.responses.len() < RESPONSES_MAX {
                    self.responses.push_back(response);
                }
            }
            None => {}
        }
        self.drive(now);
        Some(())
    }

    fn connect(&mut self, now: u64) {
        let mut client = ClientConfig::new(identity::client());
        client.transport_config(self.transport.clone());
        let remote = self.config.tuple.remote;
        let connection = self
            .endpoint
            .connect(instant::at(now), client, remote, SERVER_NAME)
            .expect("a fresh endpoint with a valid name and address connects");
        self.connection = Some(connection);
    }

    /// Lets endpoint and connection talk until neither has anything to say.
    fn drive(&mut self, now: u64) {
        let Some((handle, connection)) = &mut self.connection else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some((_, connection)) = &mut self.connection
            && let Some(event) = connection.poll()
        {
            match event {
                Event::Connected => self.open(),
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => self.accept(now),
                Event::Stream(StreamEvent::Readable { .. }) => self.read(now),
                Event::Stream(StreamEvent::Writable { .. }) => self.write(),
                Event::Stream(StreamEvent::Finished { id }) => {
                    let stream = self.outgoing.iter_mut().find(|stream| stream.id == id);
                    stream.expect("only streams of ours end").is_acknowledged = true;
                }
                Event::ConnectionLost { .. } => self.report.timeouts += 1,
                Event::HandshakeDataReady
                | Event::Stream(_)
                | Event::DatagramReceived
                | Event::DatagramsUnblocked => {}
            }
        }
        self.note_timeout();
    }

    fn open(&mut self) {
        let Some((_, connection)) = &mut self.connection else { return };
        let (total, streams) = match self.config.load {
            Load::Nothing => return,
            Load::Bytes(bytes) if bytes < SEVERAL_MIN => (bytes, 1),
            Load::Bytes(bytes) => (bytes, STREAMS),
            Load::Endless => (u64::MAX, STREAMS),
        };
        for index in 0..streams {
            let rest = if index == 0 { total % streams } else { 0 };
            let total = total / streams + rest;
            let id = connection.streams().open(Dir::Uni);
            let stream = |id| Outgoing { id, total, written: 0, is_acknowledged: false };
            self.outgoing.extend(id.map(stream));
        }
        self.write();
    }

    /// Writes what there is room for, piece by piece on each stream in turn.
    fn write(&mut self) {
        let Some((_, connection)) = &mut self.connection else { return };
        let mut is_blocked = false;
        while !is_blocked && self.outgoing.iter().any(|it| it.written < it.total) {
            for outgoing in self.outgoing.iter_mut().filter(|it| it.written < it.total) {
                let left = outgoing.total - outgoing.written;
                let len = left.min(payload::PIECE_MAX as u64) as usize;
                let mut piece = [Bytes::from_static(payload::at(outgoing.written, len))];
                match connection.send_stream(outgoing.id).write_chunks(&mut piece) {
                    Ok(written) => outgoing.written += written.bytes as u64,
                    // The connection says when it is writable.
                    Err(_) => is_blocked = true,
                }
            }
            self.outgoing.rotate_left(1);
        }
        for outgoing in self.outgoing.iter().filter(|it| it.written == it.total) {
            // A second call finds the stream finished, which is as well.
            connection.send_stream(outgoing.id).finish().ok();
        }
    }

    fn accept(&mut self, now: u64) {
        let Some((_, connection)) = &mut self.connection else { return };
        while let Some(id) = connection.streams().accept(Dir::Uni) {
            self.incoming.push(Incoming { id, read: 0, has_ended: false });
        }
        self.read(now);
    }

    fn read(&mut self, now: u64) {
        let Some((_, connection)) = &mut self.connection else { return };
        for incoming in self.incoming.iter_mut().filter(|stream| !stream.has_ended) {
            let mut stream = connection.recv_stream(incoming.id);
            let Ok(mut chunks) = stream.read(true) else { continue };
            let before = incoming.read;
            loop {
                match chunks.next(usize::MAX) {
                    Ok(Some(chunk)) => {
                        let is_right = payload::matches(incoming.read, &chunk.bytes);
                        self.report.packets_bad += u64::from(!is_right);
                        incoming.read += chunk.bytes.len() as u64;
                    }
                    Ok(None) => {
                        incoming.has_ended = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
            let _ = chunks.finalize();
            if incoming.read > before {
                self.report.on_delivered(now, incoming.read - before);
            }
        }
    }

    fn note_timeout(&mut self) {
        let timeout = self.connection.as_mut().and_then(|(_, it)| it.poll_timeout());
        self.timeout = timeout.map(instant::until);
    }

    fn poll_datagram(&mut self, now: u64) -> Option<(Vec<u8>, Option<EcnCodepoint>)> {
        if let Some(response) = self.responses.pop_front() {
            return Some((response, None));
        }
        let is_due = self.timeout.is_some_and(|timeout| timeout <= now);
        if self.connection.is_none() && is_due {
            self.connect(now);
        }
        let (_, connection) = self.connection.as_mut()?;
        if is_due {
            connection.handle_timeout(instant::at(now));
            self.drive(now);
        }
        let (_, connection) = self.connection.as_mut()?;
        let mut datagram = Vec::with_capacity(usize::from(self.config.mtu));
        let transmit = connection.poll_transmit(instant::at(now), 1, &mut datagram);
        // Sending sets timers, and may free room in the stream.
        self.drive(now);
        let transmit = transmit?;
        datagram.truncate(transmit.size);
        Some((datagram, transmit.ecn))
    }
}

impl Flow for Quic {
    fn handle_packet(&mut self, now: u64, packet: &[u8]) {
        if self.handle(now, packet).is_none() {
            self.report.packets_bad += 1;
        }
    }

    fn poll_packet(&mut self, now: u64) -> Option<Packet> {
        let (datagram, ecn) = self.poll_datagram(now)?;
        self.report.packets_sent += 1;
        self.identification = self.identification.wrapping_add(1);
        let ecn = ecn.map_or(0, |ecn| ecn as u8);
        Some(packet::udp(self.config.tuple, ecn, self.identification, &datagram).into())
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.timeout
    }

    fn is_finished(&self) -> bool {
        let sent = match self.config.load {
            Load::Bytes(_) => {
                !self.outgoing.is_empty() && self.outgoing.iter().all(|it| it.is_acknowledged)
            }
            Load::Endless => false,
            Load::Nothing => !self.incoming.is_empty(),
        };
        sent && self.incoming.iter().all(|stream| stream.has_ended)
    }

    fn report(&self) -> Report {
        let Some((_, connection)) = &self.connection else { return self.report.clone() };
        let path = connection.stats().path;
        let micros = |duration: std::time::Duration| Some(duration.as_micros() as u64);
        Report {
            retransmits: path.lost_packets,
            reductions: path.congestion_events,
            smoothed_rtt: micros(path.rtt),
            min_rtt: micros(path.min_rtt),
            window: path.cwnd,
            ..self.report.clone()
        }
    }
}

/// Stateless answers that wait to be sent.
const RESPONSES_MAX: usize = 16;

/// Streams of a load without an end, or of so many bytes.
const STREAMS: u64 = 16;
const SEVERAL_MIN: u64 = 16 << 20;

/// TLS wants a name; the key is what is verified.
const SERVER_NAME: &str = "server.invalid";

/// Bytes in flight at most: 16 MiB are 1 Gbit/s over 134 ms.
const WINDOW: u32 = 16 << 20;

fn transport(config: &QuicConfig) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(config.datagram_max())
        // No packet is smaller than what the link carries, so that loss is not taken for a
        // change of the MTU.
        .min_mtu(config.datagram_max())
        .mtu_discovery_config(None)
        .max_idle_timeout(None)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW));
    match config.congestion {
        Congestion::Bbr => transport.congestion_controller_factory(Arc::new(BbrConfig::default())),
        Congestion::Cubic => {
            transport.congestion_controller_factory(Arc::new(CubicConfig::default()))
        }
    };
    transport
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn datagrams_are_as_long_as_the_mtu_allows_and_no_longer() {
        for (local, remote) in [("10.0.0.2:1", "10.0.0.1:2"), ("[fd00::2]:1", "[fd00::1]:2")] {
            let address = |text: &str| text.parse::<SocketAddr>().unwrap();
            let tuple = FourTuple { local: address(local), remote: address(remote) };
            let config =
                |tuple, role, load| QuicConfig { mtu: 1418, ..QuicConfig::new(tuple, role, load) };
            let mut client = Quic::new(config(tuple, Role::Client, Load::Bytes(100_000)));
            let mut server = Quic::new(config(tuple.reversed(), Role::Server, Load::Nothing));

            let mut longest = 0;
            let mut now = 0;
            while !(client.is_finished() && server.is_finished()) {
                while let Some(packet) = client.poll_packet(now) {
                    longest = longest.max(packet.bytes.len());
                    server.handle_packet(now, &packet.bytes);
                }
                while let Some(packet) = server.poll_packet(now) {
                    client.handle_packet(now, &packet.bytes);
                }
                now += 1_000;
                assert!(now < 10_000_000, "it does not end");
            }

            assert_eq!(longest, 1418);
            assert_eq!(server.report().bytes_delivered, 100_000);
        }
    }
}

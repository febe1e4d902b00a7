//! What programs send in one direction, made up: sizes and spacings as their specifications and
//! common implementations have them, in a minute or more each.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::Class;
use crate::packet::{TCP, UDP};

/// A kind of traffic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) name: &'static str,
    /// What it is.
    pub(super) class: Class,
    pub(super) make: fn(&mut Script),
    /// How many per mille of the packets may be taken for something else.
    pub(super) misjudged_max: u32,
    /// How late its first packet may be that is taken for what it is, in milliseconds.
    pub(super) recognised_max: u64,
}

/// One packet, or one super-packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// In microseconds.
    pub(super) at: u64,
    pub(super) flow: u16,
    pub(super) protocol: u8,
    /// The port of the far end.
    pub(super) port: u16,
    /// Bytes of the IP packet; more than a full one is cut into these.
    pub(super) len: u16,
}

/// Packets as they are made up.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) sent: Vec<Sent>,
    random: StdRng,
    now: u64,
    flow: u16,
    protocol: u8,
    port: u16,
}

pub(super) const ALL: [Sequence; 18] = [
    row("voice", Class::RealTime, voice, 0, 0),
    row("voice with silence", Class::RealTime, voice_with_silence, 20, 0),
    row("game", Class::RealTime, game, 0, 0),
    row("video call", Class::RealTime, video_call, 20, 0),
    row("name queries", Class::RealTime, name_queries, 0, 0),
    row("terminal, typing", Class::Interactive, typing, 0, 0),
    row("terminal, output", Class::Interactive, output, 20, 0),
    row("web pages", Class::Interactive, web_pages, 150, 0),
    row("acknowledgements (TCP)", Class::Interactive, acknowledgements, 0, 0),
    row("acknowledgements (QUIC)", Class::Interactive, quic_acknowledgements, 50, 0),
    row("acknowledgements inside UDP", Class::Interactive, inner_acknowledgements, 30, 1000),
    row("a mixture inside UDP", Class::Interactive, inner_mixture, 100, 20_000),
    row("keepalives, sensors", Class::Interactive, keepalives, 50, 30_000),
    row("streaming, TCP", Class::Bulk, streaming, 20, 100),
    row("streaming, QUIC", Class::Bulk, quic_streaming, 20, 300),
    row("file upload", Class::Bulk, upload, 10, 150),
    row("backup", Class::Bulk, backup, 10, 100),
    row("slow transfer in UDP", Class::Bulk, slow_transfer, 150, 12_000),
];

const fn row(
    name: &'static str,
    class: Class,
    make: fn(&mut Script),
    misjudged_max: u32,
    recognised_max: u64,
) -> Sequence {
    Sequence { name, class, make, misjudged_max, recognised_max }
}

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { sent: Vec::new(), random, now: 1_000_000, flow: 0, protocol: UDP, port: 40_000 }
    }

    /// Puts the packets in order after their times were moved by up to three times `sigma`, as a
    /// local network would: none passes another of its flow.
    pub(super) fn jittered(mut self, sigma_micros: f64) -> Vec<Sent> {
        self.sent.sort_by_key(|sent| sent.at);
        let mut latest = std::collections::BTreeMap::new();
        for index in 0..self.sent.len() {
            let moved = (self.normal().abs() * sigma_micros) as u64;
            let sent = &mut self.sent[index];
            let last = latest.entry(sent.flow).or_insert(0);
            sent.at = (sent.at + moved).max(*last);
            *last = sent.at;
        }
        self.sent.sort_by_key(|sent| sent.at);
        self.sent
    }

    fn send(&mut self, len: u64) {
        let Self { now: at, flow, protocol, port, .. } = *self;
        self.sent.push(Sent { at, flow, protocol, port, len: len as u16 });
    }

    /// Sends `bytes` in packets of at most `full` at a rate in bytes a millisecond.
    fn pour(&mut self, bytes: u64, full: u64, rate: u64) {
        let mut left = bytes;
        while left > 0 {
            let len = left.min(full);
            self.send(len.max(60));
            self.now += len * 1000 / rate;
            left -= len;
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now += millis * 1000;
    }

    fn in_range(&mut self, low: u64, high: u64) -> u64 {
        self.random.random_range(low..=high)
    }

    fn choose<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[self.random.random_range(0..N)]
    }

    /// Milliseconds with this mean, as independent events have.
    fn exponential(&mut self, mean: f64) -> u64 {
        let uniform: f64 = self.random.random_range(1e-9..1.0);
        (-uniform.ln() * mean) as u64
    }

    /// Around `median`; `spread` is of the logarithm.
    fn log_normal(&mut self, median: f64, spread: f64) -> u64 {
        ((self.normal() * spread).exp() * median) as u64
    }

    /// The sum of twelve uniform numbers, less its mean.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.random_range(0.0..1.0)).sum::<f64>() - 6.0
    }

    fn until(&self, seconds: u64) -> bool {
        self.now < (seconds + 1) * 1_000_000
    }

    fn tcp(&mut self, port: u16) {
        (self.protocol, self.port) = (TCP, port);
        self.send(60);
        self.wait(30);
        self.send(52);
    }
}

/// Frames of 10 to 60 ms; G.711 with 20 ms makes 200 bytes, of which 40 are headers.
fn voice(script: &mut Script) {
    let (interval, len) = script.choose([(10, 120), (20, 200), (20, 110), (30, 280), (60, 84)]);
    while script.until(60) {
        script.send(len);
        script.wait(interval);
    }
}

/// Spurts of speech; in between a comfort noise each 400 ms, and often that is what it begins with.
fn voice_with_silence(script: &mut Script) {
    let mut speaks = script.random.random_bool(0.5);
    while script.until(60) {
        let end = script.now + 1000 * script.exponential(1500.0);
        while script.now < end {
            let len = if speaks { script.in_range(95, 150) } else { 58 };
            script.send(len);
            script.wait(if speaks { 20 } else { 400 });
        }
        speaks = !speaks;
    }
}

/// What a player does, or what the world looks like, 20 to 128 times a second.
fn game(script: &mut Script) {
    let interval = script.in_range(7_800, 50_000);
    let (low, high) = script.choose([(60, 180), (60, 120), (90, 700)]);
    while script.until(60) {
        let len = script.in_range(low, high);
        script.send(len);
        script.now += interval;
    }
}

/// Candidates are tried, keys agreed on, then pictures at a rate that grows from 0.3 to 0.7-4 Mbit/s,
/// mostly with the sound between them.
fn video_call(script: &mut Script) {
    for len in [128, 136, 128] {
        script.send(len);
        script.wait(50);
    }
    let agreed_after = script.in_range(50, 400);
    script.wait(agreed_after);
    for len in [185, 1180, 640, 120] {
        script.send(len);
        script.wait(2);
    }
    script.wait(60);
    let begin = script.now;
    let (pictures, most) = script.choose([(15, 700), (24, 1500), (30, 2500), (60, 4000)]);
    let with_sound = script.random.random_bool(0.7);
    let in_equal_parts = script.random.random_bool(0.6);
    for picture in 0.. {
        script.now = begin + picture * 1_000_000 / pictures;
        if !script.until(60) {
            break;
        }
        let rate = (300 + picture * 15).min(most);
        let whole = if picture.is_multiple_of(300) { 4.0 } else { 1.0 };
        let mean = rate as f64 * 125.0 / pictures as f64 * whole;
        let bytes = script.log_normal(mean, 0.3).max(200);
        let parts = bytes.div_ceil(1160);
        let full = if in_equal_parts { bytes.div_ceil(parts) } else { 1160 };
        // Sent at two and a half times the rate.
        script.pour(bytes, full, (rate / 8 * 5 / 2).max(bytes * pictures / 700));
    }
    let end = script.now;
    script.now = begin;
    while with_sound && script.now < end {
        let len = script.in_range(110, 160);
        script.send(len);
        script.wait(20);
    }
}

/// Both families of each name, from a port of its own; some with the answers' size.
fn name_queries(script: &mut Script) {
    script.port = 53;
    while script.until(60) {
        for _ in 0..2 {
            let answer = script.random.random_bool(0.3);
            let len = if answer { script.in_range(100, 1260) } else { script.in_range(58, 95) };
            script.send(len);
            script.now += 300;
        }
        script.flow += 1;
        let pause = script.exponential(700.0);
        script.wait(pause);
    }
}

fn typing(script: &mut Script) {
    script.tcp(22);
    script.pour(3000, 1400, 1000);
    while script.until(60) {
        for _ in 0..script.in_range(3, 40) {
            let len = script.in_range(88, 96);
            script.send(len);
            let next = script.log_normal(150.0, 0.5);
            script.wait(next);
        }
        let pause = script.exponential(2000.0);
        script.wait(pause);
    }
}

/// What commands print, most of it a screenful or less, and the echo of keys.
fn output(script: &mut Script) {
    script.tcp(22);
    while script.until(120) {
        for _ in 0..script.in_range(3, 20) {
            script.send(88);
            let next = script.log_normal(150.0, 0.5);
            script.wait(next);
        }
        let bytes = script.log_normal(3000.0, 1.0);
        script.pour(bytes, 1438, 5000);
        let pause = script.exponential(3000.0);
        script.wait(pause);
    }
}

/// Six connections with some objects each, a round trip of 30 ms; somebody reads for a while.
fn web_pages(script: &mut Script) {
    while script.until(120) {
        let begin = script.now;
        let mut end = begin;
        for _ in 0..6 {
            script.now = begin + 1000 * script.exponential(60.0);
            script.tcp(443);
            script.pour(4200, 1438, 3000);
            for _ in 0..script.in_range(1, 4) {
                script.wait(30);
                let mut window = 14_000;
                let mut left = script.log_normal(12_000.0, 1.0);
                while left > 0 {
                    let burst = left.min(window);
                    script.pour(burst, 1438, 5000);
                    script.wait(25);
                    (left, window) = (left - burst, window * 2);
                }
                let wait = script.exponential(150.0);
                script.wait(wait);
            }
            end = end.max(script.now);
            script.flow += 1;
        }
        script.now = end;
        let pause = script.exponential(6000.0);
        script.wait(pause);
    }
}

/// One for two packets of 50 Mbit/s, at times several at once.
fn acknowledgements(script: &mut Script) {
    script.tcp(443);
    script.send(400);
    while script.until(20) {
        let len = if script.random.random_bool(0.05) { 64 } else { 52 };
        script.send(len);
        script.now += if script.random.random_bool(0.2) { 10 } else { 580 };
    }
}

/// What a player sends: a request for each part, then one small datagram for some received.
fn quic_acknowledgements(script: &mut Script) {
    script.port = 443;
    script.send(1228);
    script.wait(30);
    script.send(1228);
    while script.until(60) {
        let len = script.in_range(150, 700);
        script.send(len);
        let end = script.now + 1000 * script.in_range(500, 1500);
        while script.now < end {
            let len = script.in_range(58, 72);
            script.send(len);
            script.now += script.in_range(3_000, 9_000);
        }
        let pause = script.in_range(2000, 4000);
        script.wait(pause);
    }
}

/// As by TCP, but inside another tunnel's datagrams, which show no more than their size.
fn inner_acknowledgements(script: &mut Script) {
    script.send(176);
    script.wait(30);
    let interval = script.in_range(200, 2500);
    while script.until(30) {
        script.send(128);
        script.now += if script.random.random_bool(0.2) { 10 } else { interval };
    }
}

/// Pages, acknowledgements and terminals, whatever somebody does, in another tunnel's datagrams.
fn inner_mixture(script: &mut Script) {
    script.send(176);
    script.wait(30);
    while script.until(120) {
        let page = script.random.random_bool(0.3);
        let packets = script.in_range(1, if page { 300 } else { 30 });
        for _ in 0..packets {
            let full = script.random.random_bool(if page { 0.6 } else { 0.05 });
            let len = if full { 1440 } else { script.in_range(96, 500) };
            script.send(len);
            script.now += script.in_range(100, if page { 8_000 } else { 200_000 });
        }
        let pause = script.exponential(1500.0);
        script.wait(pause);
    }
}

/// A translation of addresses kept open, another by TCP, and a sensor.
fn keepalives(script: &mut Script) {
    for (flow, protocol, low, high, len) in
        [(0, UDP, 15_000, 25_000, 29), (1, TCP, 30_000, 60_000, 54), (2, UDP, 5000, 10_000, 140)]
    {
        (script.now, script.flow, script.protocol) = (1_000_000, flow, protocol);
        while script.until(1800) {
            script.send(len);
            let pause = script.in_range(low, high);
            script.wait(pause);
        }
    }
}

/// Four seconds of film at once, at the rate of the line.
fn streaming(script: &mut Script) {
    script.tcp(443);
    script.pour(4200, 1438, 3000);
    let rate = script.in_range(2500, 6000);
    while script.until(60) {
        let bytes = script.in_range(1_000_000, 2_500_000);
        let from = script.now;
        script.pour(bytes, 1438, rate);
        script.now = script.now.max(from + 4_000_000);
    }
}

fn quic_streaming(script: &mut Script) {
    script.port = 443;
    script.pour(5000, 1228, 3000);
    script.wait(30);
    let rate = script.in_range(300, 6000);
    let in_windows = script.random.random_bool(0.5);
    while script.until(60) {
        let bytes = script.in_range(600_000, 2_500_000);
        let from = script.now;
        for packet in 0..bytes / 1278 {
            let partial = script.random.random_bool(0.01);
            let len = if partial { script.in_range(60, 1278) } else { 1278 };
            script.send(len);
            script.now += if in_windows { 100 } else { 1_278_000 / rate };
            if in_windows && packet.is_multiple_of(40) {
                script.wait(40 * 1278 / rate);
            }
        }
        script.now = script.now.max(from + 4_000_000);
    }
}

/// A window a round trip, doubled until the line is full.
fn upload(script: &mut Script) {
    script.tcp(443);
    script.send(600);
    let mut window = 14_000;
    for _ in 0..200 {
        script.pour(window, 1438, 12_000);
        script.wait(30);
        window = (window * 2).min(120_000);
    }
}

/// Super-packets as a host with offload gives them, with pauses to read files.
fn backup(script: &mut Script) {
    script.tcp(443);
    while script.until(60) {
        let bytes = script.in_range(200_000, 8_000_000);
        script.pour(bytes, 52 + 1386 * 16, 5000);
        let pause = script.exponential(600.0);
        script.wait(pause);
    }
}

/// Held to some rate by somebody, inside of datagrams that begin small.
fn slow_transfer(script: &mut Script) {
    script.send(48);
    script.wait(40);
    script.send(60);
    let (rate, full) = script.choose([(80, 1438), (125, 1400), (250, 1438), (1000, 1380)]);
    script.pour(8_000_000, full, rate);
}

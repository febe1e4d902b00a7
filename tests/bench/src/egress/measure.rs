//! The measures, in the order of the table.

use std::time::Duration;

use anyhow::{Result, bail};
use lab::UplinkState;
use netns::eventually;
use shared::clock::{since_boot, since_epoch};

use super::ground::Ground;
use super::{Line, Measure};

pub(super) const MEASURES: [Measure; 9] = [
    Measure {
        name: "a link is lost: flows move after",
        times: [30, 3],
        line: Line::Milliseconds(20.0),
        elsewhere: "Peplink < 1 s, FortiGate 2.5 s, dpinger 12 s, mwan3 50 s",
        run: |phase| move_after(UplinkState::Cut, phase),
    },
    Measure {
        name: "the same beside 200 000 routes",
        times: [10, 1],
        line: Line::Milliseconds(20.0),
        elsewhere: "",
        run: moves_beside_routes,
    },
    Measure {
        name: "silence, probes each 100 ms: flows move after",
        times: [30, 3],
        line: Line::Milliseconds(320.0),
        elsewhere: "the same",
        run: |phase| move_after(UplinkState::Silent, phase),
    },
    Measure {
        name: "an outage of 250 ms moves nothing",
        times: [1, 1],
        line: Line::Always,
        elsewhere: "dpinger, mwan3: nothing below 2 s, 4 s",
        run: short_outages,
    },
    Measure {
        name: "an outage of 350 ms moves flows",
        times: [10, 2],
        line: Line::Always,
        elsewhere: "dpinger, mwan3: never",
        run: long_outage,
    },
    Measure {
        name: "30 % loss, probes each 20 ms: calls move after",
        times: [20, 3],
        line: Line::Milliseconds(500.0),
        elsewhere: "Cisco AAR 10 min to 1 h, at least 2 min",
        run: |_| class_moves_after(),
    },
    Measure {
        name: "the rest stays when calls move",
        times: [3, 1],
        line: Line::None,
        elsewhere: "pfSense, OPNsense: all states killed",
        run: |_| rest_stays(),
    },
    Measure {
        name: "packets lost on an uplink while others fail",
        times: [3, 1],
        line: Line::None,
        elsewhere: "pfSense PR 4159: the good one is disturbed",
        run: |_| untouched(),
    },
    Measure {
        name: "packets lost by an order: drain",
        times: [3, 1],
        line: Line::None,
        elsewhere: "",
        run: |_| drained(),
    },
];

/// How long a stream pauses when its uplink comes into a state.
fn move_after(state: UplinkState, phase: u64) -> Result<Vec<f64>> {
    pause(&Ground::prepare("", "100ms")?, state, phase)
}

/// How long a stream pauses when its link is lost and the host has a large part of the Internet's
/// routes, as behind BGP.
fn moves_beside_routes(phase: u64) -> Result<Vec<f64>> {
    let ground = Ground::prepare("", "100ms")?;
    ground.add_routes(200_000)?;
    pause(&ground, UplinkState::Cut, phase)
}

fn pause(ground: &Ground, state: UplinkState, phase: u64) -> Result<Vec<f64>> {
    let stream = ground.stream(2.0)?;
    // At another phase of the probes each time.
    std::thread::sleep(Duration::from_millis(500 + phase * 37 % 100));
    ground.set(0, state)?;
    Ok(vec![stream.end()?.gap])
}

fn short_outages(_: u64) -> Result<Vec<f64>> {
    let ground = Ground::prepare("", "100ms")?;
    let mut kept = Vec::new();
    for phase in 0..30 {
        outage(&ground, Duration::from_millis(250))?;
        std::thread::sleep(Duration::from_millis(500 + phase * 37 % 100));
        kept.push(f64::from(u8::from(ground.failures()? == 0)));
    }
    Ok(kept)
}

fn long_outage(phase: u64) -> Result<Vec<f64>> {
    let ground = Ground::prepare("", "100ms")?;
    ground.await_answers(10)?;
    std::thread::sleep(Duration::from_millis(phase * 37 % 100));
    outage(&ground, Duration::from_millis(350))?;
    let moved = eventually(Duration::from_secs(1), || Ok(ground.failures()? > 0)).is_ok();
    Ok(vec![f64::from(u8::from(moved))])
}

fn outage(ground: &Ground, time: Duration) -> Result<()> {
    let began = since_boot();
    ground.set(0, UplinkState::Silent)?;
    // The order takes time, half of it before it takes effect; so does the second one.
    let took = since_boot().saturating_sub(began);
    std::thread::sleep(time.saturating_sub(took));
    ground.set(0, UplinkState::Up)
}

fn class_moves_after() -> Result<Vec<f64>> {
    let ground = Ground::prepare(CALLS, "20ms")?;
    // Until all quality windows are full.
    ground.await_answers(100)?;
    let began = since_epoch().as_secs_f64();
    ground.set(0, UplinkState::Lossy)?;
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(200));
        for event in ground.events()? {
            let moved = event["class"] == "real-time" && event["kind"] == "active";
            if let Some(at) = event["time"].as_f64().filter(|at| moved && *at > began) {
                return Ok(vec![(at - began) * 1000.0]);
            }
        }
    }
    bail!("calls did not move in ten seconds")
}

/// How many packets of other traffic are lost while calls move away from a line that loses packets
/// on their way back.
fn rest_stays() -> Result<Vec<f64>> {
    let ground = Ground::prepare(CALLS, "20ms")?;
    let stream = ground.stream(3.0)?;
    std::thread::sleep(Duration::from_millis(500));
    ground.set(0, UplinkState::Lossy)?;
    Ok(vec![stream.end()?.lost])
}

fn untouched() -> Result<Vec<f64>> {
    let ground = Ground::prepare("", "100ms")?;
    let stream = ground.stream(8.0)?;
    std::thread::sleep(Duration::from_millis(500));
    for state in [UplinkState::Cut, UplinkState::Up, UplinkState::Silent, UplinkState::Up] {
        ground.set(1, state)?;
        std::thread::sleep(Duration::from_millis(700));
    }
    for order in [
        &["uplink", "drain", "up2"][..],
        &["uplink", "off", "up2"],
        &["uplink", "use", "up2"],
        &["uplink", "weigh", "3", "up2"],
        &["uplink", "remove", "up2"],
        &["uplink", "add", "up2", "--interface", "up2", "--tier", "3"],
        &["reload"],
    ] {
        ground.order(order)?;
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(vec![stream.end()?.lost])
}

fn drained() -> Result<Vec<f64>> {
    let ground = Ground::prepare("", "100ms")?;
    let stream = ground.stream(2.0)?;
    std::thread::sleep(Duration::from_millis(500));
    ground.order(&["uplink", "drain", "up0"])?;
    Ok(vec![stream.end()?.lost])
}

/// Calls by their port, with the limits that are usual.
const CALLS: &str = "\n[[class]]\nname = \"real-time\"\nprotocol = \"udp\"\nports = 6002\n\
     [[egress.class]]\nname = \"real-time\"\n";

//! What the peer says beside packets.

use super::{HOLD_MAX, Inbound, bits};
use crate::{
    notice::Heard,
    path::PathId,
    time::{Span, Time},
    wire::message::Message,
};

impl Inbound {
    pub(super) fn handle_messages(&mut self, now: Time, path: usize, stamp: Time, payload: &[u8]) {
        let mut rest = payload;
        while !rest.is_empty() {
            let Some((message, after)) = Message::parse(rest) else {
                self.stats.malformed += 1;
                return;
            };
            rest = after;
            self.handle_message(now, PathId(path as u8), stamp, message);
        }
    }

    fn handle_message(&mut self, now: Time, path: PathId, stamp: Time, message: Message) {
        match message {
            Message::Allowance(micros) => {
                if stamp >= self.state_at {
                    self.allowance = Span(u64::from(micros)).min(HOLD_MAX);
                }
            }
            Message::Close { path } => {
                self.leaving |= self.live & PathId(path).bit();
                self.notices.push(Heard::Close(PathId(path)));
            }
            Message::Feedback(report) => {
                self.notices.push(Heard::Feedback { report, stamp: stamp.low(), at: now });
            }
            Message::Gone(paths) => self.handle_gone(stamp, paths),
            Message::Live(paths) => self.handle_live(stamp, paths),
            Message::Ping => {}
            Message::Preference { path, preference } => {
                self.notices.push(Heard::Preference { path: PathId(path), preference });
            }
            Message::Probe { token } => {
                self.notices.push(Heard::Probe { path, token });
            }
            Message::Reply { token } => {
                self.notices.push(Heard::Reply { path, token });
            }
        }
    }

    /// Obeys the newest word on which paths carry data.
    fn handle_live(&mut self, stamp: Time, paths: u16) {
        if stamp < self.state_at {
            return;
        }
        self.state_at = stamp;
        self.leaving = (self.leaving | self.live) & !paths;
        self.live |= paths;
    }

    /// Passes on which links the peer has lost, once: it says so until it is acknowledged.
    fn handle_gone(&mut self, stamp: Time, paths: u16) {
        if stamp < self.state_at {
            return;
        }
        let lost = paths & !self.gone;
        self.gone = paths;
        for path in bits(lost) {
            self.notices.push(Heard::Gone(PathId(path as u8)));
        }
    }
}

/// Whether a message datagram asks to be acknowledged: feedback and marks alone do not, or the two
/// ends would acknowledge each other's acknowledgements for ever.
pub(super) fn elicits(mut payload: &[u8]) -> bool {
    while let Some((message, rest)) = Message::parse(payload) {
        if !matches!(message, Message::Feedback(_)) {
            return true;
        }
        payload = rest;
    }
    false
}

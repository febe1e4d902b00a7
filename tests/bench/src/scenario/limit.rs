//! What must hold of a row's figures.

use super::Sender;
use crate::row::{LinkFigures, Row};

/// A bound of one figure, for some senders or for all.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What is judged.
    pub figure: Figure,
    /// By what.
    pub bound: Bound,
    /// For which senders; all if empty.
    pub senders: Vec<Sender>,
}

/// A figure of a row that can be judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Figure {
    /// Copies and retransmissions, as a share of the bytes sent.
    Added,
    /// Goodput beside that of what it is compared with.
    Against,
    /// Bytes that went back over a link, the other direction's, as a share of those that it carried; the worst.
    Back,
    /// 99 % of a call's one-way delays do not exceed it, in milliseconds.
    CallDelay,
    /// Packets of a call that never arrived.
    CallLost,
    /// How evenly bulk flows share, by Jain's index.
    Fairness,
    /// Feedback and marks, as a share of the bytes carried.
    Feedback,
    /// Share of the first ten seconds.
    FirstShare,
    /// The longest gap in a stream, the worst of all repetitions, in milliseconds.
    GapWorst,
    /// The same, the median of the repetitions.
    GapMedian,
    /// Bytes a second on a link, both directions together; the worst.
    Idle,
    /// What somebody else's flow on the first link got, as a share of what that carries.
    Neighbour,
    /// 99 % of the round trips of a ping do not exceed it, in milliseconds.
    Ping,
    /// The link queue that is longest, 99 % of the time, in milliseconds.
    Queue,
    /// Goodput as a share of what is reachable.
    Share,
    /// Packets of a stream that never arrived.
    StreamLost,
    /// Retransmission timeouts of the bulk flows.
    Timeouts,
    /// 95 % of the pages are there, in milliseconds.
    Web,
}

/// On which side of a value a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Not below.
    AtLeast(f64),
    /// Not above.
    AtMost(f64),
}

impl Limit {
    /// A figure that may not be below this.
    pub(super) fn at_least(figure: Figure, value: f64) -> Self {
        Self { figure, bound: Bound::AtLeast(value), senders: Vec::new() }
    }

    /// A figure that may not be above this.
    pub(super) fn at_most(figure: Figure, value: f64) -> Self {
        Self { figure, bound: Bound::AtMost(value), senders: Vec::new() }
    }

    /// The same for one sender alone.
    pub(super) fn only(self, senders: &[Sender]) -> Self {
        Self { senders: senders.to_vec(), ..self }
    }

    /// Shares that differ between BBR and the other senders.
    pub(super) fn share(others: f64, bbr: f64) -> [Self; 2] {
        [
            Self::at_least(Figure::Share, others).only(&[Sender::Cubic, Sender::Quic]),
            Self::at_least(Figure::Share, bbr).only(&[Sender::Bbr]),
        ]
    }

    /// Whether it says something of this row.
    pub fn applies(&self, row: &Row) -> bool {
        self.senders.is_empty() || self.senders.contains(&row.sender)
    }

    /// Why a row does not hold it, if it does not. A figure that is not known is not judged.
    pub fn missed(&self, row: &Row) -> Option<String> {
        let value = self.figure.of(row).filter(|_| self.applies(row))?;
        let (held, sign, bound) = match self.bound {
            Bound::AtLeast(bound) => (value >= bound, '<', bound),
            Bound::AtMost(bound) => (value <= bound, '>', bound),
        };
        let (name, digits) = (self.figure.name(), self.figure.digits());
        (!held).then(|| format!("{name} {value:.digits$} {sign} {bound:.digits$}"))
    }
}

impl Figure {
    /// Its value in a row, where it has one.
    pub fn of(self, row: &Row) -> Option<f64> {
        match self {
            Self::Added => row.tunnel.added_share(),
            Self::Against => row.against.as_ref().map(|against| against.ratio),
            Self::Back => worst(row, |link| link.bytes_back as f64 / link.bytes.max(1) as f64),
            Self::CallDelay => row.call.as_ref().map(|call| call.delay_p99_ms),
            Self::CallLost => row.call.as_ref().map(|call| call.lost as f64),
            Self::Fairness => row.fairness,
            Self::Feedback => row.tunnel.feedback_share(),
            Self::FirstShare => row.first_share,
            Self::GapMedian => row.stream.as_ref().map(|stream| stream.gap_median_ms()),
            Self::GapWorst => row.stream.as_ref().map(|stream| stream.gap_worst_ms()),
            Self::Idle => {
                let seconds = row.counted_seconds.max(1) as f64;
                worst(row, |link| (link.bytes + link.bytes_back) as f64 / seconds)
            }
            Self::Neighbour => row.neighbour_share,
            Self::Ping => row.ping.as_ref().map(|ping| ping.p99_ms),
            Self::Queue => worst(row, |link| link.queue_p99_ms),
            Self::Share => row.share,
            Self::StreamLost => row.stream.as_ref().map(|stream| stream.lost as f64),
            Self::Timeouts => row.inner.as_ref()?.timeouts.map(|timeouts| timeouts as f64),
            Self::Web => row.web.as_ref().map(|web| web.p95_ms),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Added => "copies and retransmissions",
            Self::Against => "beside",
            Self::Back => "back",
            Self::CallDelay => "call delay p99 ms",
            Self::CallLost => "call lost",
            Self::Fairness => "fairness",
            Self::Feedback => "feedback",
            Self::FirstShare => "first 10 s",
            Self::GapMedian => "gap p50 ms",
            Self::GapWorst => "gap worst ms",
            Self::Idle => "idle B/s",
            Self::Neighbour => "neighbour's share",
            Self::Ping => "ping p99 ms",
            Self::Queue => "link queue p99 ms",
            Self::Share => "share",
            Self::StreamLost => "stream lost",
            Self::Timeouts => "timeouts",
            Self::Web => "page p95 ms",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Added
            | Self::Against
            | Self::Back
            | Self::Fairness
            | Self::Feedback
            | Self::FirstShare
            | Self::Neighbour
            | Self::Share => 3,
            Self::CallDelay
            | Self::GapMedian
            | Self::GapWorst
            | Self::Ping
            | Self::Queue
            | Self::Web => 1,
            Self::CallLost | Self::Idle | Self::StreamLost | Self::Timeouts => 0,
        }
    }
}

/// The largest of a figure of its links.
fn worst(row: &Row, of: impl Fn(&LinkFigures) -> f64) -> Option<f64> {
    row.links.iter().map(of).reduce(f64::max)
}

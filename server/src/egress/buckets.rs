//! Which uplink each bucket of flows belongs to: rendezvous (highest random weight) over 1024
//! buckets.
//!
//! Each uplink *arrives* at each bucket at a moment that depends on nothing but its own name and
//! weight, and the first to arrive owns it. So when one fails, its buckets go to whoever came
//! second and no other bucket moves; when it returns, it takes exactly those back. The moments are
//! exponential with the weight for a rate, which makes the shares proportional to the weights
//! (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998; the weights
//! after Schindelhauer and Schomaker, 2005). Nothing is random and no floating point is used: the
//! same names and weights give the same owners on every machine.
//!
//! Chance alone would leave the shares of 1024 draws wrong by more than a hundredth. Two things
//! make them right: an uplink's draws are the 1024 quantiles of the law in an order of its own
//! (Latin hypercube sampling), and [`Buckets::new`] bends the weights until the shares of the whole
//! set are those that were asked for.

use aws_lc_rs::digest::{SHA256, digest};

/// Owners of all buckets, each by its place among the members.
pub(super) type Owners = [Option<u8>; BUCKETS];

/// How many buckets there are: one moves a thousandth of the flows.
pub(super) const BUCKETS: usize = 1024;
/// The heaviest weight.
pub(super) const WEIGHT_MAX: u32 = 1000;
/// Nothing is held back of a member's weight.
pub(super) const WHOLE: u32 = 1000;

/// One that may own buckets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    /// 1 to [`WEIGHT_MAX`], relative to the others'.
    pub(super) weight: u32,
}

/// When each member arrives at each bucket.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    arrivals: Vec<[u64; BUCKETS]>,
}

impl Buckets {
    /// The buckets of a set of members with different names, at most 255.
    pub(super) fn new(members: &[Member<'_>]) -> Self {
        debug_assert!(members.len() <= usize::from(u8::MAX));
        let draws: Vec<_> = members.iter().map(|member| draw(member.name)).collect();
        let asked: Vec<u64> =
            members.iter().map(|it| u64::from(it.weight.clamp(1, WEIGHT_MAX))).collect();
        let mut rates: Vec<u64> = asked.iter().map(|weight| weight * UNIT).collect();
        let mut best = Self::arriving(&draws, &rates);
        let mut least_error = u64::MAX;
        let total: u64 = asked.iter().sum();
        for _ in 0..BENDS {
            let buckets = Self::arriving(&draws, &rates);
            let counts = buckets.counts();
            let error = asked
                .iter()
                .zip(&counts)
                .map(|(weight, count)| (count * total).abs_diff(weight * BUCKETS as u64));
            let error = error.max().unwrap_or(0);
            if error < least_error {
                least_error = error;
                best = buckets;
            }
            if error < total {
                break;
            }
            for ((rate, weight), count) in rates.iter_mut().zip(&asked).zip(&counts) {
                // Half of what is missing, or the shares would swing about what was asked for.
                let wanted = weight * BUCKETS as u64 + count * total;
                let bent =
                    u128::from(*rate) * u128::from(wanted) / u128::from(2 * (count * total).max(1));
                *rate = u64::try_from(bent).unwrap_or(u64::MAX).clamp(RATE_MIN, RATE_MAX);
            }
        }
        best
    }

    /// Who owns which bucket, when of each member so many thousandths of its weight count: none
    /// of one that has failed, some of one that has just come back.
    pub(super) fn owners(&self, parts: &[u32]) -> Owners {
        debug_assert_eq!(parts.len(), self.arrivals.len());
        std::array::from_fn(|bucket| {
            let here = self.arrivals.iter().zip(parts).enumerate();
            let present = here.filter(|(_, (_, part))| **part > 0);
            let first = present.min_by_key(|(at, (arrivals, part))| {
                // With half of its weight it comes after twice the time.
                let late = u128::from(arrivals[bucket]) * u128::from(WHOLE) / u128::from(**part);
                (late, *at)
            });
            first.map(|(at, _)| at as u8)
        })
    }

    fn arriving(draws: &[[u64; BUCKETS]], rates: &[u64]) -> Self {
        let arrival = |(draw, rate): (&[u64; BUCKETS], &u64)| {
            draw.map(|moment| {
                (u128::from(moment) * u128::from(RATE_MAX) / u128::from(*rate)) as u64
            })
        };
        Self { arrivals: draws.iter().zip(rates).map(arrival).collect() }
    }

    fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.arrivals.len()];
        for owner in self.owners(&vec![WHOLE; self.arrivals.len()]).into_iter().flatten() {
            counts[usize::from(owner)] += 1;
        }
        counts
    }
}

/// The moments at which a member of rate one arrives: the quantiles of the exponential law, in an
/// order that only its name decides.
fn draw(name: &str) -> [u64; BUCKETS] {
    let mut order: Vec<(Vec<u8>, usize)> = (0..BUCKETS)
        .map(|bucket| {
            let mut text = Vec::with_capacity(name.len() + 5);
            text.extend((bucket as u32).to_be_bytes());
            text.extend(name.as_bytes());
            (digest(&SHA256, &text).as_ref().to_vec(), bucket)
        })
        .collect();
    order.sort_unstable();
    let mut moments = [0; BUCKETS];
    for (rank, (_, bucket)) in (0_u32..).zip(order) {
        moments[bucket] = quantile(rank);
    }
    moments
}

/// −log₂ of (rank + ½) / 1024, in units of 2⁻²⁴.
fn quantile(rank: u32) -> u64 {
    let whole = u64::from((2 * BUCKETS as u32).ilog2()) << FRACTION_BITS;
    whole - log2(2 * rank + 1)
}

/// The binary logarithm in units of 2⁻²⁴, one bit of the fraction by each squaring.
fn log2(number: u32) -> u64 {
    let whole = number.ilog2();
    let mut result = u64::from(whole) << FRACTION_BITS;
    // Between 1 and 2, in units of 2⁻³¹.
    let mut rest = u64::from(number) << (31 - whole);
    for bit in (0..FRACTION_BITS).rev() {
        rest = (rest * rest) >> 31;
        if rest >= 1 << 32 {
            rest >>= 1;
            result |= 1 << bit;
        }
    }
    result
}

/// Bits of a moment behind the point.
const FRACTION_BITS: u32 = 24;
/// The rate of weight one.
const UNIT: u64 = 1 << 20;
/// The bounds of a bent rate: weights from one to a thousand, and room to bend them.
const RATE_MIN: u64 = UNIT / 16;
const RATE_MAX: u64 = (WEIGHT_MAX as u64) * UNIT * 16;
/// How often the weights are bent at most; the best shares that were seen are kept.
const BENDS: u32 = 64;

#[cfg(test)]
mod tests;

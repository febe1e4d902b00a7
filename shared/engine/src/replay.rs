//! The replay window: which packet numbers of one path and epoch were accepted already.
//!
//! A ring of bits over the last [`REPLAY_WINDOW`] numbers, in words that are cleared as the window
//! moves (RFC 6479). It sees reordering inside one path only, so it need not be wide for the sake
//! of unequal paths.

/// How far behind the largest number a datagram may be: what a 10 Gbit/s path reorders in 10 ms.
pub(crate) const REPLAY_WINDOW: u64 = 8192;

/// What the window says about a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It was accepted before.
    Duplicate,
    /// It was not seen before.
    New,
    /// It lies too far back to tell.
    TooOld,
}

/// The numbers accepted on one path in one epoch.
#[derive(Clone, Debug)]
pub(crate) struct ReplayWindow {
    /// The largest accepted number plus one; zero if there is none.
    next: u64,
    words: Box<[u64; WORDS]>,
}

impl ReplayWindow {
    /// A window that has accepted nothing.
    pub(crate) fn new() -> Self {
        Self { next: 0, words: Box::new([0; WORDS]) }
    }

    /// The largest accepted number plus one.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// What is known of `number`. Changes nothing: a number is inserted once its tag is checked.
    pub(crate) fn verdict(&self, number: u64) -> Verdict {
        if number >= self.next {
            return Verdict::New;
        }
        if self.next - number > REPLAY_WINDOW {
            return Verdict::TooOld;
        }
        let (word, bit) = place(number);
        if self.words[word] & bit == 0 { Verdict::New } else { Verdict::Duplicate }
    }

    /// Accepts `number`, whose datagram is authentic.
    pub(crate) fn insert(&mut self, number: u64) {
        if number >= self.next {
            let first = self.next.div_ceil(64);
            let last = number / 64;
            let cleared = (last + 1).saturating_sub(first).min(WORDS as u64);
            for word in 0..cleared {
                self.words[((last - word) % WORDS as u64) as usize] = 0;
            }
            self.next = number + 1;
        }
        let (word, bit) = place(number);
        self.words[word] |= bit;
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

/// One word more than the window, so that clearing a word never forgets a number inside it.
const WORDS: usize = REPLAY_WINDOW as usize / 64 + 1;

fn place(number: u64) -> (usize, u64) {
    ((number / 64 % WORDS as u64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(numbers in prop::collection::vec(
            prop_oneof![0u64..300, 0u64..20_000, 60_000u64..70_000], 1..300,
        )) {
            let mut window = ReplayWindow::new();
            let mut model = BTreeSet::new();
            for number in numbers {
                let newest = model.last().copied().unwrap_or(0);
                let expected = if model.contains(&number) && newest - number < REPLAY_WINDOW {
                    Verdict::Duplicate
                } else if !model.is_empty() && number + REPLAY_WINDOW <= newest {
                    Verdict::TooOld
                } else {
                    Verdict::New
                };
                prop_assert_eq!(window.verdict(number), expected);
                if expected == Verdict::New {
                    window.insert(number);
                    model.insert(number);
                }
            }
        }
    }

    #[test]
    fn the_oldest_number_inside_is_remembered_and_the_one_before_is_too_old() {
        let mut window = ReplayWindow::new();
        window.insert(0);
        window.insert(1);

        window.insert(REPLAY_WINDOW);

        assert_eq!(window.verdict(1), Verdict::Duplicate);
        assert_eq!(window.verdict(0), Verdict::TooOld);
        assert_eq!(window.verdict(2), Verdict::New);
    }
}

use super::*;

/// Questions at some pace, answered as the test says.
struct Line {
    quality: Quality,
    now: Duration,
    number: u64,
    /// Answers on their way: when they come, to which question, and what they took.
    coming: Vec<(Duration, u64, Duration)>,
    limits: Limits,
    noise: u64,
    /// Milliseconds from one question to the next.
    pace: u128,
}

impl Line {
    fn new(limits: Limits) -> Self {
        Self::asking_each(20, limits)
    }

    fn asking_each(pace: u64, limits: Limits) -> Self {
        let quality = Quality::new(ms(pace));
        let pace = pace.into();
        Self { quality, now: ms(0), number: 0, coming: Vec::new(), limits, noise: 1, pace }
    }

    /// Goes on for so long; `fate` says what the question at a time takes. Returns how long after
    /// the beginning of this a limit was broken first, and which.
    fn go(
        &mut self,
        time: Duration,
        mut fate: impl FnMut(&mut Self) -> Option<Duration>,
    ) -> Option<(Duration, Breach)> {
        let began = self.now;
        let mut broken = None;
        while self.now < began + time {
            if self.now.as_millis().is_multiple_of(self.pace) {
                self.number += 1;
                self.quality.on_sent(self.now, self.number);
                if let Some(rtt) = fate(self) {
                    self.coming.push((self.now + rtt, self.number, rtt));
                }
            }
            let now = self.now;
            let mut news = self.now.as_millis().is_multiple_of(self.pace);
            for (_, number, rtt) in self.coming.extract_if(.., |(at, ..)| *at <= now) {
                self.quality.on_answer(number, rtt);
                news = true;
            }
            if news && broken.is_none() {
                let breach = self.quality.breach(self.now, &self.limits);
                broken = breach.map(|breach| (self.now - began, breach));
            }
            self.now += ms(1);
        }
        broken
    }

    /// A number below `below`, another each time.
    fn random(&mut self, below: u64) -> u64 {
        // Knuth's MMIX generator; its high bits are good.
        self.noise = self
            .noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 33) % below
    }

    fn is_clean(&self) -> bool {
        self.quality.is_clean(self.now, &self.limits, Duration::from_secs(10))
    }
}

#[test]
fn a_delay_that_stays_is_known_within_half_a_second() {
    let mut line = Line::new(voice());
    assert_eq!(line.go(SECONDS_2, |_| Some(ms(20))), None);

    let (after, breach) = line.go(SECONDS_2, |_| Some(ms(250))).unwrap();

    assert!(matches!(breach, Breach::Latency(_)), "{breach}");
    assert!(after > ms(250) && after < ms(460), "{after:?}");
}

#[test]
fn a_spike_of_a_quarter_of_a_second_breaks_nothing() {
    for (rtt, limits) in [(Some(ms(220)), voice()), (Some(ms(1000)), voice()), (None, voice())] {
        let mut line = Line::new(limits);
        line.go(SECONDS_2, |_| Some(ms(20)));

        assert_eq!(line.go(ms(250), |_| rtt), None, "{rtt:?}");
        assert_eq!(line.go(SECONDS_2, |_| Some(ms(20))), None, "{rtt:?}");
    }
}

#[test]
fn a_heavy_loss_is_known_within_half_a_second_as_far_as_chance_lets_it() {
    // As echoes are asked for with an interval of 20 ms. The more is lost, the sooner the first one is,
    // and the one that shows that it goes on.
    for (percent, of_a_hundred) in [(20, 83), (30, 97), (50, 100)] {
        let mut times = Vec::new();
        for seed in 1..=300 {
            let mut line = Line::asking_each(10, voice());
            line.noise = seed;
            line.random(2);
            line.go(SECONDS_2, |_| Some(ms(2)));
            let (after, breach) =
                line.go(SECONDS_2, |line| (line.random(100) >= percent).then_some(ms(2))).unwrap();
            assert!(matches!(breach, Breach::Loss(_)), "{breach}");
            times.push(after);
        }
        times.sort();

        let in_time = times.iter().filter(|time| **time <= ms(480)).count();
        assert!(in_time >= of_a_hundred * 3, "{percent} %: {in_time} of 300");
        assert!(times[0] > ms(255), "the first: {:?}", times[0]);
    }
}

#[test]
fn a_loss_that_is_over_after_a_quarter_of_a_second_breaks_nothing() {
    for seed in 1..=100 {
        let mut line = Line::asking_each(10, voice());
        line.noise = seed;
        line.go(SECONDS_2, |_| Some(ms(20)));
        let burst = line.go(ms(250), |line| (line.random(100) >= 50).then_some(ms(20)));
        assert_eq!(burst, None);
        assert_eq!(line.go(SECONDS_2, |_| Some(ms(20))), None);
    }
}

#[test]
fn a_small_loss_is_known_after_five_hundred_questions_and_half_of_the_limit_never() {
    let mut line = Line::new(voice());
    let (after, breach) = line
        .go(Duration::from_secs(60), |line| (line.random(1000) >= 40).then_some(ms(20)))
        .unwrap();
    assert!(matches!(breach, Breach::Loss(_)), "{breach}");
    assert!(after <= Duration::from_secs(11), "{after:?}");

    let mut line = Line::new(voice());
    let twenty_minutes = Duration::from_secs(1200);
    assert_eq!(line.go(twenty_minutes, |line| (line.random(1000) >= 4).then_some(ms(20))), None);
}

#[test]
fn jitter_is_what_changes_from_answer_to_answer() {
    let mut line = Line::new(voice());
    line.go(SECONDS_2, |_| Some(ms(20)));

    let (after, breach) = line
        .go(SECONDS_2, |line| Some(if line.number % 2 == 0 { ms(20) } else { ms(90) }))
        .unwrap();

    assert_eq!(breach, Breach::Jitter(ms(70)));
    assert!(after > ms(250) && after < ms(500), "{after:?}");
}

#[test]
fn a_line_is_clean_again_after_ten_seconds_with_something_to_spare() {
    let mut line = Line::new(voice());
    line.go(Duration::from_secs(20), |line| (line.random(100) >= 30).then_some(ms(20)));
    assert!(!line.is_clean());

    line.go(Duration::from_secs(9), |_| Some(ms(20)));
    assert!(!line.is_clean());
    line.go(Duration::from_secs(2), |_| Some(ms(20)));
    assert!(line.is_clean());

    // Just below the limit of 100 ms one way is not clean.
    line.go(Duration::from_secs(12), |_| Some(ms(190)));
    assert!(!line.is_clean());
}

#[test]
fn calls_that_sound_bad_are_a_reason() {
    let mut line = Line::new(Limits { mos: Some(3.6), ..Limits::default() });
    line.go(SECONDS_2, |_| Some(ms(20)));

    let (after, breach) =
        line.go(SECONDS_2, |line| (line.random(100) >= 30).then_some(ms(20))).unwrap();

    assert!(matches!(breach, Breach::Mos(_)), "{breach}");
    assert!(after < ms(700), "{after:?}");
}

#[test]
fn without_limits_or_answers_nothing_is_broken() {
    let mut line = Line::new(Limits::default());
    assert_eq!(line.go(SECONDS_2, |line| Some(ms(line.number * 10))), None);
    let mut line = Line::new(voice());
    assert_eq!(line.go(ms(100), |_| None), None);
    assert!(!line.is_clean());
    line.quality = Quality::new(ms(20));
    assert_eq!(line.quality.breach(line.now, &voice()), None);
}

#[test]
fn a_target_that_is_silent_while_the_line_works_breaks_no_limit() {
    let mut line = Line::new(voice());
    line.go(SECONDS_2, |_| Some(ms(20)));

    for _ in 0..10 {
        assert_eq!(line.go(ms(275), |_| None), None);
        line.quality.forget_unanswered();
    }
    assert_eq!(line.go(ms(250), |_| None), None);
    assert_eq!(line.go(SECONDS_2, |_| Some(ms(20))), None, "it answers again");

    line.go(ms(400), |_| None);
    assert!(line.go(ms(400), |_| Some(ms(20))).is_some(), "without that word");
}

fn voice() -> Limits {
    Limits { latency: Some(ms(100)), jitter: Some(ms(30)), loss: Some(0.01), mos: None }
}

const SECONDS_2: Duration = Duration::from_secs(2);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

use super::*;

#[test]
fn the_first_answer_makes_it_healthy() {
    let mut health = started(1);

    let transition = health.on_answer(ms(20), 0, ms(20));

    assert_eq!(transition.map(|it| (it.from, it.to)), Some((State::Unknown, State::Up)));
}

#[test]
fn three_silent_intervals_fail_it_and_not_less() {
    let (mut health, now) = up(1);

    // It was last heard at `now`, and is asked every 100 ms.
    for step in 1..3 {
        health.on_sent(now + ms(100 * step), 0);
        assert_eq!(health.handle_timeout(now + ms(100 * step)), None);
    }
    assert_eq!(health.handle_timeout(now + ms(299)), None);
    // An answer takes 20 ms, and might just have been missed.
    let at = health.poll_timeout().unwrap();
    assert!(at >= now + ms(320) && at < now + ms(321), "{:?}", at - now);
    assert_eq!(health.handle_timeout(now + ms(319)), None);
    let transition = health.handle_timeout(at);

    assert_eq!(transition.map(|it| (it.to, it.cause)), Some((State::Down, Cause::Silent)));
    assert_eq!(health.poll_timeout(), None, "only an answer changes anything");
    assert_eq!(health.handle_timeout(now + ms(400)), None, "reported once");
}

#[test]
fn a_missed_answer_makes_it_doubtful_before_it_fails() {
    let (mut health, now) = up(2);
    health.on_sent(now + ms(90), 0);
    health.on_sent(now + ms(90), 1);

    assert!(!health.is_doubtful(now + ms(140)));
    assert!(health.is_doubtful(now + ms(200)));
    assert_eq!(health.state(), State::Up);
    health.on_answer(now + ms(200), 1, ms(110));
    assert!(!health.is_doubtful(now + ms(200)), "one probe is enough");
}

#[test]
fn one_answering_probe_of_two_is_enough() {
    let (mut health, mut now) = up(2);

    for _ in 0..100 {
        now += ms(100);
        health.on_sent(now, 0);
        health.on_sent(now, 1);
        assert_eq!(health.on_answer(now + ms(20), 1, ms(20)), None);
    }

    assert_eq!(health.state(), State::Up);
}

#[test]
fn a_quorum_of_two_needs_two_of_three() {
    let mut health = Health::new(ms(0), Rules { quorum: 2, ..RULES }, [ms(100); 3].into_iter());
    health.on_link_up(ms(0));
    for probe in 0..3 {
        health.on_sent(ms(0), probe);
    }
    assert_eq!(health.on_answer(ms(20), 0, ms(20)), None, "one of two");
    let transition = health.on_answer(ms(20), 1, ms(20));
    assert_eq!(transition.map(|it| it.to), Some(State::Up));
    health.on_answer(ms(20), 2, ms(20));

    // One may fail, a second may not; when the first fails is known before.
    for probe in 0..3 {
        health.on_sent(ms(100), probe);
    }
    health.on_answer(ms(120), 0, ms(20));
    health.on_answer(ms(120), 1, ms(20));
    assert_eq!(health.handle_timeout(ms(400)), None);
    health.on_sent(ms(200), 0);
    health.on_sent(ms(200), 1);
    health.on_answer(ms(410), 0, ms(210));
    assert!(health.is_doubtful(ms(415)));
    let at = health.poll_timeout().unwrap();
    assert!(at > ms(415), "{at:?}");
    assert_eq!(health.handle_timeout(at - ms(1)), None);
    let transition = health.handle_timeout(at);
    assert_eq!(transition.map(|it| (it.to, it.cause)), Some((State::Down, Cause::Silent)));

    // It comes back with two, and not with one.
    for step in 0..3 {
        health.on_answer(at + ms(100 * (step + 1)), 0, ms(20));
    }
    assert_eq!(health.state(), State::Down);
    for step in 0..2 {
        assert_eq!(health.on_answer(at + ms(310 + step), 2, ms(20)), None);
    }
    let transition = health.on_answer(at + ms(320), 2, ms(20));
    assert_eq!(transition.map(|it| it.to), Some(State::Up));
}

#[test]
fn a_late_answer_is_latency_and_not_loss() {
    let (mut health, mut now) = up(1);

    // The round trip grows to five intervals, slowly enough for the estimate to follow.
    for step in 0..200 {
        now += ms(100);
        health.on_sent(now, 0);
        let rtt = ms(20 + (step * 4).min(480));
        assert_eq!(health.on_answer(now + ms(10), 0, rtt), None);
    }

    assert_eq!(health.poll_timeout(), None, "nothing is asked");
    health.on_sent(now + ms(100), 0);
    assert_eq!(health.handle_timeout(now + ms(900)), None, "patience is twice the round trip");
}

#[test]
fn who_was_heard_is_not_silent_but_may_fail() {
    let (mut health, mut now) = up(1);

    for _ in 0..RULES.fall {
        for _ in 0..10 {
            now += ms(100);
            health.on_sent(now, 0);
            health.on_heard(now + ms(10), 0);
        }
        assert_eq!(health.handle_timeout(now + ms(50)), None);
        if let Some(transition) = health.on_refusal(now + ms(60), 0, Cause::Slow) {
            assert_eq!(transition.cause, Cause::Slow);
        }
    }

    assert_eq!(health.state(), State::Down);
}

#[test]
fn our_own_absence_is_no_silence() {
    let (mut health, now) = up(1);
    let awake = now + Duration::from_secs(3600);

    health.on_sent(awake, 0);

    assert_eq!(health.handle_timeout(awake), None);
    assert_eq!(health.handle_timeout(awake + ms(199)), None);
    assert!(health.handle_timeout(awake + ms(221)).is_some());
}

#[test]
fn refusals_count_up_to_fall() {
    let (mut health, mut now) = up(1);

    for _ in 0..2 {
        now += ms(100);
        health.on_sent(now, 0);
        assert_eq!(health.on_refusal(now, 0, Cause::Refused), None);
    }
    now += ms(100);
    let transition = health.on_refusal(now, 0, Cause::Refused);

    assert_eq!(transition.map(|it| (it.to, it.cause)), Some((State::Down, Cause::Refused)));
}

#[test]
fn a_lost_link_fails_it_at_once() {
    let (mut health, now) = up(1);

    let transition = health.on_link_down(now);

    assert_eq!(transition.map(|it| (it.to, it.cause)), Some((State::Down, Cause::LinkDown)));
    assert_eq!(
        health.on_answer(now + ms(1), 0, ms(1)),
        None,
        "an answer on its way changes nothing"
    );
}

#[test]
fn after_the_first_failure_rise_answers_bring_it_back() {
    let (mut health, mut now) = up(1);
    health.on_link_down(now);
    health.on_link_up(now);

    for _ in 0..2 {
        now += ms(100);
        health.on_sent(now, 0);
        assert_eq!(health.on_answer(now, 0, ms(20)), None);
    }
    now += ms(100);
    let transition = health.on_answer(now, 0, ms(20));

    assert_eq!(transition.map(|it| (it.from, it.to)), Some((State::Down, State::Up)));
}

#[test]
fn without_probes_the_link_decides() {
    let mut health = Health::new(ms(0), RULES, std::iter::empty());

    let up = health.on_link_up(ms(0));
    let down = health.on_link_down(ms(5));
    let again = health.on_link_up(ms(9));

    assert_eq!(up.map(|it| it.cause), Some(Cause::LinkUp));
    assert_eq!(down.map(|it| it.cause), Some(Cause::LinkDown));
    assert_eq!(again.map(|it| it.to), Some(State::Up));
}

#[test]
fn a_flapping_line_shows_three_changes_in_a_minute() {
    let (mut health, start) = up(1);
    let mut changes = Vec::new();

    // One second off, one second on, for a minute; the last second on lasts for good.
    let mut back_at = None;
    for step in 1..1200 {
        let now = start + ms(100 * step);
        let on = step >= 600 || (step / 10) % 2 == 1;
        health.on_sent(now, 0);
        let found = if on { health.on_answer(now, 0, ms(1)) } else { health.handle_timeout(now) };
        let minute = step < 600;
        changes.extend(found.filter(|_| minute));
        back_at = back_at.or(found.filter(|it| !minute && it.to == State::Up).map(|_| step));
    }

    assert!(changes.len() <= 3, "{changes:?}");
    let back_at = back_at.expect("it comes back");
    assert!((690..695).contains(&back_at), "after ten good seconds, not at step {back_at}");
}

#[test]
fn the_hold_down_doubles_up_to_its_maximum_and_is_forgiven() {
    let mut health = started(0);
    let mut now = ms(0);
    let mut holds = Vec::new();
    for _ in 0..9 {
        assert!(health.on_link_down(now).is_some());
        health.on_link_up(now);
        let release = health.poll_timeout().unwrap_or(now);
        holds.push((release - now).as_secs());
        now = release;
        health.handle_timeout(now);
        assert_eq!(health.state(), State::Up);
    }

    assert_eq!(holds, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    now += FORGIVEN_AFTER * 20;
    health.on_link_down(now);
    assert!(health.on_link_up(now).is_some(), "forgiven");
}

#[test]
fn a_probe_that_does_not_exist_is_ignored() {
    let (mut health, now) = up(1);

    health.on_sent(now, 9);

    assert_eq!(health.on_refusal(now, 9, Cause::Refused), None);
    assert_eq!(health.state(), State::Up);
}

const RULES: Rules = Rules { interval: ms(100), silence: ms(300), rise: 3, fall: 3, quorum: 1 };

fn started(probes: usize) -> Health {
    let mut health = Health::new(ms(0), RULES, std::iter::repeat_n(ms(100), probes));
    health.on_link_up(ms(0));
    health
}

fn up(probes: usize) -> (Health, Duration) {
    let mut health = started(probes);
    let mut now = ms(0);
    for _ in 0..20 {
        now += ms(100);
        for probe in 0..probes {
            health.on_sent(now, probe);
            health.on_answer(now, probe, ms(20));
        }
    }
    assert_eq!(health.state(), State::Up);
    (health, now)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

//! The window against links on paper.

use super::*;

#[test]
fn the_window_grows_to_what_the_link_carries_and_leaves_a_small_queue() {
    let link = drive(&mut Window::new(), 12_500_000, Span::millis(20), 400);

    assert!((12.0e6..12.6e6).contains(&link.rate), "rate {}", link.rate);
    assert!(link.queue < 10_000.0, "queue {} us", link.queue);
}

#[test]
fn no_report_upsets_the_window() {
    let mut window = Window::new();
    for (step, rtt) in [Span(0), Span::millis(5), Span::secs(40)].into_iter().cycle().enumerate() {
        if step == 60 {
            break;
        }
        let delay = if step % 7 == 0 { i64::from(i32::MIN) } else { i64::from(i32::MAX) };
        window.on_feedback(
            Time(step as u64 * 31_000),
            &Progress {
                lost: u64::from(u32::MAX),
                marked: step % 2 == 0,
                ..Progress::of(step as u64 * 31_000, 1 << 31, delay, rtt)
            },
        );
        assert!(window.size.is_finite() && window.size <= SIZE_MAX);
    }
}

#[test]
fn an_idle_path_keeps_its_window() {
    let mut window = Window::new();
    drive(&mut window, 12_500_000, Span::millis(20), 400);
    let before = window.size();

    for step in 0..100 {
        window.on_feedback(
            Time(10_000_000 + step * 100_000),
            &Progress::of(10_000_000 + step * 100_000, 200, 10_000, Span::millis(20)),
        );
    }

    assert!(window.size() >= before * 9 / 10, "{} of {before}", window.size());
}

#[test]
fn the_window_of_the_next_session_begins_where_this_one_was() {
    let mut window = Window::new();
    assert_eq!(window.memory(), None, "nothing is known yet");
    drive(&mut window, 12_500_000, Span::millis(20), 400);
    let memory = window.memory().expect("known");

    let recalled = Window::recalled(&memory);
    assert!(recalled.size() >= window.size() * 8 / 10 && recalled.size() < window.size());
    let pace = recalled.pace(Span::millis(20));
    assert!((10_500_000..12_500_000).contains(&pace), "{pace}");
}

#[test]
fn a_path_with_a_standing_queue_is_paced_at_what_arrives() {
    let mut window = Window::new();
    let rtt = Span::millis(20);
    drive(&mut window, 12_500_000, rtt, 400);
    let free = window.pace(rtt);
    let report = |at: u64, delay| Progress::of(at, 12_500_000 / 200, delay, rtt);

    for step in 0..40 {
        let at = 2_000_000 + step * 5_000;
        window.on_feedback(Time(at), &report(at, 15_000));
    }

    assert!(window.is_saturated());
    let pace = window.pace(rtt) as f64;
    assert!((12.0e6..13.0e6).contains(&pace), "{pace}, and {free} without a queue");
    for step in 0..40 {
        let at = 2_200_000 + step * 5_000;
        window.on_feedback(Time(at), &report(at, 10_000));
    }
    assert!(!window.is_saturated() && window.pace(rtt) >= 12_500_000);
}

struct Link {
    rate: f64,
    queue: f64,
}

/// A fluid link with unlimited demand: what exceeds the rate queues up.
fn drive(window: &mut Window, rate: u64, rtt: Span, steps: u64) -> Link {
    let step = FEEDBACK_INTERVAL;
    let mut link = Link { rate: 0.0, queue: 0.0 };
    let capacity = step.carries(rate) as f64;
    for index in 0..steps {
        let pipe = rtt.carries(rate) as f64;
        // Feedback comes in steps, so on average half a step's worth is acknowledged late.
        let standing = (window.size() as f64 - pipe - capacity).max(0.0);
        link.queue = standing / rate as f64 * 1e6;
        let delivered = capacity.min(window.size() as f64 * step.0 as f64 / rtt.0 as f64);
        let delay = (rtt.0 / 2) as i64 + link.queue as i64;
        window.on_refused();
        window.on_feedback(
            Time(index * step.0),
            &Progress {
                rtt: rtt + Span(link.queue as u64),
                ..Progress::of(index * step.0, delivered as u64, delay, rtt)
            },
        );
        link.rate = delivered / step.as_secs_f64();
    }
    link
}

#[test]
fn first_datagrams_that_showed_far_too_little_hold_nothing_back() {
    let rtt = Span::millis(2);
    let mut window = Window::new();
    // Ten datagrams, pressed into what a 50 Mbit/s path would take.
    let train = Progress { delay_mean: 2_120, ..Progress::of(5_000, 14_000, 1_000, rtt) };
    window.on_feedback(Time(5_000), &Progress { fresh: 14_000, arrived: 14_000, ..train });
    assert!((5e6..7e6).contains(&window.carries()), "{}", window.carries());

    // It carries ten gigabits, and no queue ever shows.
    let mut arrived = 14_000;
    for step in 2..400 {
        let at = step * 5_000;
        let bytes = (window.pace(rtt) / 200).min(6_250_000);
        arrived += bytes;
        window.on_refused();
        window.on_feedback(Time(at), &Progress { arrived, ..Progress::of(at, bytes, 1_000, rtt) });
    }

    assert!(window.pace(rtt) > 1_250_000_000, "{}", window.pace(rtt));
}

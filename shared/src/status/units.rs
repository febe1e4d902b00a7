//! Figures as people read them.

use std::time::Duration;

/// How long ago `since` was, in the two largest units.
pub(crate) fn age(now: u64, since: u64) -> String {
    let seconds = now.saturating_sub(since);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A duration in the unit that suits it.
pub(crate) fn lasting(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => age(time.as_secs(), 0),
    }
}

/// A rate in bit/s, with three digits.
pub(crate) fn bits(per_second: u64) -> String {
    scaled(per_second, "bit/s")
}

/// An amount of bytes, with three digits.
pub(crate) fn bytes(amount: Option<u64>) -> String {
    amount.map_or("-".to_owned(), |amount| scaled(amount, "B"))
}

/// A count, its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A share from 0 to 1 in percent.
pub(crate) fn share(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn scaled(amount: u64, unit: &str) -> String {
    let mut value = amount as f64;
    for prefix in ["", "k", "M", "G", "T", "P"] {
        // Where three digits would round up to a thousand, the next prefix is shorter.
        if value < 999.5 {
            return match (prefix, value) {
                ("", _) => format!("{value:.0} {unit}"),
                (_, ..9.95) => format!("{value:.2} {prefix}{unit}"),
                (_, ..99.95) => format!("{value:.1} {prefix}{unit}"),
                _ => format!("{value:.0} {prefix}{unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.0} E{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let shown = [0, 999, 1000, 9_999, 99_950, 999_499, 999_500, 94_200_000, u64::MAX].map(bits);

        assert_eq!(
            shown,
            [
                "0 bit/s",
                "999 bit/s",
                "1.00 kbit/s",
                "10.0 kbit/s",
                "100 kbit/s",
                "999 kbit/s",
                "1.00 Mbit/s",
                "94.2 Mbit/s",
                "18 Ebit/s",
            ]
        );
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn ages_have_two_units_and_a_clock_that_went_back_is_survived() {
        assert_eq!(age(59, 0), "59s");
        assert_eq!(age(3599, 0), "59m 59s");
        assert_eq!(age(90_000, 0), "1d 1h");
        assert_eq!(age(0, 7), "0s");
        let lasting = [80, 1_240, 12_000, 3_600_000].map(|it| lasting(Duration::from_millis(it)));
        assert_eq!(lasting, ["80 ms", "1.2 s", "12s", "1h 0m"]);
    }
}

//! Reads one value of a configuration: each function says what it wants when it gets another.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use toml::de::DeValue;

use super::{nearest::nearest, problem::Wrong, table::kind};

/// A string.
///
/// # Errors
/// When the value is something else, or too long.
pub fn text(value: &DeValue<'_>) -> Result<String, Wrong> {
    borrowed(value).map(str::to_owned)
}

/// As [`text`], without a copy: the string may be a key.
fn borrowed<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    let DeValue::String(text) = value else {
        return Err(Wrong::new(format!("this is {}, not a string", kind(value)))
            .right("write it in quotes: \"…\""));
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(Wrong::new(format!("this is longer than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// `true` or `false`.
///
/// # Errors
/// When the value is something else.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| {
        Wrong::new(format!("this is {}, not a truth value", kind(value)))
            .right("write true or false, without quotes")
    })
}

/// A whole number of `range`.
pub fn number<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong>
where
    T: Copy + Display + FromStr + PartialOrd,
{
    move |value| {
        let right = format!("write a number from {} to {}", range.start(), range.end());
        let DeValue::Integer(digits) = value else {
            return Err(Wrong::new(format!("this is {}, not a number", kind(value))).right(right));
        };
        let parsed = match digits.radix() {
            10 => digits.as_str().parse().ok(),
            radix => {
                let wide = i64::from_str_radix(digits.as_str(), radix).ok();
                wide.and_then(|wide| wide.to_string().parse().ok())
            }
        };
        parsed.filter(|number| range.contains(number)).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            Wrong::new(format!("{digits} is not a number from {first} to {last}")).right(right)
        })
    }
}

/// A number of `range`, with or without a decimal point.
pub fn decimal(range: RangeInclusive<f64>) -> impl Fn(&DeValue<'_>) -> Result<f64, Wrong> {
    move |value| {
        let (first, last) = (range.start(), range.end());
        let right = format!("write a number from {first} to {last}");
        let text = match value {
            DeValue::Integer(digits) if digits.radix() == 10 => digits.as_str(),
            DeValue::Float(digits) => digits.as_str(),
            _ => {
                let wrong = Wrong::new(format!("this is {}, not a number", kind(value)));
                return Err(wrong.right(right));
            }
        };
        let parsed: Option<f64> = text.parse().ok().filter(|number| range.contains(number));
        parsed.ok_or_else(|| {
            Wrong::new(format!("{text} is not a number from {first} to {last}")).right(right)
        })
    }
}

/// A time with its unit: `"500ms"`, `"2s"`, `"1m 30s"`.
pub fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, Wrong> {
    move |value| {
        let right = "write a number with its unit, such as \"500ms\" or \"2s\"";
        let DeValue::String(text) = value else {
            return Err(Wrong::new(format!("this is {}, not a time", kind(value))).right(right));
        };
        let parsed = humantime::parse_duration(text)
            .map_err(|error| Wrong::new(format!("this is not a time: {error}")).right(right))?;
        if range.contains(&parsed) {
            return Ok(parsed);
        }
        let shown = |duration: &Duration| humantime::format_duration(*duration).to_string();
        let (first, last) = (shown(range.start()), shown(range.end()));
        Err(Wrong::new("this time is out of range").right(format!("write {first} to {last}")))
    }
}

/// A string that is a `T`: an address, a key, a host and port.
///
/// `wanted` names it with its article and an example.
pub fn word<T: FromStr>(wanted: &'static str) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong> {
    move |value| {
        let text = borrowed(value)?;
        text.parse().map_err(|_| Wrong::new(format!("this is not {wanted}")))
    }
}

/// A string that is a `T` whose parser says what is wrong.
///
/// # Errors
/// When the value is no string, or what the parser says.
pub fn parsed<T>(value: &DeValue<'_>) -> Result<T, Wrong>
where
    T: FromStr<Err = Wrong>,
{
    borrowed(value)?.parse()
}

/// One of several words, each of which stands for a value. `what` names them all with an article.
pub fn one_of<T: Clone>(
    what: &'static str,
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong> {
    move |value| {
        let text = borrowed(value)?;
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(meant.clone());
        }
        let known = words.iter().map(|(word, _)| *word);
        let right = match nearest(text, known.clone()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("write one of {}", known.collect::<Vec<_>>().join(", ")),
        };
        let shown: String = text.chars().take(40).collect();
        Err(Wrong::new(format!("\"{}\" is not {what}", shown.escape_debug())).right(right))
    }
}

/// An IP address.
///
/// # Errors
/// When the value is something else.
pub fn ip(value: &DeValue<'_>) -> Result<IpAddr, Wrong> {
    let text = borrowed(value)?;
    text.parse().map_err(|_| {
        Wrong::new("this is no IP address")
            .right("write one such as \"192.0.2.1\" or \"2001:db8::1\"")
    })
}

/// An address and port to listen on.
///
/// # Errors
/// When the value is something else, or the port is 0.
pub fn listen_address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    parse_listen_address(&text(value)?)
}

/// As [`listen_address`], from the command line.
///
/// # Errors
/// As [`listen_address`].
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, Wrong> {
    address_and_port(text, ["0.0.0.0:4500", "[::]:4500"], "clients can't find port 0")
}

/// An address and port, such as the examples; `no_port` is said of port 0.
pub(crate) fn address_and_port(
    text: &str,
    examples: [&str; 2],
    no_port: &str,
) -> Result<SocketAddr, Wrong> {
    let [first, second] = examples;
    let right = format!("write an address and port, such as \"{first}\" or \"{second}\"");
    let address: SocketAddr = text.parse().map_err(|_| {
        let bare = text.parse::<IpAddr>().is_ok();
        let what = if bare { "the port is missing" } else { "this is no address and port" };
        Wrong::new(what).right(&right)
    })?;
    if address.port() == 0 {
        return Err(Wrong::new(no_port).right(right));
    }
    Ok(address)
}

/// A network in CIDR form, without bits behind its prefix.
///
/// # Errors
/// When the value is something else, or an address inside a network.
pub fn cidr(value: &DeValue<'_>) -> Result<IpNet, Wrong> {
    parse_cidr(&text(value)?)
}

/// As [`cidr`], from the command line.
///
/// # Errors
/// As [`cidr`].
pub fn parse_cidr(text: &str) -> Result<IpNet, Wrong> {
    let right = "write a network and its prefix length, such as \"192.168.7.0/24\"";
    if let Ok(address) = text.parse::<IpAddr>() {
        let length = if address.is_ipv4() { 32 } else { 128 };
        return Err(Wrong::new("the prefix length is missing")
            .right(format!("write \"{address}/{length}\" for this one address")));
    }
    let network: IpNet =
        text.parse().map_err(|_| Wrong::new("this is not a network").right(right))?;
    if network.addr() != network.network() {
        return Err(Wrong::new(format!("{network} is an address inside a network"))
            .right(format!("write \"{}\"", network.trunc())));
    }
    Ok(network)
}

/// The name of a client, an uplink or an instance.
///
/// # Errors
/// When the value is something else, or has characters that a file name should not have.
pub fn name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = borrowed(value)?;
    validate_name(text)?;
    Ok(text.to_owned())
}

/// Whether `name` can be a file name and a word of a command line everywhere.
///
/// # Errors
/// Says what a name must be.
pub fn validate_name(name: &str) -> Result<(), Wrong> {
    let legal =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let starts_well = name.bytes().next().is_some_and(|byte| !b".-".contains(&byte));
    if starts_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(legal) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Err(Wrong::new(format!("\"{}\" is not a name", shown.escape_debug())).right(format!(
        "write 1 to {NAME_BYTES_MAX} of the characters a-z 0-9 . _ -, the first neither . nor -"
    )))
}

/// The name of a network interface.
///
/// # Errors
/// When the value is something else.
pub fn interface(value: &DeValue<'_>) -> Result<String, Wrong> {
    let name = text(value)?;
    validate_interface(&name)?;
    Ok(name)
}

/// Whether `name` can be the name of an interface.
///
/// # Errors
/// Says what it must be.
pub fn validate_interface(name: &str) -> Result<(), Wrong> {
    // dev_valid_name() of the kernel, and control characters.
    let legal =
        |letter: char| !letter.is_whitespace() && !letter.is_control() && !"/:".contains(letter);
    let length = 1..=INTERFACE_BYTES_MAX;
    if length.contains(&name.len()) && name != "." && name != ".." && name.chars().all(legal) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err(Wrong::new(format!("\"{}\" is not an interface name", shown.escape_debug()))
        .right("`ip link` lists them"))
}

/// A name is part of a file name and of a socket's path, whose length the kernel limits to 107.
const NAME_BYTES_MAX: usize = 64;

/// IFNAMSIZ of the kernel without the closing zero.
const INTERFACE_BYTES_MAX: usize = 15;

/// Longer than any host name (253) or key.
const TEXT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_no_network() {
        assert_eq!(parse_cidr("10.7.0.0/16").unwrap().to_string(), "10.7.0.0/16");
        assert_eq!(parse_cidr("10.7.0.5/16").unwrap_err().remedy(), "write \"10.7.0.0/16\"");
        assert_eq!(
            parse_cidr("fd00::1").unwrap_err().remedy(),
            "write \"fd00::1/128\" for this one address"
        );
        assert!(parse_cidr("10.7.0.0/33").is_err());
    }

    #[test]
    fn names_are_safe_in_paths_and_on_command_lines() {
        for good in ["a", "branch-7", "lte.backup_1", "0", &"x".repeat(64)] {
            assert_eq!(validate_name(good), Ok(()));
        }
        for bad in ["", "..", ".hidden", "-x", "a/b", "A", "\u{e9}", "a b", "a\0", &"x".repeat(65)]
        {
            assert!(validate_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn interface_names_are_those_of_the_kernel() {
        for good in ["eth0", "wlp0s20f3", "br-lan.7", "\u{e9}th", "123456789012345"] {
            assert_eq!(validate_interface(good), Ok(()));
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:1", "1234567890123456", "a\n"] {
            assert!(validate_interface(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_held_to_their_range() {
        let value = |text: &'static str| DeValue::parse(text).unwrap().into_inner();
        let small = number(1..=9_u8);

        assert_eq!(small(&value("0x7")), Ok(7));
        for bad in ["0", "10", "300", "-1", "99999999999999999999999", "\"3\"", "1.5"] {
            assert!(small(&value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_need_a_unit() {
        let value = |text: &'static str| DeValue::parse(text).unwrap().into_inner();
        let interval = duration(Duration::from_millis(10)..=Duration::from_secs(60));

        assert_eq!(interval(&value("\"500ms\"")), Ok(Duration::from_millis(500)));
        for bad in ["\"5\"", "5", "\"1ms\"", "\"2h\"", "\"\"", "\"99999999999999999999s\""] {
            assert!(interval(&value(bad)).is_err(), "{bad}");
        }
    }
}

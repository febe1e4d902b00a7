//! How often the keys of the data plane change.

use std::time::Duration;

use engine::{EpochLimits, Span};

use crate::config::{Placed, Table, duration, number};

/// Reads the table `[rekey]`: `datagrams` and `age`. The engine's limits when it is absent; they
/// are the most that may be written, since they are what a cipher bears safely.
pub fn read(table: &mut Table<'_>) -> EpochLimits {
    let default = EpochLimits::default();
    let read = table.table("rekey", |table| {
        let datagrams = table.optional("datagrams", number(1..=default.datagrams));
        let most = Duration::from_micros(default.age.0);
        let age = table.optional("age", duration(AGE_MIN..=most));
        let age = age.map(|age| Span(age.into_inner().as_micros() as u64));
        Some(EpochLimits {
            datagrams: datagrams.map_or(default.datagrams, Placed::into_inner),
            age: age.unwrap_or(default.age),
        })
    });
    read.unwrap_or(default)
}

/// Shorter, and a key would change with nearly every round trip.
const AGE_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::{read as limits, *};
    use crate::{config::Document, exit::Error};

    #[test]
    fn keys_may_change_sooner_than_by_default_and_no_later() {
        let default = EpochLimits::default();
        let sooner = EpochLimits { datagrams: 1000, age: Span::secs(30) };
        let read = |text: &str| -> Result<EpochLimits, Error> {
            Document::from_text("x.toml", text).read(|table| Some(limits(table)))
        };

        assert_eq!(read("").unwrap(), default);
        assert_eq!(read("[rekey]\nage = \"10m\"\n").unwrap(), default);
        assert_eq!(read("[rekey]\ndatagrams = 1000\nage = \"30s\"\n").unwrap(), sooner);
        for text in ["datagrams = 0", "datagrams = 33554433", "age = \"11m\"", "age = \"0s\""] {
            assert!(read(&format!("[rekey]\n{text}\n")).is_err(), "{text}");
        }
    }
}

//! What the configuration says about the way out of the server: `[egress]` and every `[[uplink]]`.

use std::collections::BTreeSet;

use shared::config::{Placed, Table, Wrong, one_of};

use crate::uplink_config::UplinkConfig;

/// The exits of the server, and how they are chosen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EgressConfig {
    /// The exits, with unique names; when empty, the host's own routing decides.
    pub uplinks: Vec<UplinkConfig>,
    /// How many of the best uplinks carry new flows.
    pub choose: Choose,
    /// What keeps to one uplink while several carry new flows.
    pub key: Key,
}

/// How many uplinks of the lowest tier that works carry new flows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Choose {
    /// One: the first of them.
    #[default]
    ActiveStandby,
    /// All, by their weights.
    Share,
}

/// What is hashed to choose one of several uplinks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Key {
    /// The inner source: one host behind the tunnel has one address outside.
    #[default]
    Source,
    /// Source and destination.
    SourceDestination,
    /// Addresses, protocol and ports: each flow for itself.
    Flow,
}

impl EgressConfig {
    /// Reads `[egress]` and every `[[uplink]]`.
    pub fn read(table: &mut Table<'_>) -> Self {
        let uplinks = read_uplinks(table);
        let policy = table.table("egress", |table| {
            let choose = table
                .optional("choose", one_of("a way to choose", &CHOICES))
                .map(Placed::into_inner);
            let key = table.optional("key", one_of("a key", &KEYS));
            // Who mistyped `choose` is told of that alone.
            let shares = choose == Some(Choose::Share) || choose.is_none() && table.has("choose");
            if let Some(key) = &key
                && !shares
            {
                let wrong = Wrong::new("`key` says how uplinks are shared, and they are not");
                table.note(key.span(), wrong.right("add `choose = \"share\"`, or remove `key`"));
            }
            Some((choose.unwrap_or_default(), key.map(Placed::into_inner).unwrap_or_default()))
        });
        let (choose, key) = policy.unwrap_or_default();
        Self { uplinks, choose, key }
    }
}

fn read_uplinks(table: &mut Table<'_>) -> Vec<UplinkConfig> {
    let uplinks = table.tables("uplink", UplinkConfig::read);
    let mut seen = BTreeSet::new();
    for uplink in &uplinks {
        let name = &uplink.get_ref().name;
        if !seen.insert(name) {
            let wrong = Wrong::new(format!("there are two uplinks called \"{name}\""));
            table.note(uplink.span(), wrong.right("give one another name"));
        }
    }
    table.limit("uplink", uplinks.len(), UPLINKS_MAX);
    uplinks.into_iter().map(Placed::into_inner).collect()
}

static CHOICES: [(&str, Choose); 2] =
    [("active-standby", Choose::ActiveStandby), ("share", Choose::Share)];
static KEYS: [(&str, Key); 3] =
    [("source", Key::Source), ("source-destination", Key::SourceDestination), ("flow", Key::Flow)];
/// More uplinks than any one machine has; each takes one of 255 marks, a table and five rules.
pub(crate) const UPLINKS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use shared::config::Document;

    #[test]
    fn without_a_word_about_it_one_uplink_carries_and_others_stand_by() {
        let config = read(UPLINK).unwrap();

        assert_eq!((config.choose, config.key), (Choose::ActiveStandby, Key::Source));
        assert_eq!(config.uplinks.len(), 1);
    }

    #[test]
    fn sharing_has_a_key() {
        let config = read("[egress]\nchoose = \"share\"\nkey = \"flow\"\n").unwrap();

        assert_eq!((config.choose, config.key), (Choose::Share, Key::Flow));
    }

    #[test]
    fn a_mistyped_choice_is_one_mistake() {
        let error = read("[egress]\nchoose = \"shar\"\nkey = \"flow\"\n").unwrap_err();

        assert!(!error.to_string().contains("they are not"), "{error}");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("[egress]\nchoose = \"shared\"\n".to_owned(), "did you mean \"share\"?"),
            ("[egress]\nchoose = \"x\"\n".to_owned(), "write one of active-standby, share"),
            ("[egress]\nkey = \"flow\"\n".to_owned(), "they are not"),
            (format!("{UPLINK}{UPLINK}"), "two uplinks called \"a\""),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    const UPLINK: &str = "[[uplink]]\nname = \"a\"\ninterface = \"eth1\"\n";

    fn read(text: &str) -> Result<EgressConfig, shared::exit::Error> {
        Document::from_text("x", text).read(|table| Some(EgressConfig::read(table)))
    }
}

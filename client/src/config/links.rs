//! Which interfaces the client uses, and what is said about them.

use std::{
    collections::BTreeSet,
    fmt::{self, Display},
};

use shared::config::{Placed, Table, Wrong, boolean, interface, text};

/// The interfaces to use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Links {
    /// Every interface with a default route, but for these.
    Auto {
        /// Interfaces that stay unused.
        exclude: Vec<String>,
    },
    /// These, whether they exist at the moment or not; at least one.
    Named(Vec<String>),
}

impl Links {
    /// Whether the interface may be used; with [`Links::Auto`] it needs a default route too.
    pub(crate) fn allow(&self, interface: &str) -> bool {
        match self {
            Self::Auto { exclude } => !exclude.iter().any(|name| name == interface),
            Self::Named(names) => names.iter().any(|name| name == interface),
        }
    }
}

impl Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto { exclude } if exclude.is_empty() => f.write_str("auto"),
            Self::Auto { exclude } => write!(f, "auto but {}", exclude.join(" ")),
            Self::Named(names) => f.write_str(&names.join(" ")),
        }
    }
}

/// What is said about one link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LinkConfig {
    /// The interface.
    pub(crate) name: String,
    /// When to use it.
    pub(crate) status: LinkStatus,
    /// Whether each byte on it costs.
    pub(crate) metered: bool,
}

impl LinkConfig {
    /// A link about which nothing is said.
    pub(crate) fn named(interface: &str) -> Self {
        Self { name: interface.to_owned(), status: LinkStatus::default(), metered: false }
    }

    fn read(table: &mut Table<'_>) -> Option<Self> {
        let name = table.required("name", interface);
        let status = table.optional("status", |value| match text(value)?.as_str() {
            "available" => Ok(LinkStatus::Available),
            "backup" => Ok(LinkStatus::Backup),
            _ => Err(Wrong::new("this is no status").right("write \"available\" or \"backup\"")),
        });
        let metered = table.optional("metered", boolean);
        Some(Self {
            name: name?.into_inner(),
            status: status.map(Placed::into_inner).unwrap_or_default(),
            metered: metered.is_some_and(Placed::into_inner),
        })
    }
}

/// When a link carries traffic.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum LinkStatus {
    /// Always.
    #[default]
    Available,
    /// Only while no available link works.
    Backup,
}

/// Reads `links`, `exclude` and `[[link]]`.
pub(super) fn read(table: &mut Table<'_>) -> (Links, Vec<LinkConfig>) {
    let excluded = table.list("exclude", interface);
    let listed = table.is_list("links");
    let links = if listed {
        let names = table.list("links", interface);
        if let Some(first) = excluded.first() {
            let wrong = Wrong::new("`exclude` only counts with `links = \"auto\"`");
            table.note(first.span(), wrong.right("remove it"));
        }
        note_repeated(table, &names);
        Links::Named(names.into_iter().map(Placed::into_inner).collect())
    } else {
        let right = "write \"auto\", or the names in brackets: [\"eth0\", \"wwan0\"]";
        table.optional("links", |value| match text(value)?.as_str() {
            "auto" => Ok(()),
            _ => Err(Wrong::new("these are no links").right(right)),
        });
        Links::Auto { exclude: excluded.into_iter().map(Placed::into_inner).collect() }
    };
    if table.is_empty_list("links") {
        let wrong = Wrong::new("there is no link").right("write links = \"auto\", or name one");
        table.note_at("links", wrong);
    }
    let settings = table.tables("link", LinkConfig::read);
    let mut seen = BTreeSet::new();
    for link in &settings {
        if !seen.insert(&link.get_ref().name) {
            let wrong =
                Wrong::new(format!("there are two [[link]] for \"{}\"", link.get_ref().name));
            table.note(link.span(), wrong.right("write all of it in one"));
        }
        if listed && !links.allow(&link.get_ref().name) {
            let wrong = Wrong::new(format!("\"{}\" is not one of the links", link.get_ref().name));
            table.note(link.span(), wrong.right("add it to `links`"));
        }
    }
    table.limit("link", settings.len(), LINKS_MAX);
    (links, settings.into_iter().map(Placed::into_inner).collect())
}

/// More interfaces than a router has.
const LINKS_MAX: usize = 256;

fn note_repeated(table: &Table<'_>, names: &[Placed<String>]) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.get_ref()) {
            let wrong = Wrong::new(format!("\"{}\" is listed twice", name.get_ref()));
            table.note(name.span(), wrong.right("remove one"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_interfaces_are_not_used() {
        let auto = Links::Auto { exclude: vec!["docker0".to_owned()] };
        let named = Links::Named(vec!["eth0".to_owned()]);

        assert!(auto.allow("eth0") && !auto.allow("docker0"));
        assert!(named.allow("eth0") && !named.allow("eth1"));
    }
}

//! What the client sends through the tunnel.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use ipnet::IpNet;

use crate::config::{self, Table, Wrong, nearest};

/// The destinations that the client routes into the tunnel.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Routes {
    /// Everything: a full tunnel.
    Default,
    /// The pools of the server, and these networks.
    Networks(Vec<IpNet>),
    /// Nothing: whoever runs the client sets routes.
    None,
    /// The pools of the server: other clients and the server itself.
    #[default]
    Pool,
}

impl Routes {
    /// Reads the key `routes`: a word or a list of networks. The default when it is absent.
    pub fn read(table: &mut Table<'_>) -> Self {
        if table.is_list(KEY) {
            let networks = table.list(KEY, |value| not_everything(config::cidr(value)?));
            return Self::Networks(networks.into_iter().map(config::Placed::into_inner).collect());
        }
        let word = table.optional(KEY, |value| Self::from_word(&config::text(value)?));
        word.map(config::Placed::into_inner).unwrap_or_default()
    }

    /// The value as it stands in a configuration.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Networks(networks) => {
                let quoted: Vec<String> = networks.iter().map(|it| format!("\"{it}\"")).collect();
                format!("[{}]", quoted.join(", "))
            }
            word => format!("\"{word}\""),
        }
    }

    fn from_word(word: &str) -> Result<Self, Wrong> {
        let wrong = match word {
            "default" => return Ok(Self::Default),
            "none" => return Ok(Self::None),
            "pool" => return Ok(Self::Pool),
            other if other.contains('/') => {
                let network = config::parse_cidr(other).and_then(not_everything);
                return network.map(|network| Self::Networks(vec![network]));
            }
            _ => Wrong::new("these are no routes"),
        };
        Err(wrong.right(match nearest(word, ["default", "none", "pool"]) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "write \"pool\", \"default\", \"none\" or [\"192.168.7.0/24\", …]".to_owned(),
        }))
    }
}

/// As on a command line: the word, or the networks with commas.
impl Display for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Networks(networks) => {
                let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
                f.write_str(&shown.join(","))
            }
            Self::None => f.write_str("none"),
            Self::Pool => f.write_str("pool"),
        }
    }
}

impl FromStr for Routes {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if !text.contains(',') {
            return Self::from_word(text);
        }
        text.split(',')
            .map(|part| config::parse_cidr(part.trim()).and_then(not_everything))
            .collect::<Result<_, _>>()
            .map(Self::Networks)
    }
}

/// A route to everything has to spare our own datagrams, which only a full tunnel does.
fn not_everything(network: IpNet) -> Result<IpNet, Wrong> {
    if network.prefix_len() == 0 {
        return Err(Wrong::new(format!("{network} is everything"))
            .right("write \"default\" for a full tunnel of both families"));
    }
    Ok(network)
}

const KEY: &str = "routes";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;

    #[test]
    fn routes_are_the_same_in_a_file_and_on_a_command_line() {
        for text in ["default", "none", "pool", "10.0.0.0/8", "10.0.0.0/8,fd00::/8"] {
            let routes: Routes = text.parse().unwrap();

            assert_eq!(routes.to_string(), text);
            let document = Document::from_text("x", format!("routes = {}", routes.to_toml()));
            assert_eq!(document.read(|table| Some(Routes::read(table))).unwrap(), routes);
        }
    }

    #[test]
    fn wrong_routes_are_refused_with_what_would_be_right() {
        assert_eq!("defualt".parse::<Routes>().unwrap_err().remedy(), "did you mean \"default\"?");
        assert!("10.0.0.1/8".parse::<Routes>().is_err());
        assert!("10.0.0.0/8,".parse::<Routes>().is_err());
        assert!("0.0.0.0/0,::/0".parse::<Routes>().unwrap_err().remedy().contains("default"));
    }
}

//! What an operator changes of a running server: its uplinks, one by one or by the file.

use std::path::PathBuf;

use hawser_server::egress::{Duty, Egress};
use hawser_server::egress_config::EgressConfig;
use hawser_server::uplink_config::{UplinkConfig, WEIGHT_MAX};
use serde::{Deserialize, Serialize};
use shared::{config::Document, exit::Error};

use crate::config::Config;

/// The configuration that is in force, and where it came from.
#[derive(Debug)]
pub(crate) struct Operation {
    path: PathBuf,
    config: Config,
}

/// An order about one uplink, as it goes over the control socket.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    /// The uplink.
    pub(crate) uplink: String,
    /// What is to happen.
    #[serde(flatten)]
    pub(crate) action: Action,
}

/// What is to happen to an uplink. All but the duties hold until the next reload or start.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub(crate) enum Action {
    /// A new one, as the text of an `[[uplink]]`.
    Add {
        /// The text.
        text: String,
    },
    /// It takes no new flow, and keeps those that it has.
    Drain,
    /// Nothing leaves by it.
    Off,
    /// It is no more.
    Remove,
    /// It does what its configuration says.
    Use,
    /// It takes more or less of what is shared.
    Weigh {
        /// The weight.
        weight: u32,
    },
}

/// What has been done, in a sentence.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Done {
    /// The sentence.
    pub(crate) done: String,
}

impl Operation {
    pub(crate) fn new(path: PathBuf, config: Config) -> Self {
        Self { path, config }
    }

    /// Reads the file again, and takes over what can change while the server runs.
    ///
    /// # Errors
    /// When the file is wrong; everything stays as it is then.
    pub(crate) async fn reload(&mut self, egress: &Egress) -> Result<Done, Error> {
        let read = Config::load(&self.path)?;
        let stale = read.differs_in(&self.config);
        self.take_over(egress, read.egress.clone()).await?;
        let count = self.config.egress.uplinks.len();
        let are =
            if count == 1 { "1 uplink is".to_owned() } else { format!("{count} uplinks are") };
        let mut done = format!("{are} in force");
        if !stale.is_empty() {
            let keys: Vec<String> = stale.iter().map(|key| format!("`{key}`")).collect();
            done += &format!("; {} will count from the next start on", keys.join(", "));
        }
        Ok(Done { done })
    }

    /// Does what an order says.
    ///
    /// # Errors
    /// When it can't be: says why, and nothing changes.
    pub(crate) async fn order(&mut self, egress: &Egress, order: Order) -> Result<Done, Error> {
        let Order { uplink: name, action } = order;
        let mut config = self.config.egress.clone();
        let place = config.uplinks.iter().position(|uplink| uplink.name == name);
        let done = match (&action, place) {
            (Action::Add { .. }, Some(_)) => {
                return Err(Error::configuration(format_args!(
                    "there is an uplink \"{name}\" already"
                ))
                .with_remedy("remove it first, or give the new one another name"));
            }
            (Action::Add { text }, None) => {
                config.add(read_uplink(&name, text)?)?;
                format!("uplink {name} is added")
            }
            (_, None) => return Err(unknown(&name, &config)),
            (Action::Remove, Some(_)) if config.uplinks.len() == 1 => {
                return Err(Error::configuration(format_args!("{name} is the only uplink"))
                    .with_remedy("`uplink off` stops what leaves by it"));
            }
            (Action::Remove, Some(place)) => {
                config.uplinks.remove(place);
                format!("uplink {name} is removed")
            }
            (Action::Weigh { weight }, Some(place)) => {
                if !(1..=WEIGHT_MAX).contains(weight) {
                    let wrong = format_args!("{weight} is not a weight from 1 to {WEIGHT_MAX}");
                    return Err(Error::configuration(wrong));
                }
                config.uplinks[place].weight = *weight;
                format!("uplink {name} has the weight {weight}")
            }
            (Action::Drain, Some(_)) => {
                return duty(egress, &name, Duty::Drain, "takes no new flows").await;
            }
            (Action::Off, Some(_)) => return duty(egress, &name, Duty::Off, "is off").await,
            (Action::Use, Some(_)) => {
                return duty(egress, &name, Duty::Normal, "is used as configured").await;
            }
        };
        self.take_over(egress, config).await?;
        Ok(Done { done })
    }

    async fn take_over(&mut self, egress: &Egress, config: EgressConfig) -> Result<(), Error> {
        egress
            .configure(config.clone())
            .await
            .map_err(|error| Error::failed(format_args!("change the uplinks: {error:#}")))?;
        self.config.egress = config;
        Ok(())
    }
}

async fn duty(egress: &Egress, name: &str, duty: Duty, what: &str) -> Result<Done, Error> {
    egress
        .set_duty(name, duty)
        .await
        .map_err(|error| Error::failed(format_args!("change uplink {name}: {error:#}")))?;
    Ok(Done { done: format!("uplink {name} {what}") })
}

fn read_uplink(name: &str, text: &str) -> Result<UplinkConfig, Error> {
    let mut uplinks = Document::from_text("the new uplink", text)
        .read(|table| Some(table.tables("uplink", UplinkConfig::read)))?;
    match (uplinks.pop(), uplinks.is_empty()) {
        (Some(only), true) if only.get_ref().name == name => Ok(only.into_inner()),
        _ => Err(Error::configuration(format_args!("this is not one uplink called \"{name}\""))),
    }
}

fn unknown(name: &str, config: &EgressConfig) -> Error {
    let names: Vec<&str> = config.uplinks.iter().map(|uplink| uplink.name.as_str()).collect();
    let error = Error::configuration(format_args!("there is no uplink \"{name}\""));
    match names.as_slice() {
        [] => error.with_remedy("the server has none: add an `[[uplink]]` and reload"),
        several => error.with_remedy(format_args!("there are {}", several.join(", "))),
    }
}

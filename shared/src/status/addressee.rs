//! Which running program a command is for.

use std::path::PathBuf;

use super::{
    Instance, Snapshot, instance,
    query::{self, not_running},
};
use crate::exit::Error;

/// The running program that a command is for: by its name, by its configuration file, or the only
/// one that runs.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Addressee {
    /// The running program, as in its --name
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub name: Option<String>,
    /// The configuration file that the running program was started with
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A running program, and how it is.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) instance: Instance,
    pub(super) snapshot: Snapshot,
}

impl Addressee {
    /// The one program that is meant, among those called `program` when no name was given.
    ///
    /// # Errors
    /// When it is not running or does not answer, or when several run and none was named.
    pub fn only(&self, program: &str) -> Result<Instance, Error> {
        Ok(self.one(program)?.instance)
    }

    /// As [`only`](Self::only), with how it is.
    pub(super) fn one(&self, program: &str) -> Result<Running, Error> {
        let mut all = self.all(program)?;
        match (all.pop(), all.as_slice()) {
            (Some(only), []) => Ok(only),
            (last, others) => {
                let names = others.iter().chain(&last).map(|it| it.instance.name());
                let names: Vec<&str> = names.collect();
                let several = format!("several are running here: {}", names.join(", "));
                Err(Error::configuration(several).with_remedy("name one of them by --name"))
            }
        }
    }

    /// The program with the name that was given, or all that run: at least one.
    pub(super) fn all(&self, program: &str) -> Result<Vec<Running>, Error> {
        let wanted = match (&self.name, &self.config) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(config)) => Some(instance::instance_name(None, config)?),
            (None, None) => None,
        };
        if let Some(name) = wanted {
            return Ok(vec![one_called(&name)?]);
        }
        let answering = |instance: Instance| {
            let snapshot = query::snapshot(&instance).ok()?;
            Some(Running { instance, snapshot })
        };
        let running = instance::all()?.into_iter().filter_map(answering);
        let (own, others): (Vec<_>, Vec<_>) =
            running.partition(|it| it.snapshot.program == program);
        if own.is_empty() { Err(none_running(program, &others)) } else { Ok(own) }
    }
}

/// A name may have a socket in more than one folder; the one that answers counts.
pub(super) fn one_called(name: &str) -> Result<Running, Error> {
    let mut failed = not_running(name).with_remedy("`status` without --name lists what runs");
    for instance in instance::called(name)? {
        match query::snapshot(&instance) {
            Ok(snapshot) => return Ok(Running { instance, snapshot }),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn none_running(program: &str, others: &[Running]) -> Error {
    let error = Error::failed(format_args!("no {program} is running here"));
    match others.first() {
        Some(Running { snapshot: other, .. }) => {
            error.with_remedy(format_args!("`{} status` shows the other program", other.program))
        }
        None => error,
    }
}

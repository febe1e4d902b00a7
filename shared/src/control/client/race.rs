//! Attempts side by side, until one completes.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::attempt::{Attempt, Established, Failure};
use super::attempts::ATTEMPTS_MAX;
use super::candidates::{Candidate, Candidates};
use super::error::{DialError, Tried};
use super::{DialLink, Shared};
use crate::control::ending::{Cause, Refusal, RefusalCode};
use crate::control::wire::ClientWire;

/// One dial's attempts. Dropping it gives up those that are under way.
pub(crate) struct Race {
    shared: Arc<Shared>,
    links: Vec<DialLink>,
    began: Instant,
    time_max: Duration,
    candidates: Candidates,
    running: Running<(usize, Result<Established, Failure>)>,
    resolving: Running<Result<Vec<std::net::SocketAddr>, String>>,
    /// The latest attempt of each candidate, until it was seen to be answered.
    latest: BTreeMap<usize, Weak<ClientWire>>,
    /// How many attempts of each candidate are under way.
    alive: BTreeMap<usize, usize>,
    failures: Failures,
}

type Running<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

#[derive(Default)]
struct Failures {
    by_candidate: BTreeMap<usize, String>,
    wrong_key: Option<DialError>,
    version: Option<Refusal>,
    unresolved: Option<String>,
}

impl Race {
    pub(crate) fn new(shared: &Arc<Shared>, links: &[DialLink], time_max: Duration) -> Self {
        let resolving = Running::new();
        for index in 0..shared.names.len() {
            let (shared, links) = (Arc::clone(shared), links.to_vec());
            resolving.push(Box::pin(async move { shared.names.resolve(index, &links).await }) as _);
        }
        // What was known last time is tried while the resolvers are asked.
        let mut candidates = Candidates::default();
        candidates.add(links, &shared.names.known());
        Self {
            shared: Arc::clone(shared),
            links: links.to_vec(),
            began: Instant::now(),
            time_max,
            candidates,
            running: Running::new(),
            resolving,
            latest: BTreeMap::new(),
            alive: BTreeMap::new(),
            failures: Failures::default(),
        }
    }

    /// The first connection to complete from here on.
    pub(crate) async fn winner(&mut self) -> Result<(usize, Established), DialError> {
        loop {
            let idle = self.running.is_empty() && self.resolving.is_empty();
            if idle && self.candidates.due().is_none() {
                return Err(self.give_up());
            }
            let due = self.candidates.due().unwrap_or(self.time_max);
            tokio::select! {
                biased;
                Some((index, result)) = self.running.next(), if !self.running.is_empty() => {
                    self.alive.entry(index).and_modify(|alive| *alive -= 1);
                    match result {
                        Ok(established) => return Ok((index, established)),
                        Err(failure) => self.note(index, failure)?,
                    }
                }
                Some(found) = self.resolving.next(), if !self.resolving.is_empty() => {
                    match found {
                        Ok(addresses) => self.candidates.add(&self.links, &addresses),
                        Err(error) => self.failures.unresolved = Some(error),
                    }
                }
                () = sleep_until(self.began + due.min(self.time_max)) => {
                    if self.began.elapsed() >= self.time_max {
                        return Err(self.give_up());
                    }
                    self.start()?;
                }
            }
        }
    }

    /// The connection of a winner ended before the server let us in.
    pub(crate) fn lost(&mut self, index: usize, cause: Cause) {
        self.failures.by_candidate.insert(index, cause.to_string());
    }

    /// How long the race has taken.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn start(&mut self) -> Result<(), DialError> {
        let now = self.began.elapsed();
        let Some((index, candidate)) = self.candidates.start(now) else { return Ok(()) };
        let alive = self.alive.get(&index).copied().unwrap_or_default();
        if alive >= (RUNNING_MAX / self.candidates.len()).max(1) {
            return Ok(());
        }
        let latest = self.latest.remove(&index).and_then(|wire| wire.upgrade());
        if latest.is_some_and(|wire| wire.heard()) {
            self.candidates.postpone(index, now);
            return Ok(());
        }
        let Candidate { link, route } = &candidate;
        debug!(%link, remote = %route.remote, "dialling");
        match Attempt::begin(&self.shared, candidate) {
            Ok(attempt) => {
                self.latest.insert(index, Arc::downgrade(attempt.wire()));
                *self.alive.entry(index).or_default() += 1;
                self.running.push(Box::pin(async move { (index, attempt.complete().await) }));
                Ok(())
            }
            Err(failure) => self.note(index, failure),
        }
    }

    /// Remembers a failure; an error if nothing else can come of this dial.
    fn note(&mut self, index: usize, failure: Failure) -> Result<(), DialError> {
        let outcome = match failure {
            Failure::Impossible(error) => return Err(DialError::Impossible(error)),
            // Others are under way, or there would be room.
            Failure::NoPlace => return Ok(()),
            Failure::Silence(None) => "no answer".to_owned(),
            Failure::Silence(Some(error)) => error.to_string(),
            Failure::WrongKey(found) => {
                let address = self.candidates.living().find(|(living, _)| *living == index);
                if let Some((_, Candidate { route, .. })) = address {
                    let (address, expected) = (route.remote, self.shared.server.key);
                    let error = DialError::WrongServerKey { address, expected, found };
                    self.failures.wrong_key = Some(error);
                }
                self.candidates.kill(index);
                return Ok(());
            }
            // No key was proven yet, so anybody on the way may have written it: keep trying.
            Failure::Ended(Cause::Refused(refusal)) if refusal.code == RefusalCode::Version => {
                let outcome = refusal.to_string();
                self.failures.version = Some(refusal);
                outcome
            }
            Failure::Ended(cause) => cause.to_string(),
        };
        self.failures.by_candidate.insert(index, outcome);
        Ok(())
    }

    fn give_up(&mut self) -> DialError {
        if let Some(error) = self.failures.wrong_key.take() {
            return error;
        }
        if let Some(refusal) = self.failures.version.take() {
            return DialError::Refused(refusal);
        }
        if self.candidates.is_empty() {
            return match self.failures.unresolved.take() {
                Some(error) => DialError::Unresolved(error),
                None => DialError::NoLink(self.shared.server.addresses.join(", ")),
            };
        }
        let outcome = |index| self.failures.by_candidate.get(&index).cloned();
        let tried = self.candidates.living().map(|(index, candidate)| Tried {
            link: candidate.link.clone(),
            address: candidate.route.remote,
            outcome: outcome(index).unwrap_or_else(|| "no answer".to_owned()),
        });
        DialError::Unreachable { tried: tried.collect(), waited: self.began.elapsed() }
    }
}

/// Attempts of one dial under way at once, shared out evenly. The other places are for connections
/// that are established or being closed.
const RUNNING_MAX: usize = ATTEMPTS_MAX - 8;

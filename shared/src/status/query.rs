//! Asks a running program.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Instance, Snapshot,
    requests::{NoArguments, Refusal, STATUS, Status},
};
use crate::exit::Error;

impl Instance {
    /// Asks the program of this name for what it calls `request`.
    ///
    /// # Errors
    /// When it does not run, does not answer in time, refuses, or answers something else.
    pub fn ask<A, T>(&self, request: &str, arguments: &A) -> Result<T, Error>
    where
        A: Serialize,
        T: DeserializeOwned,
    {
        let answer = ask(self, ANSWER_TIME_MAX, request, arguments)?;
        answer.ok_or_else(|| not_running(self.name()))
    }

    /// Asks the program of this name how it is.
    ///
    /// # Errors
    /// When it does not run, does not answer in time, or answers something else.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        snapshot(self)
    }
}

/// The snapshot of a running program.
///
/// # Errors
/// When it does not run, does not answer in time, or answers something else.
pub(super) fn snapshot(instance: &Instance) -> Result<Snapshot, Error> {
    let answer: Status = instance.ask(STATUS, &NoArguments {})?;
    Ok(answer.status)
}

/// Asks a program, and waits for `patience` at most. `None` when it does not run, or ends before it
/// has answered.
///
/// # Errors
/// When it does not answer in time, refuses, or answers something else.
pub(super) fn ask<A, T>(
    instance: &Instance,
    patience: Duration,
    request: &str,
    arguments: &A,
) -> Result<Option<T>, Error>
where
    A: Serialize,
    T: DeserializeOwned,
{
    let name = instance.name();
    let answer = exchange(instance, patience, &Question { request, arguments });
    let line = match answer {
        Ok(line) if line.is_empty() => return Ok(None),
        Ok(line) => line,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => return Ok(None),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                return Err(Error::failed(format_args!("\"{name}\" runs but does not answer")));
            }
            _ => {
                let socket = instance.socket();
                return Err(Error::from_io(format_args!("ask {}", socket.display()), &error));
            }
        },
    };
    if let Ok(Refusal { error, help }) = serde_json::from_str(&line) {
        let refused = Error::failed(format_args!("\"{name}\": {error}"));
        return Err(if help.is_empty() { refused } else { refused.with_remedy(help) });
    }
    serde_json::from_str(&line).map(Some).map_err(|error| {
        Error::failed(format_args!("\"{name}\" gave an answer that is not understood: {error}"))
            .with_remedy("the running program may be of another version: restart it")
    })
}

/// The sentence for a program that is not there.
pub(super) fn not_running(name: &str) -> Error {
    Error::failed(format_args!("\"{name}\" is not running"))
}

/// So long an answer is waited for, if nothing else is said.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Thousands of sessions with sixteen paths each.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A request as it is sent.
#[derive(Serialize)]
struct Question<'a, A> {
    request: &'a str,
    #[serde(flatten)]
    arguments: &'a A,
}

fn exchange(
    instance: &Instance,
    patience: Duration,
    question: &impl Serialize,
) -> io::Result<String> {
    let mut stream = UnixStream::connect(instance.socket())?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    let mut text = serde_json::to_vec(question)?;
    text.push(b'\n');
    stream.write_all(&text)?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::status::{ControlSocket, Requests};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refusal_is_told_with_its_help_and_the_name_of_who_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let (instance, _serving) = running(folder.path());

        let error = put(&instance, "drain").await.unwrap_err();
        assert_eq!(error.to_string(), "\"x\": there is no uplink\n  help: add one");

        let error = put(&instance, "dance").await.unwrap_err().to_string();
        assert!(error.starts_with("\"x\": unknown request \"dance\"; there are "), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_for_an_answer_keeps_nobody_waiting_and_hears_of_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (instance, serving) = running(folder.path());

        let waiting = tokio::spawn({
            let instance = instance.clone();
            async move { put(&instance, "wait").await }
        });
        for _ in 0..3 {
            let asked = instance.clone();
            let snapshot = tokio::task::spawn_blocking(move || asked.snapshot()).await.unwrap();
            assert_eq!(snapshot.unwrap().name, "x");
        }
        assert!(!waiting.is_finished());
        serving.abort();

        assert_eq!(waiting.await.unwrap().unwrap(), None);
        let error = tokio::task::spawn_blocking(move || instance.snapshot()).await.unwrap();
        assert_eq!(error.unwrap_err().to_string(), "\"x\" is not running");
    }

    fn running(folder: &std::path::Path) -> (Instance, tokio::task::JoinHandle<()>) {
        let instance = Instance::in_folder(folder, "x").unwrap();
        let socket = ControlSocket::bind(instance.clone()).unwrap();
        let requests = Requests::new(|| async { Snapshot::new("hawser", "x", 0) })
            .with("drain", |NoArguments {}| async {
                Err::<NoArguments, _>(Error::failed("there is no uplink").with_remedy("add one"))
            })
            .with("wait", |NoArguments {}| pending::<Result<NoArguments, _>>());
        (instance, tokio::spawn(socket.serve(requests)))
    }

    async fn put(instance: &Instance, request: &'static str) -> Result<Option<String>, Error> {
        let instance = instance.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let answer: Option<serde_json::Value> =
                ask(&instance, Duration::from_secs(30), request, &NoArguments {})?;
            Ok(answer.map(|answer| answer.to_string()))
        });
        asked.await.unwrap()
    }
}

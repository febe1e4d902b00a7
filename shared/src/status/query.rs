//! Asks a running program how it is.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use super::{
    Instance, Snapshot,
    socket::{Answer, Request},
};
use crate::exit::Error;

/// The snapshot of a running program.
///
/// # Errors
/// When it does not run, does not answer in time, or answers something else.
pub(super) fn ask(instance: &Instance) -> Result<Snapshot, Error> {
    let name = instance.name();
    let line = exchange(instance).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(name),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Error::failed(format_args!("\"{name}\" runs but does not answer"))
        }
        _ => Error::from_io(format_args!("ask {}", instance.socket().display()), &error),
    })?;
    let answer: Answer = serde_json::from_str(&line).map_err(|error| {
        Error::failed(format_args!("\"{name}\" gave an answer that is not understood: {error}"))
            .with_remedy("the running program may be of another version: restart it")
    })?;
    match answer {
        Answer { status: Some(snapshot), .. } => Ok(snapshot),
        Answer { error, .. } => {
            let reason = error.unwrap_or_else(|| "the answer is empty".to_owned());
            Err(Error::failed(format_args!("\"{name}\" does not say how it is: {reason}")))
        }
    }
}

/// The sentence for a program that is not there.
pub(super) fn not_running(name: &str) -> Error {
    Error::failed(format_args!("\"{name}\" is not running"))
}

/// Thousands of sessions with sixteen paths each.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

fn exchange(instance: &Instance) -> io::Result<String> {
    let mut stream = UnixStream::connect(instance.socket())?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    let mut request = serde_json::to_vec(&Request { request: "status".to_owned() })?;
    request.push(b'\n');
    stream.write_all(&request)?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line)?;
    Ok(line)
}

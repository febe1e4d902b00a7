//! What a running program answers at its control socket.
//!
//! A request is a JSON object that says by `request` what is wanted; its other fields are the
//! arguments. The answer is an object too, or `{"error":"…"}`, with `"help":"…"` where something
//! can be done about it.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    future::Future,
    pin::Pin,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Snapshot;
use crate::exit::Error;

/// The requests that a program answers, by their names. Every program answers `status`.
pub struct Requests(BTreeMap<&'static str, Answering>);

type Answering = Box<dyn Fn(&[u8]) -> Answer + Send + Sync>;
type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, Error>> + Send>>;

impl Requests {
    /// Answers `status` by what `snapshot` gives, and nothing else yet.
    pub fn new<F, S>(snapshot: F) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Future<Output = Snapshot> + Send + 'static,
    {
        Self(BTreeMap::new()).with(STATUS, move |NoArguments {}| {
            let snapshot = snapshot();
            async { Ok(Status { status: snapshot.await }) }
        })
    }

    /// Answers the request called `name` by what `answer` makes of its arguments.
    ///
    /// `A` is read from the fields of the request; those that it does not have are passed over. `T`
    /// is the whole answer: a struct without a field `error`. An error is told with its remedy. An
    /// answer that waits for something has to end by itself, in less than [`ANSWER_TIME_MAX`] unless
    /// whoever asks is told otherwise, and to limit how many wait: each takes one of the socket's
    /// [`CONNECTIONS_MAX`] connections.
    ///
    /// [`ANSWER_TIME_MAX`]: super::ANSWER_TIME_MAX
    /// [`CONNECTIONS_MAX`]: super::CONNECTIONS_MAX
    #[must_use]
    pub fn with<A, T, F, S>(mut self, name: &'static str, answer: F) -> Self
    where
        A: DeserializeOwned,
        T: Serialize,
        F: Fn(A) -> S + Send + Sync + 'static,
        S: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let answering = move |line: &[u8]| -> Answer {
            match serde_json::from_slice(line) {
                Ok(arguments) => {
                    let answer = answer(arguments);
                    Box::pin(async move { in_bytes(&answer.await?) })
                }
                Err(wrong) => Box::pin(std::future::ready(Err(Error::failed(format_args!(
                    "the request \"{name}\" is wrong: {wrong}"
                ))))),
            }
        };
        self.0.insert(name, Box::new(answering));
        self
    }

    /// Answers one line, whatever it holds.
    pub(super) async fn answer(&self, line: &[u8]) -> Vec<u8> {
        let answer = match self.find(line) {
            Ok(answering) => answering(line).await,
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(|error| Refusal::from(&error).in_bytes())
    }

    fn find(&self, line: &[u8]) -> Result<&Answering, Error> {
        let Ok(Named { request }) = serde_json::from_slice(line) else {
            return Err(Error::failed("a request is a line such as {\"request\":\"status\"}"));
        };
        self.0.get(request.as_str()).ok_or_else(|| {
            let shown: String = request.chars().take(NAME_CHARS_MAX).collect();
            let known: Vec<String> = self.0.keys().map(|name| format!("\"{name}\"")).collect();
            let are = if known.len() == 1 { "is" } else { "are" };
            let shown = shown.escape_debug();
            Error::failed(format_args!(
                "unknown request \"{shown}\"; there {are} {}",
                known.join(" and ")
            ))
        })
    }
}

impl Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The name of the request for a [`Snapshot`].
pub(super) const STATUS: &str = "status";

/// The arguments of a request that has none.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct NoArguments {}

/// The answer to `status`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Status {
    pub(super) status: Snapshot,
}

/// Why a request was not answered.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Refusal {
    pub(super) error: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) help: String,
}

impl Refusal {
    pub(super) fn in_bytes(&self) -> Vec<u8> {
        in_bytes(self).unwrap_or_else(|_| b"{\"error\":\"the error can't be written\"}\n".to_vec())
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { error: error.cause().to_owned(), help: error.remedy().to_owned() }
    }
}

#[derive(Deserialize)]
struct Named {
    request: String,
}

/// An unknown name is shown so far.
const NAME_CHARS_MAX: usize = 40;

fn in_bytes(answer: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec(answer)
        .map_err(|error| Error::failed(format_args!("the answer can't be written: {error}")))?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_answered_by_what_was_given_for_its_name() {
        let told = requests().ask("{\"request\":\"drain\",\"uplink\":\"lte\",\"more\":1}").await;
        assert_eq!(told, "{\"drained\":\"lte\"}\n");

        let told = requests().ask("{\"request\":\"status\"}").await;
        assert!(told.starts_with("{\"status\":{\"version\":1,"), "{told}");
    }

    #[tokio::test]
    async fn what_can_not_be_answered_is_an_error_with_its_help() {
        for (line, expected) in [
            ("{\"request\":\"drain\"}", "\"drain\\\" is wrong: missing field `uplink`"),
            (
                "{\"request\":\"drain\",\"uplink\":\"x\"}",
                "{\"error\":\"there is no x\",\"help\":\"look it up\"}\n",
            ),
            (
                "{\"request\":\"d\\u0007\"}",
                "\\\"d\\\\u{7}\\\"; there are \\\"drain\\\" and \\\"status",
            ),
            ("[]", "a request is a line such as"),
        ] {
            let told = requests().ask(line).await;
            assert!(told.starts_with("{\"error\":\""), "{told}");
            assert!(told.contains(expected), "{line} gives {told}");
        }
    }

    #[tokio::test]
    async fn who_answers_one_thing_says_so() {
        let lone = Requests::new(|| async { Snapshot::default() });
        let told = lone.ask("{\"request\":\"events\"}").await;

        let expected = "{\"error\":\"unknown request \\\"events\\\"; there is \\\"status\\\"\"}\n";
        assert_eq!(told, expected);
    }

    impl Requests {
        async fn ask(&self, line: &str) -> String {
            String::from_utf8(self.answer(line.as_bytes()).await).unwrap()
        }
    }

    #[derive(Deserialize)]
    struct Drain {
        uplink: String,
    }

    #[derive(Serialize)]
    struct Drained {
        drained: String,
    }

    fn requests() -> Requests {
        let snapshot = || async { Snapshot::new("p", "n", 0) };
        Requests::new(snapshot).with("drain", |Drain { uplink }| async move {
            if uplink == "x" {
                return Err(Error::failed("there is no x").with_remedy("look it up"));
            }
            Ok(Drained { drained: uplink })
        })
    }
}

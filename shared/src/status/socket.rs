//! The control socket of a running program.
//!
//! One request a line, one answer a line, both JSON: `{"request":"status"}` is answered by
//! `{"status":{…}}`, others as the program's [`Requests`] say, and what is none by `{"error":"…"}`.

use std::{fs, io, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use super::{
    Instance,
    requests::{Refusal, Requests},
};
use crate::{
    exit::Error,
    lock::{Lock, LockError},
};

/// The server side of the control socket; dropped, it is gone.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    instance: Instance,
    /// Held as long as the program runs: it, not the socket, says whether one does.
    _lock: Lock,
}

impl ControlSocket {
    /// Takes the instance's name for this process, and its socket: one that a dead process left
    /// behind is replaced. Needs a tokio runtime.
    ///
    /// # Errors
    /// When a program of that name runs, or the socket can't be made.
    pub fn bind(instance: Instance) -> Result<Self, Error> {
        let path = instance.socket();
        let doing = || format!("make the control socket {}", path.display());
        let lock = Lock::try_acquire(&instance.lock()).map_err(|error| match error {
            LockError::Held(pid) => already_running(instance.name(), pid),
            LockError::Io(error) => Error::from_io(doing(), &error),
        })?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::from_io(doing(), &error));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(&path).map_err(|error| Error::from_io(doing(), &error))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(|error| Error::from_io(doing(), &error))?;
        Ok(Self { listener, instance, _lock: lock })
    }

    /// The name that was taken.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Answers requests until the future is dropped.
    pub async fn serve(self, requests: Requests) {
        let requests = Arc::new(requests);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) if is_ours(&stream) => {
                    let requests = Arc::clone(&requests);
                    connections.spawn(async move {
                        let _place = place;
                        // Who hangs up in the middle of an answer needs no answer.
                        let _ = converse(stream, &requests).await;
                    });
                }
                Ok(_) => tracing::debug!("control socket: a stranger was turned away"),
                Err(error) => {
                    // Out of descriptors, most likely: they come back.
                    tracing::warn!(%error, "control socket: a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.instance.socket());
    }
}

/// Connections at once; more wait.
pub const CONNECTIONS_MAX: usize = 32;
/// No request is longer.
const REQUEST_BYTES_MAX: u64 = 4096;
/// Who says nothing for so long is dropped, or a few idle connections would lock out the rest.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Keeps a failing `accept` from spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn already_running(name: &str, pid: Option<u32>) -> Error {
    let pid = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
    Error::failed(format_args!("\"{name}\" is already running{pid}"))
        .with_remedy("end it first, or give another --name")
}

/// Whether the other end is our own user, or root.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn converse(stream: UnixStream, requests: &Requests) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut read).take(REQUEST_BYTES_MAX);
        let length = timeout(IDLE_MAX, bounded.read_until(b'\n', &mut line)).await??;
        if length == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        let answer = if whole { requests.answer(&line).await } else { not_whole() };
        timeout(IDLE_MAX, write.write_all(&answer)).await??;
        if !whole {
            return Ok(());
        }
    }
}

fn not_whole() -> Vec<u8> {
    let error = "the request is too long, or does not end in a newline".to_owned();
    Refusal { error, ..Refusal::default() }.in_bytes()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::status::{Snapshot, query};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_running_program_answers_and_its_socket_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let (instance, _task) = running(dir.path());

        let snapshot = ask(&instance).await.unwrap();

        assert_eq!((snapshot.name.as_str(), snapshot.version), ("x", 1));
        let mode = fs::metadata(instance.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_program_of_the_name_is_refused_with_the_process_id() {
        let dir = tempfile::tempdir().unwrap();
        let (instance, _task) = running(dir.path());

        let error = ControlSocket::bind(instance.clone()).unwrap_err();

        let expected = format!("\"x\" is already running (process {})", std::process::id());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(ask(&instance).await.is_ok(), "the first one still answers");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_dead_program_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::in_folder(dir.path(), "x").unwrap();
        drop(std::os::unix::net::UnixListener::bind(instance.socket()).unwrap());
        fs::write(instance.lock(), "4194305").unwrap();
        assert!(ask(&instance).await.is_err());

        let (instance, _task) = running(dir.path());

        assert!(ask(&instance).await.is_ok());
    }

    #[tokio::test]
    async fn a_dropped_socket_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::in_folder(dir.path(), "x").unwrap();

        drop(ControlSocket::bind(instance.clone()).unwrap());

        assert!(!instance.socket().exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn garbage_is_answered_with_an_error_and_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (instance, _task) = running(dir.path());

        let long = vec![b'x'; 3 * REQUEST_BYTES_MAX as usize];
        for garbage in [b"\xff\xfe\n".as_slice(), b"{}\n", b"[[[[\n", b"\n", &long] {
            let mut stream = UnixStream::connect(instance.socket()).await.unwrap();
            // The other end may hang up before it has read all of it.
            let _ = stream.write_all(garbage).await;
            let mut line = String::new();
            let _ = BufReader::new(&mut stream).read_line(&mut line).await;
            assert!(line.is_empty() || line.contains("\"error\""), "{garbage:?}: {line}");
        }

        assert!(ask(&instance).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_connection_may_ask_many_times() {
        let dir = tempfile::tempdir().unwrap();
        let (instance, _task) = running(dir.path());
        let mut stream = BufReader::new(UnixStream::connect(instance.socket()).await.unwrap());

        for _ in 0..3 {
            stream.write_all(b"{\"request\":\"status\"}\n").await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert!(line.starts_with("{\"status\":{\"version\":1,"), "{line}");
        }
    }

    fn running(folder: &Path) -> (Instance, tokio::task::JoinHandle<()>) {
        let instance = Instance::in_folder(folder, "x").unwrap();
        let socket = ControlSocket::bind(instance.clone()).unwrap();
        let requests = Requests::new(|| async { Snapshot::new("hawser", "x", 0) });
        let task = tokio::spawn(socket.serve(requests));
        (instance, task)
    }

    async fn ask(instance: &Instance) -> Result<Snapshot, Error> {
        let instance = instance.clone();
        tokio::task::spawn_blocking(move || query::snapshot(&instance)).await.unwrap()
    }
}

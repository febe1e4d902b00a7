//! Serves the figures over HTTP, to whoever asks for `/metrics`.
//!
//! A connection is for one request, so that one time bounds all of it: reading the request, asking
//! the program, and a reader that takes the answer slowly.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::address::warning;
use crate::{exit::Error, status::Snapshot};

/// The page of figures, listening; dropped, it is gone.
#[derive(Debug)]
pub struct MetricsPage {
    listener: TcpListener,
    address: SocketAddr,
}

impl MetricsPage {
    /// Listens where the configuration says so, if it does; the log tells where that is. Needs tokio.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub async fn open(address: Option<SocketAddr>) -> Result<Option<Self>, Error> {
        let Some(address) = address else { return Ok(None) };
        let page = Self::bind(address).await?;
        info!("metrics at http://{address}/metrics");
        if let Some(warning) = warning(address) {
            warn!("{warning}");
        }
        Ok(Some(page))
    }

    /// Listens on an address. Needs tokio.
    ///
    /// # Errors
    /// When another program uses the port, or the host has no such address.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let failed = |error: io::Error| failure(address, &error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until the future is dropped. `snapshot` is asked once for each.
    pub async fn serve<F, S>(self, snapshot: F)
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Future<Output = Snapshot> + Send + 'static,
    {
        let snapshot = Arc::new(snapshot);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let snapshot = Arc::clone(&snapshot);
                    connections.spawn(async move {
                        let _place = place;
                        // Who is too slow, or speaks no HTTP, is hung up on.
                        let _ = timeout(REQUEST_TIME_MAX, converse(stream, snapshot)).await;
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: they come back.
                    warn!(%error, "metrics: a connection failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

/// Connections at once; more wait. A scraper needs one.
const CONNECTIONS_MAX: usize = 8;
/// From the beginning of a connection to the end of its answer: as long as Prometheus waits.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Of the request's line and headers together.
const HEADER_BYTES_MAX: usize = 8192;
const HEADERS_MAX: usize = 64;
/// Keeps a failing `accept` from spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn failure(address: SocketAddr, error: &io::Error) -> Error {
    let failed = Error::from_io(format_args!("serve metrics on {address}"), error);
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => failed.with_remedy(format_args!(
            "another program uses port {port}: `ss -tlpn` names it; stop it, or change `metrics`"
        )),
        io::ErrorKind::AddrNotAvailable => failed.with_remedy(format_args!(
            "this host has no address {}: `ip address` lists those that it has",
            address.ip()
        )),
        io::ErrorKind::PermissionDenied => failed.with_remedy(format_args!(
            "port {port} is not open to everyone: run as root, or take one above 1023"
        )),
        _ => failed,
    }
}

async fn converse<F, S>(stream: TcpStream, snapshot: Arc<F>) -> hyper::Result<()>
where
    F: Fn() -> S,
    S: Future<Output = Snapshot>,
{
    let service = service_fn(|request| {
        let snapshot = Arc::clone(&snapshot);
        async move { Ok::<_, Infallible>(answer(&request, &*snapshot).await) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(2 * HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// Answers one request. What it sends along is not read.
async fn answer<B, F, S>(request: &Request<B>, snapshot: &F) -> Response<Full<Bytes>>
where
    F: Fn() -> S,
    S: Future<Output = Snapshot>,
{
    if request.uri().path() != "/metrics" {
        return refusal(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = refusal(StatusCode::METHOD_NOT_ALLOWED, "the metrics can only be read\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let snapshot = snapshot().await;
    // Thousands of sessions take a while, and what else runs here must not wait for them.
    match spawn_blocking(move || super::render(snapshot)).await {
        Ok(Ok(text)) => page(StatusCode::OK, super::CONTENT_TYPE, text),
        Ok(Err(error)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn refusal(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", text)
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::new(text.into()));
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    page
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };

    use super::*;
    use crate::{exit::Exit, status::Session};

    #[tokio::test]
    async fn the_page_has_what_the_command_prints() {
        let address = serve(1000).await;
        let expected = super::super::render(snapshot(1000)).unwrap();
        assert!(expected.len() > 4 * HEADER_BYTES_MAX, "no buffer holds all of it");

        for path in ["/metrics", "/metrics?collect=all"] {
            let (head, body) = ask(address, &format!("GET {path} HTTP/1.1")).await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
            assert!(body == expected, "{} bytes of {}", body.len(), expected.len());
        }
        let (head, body) = ask(address, "HEAD /metrics HTTP/1.1").await;
        assert!(head.contains(&format!("content-length: {}\r\n", expected.len())), "{head}");
        assert_eq!(body, "");
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let address = serve(1).await;
        let long = format!("GET /metrics HTTP/1.1\r\nx: {}", "x".repeat(HEADER_BYTES_MAX));
        let many = format!("GET /metrics HTTP/1.1{}", "\r\nx: y".repeat(HEADERS_MAX + 1));

        for (request, expected) in [
            ("GET / HTTP/1.1", "404 Not Found"),
            ("GET /metrics/ HTTP/1.1", "404 Not Found"),
            ("POST / HTTP/1.1", "404 Not Found"),
            ("POST /metrics HTTP/1.1", "405 Method Not Allowed"),
            ("DELETE /metrics HTTP/1.1", "405 Method Not Allowed"),
            ("OPTIONS * HTTP/1.1", "404 Not Found"),
            (&long, "431 Request Header Fields Too Large"),
            (&many, "431 Request Header Fields Too Large"),
            ("\x16\x03\x01\x02", "400 Bad Request"),
        ] {
            let (head, body) = ask(address, request).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{request}: {head}");
            assert!(!body.contains("hawser_"), "{body}");
            let allowed = head.contains("\r\nallow: GET, HEAD\r\n");
            assert_eq!(allowed, expected.starts_with("405"), "{head}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_hung_up_on_and_others_are_answered_then() {
        let address = serve(1).await;
        let began = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        silent[0].write_all(b"GET /metrics HT").await.unwrap();

        let (head, _) = ask(address, "GET /metrics HTTP/1.1").await;

        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(began.elapsed() >= REQUEST_TIME_MAX, "it had to wait for a place");
        for stream in &mut silent {
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
        }
    }

    #[tokio::test]
    async fn an_address_that_can_not_be_taken_is_an_error_with_its_remedy() {
        let taken = MetricsPage::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = taken.address();

        let error = MetricsPage::bind(address).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        let (text, port) = (error.to_string(), address.port());
        assert!(text.starts_with(&format!("cannot serve metrics on {address}: ")), "{text}");
        assert!(text.contains(&format!("\n  help: another program uses port {port}: `ss -tlpn`")));

        let error = MetricsPage::bind("192.0.2.1:9464".parse().unwrap()).await.unwrap_err();
        assert!(error.remedy().starts_with("this host has no address 192.0.2.1: "), "{error}");
    }

    async fn serve(sessions: usize) -> SocketAddr {
        let page = MetricsPage::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = page.address();
        tokio::spawn(page.serve(move || async move { snapshot(sessions) }));
        address
    }

    fn snapshot(sessions: usize) -> Snapshot {
        let session = |at| Session { name: format!("client-{at}"), ..Session::default() };
        let sessions = (0..sessions).map(session).collect();
        Snapshot { sessions, ..Snapshot::new("hawser-server", "x", 7) }
    }

    /// What comes back for a request: head and body.
    async fn ask(address: SocketAddr, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The other end may hang up before it has read all of it.
        let _ = stream.write_all(format!("{request}\r\nhost: x\r\n\r\n").as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (format!("{head}\r\n"), body.to_owned())
    }
}

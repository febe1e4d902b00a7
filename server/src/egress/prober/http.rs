//! A request to a web server.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use shared::clock;
use shared::host::Family;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::socket::Binding;
use super::{Asker, Cause, Finding, Outcome, connect, trust};
use crate::probe_config::HttpProbe;

/// Who is asked, and for what.
pub(super) struct Target {
    probe: HttpProbe,
    /// None without TLS.
    tls: Option<Result<Arc<ClientConfig>, Cause>>,
    resolved: Arc<Mutex<Resolved>>,
}

/// What the host's name resolves to.
#[derive(Debug, Default)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    /// When to ask again.
    stale_at: Duration,
}

impl Target {
    pub(super) fn new(probe: HttpProbe) -> Self {
        let secure = probe.url.scheme_str() == Some("https");
        let tls = secure.then(|| trust::client(probe.ca.as_deref()));
        Self { probe, tls, resolved: Arc::default() }
    }

    /// Asks once.
    pub(super) async fn ask(&self, asker: &Asker) -> Option<Outcome> {
        let connected = AtomicBool::new(false);
        match timeout(asker.patience(), self.exchange(asker, &connected)).await {
            Ok(Ok(took)) => Some(Outcome::Answered(took)),
            Ok(Err(Failure::Connection(error))) => connect::outcome(&error),
            Ok(Err(Failure::Answer(cause))) => Some(Outcome::Refused(cause)),
            // Somebody is there, so it is not the line that says nothing.
            Err(_) if connected.load(Ordering::Relaxed) => Some(Outcome::Refused(Cause::Slow)),
            Err(_) => None,
        }
    }

    async fn exchange(&self, asker: &Asker, connected: &AtomicBool) -> Result<Duration, Failure> {
        let address = self.address(&asker.binding).await?;
        let began = clock::since_boot();
        let stream = connect::open(&asker.binding, address).await.map_err(Failure::Connection)?;
        connected.store(true, Ordering::Relaxed);
        asker.report(Finding::Heard).await;
        match &self.tls {
            None => self.request(stream).await?,
            Some(tls) => {
                let tls = tls.clone().map_err(Failure::Answer)?;
                let name = ServerName::try_from(self.probe.host().to_owned())
                    .map_err(|_| Failure::Answer(Cause::CertificateOfAnother))?;
                let stream = TlsConnector::from(tls).connect(name, stream).await;
                let stream = stream.map_err(|error| Failure::Answer(trust::cause(&error)))?;
                let certificates = stream.get_ref().1.peer_certificates();
                let first = certificates.and_then(|all| all.first());
                if let Some(left) = first.and_then(trust::good_for) {
                    asker.report(Finding::Certificate(left)).await;
                }
                self.request(stream).await?;
            }
        }
        Ok(clock::since_boot().saturating_sub(began))
    }

    /// Sends the request and looks at the answer.
    async fn request<S>(&self, stream: S) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let malformed = |_| Failure::Answer(Cause::NotHttp);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(malformed)?;
        // Ends with this attempt.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let path = self.probe.url.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.probe.url.authority().map_or("", |authority| authority.as_str());
        let request = Request::builder()
            .method(self.probe.method.clone())
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, "hawser-probe")
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|_| Failure::Answer(Cause::NotHttp))?;
        let response = sender.send_request(request).await.map_err(malformed)?;
        self.judge(response).await
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<(), Failure> {
        let status = response.status().as_u16();
        if !self.probe.status.iter().any(|good| good.contains(&status)) {
            return Err(Failure::Answer(Cause::Status(status)));
        }
        let Some(wanted) = &self.probe.body else { return Ok(()) };
        let mut body = Limited::new(response.into_body(), BODY_MAX);
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            // What is beyond the limit is not looked at.
            let Ok(frame) = frame else { break };
            read.extend(frame.into_data().unwrap_or_default());
        }
        let found = read.windows(wanted.len().max(1)).any(|part| part == wanted.as_bytes());
        if found || wanted.is_empty() { Ok(()) } else { Err(Failure::Answer(Cause::Body)) }
    }

    /// Where to connect to, in a family that the uplink has.
    async fn address(&self, binding: &Binding) -> Result<SocketAddr, Failure> {
        let secure = self.tls.is_some();
        let port = self.probe.url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if let Some(address) = self.probe.literal() {
            return Ok(SocketAddr::new(address, port));
        }
        let addresses = self.resolve(port).await;
        let usable = |it: &&SocketAddr| binding.sources[Family::of(it.ip()) as usize].is_some();
        addresses.iter().find(usable).copied().ok_or(Failure::Answer(Cause::Unresolved))
    }

    /// What the host's resolver says. It is not asked through the uplink, so what is known serves
    /// while it is silent: a line is not dead because the resolver is behind another one.
    async fn resolve(&self, port: u16) -> Vec<SocketAddr> {
        let now = clock::since_boot();
        let (known, stale) = {
            let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
            let stale = now >= resolved.stale_at;
            if stale {
                // Whatever comes of it, and for all attempts meanwhile.
                resolved.stale_at = now + RESOLVED_FOR;
            }
            (resolved.addresses.clone(), stale)
        };
        if known.is_empty() {
            return look_up(&self.resolved, self.probe.host(), port).await;
        }
        if stale {
            let (resolved, host) = (Arc::clone(&self.resolved), self.probe.host().to_owned());
            tokio::spawn(async move { look_up(&resolved, &host, port).await });
        }
        known
    }
}

/// Asks, and keeps the answer if it is one.
async fn look_up(resolved: &Mutex<Resolved>, host: &str, port: u16) -> Vec<SocketAddr> {
    let Ok(found) = tokio::net::lookup_host((host, port)).await else { return Vec::new() };
    let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    if !found.is_empty() {
        let mut resolved = resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.addresses.clone_from(&found);
    }
    found
}

enum Failure {
    /// There is no connection.
    Connection(io::Error),
    /// There is one, and what comes from it is not as it should be.
    Answer(Cause),
}

/// More of an answer is not looked at.
const BODY_MAX: usize = 64 * 1024;
/// For so long a name need not be asked for again.
const RESOLVED_FOR: Duration = Duration::from_secs(60);
const ADDRESSES_MAX: usize = 16;

//! The layer around all services: who calls, and may it? Whoever is turned away reaches no service; what it sent is not read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::{Either, Ready, ready};
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{Request, Response};
use tower_layer::Layer;

use super::limit::Bucket;
use super::tls::Client;
use super::{Callers, Credentials, HANDSHAKE, Refusal, shown};
use crate::clock::Clock;
use crate::telemetry::Telemetry;

/// Refused calls and handshakes that are logged, lines a second: who knocks often must not fill the disk.
const LINES_PER_SECOND: u32 = 5;

/// Counts and logs those who are turned away.
pub struct TurnedAway {
    telemetry: Arc<Telemetry>,
    began: Instant,
    lines: Mutex<Lines>,
}

impl std::fmt::Debug for TurnedAway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TurnedAway")
    }
}

/// Lines that may still be logged, and how many were not since the last.
struct Lines {
    bucket: Bucket,
    unsaid: u64,
}

impl TurnedAway {
    fn new(telemetry: Arc<Telemetry>) -> Self {
        let began = Instant::now();
        let lines = Mutex::new(Lines { bucket: Bucket::new(LINES_PER_SECOND, began.elapsed()), unsaid: 0 });
        Self { telemetry, began, lines }
    }

    /// Counts one, and says whether it may be logged: with how many that were not.
    fn count(&self, reason: &'static str) -> Option<u64> {
        self.telemetry.grpc_refused(reason);
        let mut lines = self.lines.lock();
        if lines.bucket.take(self.began.elapsed()).is_ok() {
            Some(std::mem::take(&mut lines.unsaid))
        } else {
            lines.unsaid = lines.unsaid.saturating_add(1);
            None
        }
    }

    fn note(&self, refusal: &Refusal, path: &str, from: Option<SocketAddr>) {
        let (reason, caller) = (refusal.reason(), refusal.caller());
        if let Some(unsaid) = self.count(reason) {
            let (from, method) = (from.map(tracing::field::display), shown(path));
            tracing::warn!(reason, caller, method, from, unsaid, "refused a call: {refusal}");
        }
    }

    /// A handshake did not succeed.
    pub(super) fn note_handshake(&self, from: Option<SocketAddr>, why: &str) {
        if let Some(unsaid) = self.count(HANDSHAKE) {
            tracing::warn!(from = from.map(tracing::field::display), unsaid, "a TLS handshake failed: {why}");
        }
    }
}

struct Shared {
    callers: Callers,
    clock: Arc<Clock>,
    turned_away: Arc<TurnedAway>,
}

/// The layer that turns away.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// Lets `callers` in; counts the others in `telemetry`. `clock` says which tokens have expired.
    pub fn new(callers: Callers, clock: Arc<Clock>, telemetry: Arc<Telemetry>) -> Self {
        let turned_away = Arc::new(TurnedAway::new(telemetry));
        Self(Arc::new(Shared { callers, clock, turned_away }))
    }

    /// Where those are noted who are turned away.
    pub fn turned_away(&self) -> Arc<TurnedAway> {
        self.0.turned_away.clone()
    }
}

impl Shared {
    fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Refusal> {
        let client = request.extensions().get::<Client>();
        let credentials = Credentials {
            authorization: request.headers().get(AUTHORIZATION).map(|value| value.as_bytes()),
            certificate: client.and_then(|client| client.names.as_deref()),
        };
        let path = request.uri().path();
        let elapsed = self.turned_away.began.elapsed();
        match self.callers.admit(path, credentials, self.clock.now(), elapsed) {
            Ok(Some(caller)) => {
                request.extensions_mut().insert(caller);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(refusal) => {
                self.turned_away.note(&refusal, path, client.and_then(|client| client.from));
                Err(refusal)
            }
        }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, shared: self.0.clone() }
    }
}

/// Services behind the gate.
#[derive(Clone)]
pub struct Gated<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> std::fmt::Debug for Gated<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gated")
    }
}

impl<S: Service<Request<Body>, Response = Response<Body>>> Service<Request<Body>> for Gated<S> {
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.shared.admit(&mut request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(refusal) => Either::Right(ready(Ok(refusal.status().into_http()))),
        }
    }
}

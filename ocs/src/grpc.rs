//! Counts and times every gRPC call by method and code, around all services at once.
//!
//! A call ends when its last frame has been taken, or when whoever called is gone: then its code is `cancelled`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{Body as HttpBody, BoxFuture, Bytes, Service};
use tonic::{Code, Status};
use tower_layer::Layer;

use crate::telemetry::Telemetry;

/// Methods of services that are not in our `.proto` files.
const STANDARD: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// What all calls share: labels are from here only, whatever clients may call.
#[derive(Debug)]
struct Shared {
    telemetry: Arc<Telemetry>,
    methods: Vec<Arc<str>>,
    other: Arc<str>,
}

/// The layer that counts.
#[derive(Clone, Debug)]
pub struct CountCalls(Arc<Shared>);

impl CountCalls {
    /// Counts into `telemetry`.
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        let ours = ocs_proto::method_paths();
        let methods = ours.iter().map(String::as_str).chain(STANDARD).map(Arc::from).collect();
        Self(Arc::new(Shared { telemetry, methods, other: "other".into() }))
    }
}

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, shared: self.0.clone() }
    }
}

/// Services whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<CountedBody>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let known = self.shared.methods.iter().find(|method| &***method == path);
        let method = known.unwrap_or(&self.shared.other).clone();
        let mut call = Call { shared: self.shared.clone(), method, began: Instant::now(), code: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            // A refusal has no body: its code is in the headers.
            call.look(response.headers());
            Ok(response.map(|body| CountedBody { body, call }))
        })
    }
}

/// A call under way; dropped, it is counted.
#[derive(Debug)]
struct Call {
    shared: Arc<Shared>,
    method: Arc<str>,
    began: Instant,
    code: Option<Code>,
}

impl Call {
    fn look(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = Some(status.code());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = name(self.code.unwrap_or(Code::Cancelled));
        self.shared.telemetry.grpc_call(&self.method, code, self.began.elapsed());
    }
}

/// The body of an answer, whose trailers have the code.
#[derive(Debug)]
pub struct CountedBody {
    body: Body,
    call: Call,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            this.call.look(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

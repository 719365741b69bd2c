//! Doors for people and programs: gRPC and metrics, their connections counted and bounded, so that they never take a store's file
//! descriptors, and everything else that a client decides bounded as well.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::Server;

/// gRPC connections at once; further ones are closed at once.
pub const CONNECTIONS_MAX: u64 = 128;

/// Connections that fetch metrics at once; further ones are closed at once.
pub const METRICS_CONNECTIONS_MAX: u64 = 16;
/// How long one of them may take, and the longest request, octets.
const METRICS_TIME_MAX: Duration = Duration::from_secs(10);
const METRICS_REQUEST_MAX: u64 = 8 << 10;
/// The pause after a failure to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests of one connection that are worked on at once; further ones wait.
const REQUESTS_MAX: usize = 32;
/// Requests and streams of one connection at once; HTTP/2 keeps the client from sending more.
const STREAMS_MAX: u32 = 64;
/// How long an answer may take; a stream, to begin. Moving a manual clock takes the longest.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A connection without a word is asked after this long, and closed when it does not answer for that long.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// A gRPC server with limits on everything that a client decides.
pub fn grpc_server() -> Server {
    Server::builder()
        .concurrency_limit_per_connection(REQUESTS_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .timeout(ANSWER_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
}

/// A connection and its place among those that may be.
#[derive(Debug)]
pub struct Admitted {
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
}

/// The connections of a listener, as many as may be.
pub fn admitted(listener: TcpListener, max: u64) -> impl Stream<Item = io::Result<Admitted>> {
    let slots = Arc::new(Semaphore::new(usize::try_from(max).unwrap_or(Semaphore::MAX_PERMITS)));
    TcpListenerStream::new(listener).filter_map(move |accepted| match accepted {
        Ok(stream) => slots.clone().try_acquire_owned().ok().map(|slot| Ok(Admitted { stream, _slot: slot })),
        Err(error) => Some(Err(error)),
    })
}

/// Serves what `render` writes to whoever asks over HTTP, one answer a connection.
pub async fn serve_metrics(listener: TcpListener, render: impl Fn() -> String + Clone + Send + 'static) {
    let slots = Arc::new(Semaphore::new(usize::try_from(METRICS_CONNECTIONS_MAX).unwrap_or(Semaphore::MAX_PERMITS)));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
                let render = render.clone();
                tokio::spawn(async move {
                    // Whoever is slow or gone may come again.
                    let _ = tokio::time::timeout(METRICS_TIME_MAX, answer_metrics(stream, render)).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer_metrics(mut stream: TcpStream, render: impl Fn() -> String) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read.take(METRICS_REQUEST_MAX));
    let (mut first, mut line) = (String::new(), String::new());
    lines.read_line(&mut first).await?;
    while lines.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let (status, body) =
        if first.starts_with("GET ") { ("200 OK", render()) } else { ("405 Method Not Allowed", String::new()) };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    write.write_all(head.as_bytes()).await?;
    write.write_all(body.as_bytes()).await?;
    write.shutdown().await
}

impl Admitted {
    /// Who is at the other end.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }
}

impl AsyncRead for Admitted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn metrics_are_served_to_few_at_a_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_metrics(listener, || "ocs_up 1\n".to_owned()));
        let ask = |words: &'static str| async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(words.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.map(|_| answer)
        };
        let answer = ask("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nocs_up 1\n"), "{answer}");
        assert!(ask("POST / HTTP/1.1\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 405 "));
        let mut silent = Vec::new();
        for _ in 0..METRICS_CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut one_more = TcpStream::connect(address).await.unwrap();
        assert!(matches!(one_more.read(&mut [0; 1]).await, Ok(0) | Err(_)), "it is closed at once");
        drop(silent);
    }

    #[tokio::test]
    async fn those_beyond_the_limit_are_closed_and_a_place_is_free_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut doors = std::pin::pin!(admitted(listener, 1));
        let _one = TcpStream::connect(address).await.unwrap();
        let held = doors.next().await.unwrap().unwrap();
        let mut two = TcpStream::connect(address).await.unwrap();
        let read = tokio::spawn(async move { two.read(&mut [0; 1]).await });
        let turned_away = tokio::time::timeout(std::time::Duration::from_millis(200), doors.next()).await;
        assert!(turned_away.is_err(), "it does not come in");
        assert!(matches!(read.await.unwrap(), Ok(0) | Err(_)), "it is closed");
        drop(held);
        let _three = TcpStream::connect(address).await.unwrap();
        assert!(doors.next().await.unwrap().is_ok());
    }
}

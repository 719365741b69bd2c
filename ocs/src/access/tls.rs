//! Connections with TLS: PEM files read at the start and again at SIGHUP, handshakes, and what a connection says of the
//! client. Handshakes take places among the connections, so they are as bounded; each has ten seconds.
//!
//! A client certificate that comes is verified, or the handshake fails; a client without one may have a token. No session is
//! resumed: each connection shows its certificate again.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use super::certificate::Names;
use super::gate::TurnedAway;
use crate::config::Grpc;
use crate::doors::Admitted;
use crate::store::{OpenError, because};

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes at once; further ones wait. Each has a place among the connections, of which there are no more.
const HANDSHAKES_MAX: usize = 128;
/// How long, and how many octets, a client may go on sending after its handshake has failed: who closes at once takes back
/// what it has just said.
const LINGER_MAX: (Duration, u64) = (Duration::from_secs(1), 64 << 10);
/// Octets of a PEM file.
const FILE_OCTETS_MAX: u64 = 1 << 20;
/// The protocol above TLS (RFC 7301, RFC 9113 3.2).
const ALPN: &[u8] = b"h2";

/// The certificates of the server in use, and where they are from.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Grpc,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files that `grpc` names; `None` when it names none.
    ///
    /// # Errors
    /// Which file, and what is wrong with it.
    pub(crate) fn of(grpc: &Grpc) -> Result<Option<Arc<Self>>, OpenError> {
        let found = server_config(grpc)?;
        Ok(found.map(|found| Arc::new(Self { files: grpc.clone(), current: ArcSwap::from_pointee(found) })))
    }

    /// Reads the files again, for connections that come. When something is wrong with them, those before stay.
    fn reload(&self) {
        match server_config(&self.files) {
            Ok(Some(found)) => {
                self.current.store(Arc::new(found));
                tracing::info!("read the certificates of grpc again");
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the certificates of grpc stay as they were"),
        }
    }
}

fn server_config(grpc: &Grpc) -> Result<Option<ServerConfig>, OpenError> {
    let (Some(certificate), Some(key)) = (&grpc.tls_certificate, &grpc.tls_key) else { return Ok(None) };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(because("TLS"))?;
    let builder = match &grpc.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let (_, roots) = authorities("grpc.client_ca", file)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.allow_unauthenticated().build().map_err(because("grpc.client_ca"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (_, chain) = certificates("grpc.tls_certificate", certificate)?;
    let (_, secret) = private_key("grpc.tls_key", key)?;
    let config = builder.with_single_cert(chain, secret);
    let mut config = config.map_err(|error| {
        let files = format!("grpc.tls_certificate {} and grpc.tls_key {}", certificate.display(), key.display());
        OpenError(format!("{files}: {error}; is it the key of this certificate?"))
    })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Some(config))
}

/// The certificates of those who sign others': the file, and what is in it.
pub(crate) fn authorities(member: &str, path: &Path) -> Result<(Vec<u8>, RootCertStore), OpenError> {
    let (octets, found) = certificates(member, path)?;
    let mut roots = RootCertStore::empty();
    for certificate in found {
        let doing = format!("{member} {}: has no certificate of an authority", path.display());
        roots.add(certificate).map_err(because(&doing))?;
    }
    Ok((octets, roots))
}

/// A certificate and those between it and its authority: the file, and what is in it.
pub(crate) fn certificates(member: &str, path: &Path) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), OpenError> {
    let octets = read(member, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    let found = found.map_err(because(&format!("{member} {}: is no PEM file", path.display())))?;
    if found.is_empty() {
        let reason = "has no certificate (-----BEGIN CERTIFICATE-----)";
        return Err(OpenError(format!("{member} {}: {reason}", path.display())));
    }
    Ok((octets, found))
}

/// The key of a certificate: the file, and what is in it.
pub(crate) fn private_key(member: &str, path: &Path) -> Result<(Vec<u8>, PrivateKeyDer<'static>), OpenError> {
    let octets = read(member, path)?;
    let doing = format!("{member} {}: has no private key that is PEM and not encrypted", path.display());
    let key = PrivateKeyDer::from_pem_slice(&octets).map_err(because(&doing))?;
    Ok((octets, key))
}

fn read(member: &str, path: &Path) -> Result<Vec<u8>, OpenError> {
    let doing = format!("{member} {}: cannot be read", path.display());
    let mut octets = Vec::new();
    let file = std::fs::File::open(path).map_err(because(&doing))?;
    file.take(FILE_OCTETS_MAX).read_to_end(&mut octets).map_err(because(&doing))?;
    Ok(octets)
}

/// Who is at the other end of a connection, as far as the connection says.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// From where.
    pub(super) from: Option<SocketAddr>,
    /// Its verified certificate.
    pub(super) names: Option<Arc<Names>>,
}

/// A connection over which gRPC goes.
#[derive(Debug)]
pub(crate) enum Line {
    /// In clear.
    Clear(Admitted),
    /// Encrypted, by a client that may have shown a certificate.
    Secure(Box<TlsStream<Admitted>>, Option<Arc<Names>>),
}

impl Connected for Line {
    type ConnectInfo = Client;

    fn connect_info(&self) -> Client {
        match self {
            Self::Clear(admitted) => Client { from: admitted.peer(), names: None },
            Self::Secure(stream, names) => Client { from: stream.get_ref().0.peer(), names: names.clone() },
        }
    }
}

/// Connections, their handshakes done; those that fail are noted in `turned_away`. At SIGHUP the certificates are read again.
pub(crate) fn lines(
    incoming: impl Stream<Item = io::Result<Admitted>>,
    tls: Option<Arc<Tls>>,
    turned_away: Arc<TurnedAway>,
) -> impl Stream<Item = io::Result<Line>> {
    if let Some(tls) = &tls {
        tokio::spawn(reload_at_hangup(tls.clone()));
    }
    let begun = incoming.map(move |admitted| {
        let (tls, turned_away) = (tls.clone(), turned_away.clone());
        async move {
            match (admitted, tls) {
                (Ok(admitted), Some(tls)) => {
                    // On its own task: whoever accepts goes on.
                    let shaken = tokio::spawn(shake_hands(admitted, tls, turned_away));
                    shaken.await.ok().flatten().map(Ok)
                }
                (Ok(admitted), None) => Some(Ok(Line::Clear(admitted))),
                (Err(error), _) => Some(Err(error)),
            }
        }
    });
    begun.buffer_unordered(HANDSHAKES_MAX).filter_map(std::future::ready)
}

async fn reload_at_hangup(tls: Arc<Tls>) {
    match signal(SignalKind::hangup()) {
        Ok(mut hangup) => {
            while hangup.recv().await.is_some() {
                tls.reload();
            }
        }
        Err(error) => tracing::warn!(%error, "the certificates of grpc are not read again at SIGHUP"),
    }
}

async fn shake_hands(admitted: Admitted, tls: Arc<Tls>, turned_away: Arc<TurnedAway>) -> Option<Line> {
    let from = admitted.peer();
    let shaken = TlsAcceptor::from(tls.current.load_full()).accept(admitted).into_fallible();
    let (error, mut admitted) = match tokio::time::timeout(HANDSHAKE_MAX, shaken).await {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates();
            let names = chain.and_then(|chain| chain.first()).map(|certificate| Arc::new(Names::of(certificate)));
            return Some(Line::Secure(Box::new(stream), names));
        }
        Ok(Err((error, admitted))) => (error.to_string(), admitted),
        Err(_) => {
            turned_away.note_handshake(from, &format!("took longer than {} s", HANDSHAKE_MAX.as_secs()));
            return None;
        }
    };
    turned_away.note_handshake(from, &error);
    let linger = async {
        admitted.shutdown().await?;
        tokio::io::copy(&mut admitted.take(LINGER_MAX.1), &mut tokio::io::sink()).await
    };
    // It has been told, if it listens.
    let _ = tokio::time::timeout(LINGER_MAX.0, linger).await;
    None
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(context, into),
            Self::Secure(stream, _) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Secure(stream, _) => Pin::new(stream).poll_write(context, octets),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(context, octets),
            Self::Secure(stream, _) => Pin::new(stream).poll_write_vectored(context, octets),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Secure(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(context),
            Self::Secure(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secure(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

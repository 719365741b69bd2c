//! How commands reach a server: TLS, a client certificate, a token; and what went wrong on the way, in words that help.

use std::error::Error;
use std::path::Path;

use rustls::{AlertDescription, CertificateError};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::access::{TOKEN_OCTETS_MIN, tls};
use crate::cli::Server;
use crate::store::{OpenError, because};

/// A connection that says who calls.
pub(super) type Connection = InterceptedService<Channel, Says>;

/// Puts the token into every call, when there is one.
#[derive(Clone, Debug)]
pub(super) struct Says(Option<MetadataValue<Ascii>>);

impl Interceptor for Says {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.0 {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

/// A connection to a server.
pub(super) async fn connect(server: &Server) -> Result<Connection, OpenError> {
    let says = Says(server.token_file.as_deref().map(token).transpose()?);
    let endpoint = Endpoint::from_shared(server.server.clone()).map_err(because("--server"))?;
    let with_tls = endpoint.uri().scheme_str() == Some("https");
    let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback());
    let endpoint = if with_tls {
        endpoint
            .tls_config(tls_config(server)?)
            .map_err(|error| because("--certificate and --certificate-key")(cause(&error)))?
    } else if server.ca.is_some() || server.certificate.is_some() || server.certificate_key.is_some() {
        return Err(OpenError(format!("--server {}: certificates need TLS; write https://", server.server)));
    } else if says.0.is_some() && !loopback {
        let reason = "a token must not cross a network in clear; write https:// and give --ca";
        return Err(OpenError(format!("--server {}: {reason}", server.server)));
    } else {
        endpoint
    };
    let no_server = |error: &(dyn Error + 'static)| {
        let way_out = "no server answers there; start one with `ocs dev`, or name it with --server";
        let reason = handshake(error).unwrap_or_else(|| format!("{way_out}: {}", cause(error)));
        OpenError(format!("{}: {reason}", server.server))
    };
    let channel = endpoint.connect().await.map_err(|error| no_server(&error))?;
    // A server that does not like the client's certificate says so only after the client believes to be connected.
    let asked = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    if let Err(status) = asked
        && status.source().is_some()
    {
        let reason = handshake(&status).unwrap_or_else(|| {
            let hint = if with_tls { "" } else { "; if the server speaks TLS, write https:// and give --ca" };
            format!("the connection broke: {}{hint}", cause(&status))
        });
        return Err(OpenError(format!("{}: {reason}", server.server)));
    }
    Ok(InterceptedService::new(channel, says))
}

fn tls_config(server: &Server) -> Result<ClientTlsConfig, OpenError> {
    let Some(ca) = &server.ca else {
        let reason = "give --ca (or OCS_CA), the PEM file of the authority that signed the server's certificate";
        return Err(OpenError(format!("--server {}: {reason}", server.server)));
    };
    let (authorities, _) = tls::authorities("--ca", ca)?;
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
    match (&server.certificate, &server.certificate_key) {
        (Some(certificate), Some(key)) => {
            let (chain, _) = tls::certificates("--certificate", certificate)?;
            let (key, _) = tls::private_key("--certificate-key", key)?;
            Ok(config.identity(Identity::from_pem(chain, key)))
        }
        (None, None) => Ok(config),
        (Some(_), None) => {
            Err(OpenError("--certificate-key: is missing; name the PEM file of the certificate's key".to_owned()))
        }
        (None, Some(_)) => {
            Err(OpenError("--certificate: is missing; name the PEM file of the key's certificate".to_owned()))
        }
    }
}

/// What the calls of whoever has this token say.
fn token(file: &Path) -> Result<MetadataValue<Ascii>, OpenError> {
    let doing = format!("--token-file {}", file.display());
    let text = std::fs::read_to_string(file).map_err(because(&doing))?;
    let token = text.trim();
    if token.len() < TOKEN_OCTETS_MIN || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
        let reason = format!("has no token: one line of at least {TOKEN_OCTETS_MIN} visible characters");
        return Err(OpenError(format!("{doing}: {reason}")));
    }
    // No reason that would quote it.
    let no_header = |_| OpenError(format!("{doing}: cannot be sent"));
    let mut authorization = MetadataValue::try_from(format!("Bearer {token}")).map_err(no_header)?;
    authorization.set_sensitive(true);
    Ok(authorization)
}

/// What a server said instead of doing it.
pub(super) fn said(status: Status) -> OpenError {
    if let Some(reason) = handshake(&status) {
        return OpenError(reason);
    }
    let code = status.code();
    let text = if status.message().is_empty() { code.description() } else { status.message() };
    // What the server said comes from nowhere else.
    OpenError(if status.source().is_some() {
        format!("the connection broke: {}", cause(&status))
    } else {
        text.to_owned()
    })
}

/// What an error comes from in the end: "Connection refused" instead of "transport error".
fn cause(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// What went wrong between the two sides' certificates, if that is what an error comes from.
fn handshake(error: &(dyn Error + 'static)) -> Option<String> {
    let mut error = error;
    loop {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(in_words(tls));
        }
        // What an I/O error was made of is not its source; and what comes through HTTP/2 is only what it said.
        let within = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error = match (within, error.source()) {
            (Some(within), _) => within,
            (None, Some(source)) => source,
            (None, None) => return alert(&error.to_string()),
        };
    }
}

/// Alerts about the client's certificate (RFC 8446 6.2), and what to do.
const ALERTS: [(AlertDescription, &str); 6] = [
    (AlertDescription::CertificateExpired, "it has expired; ask for a new one"),
    (AlertDescription::UnknownCA, NOT_SIGNED),
    (AlertDescription::DecryptError, NOT_SIGNED),
    (AlertDescription::BadCertificate, NOT_GOOD),
    (AlertDescription::CertificateUnknown, NOT_GOOD),
    (AlertDescription::UnsupportedCertificate, NOT_GOOD),
];
const NOT_SIGNED: &str = "it is not signed by an authority that the server knows (grpc.client_ca); ask whoever runs the server for one that is";
const NOT_GOOD: &str = "it is not made for clients, or damaged; ask whoever runs the server for another";

fn alert(said: &str) -> Option<String> {
    let (alert, way_out) = ALERTS.iter().find(|(alert, _)| rustls::Error::AlertReceived(*alert).to_string() == said)?;
    Some(format!("the server does not accept the certificate of --certificate: {way_out} (alert {alert:?})"))
}

fn in_words(error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    if let Tls::InvalidCertificate(problem) = error {
        let way_out = if *problem == CertificateError::UnknownIssuer || *problem == CertificateError::BadSignature {
            "it is not signed by an authority in --ca; give the file of the authority that signed it"
        } else if matches!(problem, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
        {
            "call the server by a name that its certificate has, with --server"
        } else if matches!(problem, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
            "it has expired; whoever runs the server has to renew it"
        } else {
            "whoever runs the server has to look at it"
        };
        return format!("the server's certificate is not accepted: {way_out} ({problem})");
    }
    if let Tls::InvalidMessage(_) = error {
        return format!("the server there does not speak TLS; write http:// if it is on this machine ({error})");
    }
    alert(&error.to_string()).unwrap_or_else(|| format!("TLS: {error}"))
}

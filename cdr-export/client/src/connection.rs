//! How the server is reached: in clear on one machine, with TLS and a certificate or token beyond it.

use std::path::PathBuf;

use clap::Args;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::Failure;

/// The server.
#[derive(Clone, Debug, Args)]
pub struct Server {
    /// gRPC address of the server; https:// with TLS.
    #[arg(long, default_value = "http://127.0.0.1:50051", env = "OCS_SERVER")]
    pub server: String,
    /// PEM file of the authority that signed the server's certificate; with https://.
    #[arg(long, env = "OCS_CA")]
    ca: Option<PathBuf>,
    /// PEM file of the certificate that says who this is.
    #[arg(long, env = "OCS_CERTIFICATE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, env = "OCS_CERTIFICATE_KEY")]
    certificate_key: Option<PathBuf>,
    /// File with the token that says who this is; with https://, but on loopback.
    #[arg(long, env = "OCS_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// A connection that says who calls.
pub type Connection = InterceptedService<Channel, Says>;

/// Puts the token into every call.
#[derive(Clone, Debug)]
pub struct Says(Option<MetadataValue<Ascii>>);

impl Interceptor for Says {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.0 {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

impl Server {
    /// Connects.
    ///
    /// # Errors
    /// What the address or a file has wrong, or that nobody answers.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let at = |path: &PathBuf, error: &dyn std::fmt::Display| Failure(format!("{}: {error}", path.display()));
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| at(path, &error));
        let malformed = |error: &dyn std::fmt::Display| Failure(format!("--server {}: {error}", self.server));
        let mut endpoint = Endpoint::from_shared(self.server.clone()).map_err(|error| malformed(&error))?;
        let is_loopback = endpoint.uri().host().is_some_and(|host| host == "localhost" || host.starts_with("127."));
        if endpoint.uri().scheme_str() == Some("https") {
            let mut tls = ClientTlsConfig::new();
            if let Some(ca) = &self.ca {
                tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
            }
            if let (Some(certificate), Some(key)) = (&self.certificate, &self.certificate_key) {
                tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| malformed(&error))?;
        } else if self.token_file.is_some() && !is_loopback {
            return Err(malformed(&"a token must not cross a network in clear; write https:// and give --ca"));
        }
        let says = match &self.token_file {
            None => Says(None),
            Some(path) => {
                let text = String::from_utf8_lossy(&read(path)?).trim().to_owned();
                let value = MetadataValue::try_from(format!("Bearer {text}"));
                let mut value = value.map_err(|_| at(path, &"has no token"))?;
                value.set_sensitive(true);
                Says(Some(value))
            }
        };
        let channel =
            endpoint.connect().await.map_err(|error| malformed(&format!("no server answers there: {error}")))?;
        Ok(InterceptedService::new(channel, says))
    }
}

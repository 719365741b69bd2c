//! `ocs health`: whether a server serves, for probes of service managers and containers.

use std::process::ExitCode;
use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{connect, remote, said};
use crate::cli::Server;
use crate::store::{OpenError, because};

/// A server that takes longer than this to say how it is does not serve.
const PATIENCE: Duration = Duration::from_secs(5);

/// `ocs health`.
pub(super) fn health(server: &Server) -> Result<ExitCode, OpenError> {
    let asked = remote(async {
        let asking = async {
            let mut client = HealthClient::new(connect(server).await?);
            // The empty name means the whole server.
            let answer = client.check(HealthCheckRequest { service: String::new() }).await.map_err(said)?;
            Ok(answer.into_inner().status())
        };
        let late = format!("{}: no answer", server.server);
        tokio::time::timeout(PATIENCE, asking).await.map_err(because(&late))?
    })?;
    Ok(match asked {
        ServingStatus::Serving => {
            println!("serving");
            ExitCode::SUCCESS
        }
        ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
            println!("not serving");
            ExitCode::FAILURE
        }
    })
}

//! How programs that read rated CDRs reach the charging system, and how they say what went wrong. Absent: what they do with CDRs.

mod connection;

pub use connection::{Connection, Says, Server};

/// Why something was not done, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let message = status.message();
        Self(format!("the server: {}", if message.is_empty() { status.code().description() } else { message }))
    }
}

/// Largest message of CDRs that is read, octets.
pub const MESSAGE_OCTETS_MAX: usize = 64 << 20;

//! What can go wrong in any part, for those who run several of them.

use std::sync::Arc;

use crate::{CdrError, LogError, StateError};

/// Why a background thread gave up.
#[derive(Debug)]
pub enum StoreError {
    /// The log failed.
    Log(LogError),
    /// The state store failed.
    State(StateError),
    /// The CDR store failed.
    Cdr(CdrError),
}

/// Told once when a background thread fails. The process is expected to end: nothing is retried.
pub type FailureHook = Arc<dyn Fn(&StoreError) + Send + Sync>;

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(error) => write!(f, "log: {error}"),
            Self::State(error) => write!(f, "state: {error}"),
            Self::Cdr(error) => write!(f, "CDR store: {error}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Log(error) => Some(error),
            Self::State(error) => Some(error),
            Self::Cdr(error) => Some(error),
        }
    }
}

impl From<LogError> for StoreError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<StateError> for StoreError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<CdrError> for StoreError {
    fn from(error: CdrError) -> Self {
        Self::Cdr(error)
    }
}

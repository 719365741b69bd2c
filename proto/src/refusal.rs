//! Why not, as gRPC says it: a status code, words for people, and google.rpc.ErrorInfo that programs act on. A reason, once said, keeps
//! its meaning.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of our reasons.
pub const DOMAIN: &str = "ocs";

/// A status with its reason.
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, details(reason))
}

/// A status with its reason, and more about it: metadata of the ErrorInfo.
pub fn status_about<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    about: [(&str, String); N],
) -> Status {
    let about: HashMap<String, String> = about.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, about))
}

/// What programs are told.
pub fn details(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::default())
}

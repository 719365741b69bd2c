//! How programs that read rated CDRs reach the charging system, say what went wrong, and write amounts and CSV. Absent: what they do with
//! CDRs.

use std::borrow::Cow;

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

/// Has the process end quietly when nobody reads what it prints any more: `... | head` has seen enough, which is nobody's error.
pub fn end_when_unread() {
    /// How the standard library begins to say so.
    const UNREAD: &str = "failed printing to stdout";
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.starts_with(UNREAD)) {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

/// Micro-units as decimals, all six: -1.500000.
pub fn decimal(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let amount = micros.unsigned_abs();
    format!("{sign}{}.{:06}", amount / 1_000_000, amount % 1_000_000)
}

/// A text as a cell of CSV (RFC 4180).
pub fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_all_their_decimals_and_cells_their_quotes() {
        assert_eq!((decimal(-1), decimal(0)), ("-0.000001".to_owned(), "0.000000".to_owned()));
        assert_eq!(decimal(i64::MIN), "-9223372036854.775808");
        assert_eq!((quoted("a b"), quoted("a,\"b\"")), ("a b".into(), "\"a,\"\"b\"\"\"".into()));
    }
}

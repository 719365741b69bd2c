//! Pages of lists: how many at a time, and where the last one ended. Pure.

use crate::request::Rejection;

/// How many when nothing is said, and at most.
const SIZE_DEFAULT: usize = 50;
const SIZE_MAX: usize = 1000;

/// How many at a time.
pub(crate) fn size(given: i32) -> Result<usize, Rejection> {
    match usize::try_from(given) {
        Ok(0) => Ok(SIZE_DEFAULT),
        Ok(size) => Ok(size.min(SIZE_MAX)),
        Err(_) => {
            Err(Rejection::new("page_size", format!("is {given}; give 1 to {SIZE_MAX}, or 0 for {SIZE_DEFAULT}")))
        }
    }
}

/// The token of a position.
pub(crate) fn token(position: u64) -> String {
    format!("at-{position}")
}

/// The position of a token, if there is one.
pub(crate) fn position(token: &str) -> Result<Option<u64>, Rejection> {
    if token.is_empty() {
        return Ok(None);
    }
    let position = token.strip_prefix("at-").and_then(|number| number.parse().ok()).filter(|position| *position > 0);
    position
        .map(Some)
        .ok_or_else(|| Rejection::new("page_token", "is none of ours; give back the one that came with the last page"))
}

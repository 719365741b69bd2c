//! Subscribers' identifiers as logs may have them: enough to follow one through a log, not enough to call or find them.

use rating_engine::ids::Identifier;

/// Digits at the front that stay: a country and its network, of an IMSI the network (MCC and MNC), of a card its issuer's country.
const FRONT: usize = 5;
/// Digits at the end that stay.
const BACK: usize = 2;
/// So many digits at least are hidden; where fewer would be, all are.
const HIDDEN_MIN: usize = 4;
/// What stands for what is hidden, however much that is.
const STARS: &str = "****";

/// An identifier to be logged: `msisdn-49170****01`. Names (SIP URIs, NAIs, private and external ones) are hidden whole.
#[derive(Clone, Copy, Debug)]
pub struct Masked<'a>(pub &'a Identifier);

impl std::fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Identifier::Msisdn(digits) => write!(f, "msisdn-{}", masked(digits)),
            Identifier::Imsi(digits) => write!(f, "imsi-{}", masked(digits)),
            Identifier::Iccid(digits) => write!(f, "iccid-{}", masked(digits)),
            Identifier::Sip(_) => write!(f, "sip-{STARS}"),
            Identifier::Nai(_) => write!(f, "nai-{STARS}"),
            Identifier::Private(_) => write!(f, "private-{STARS}"),
            Identifier::External(_) => write!(f, "external-{STARS}"),
        }
    }
}

fn masked(digits: &impl std::fmt::Display) -> String {
    let digits = digits.to_string();
    if digits.len() < FRONT + HIDDEN_MIN + BACK {
        return STARS.to_owned();
    }
    let shown = |at: usize| digits.split_at_checked(at).unwrap_or_default();
    format!("{}{STARS}{}", shown(FRONT).0, shown(digits.len() - BACK).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_digits_at_the_front_and_two_at_the_end_are_kept_at_most() {
        for (identifier, logged) in [
            ("msisdn-4917000000001", "msisdn-49170****01"),
            ("imsi-262019000000001", "imsi-26201****01"),
            ("msisdn-49170000001", "msisdn-49170****01"),
            ("msisdn-4917000001", "msisdn-****"),
            ("msisdn-110", "msisdn-****"),
            ("sip-alice@example.org", "sip-****"),
            ("nai-0262019000000001@example.org", "nai-****"),
            ("private-fleet-17", "private-****"),
            ("iccid-8949012345678901234", "iccid-89490****34"),
            ("iccid-8949", "iccid-****"),
            ("external-4711", "external-****"),
        ] {
            assert_eq!(Masked(&identifier.parse().unwrap()).to_string(), logged, "{identifier}");
        }
    }
}

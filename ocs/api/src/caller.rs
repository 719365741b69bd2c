//! Who calls, as the services see it: for the audit log, and for what only some may do.
//!
//! Whoever serves puts a [`Caller`] into each request before a service sees it, and turns away who is not known or may not
//! call the method. Absent on purpose: rights. A request that is here may be here; the caller says what of it depends on more.

use std::sync::Arc;

use rating_engine::money::{Currency, Money};
use tonic::Request;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name in the configuration; for records and messages.
    pub name: Arc<str>,
    /// The most that one of its top-ups may pay in; none: as much as it likes.
    pub top_up_max: Option<Ceiling>,
    /// Whether it may see what subscribers and accounts have.
    pub sees_accounts: bool,
}

/// The most that somebody may move at once, in one currency; in another currency, nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// How much; micro-units of the currency.
    pub amount: Money,
    /// Of which currency.
    pub currency: Currency,
}

impl Caller {
    /// Whoever uses a system on which callers are not told apart: `ocs dev`.
    pub const LOCAL: &str = "local";

    /// A caller without a ceiling.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), top_up_max: None, sees_accounts: true }
    }

    /// Who sent a request; [`Caller::LOCAL`] when nobody who serves has said so.
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_else(|| Self::named(Self::LOCAL))
    }
}

impl Ceiling {
    /// Whether so much is not too much.
    pub fn allows(self, amount: Money, currency: Currency) -> bool {
        currency == self.currency && amount <= self.amount
    }
}

impl std::fmt::Display for Ceiling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_is_of_one_currency() {
        let ceiling = Ceiling { amount: Money::from_micros(50_000_000), currency: Currency::EUR };
        assert!(ceiling.allows(Money::from_micros(50_000_000), Currency::EUR));
        assert!(!ceiling.allows(Money::from_micros(50_000_001), Currency::EUR));
        assert!(!ceiling.allows(Money::from_micros(1), Currency::parse("USD").unwrap()));
        assert_eq!(ceiling.to_string(), "50.00 EUR");
    }

    #[test]
    fn a_request_says_who_sent_it() {
        let mut request = Request::new(());
        assert_eq!(Caller::of(&request), Caller::named("local"));
        request.extensions_mut().insert(Caller::named("desk"));
        assert_eq!(&*Caller::of(&request).name, "desk");
    }
}

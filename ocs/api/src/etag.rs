//! Etags: what a person decided upon, in short. Over what people say of a resource, not over what it uses meanwhile. Pure.

use rating_engine::account::{Account, AccountState, Subscriber};
use rating_engine::ids::Identifier;
use sha2::{Digest, Sha256};

use crate::groups::GroupSaid;

/// An account's: over its state and credit limit.
pub fn account(account: &Account) -> String {
    let limit = account.credit.map(|line| line.limit.micros());
    let said = Sha256::new()
        .chain_update([state(account.state), u8::from(limit.is_some())])
        .chain_update(limit.unwrap_or(0).to_be_bytes());
    short(said)
}

/// A subscriber's: over account, tariff, state, sponsor and identifiers, whatever their order.
pub fn subscriber(subscriber: &Subscriber, identifiers: &[Identifier]) -> String {
    let mut said = Sha256::new()
        .chain_update(subscriber.account.get().to_be_bytes())
        .chain_update([state(subscriber.state)])
        .chain_update(subscriber.tariff.as_str())
        .chain_update([0]);
    if let Some(sponsor) = &subscriber.sponsor {
        said.update(sponsor.account.get().to_be_bytes());
        said.update([u8::from(sponsor.allowance)]);
        for window in &sponsor.windows {
            said.update(window.as_bytes());
            said.update([0]);
        }
    }
    let mut names: Vec<String> = identifiers.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    for name in names {
        said.update([1]);
        said.update(name);
    }
    short(said)
}

/// A charging group's: over what it is called.
pub fn group(said: &GroupSaid) -> String {
    short(Sha256::new().chain_update(&*said.display_name).chain_update([0]).chain_update(&*said.external_id))
}

const fn state(state: AccountState) -> u8 {
    match state {
        AccountState::Active => 0,
        AccountState::Suspended => 1,
        AccountState::Barred => 2,
        AccountState::Closed => 3,
    }
}

fn short(said: Sha256) -> String {
    said.finalize().iter().take(8).map(|octet| format!("{octet:02x}")).collect()
}

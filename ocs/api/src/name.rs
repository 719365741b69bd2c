//! Names of resources: "accounts/17", "accounts/msisdn-4917...", "tenants/2/subscribers/5", "sessions/...". Pure.

use rating_engine::ids::{AccountId, GroupId, Identifier, SessionId, SubscriberId, TenantId};

use crate::groups::{GroupSelection, GroupSelector};
use crate::operations::{AccountSelector, Selection};
use crate::request::{IDENTIFIER_OCTETS_MAX, Rejection, text};

/// Octets of a session's id.
const SESSION_OCTETS_MAX: usize = 1024;

/// Which subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriberSelector {
    /// The one with this number.
    Id(SubscriberId),
    /// The one with this identifier.
    Identifier(Identifier),
}

/// The name of an account.
pub fn account(tenant: TenantId, id: AccountId) -> String {
    format!("{}accounts/{id}", prefix(tenant))
}

/// The name of a subscriber.
pub fn subscriber(tenant: TenantId, id: SubscriberId) -> String {
    format!("{}subscribers/{id}", prefix(tenant))
}

/// The name of a charging group.
pub fn group(tenant: TenantId, id: GroupId) -> String {
    format!("{}chargingGroups/{id}", prefix(tenant))
}

/// The name of a session.
pub fn session(id: &SessionId) -> String {
    format!("sessions/{}", base64(id.octets()))
}

/// The name of a batch of vouchers.
pub fn batch(name: &str) -> String {
    format!("batches/{name}")
}

/// The name of a voucher.
pub fn voucher(batch: &str, serial: u32) -> String {
    format!("batches/{batch}/vouchers/{serial}")
}

/// The name of an approval.
pub fn approval(number: u64) -> String {
    format!("approvals/{number}")
}

/// What stands before the number of a re-rating.
pub(crate) const RERATINGS: &str = "reratings/";

/// The name of a re-rating.
pub fn rerating(number: u64) -> String {
    format!("{RERATINGS}{number}")
}

fn prefix(tenant: TenantId) -> String {
    if tenant == TenantId::default() { String::new() } else { format!("tenants/{}/", tenant.get()) }
}

/// The account that a name is of.
///
/// # Errors
/// What is wrong with it.
pub fn parse_account(field: &'static str, name: &str) -> Result<Selection, Rejection> {
    let (tenant, rest) = resource(field, name, "accounts/", "accounts/17 or accounts/msisdn-4917000000001")?;
    let account = match rest.parse::<u64>() {
        Ok(0) => return Err(Rejection::new(field, "names account 0; account numbers begin at 1")),
        Ok(id) => AccountSelector::Id(AccountId::new(id)),
        Err(_) => AccountSelector::Identifier(rest.parse().map_err(|reason| Rejection::new(field, reason))?),
    };
    Ok(Selection { tenant, account })
}

/// The subscriber that a name is of.
///
/// # Errors
/// What is wrong with it.
pub fn parse_subscriber(field: &'static str, name: &str) -> Result<(TenantId, SubscriberSelector), Rejection> {
    let (tenant, rest) = resource(field, name, "subscribers/", "subscribers/5 or subscribers/msisdn-4917000000001")?;
    let subscriber = match rest.parse::<u64>() {
        Ok(0) => return Err(Rejection::new(field, "names subscriber 0; subscriber numbers begin at 1")),
        Ok(id) => SubscriberSelector::Id(SubscriberId::new(id)),
        Err(_) => SubscriberSelector::Identifier(rest.parse().map_err(|reason| Rejection::new(field, reason))?),
    };
    Ok((tenant, subscriber))
}

/// The charging group that a name is of.
///
/// # Errors
/// What is wrong with it.
pub fn parse_group(field: &'static str, name: &str) -> Result<GroupSelection, Rejection> {
    let (tenant, rest) =
        resource(field, name, "chargingGroups/", "chargingGroups/17 or chargingGroups/external-HOUSE-7")?;
    let group = match (rest.parse::<u64>(), rest.strip_prefix("external-")) {
        (Ok(0), _) => return Err(Rejection::new(field, "names group 0; group numbers begin at 1")),
        (Ok(id), _) => GroupSelector::Id(GroupId::new(id)),
        (Err(_), Some(external_id)) => GroupSelector::External(external_id.into()),
        (Err(_), None) => {
            return Err(Rejection::new(field, format!("is {name:?}; name a group by its number or by external-...")));
        }
    };
    Ok(GroupSelection { tenant, group })
}

/// The session that a name is of.
///
/// # Errors
/// What is wrong with it.
pub fn parse_session(field: &'static str, name: &str) -> Result<SessionId, Rejection> {
    let malformed = || Rejection::new(field, "is no session's name; give one as ListSessions shows it: sessions/...");
    let rest = name.strip_prefix("sessions/").ok_or_else(malformed)?;
    if rest.len() > SESSION_OCTETS_MAX * 2 {
        return Err(malformed());
    }
    let octets = unbase64(rest).filter(|octets| !octets.is_empty()).ok_or_else(malformed)?;
    Ok(SessionId::new(&octets))
}

fn resource<'a>(
    field: &'static str,
    name: &'a str,
    kind: &str,
    example: &str,
) -> Result<(TenantId, &'a str), Rejection> {
    if name.is_empty() {
        return Err(Rejection::new(field, format!("is missing; give a name, e.g. {example}")));
    }
    text(field, name, IDENTIFIER_OCTETS_MAX)?;
    let malformed = || Rejection::new(field, format!("is {name:?}; give a name, e.g. {example}"));
    let (tenant, rest) = match name.strip_prefix("tenants/") {
        None => (TenantId::default(), name),
        Some(rest) => {
            let (tenant, rest) = rest.split_once('/').ok_or_else(malformed)?;
            (TenantId::new(tenant.parse().map_err(|_| malformed())?), rest)
        }
    };
    rest.strip_prefix(kind).filter(|rest| !rest.is_empty()).map(|rest| (tenant, rest)).ok_or_else(malformed)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648 5, without padding.
fn base64(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for part in octets.chunks(3) {
        let bits = part.iter().fold(0u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - part.len()));
        for place in 0..=part.len() {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            text.push(char::from(DIGITS.get(digit).copied().unwrap_or(b'A')));
        }
    }
    text
}

/// The octets of [`base64`]; `None` for what it does not write.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for part in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for digit in part {
            let value = DIGITS.iter().position(|known| known == digit)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        bits <<= 6 * (4 - part.len());
        let [_, a, b, c] = bits.to_be_bytes();
        let (count, rest) = match part.len() {
            4 => (3, 0),
            3 => (2, u32::from(c)),
            2 => (1, u32::from(b) | u32::from(c)),
            _ => return None,
        };
        if rest != 0 {
            return None;
        }
        octets.extend_from_slice([a, b, c].get(..count)?);
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_the_name_it_was_shown_under() {
        for octets in [&b"a"[..], b"ab", b"abc", b"gw.example.org;1;2;\xff\x00", &[0; 7], &[255; 8]] {
            let id = SessionId::new(octets);
            assert_eq!(parse_session("name", &session(&id)).as_ref(), Ok(&id));
        }
        assert_eq!(session(&SessionId::new(b"ab")), "sessions/YWI");
        for bad in ["", "sessions/", "sessions/Y", "sessions/YWJ", "sessions/YW I", "sessions/YWI=", "accounts/1"] {
            assert!(parse_session("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_say_tenant_number_or_identifier() {
        let named = parse_account("account", "tenants/2/accounts/17").unwrap();
        assert_eq!((named.tenant.get(), named.account), (2, AccountSelector::Id(AccountId::new(17))));
        assert_eq!(account(TenantId::new(2), AccountId::new(17)), "tenants/2/accounts/17");
        assert_eq!(subscriber(TenantId::default(), SubscriberId::new(5)), "subscribers/5");
        let by = parse_subscriber("name", "subscribers/msisdn-4917000000001").unwrap();
        assert_eq!(by.1, SubscriberSelector::Identifier("msisdn-4917000000001".parse().unwrap()));
        let house = parse_group("name", "tenants/2/chargingGroups/external-HOUSE 7/a").unwrap();
        assert_eq!((house.tenant.get(), house.group), (2, GroupSelector::External("HOUSE 7/a".into())));
        assert_eq!(group(TenantId::new(2), GroupId::new(7)), "tenants/2/chargingGroups/7");
        for bad in ["", "7", "chargingGroups/", "chargingGroups/0", "chargingGroups/msisdn-49", "groups/7"] {
            assert_eq!(parse_group("name", bad).unwrap_err().field, "name", "{bad}");
        }
        for bad in ["", "17", "accounts/", "accounts/0", "accounts/x", "tenants/accounts/1", "tenants/70000/accounts/1"]
        {
            let rejection = parse_account("account", bad).unwrap_err();
            assert_eq!(rejection.field, "account", "{bad}");
        }
    }
}

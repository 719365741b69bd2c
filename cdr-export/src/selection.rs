//! Which CDRs somebody wants. Pure.

use std::collections::BTreeSet;

use ocs_proto::cdr::convert::{kind, kind_of};
use ocs_proto::cdr::v1 as wire;
use rating_engine::cdr::CdrKind;
use rating_engine::ids::AccountId;

/// Accounts that a selection may name.
pub const ACCOUNTS_MAX: usize = 1000;

/// Which CDRs somebody wants: of some kinds, of some accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    kinds: Vec<CdrKind>,
    accounts: BTreeSet<AccountId>,
}

impl Selection {
    /// Of these kinds, none for all, and of these accounts, none for all.
    pub fn new(kinds: impl IntoIterator<Item = CdrKind>, accounts: impl IntoIterator<Item = AccountId>) -> Self {
        let mut own = Vec::new();
        for kind in kinds {
            if !own.contains(&kind) {
                own.push(kind);
            }
        }
        Self { kinds: own, accounts: accounts.into_iter().collect() }
    }

    /// As a request says it.
    ///
    /// # Errors
    /// The field that is malformed, and what to write, in words.
    pub fn parse(given: Option<wire::CdrFilter>) -> Result<Self, String> {
        let Some(wire::CdrFilter { kinds, account_ids }) = given else { return Ok(Self::default()) };
        if account_ids.len() > ACCOUNTS_MAX {
            return Err(format!(
                "filter.account_ids: has {}; give at most {ACCOUNTS_MAX}, or none for all",
                account_ids.len()
            ));
        }
        if account_ids.contains(&0) {
            return Err("filter.account_ids: has account 0; account numbers begin at 1".to_owned());
        }
        let mut known = Vec::new();
        for number in kinds {
            let kind = wire::CdrKind::try_from(number).ok().and_then(kind_of);
            known.push(kind.ok_or_else(|| format!("filter.kinds: {number} is no kind of CDR; give none for all"))?);
        }
        Ok(Self::new(known, account_ids.into_iter().map(AccountId::new)))
    }

    /// As it is shown.
    pub fn shown(&self) -> wire::CdrFilter {
        wire::CdrFilter {
            kinds: self.kinds.iter().map(|it| kind(*it).into()).collect(),
            account_ids: self.accounts.iter().map(|account| account.get()).collect(),
        }
    }

    /// Its kinds; none for all.
    pub fn kinds(&self) -> &[CdrKind] {
        &self.kinds
    }

    /// Its accounts; none for all.
    pub fn accounts(&self) -> impl Iterator<Item = AccountId> {
        self.accounts.iter().copied()
    }

    /// Whether every CDR is wanted.
    pub fn is_all(&self) -> bool {
        self.kinds.is_empty() && self.accounts.is_empty()
    }

    /// Whether a CDR of this kind and account is wanted.
    pub fn wants(&self, kind: CdrKind, account: AccountId) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (self.accounts.is_empty() || self.accounts.contains(&account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_said_back_and_nonsense_is_refused_by_its_field() {
        let filter = wire::CdrFilter {
            kinds: vec![wire::CdrKind::Usage.into(), wire::CdrKind::TopUp.into()],
            account_ids: vec![7, 9],
        };
        let selection = Selection::parse(Some(filter.clone())).unwrap();
        assert_eq!(selection.shown(), filter);
        assert!(selection.wants(CdrKind::TopUp, AccountId::new(9)));
        assert!(!selection.wants(CdrKind::TopUp, AccountId::new(8)));
        assert!(!selection.wants(CdrKind::Refund, AccountId::new(7)));
        assert!(Selection::parse(None).unwrap().is_all());
        for (filter, field) in [
            (wire::CdrFilter { kinds: vec![99], account_ids: Vec::new() }, "kinds"),
            (wire::CdrFilter { kinds: vec![0], account_ids: Vec::new() }, "kinds"),
            (wire::CdrFilter { kinds: Vec::new(), account_ids: vec![0] }, "account_ids"),
            (wire::CdrFilter { kinds: Vec::new(), account_ids: vec![1; ACCOUNTS_MAX + 1] }, "account_ids"),
        ] {
            let reason = Selection::parse(Some(filter)).unwrap_err();
            assert!(reason.starts_with(&format!("filter.{field}: ")), "{reason}");
        }
    }
}

//! Lists of networks by name: what "roaming in the EU" means.
//!
//! An entry is a country (MCC, three digits) or one network (MCC and MNC, five or six). Nothing here knows where a
//! subscriber is; see [`crate::selector::Subject`].

use crate::context::Plmn;
use crate::tariff::Problem;

/// Lists of one tariff.
pub const LISTS_MAX: usize = 1000;

/// The place of a list among those of its tariff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkListId(u16);

/// A country or one network of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Entry {
    Country([u8; 3]),
    Network(Plmn),
}

impl Entry {
    /// `262`, `26201` or `262-01`.
    fn parse(text: &str) -> Option<Self> {
        let bare: String = text.chars().filter(|c| *c != '-').collect();
        match bare.as_bytes() {
            [a, b, c] if bare.bytes().all(|octet| octet.is_ascii_digit()) => Some(Self::Country([*a, *b, *c])),
            _ => Plmn::parse(&bare).map(Self::Network),
        }
    }

    /// `262` or `262-01`.
    fn text(self) -> String {
        match self {
            Self::Country(digits) => digits.iter().map(|digit| char::from(*digit)).collect(),
            Self::Network(plmn) => {
                let (country, network) = plmn.as_str().split_at_checked(3).unwrap_or(("", ""));
                format!("{country}-{network}")
            }
        }
    }

    fn country(plmn: Plmn) -> Self {
        let [a, b, c, ..] = *plmn.octets();
        Self::Country([a, b, c])
    }
}

/// Named lists of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Box<[List]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    name: Box<str>,
    /// In order.
    entries: Box<[Entry]>,
}

impl Networks {
    /// Takes named lists, or says every reason why not.
    ///
    /// # Errors
    /// A name is there twice, a list is empty, an entry is neither a country nor a network.
    pub fn new<N: AsRef<str>, E: AsRef<str>>(lists: &[(N, Vec<E>)]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut taken: Vec<List> = Vec::with_capacity(lists.len());
        if lists.len() > LISTS_MAX {
            let reason = format!("a tariff has at most {LISTS_MAX} lists of networks");
            problems.push(Problem { path: "networks".to_owned(), reason });
        }
        for (name, entries) in lists {
            let name = name.as_ref();
            let path = format!("networks.{name}");
            if taken.iter().any(|known| *known.name == *name) {
                problems.push(Problem { path: path.clone(), reason: "another list has the same name".to_owned() });
            }
            if entries.is_empty() {
                problems.push(Problem { path: path.clone(), reason: "the list is empty".to_owned() });
            }
            let mut list = Vec::with_capacity(entries.len());
            for (number, text) in entries.iter().enumerate() {
                let text = text.as_ref();
                match Entry::parse(text) {
                    Some(entry) => list.push(entry),
                    None => {
                        let reason = format!("'{text}' is no network; write an MCC (262) or MCC and MNC (262-01)");
                        problems.push(Problem { path: format!("{path}[{number}]"), reason });
                    }
                }
            }
            list.sort_unstable();
            list.dedup();
            taken.push(List { name: name.into(), entries: list.into() });
        }
        if problems.is_empty() { Ok(Self(taken.into())) } else { Err(problems) }
    }

    /// The list of this name.
    pub fn id(&self, name: &str) -> Option<NetworkListId> {
        let place = self.0.iter().position(|list| *list.name == *name)?;
        u16::try_from(place).ok().map(NetworkListId)
    }

    /// The name of a list.
    pub fn name(&self, id: NetworkListId) -> &str {
        self.0.get(usize::from(id.0)).map_or("", |list| &list.name)
    }

    /// Every list: its name, and its countries (`262`) and networks (`262-01`), in order.
    pub fn lists(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = String>)> {
        self.0.iter().map(|list| (&*list.name, list.entries.iter().map(|entry| entry.text())))
    }

    /// Whether `plmn` or its country is in the list.
    pub fn contains(&self, id: NetworkListId, plmn: Plmn) -> bool {
        let Some(list) = self.0.get(usize::from(id.0)) else { return false };
        let has = |entry: Entry| list.entries.binary_search(&entry).is_ok();
        has(Entry::country(plmn)) || has(Entry::Network(plmn))
    }

    /// Whether everything in `other` is in the list.
    pub fn covers(&self, id: NetworkListId, other: NetworkListId) -> bool {
        let entries = |id: NetworkListId| self.0.get(usize::from(id.0)).map_or(&[][..], |list| &list.entries);
        entries(other).iter().all(|entry| {
            entries(id).contains(entry)
                || matches!(entry, Entry::Network(plmn) if entries(id).contains(&Entry::country(*plmn)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_in_a_list_by_itself_or_by_its_country() {
        let networks = Networks::new(&[("eu", vec!["208", "222-01", "310410"]), ("france", vec!["20801"])]).unwrap();
        let (eu, france) = (networks.id("eu").unwrap(), networks.id("france").unwrap());
        for (plmn, inside) in [("20801", true), ("20815", true), ("22201", true), ("22202", false), ("310410", true)] {
            assert_eq!(networks.contains(eu, Plmn::parse(plmn).unwrap()), inside, "{plmn}");
        }
        assert!(networks.covers(eu, france) && !networks.covers(france, eu));
        assert_eq!((networks.name(eu), networks.id("us")), ("eu", None));
        let lists: Vec<(&str, Vec<String>)> = networks.lists().map(|(name, all)| (name, all.collect())).collect();
        let said = |entries: &[&str]| entries.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lists, [("eu", said(&["208", "222-01", "310-410"])), ("france", said(&["208-01"]))]);
    }

    #[test]
    fn every_problem_of_a_list_is_named() {
        let problems =
            Networks::new(&[("a", vec!["26"]), ("a", vec!["262-0x"]), ("b", Vec::new())]).expect_err("refused");
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["networks.a[0]", "networks.a", "networks.a[0]", "networks.b"]);
    }
}

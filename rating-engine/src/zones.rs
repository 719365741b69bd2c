//! Numbers to zones by the longest prefix that matches (R10).
//!
//! [`Zones`] is a checked value with a compiled form: a trie of digits in one list, so that a lookup touches one small node
//! per digit. [`Dialled`] is what networks send as a number, brought to international digits.

use std::fmt;

use hashbrown::HashMap;

use crate::tariff::Problem;

/// Zones of one tariff.
pub const ZONES_MAX: usize = 60_000;
/// Prefixes of one tariff.
pub const PREFIXES_MAX: usize = 1_000_000;
/// Digits of a prefix or number (E.164).
pub const DIGITS_MAX: usize = 15;

/// The place of a zone among those of its tariff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(u16);

/// What follows one digit, and the zone of the numbers up to here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Node {
    /// The nodes of the digits that follow; 0 where none does: the root follows nothing.
    next: [u32; 10],
    /// The zone's place and 1; 0 for none.
    zone: u32,
}

/// Named zones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    names: Box<[Box<str>]>,
    nodes: Box<[Node]>,
}

/// The prefix that a number matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its zone.
    pub zone: ZoneId,
    /// How many digits it has.
    pub digits: usize,
}

impl Zones {
    /// Takes named lists of prefixes, or says every reason why not. A leading `+` of a prefix is ignored.
    ///
    /// # Errors
    /// A name or prefix is there twice, a zone has no prefix, a prefix is not 1 to 15 digits.
    pub fn new<N: AsRef<str>, P: AsRef<str>>(zones: &[(N, Vec<P>)]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut problem = |path: String, reason: String| problems.push(Problem { path, reason });
        if zones.len() > ZONES_MAX || zones.iter().map(|(_, prefixes)| prefixes.len()).sum::<usize>() > PREFIXES_MAX {
            let reason = "a tariff has at most 60,000 zones and 1,000,000 prefixes".to_owned();
            return Err(vec![Problem { path: "zones".to_owned(), reason }]);
        }
        let mut names: Vec<Box<str>> = Vec::with_capacity(zones.len());
        let mut known: HashMap<&str, ()> = HashMap::new();
        let mut taken: HashMap<&str, &str> = HashMap::new();
        let mut nodes = vec![Node::default()];
        for (number, (name, prefixes)) in zones.iter().enumerate() {
            let name = name.as_ref();
            if known.insert(name, ()).is_some() {
                problem(format!("zones.{name}"), "another zone has the same name".to_owned());
            }
            if prefixes.is_empty() {
                problem(format!("zones.{name}"), "the zone has no prefix".to_owned());
            }
            for (place, text) in prefixes.iter().enumerate() {
                let prefix = text.as_ref().strip_prefix('+').unwrap_or(text.as_ref());
                let path = format!("zones.{name}[{place}]");
                if prefix.is_empty() || prefix.len() > DIGITS_MAX || !prefix.bytes().all(|octet| octet.is_ascii_digit())
                {
                    problem(path, format!("'{}' is no prefix; write 1 to 15 digits", text.as_ref()));
                    continue;
                }
                if let Some(other) = taken.insert(prefix, name) {
                    problem(path, format!("zone '{other}' has the prefix {prefix} already"));
                    continue;
                }
                insert(&mut nodes, prefix, u32::try_from(number + 1).unwrap_or(0));
            }
            names.push(name.into());
        }
        if problems.is_empty() { Ok(Self { names: names.into(), nodes: nodes.into() }) } else { Err(problems) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The zone of this name.
    pub fn id(&self, name: &str) -> Option<ZoneId> {
        let place = self.names.iter().position(|known| **known == *name)?;
        u16::try_from(place).ok().map(ZoneId)
    }

    /// The name of a zone.
    pub fn name(&self, id: ZoneId) -> &str {
        self.names.get(usize::from(id.0)).map_or("", |name| name)
    }

    /// The names of all zones, in their order.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Every prefix with its zone, in the order of their digits.
    pub fn prefixes(&self) -> Vec<(String, ZoneId)> {
        let mut found = Vec::new();
        let mut left = vec![(0usize, String::new())];
        while let Some((at, prefix)) = left.pop() {
            let Some(node) = self.nodes.get(at) else { continue };
            if let Some(zone) = node.zone.checked_sub(1).and_then(|zone| u16::try_from(zone).ok()) {
                found.push((prefix.clone(), ZoneId(zone)));
            }
            for (digit, next) in node.next.iter().enumerate().rev() {
                if let Some(next) = usize::try_from(*next).ok().filter(|next| *next != 0) {
                    left.push((next, format!("{prefix}{digit}")));
                }
            }
        }
        found
    }

    /// The longest prefix that a number begins with.
    pub fn find(&self, number: &Dialled) -> Option<Match> {
        let mut node = self.nodes.first()?;
        let mut found = None;
        for (place, digit) in number.digits().iter().enumerate() {
            let next = node.next.get(usize::from(*digit)).copied().filter(|next| *next != 0);
            let next = next.and_then(|next| usize::try_from(next).ok()).and_then(|next| self.nodes.get(next));
            let Some(next) = next else { break };
            node = next;
            if let Some(zone) = node.zone.checked_sub(1).and_then(|zone| u16::try_from(zone).ok()) {
                found = Some(Match { zone: ZoneId(zone), digits: place + 1 });
            }
        }
        found
    }
}

fn insert(nodes: &mut Vec<Node>, prefix: &str, zone: u32) {
    let mut at = 0usize;
    for digit in prefix.bytes().map(|octet| usize::from(octet.wrapping_sub(b'0'))) {
        let after = u32::try_from(nodes.len()).unwrap_or(0);
        let Some(next) = nodes.get_mut(at).and_then(|node| node.next.get_mut(digit)) else { return };
        if *next == 0 {
            *next = after;
            nodes.push(Node::default());
        }
        at = nodes.get(at).and_then(|node| node.next.get(digit)).map_or(0, |next| usize::try_from(*next).unwrap_or(0));
    }
    if let Some(node) = nodes.get_mut(at) {
        node.zone = zone;
    }
}

/// A number as digits 0 to 9, the international prefix gone; longer ones are cut, which no prefix notices.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dialled {
    digits: [u8; DIGITS_MAX],
    length: u8,
}

impl Dialled {
    /// Reads what networks send as a number: `tel:+49...`, `sip:+49...@host`, `+49...`, `0049...`, bare digits, with any
    /// parameters behind a semicolon and with separators. `None` when it has no digits, or is a name.
    pub fn parse(text: &str) -> Option<Self> {
        let scheme = text.split_once(':').map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        let text = match &scheme {
            Some((scheme, rest)) if matches!(scheme.as_str(), "tel" | "sip" | "sips") => rest,
            // Emergency calls and services have no number.
            Some(_) => return None,
            None => text,
        };
        let text = text.split(['@', ';', '?']).next().unwrap_or("");
        let text = text.strip_prefix('+').or_else(|| text.strip_prefix("00")).unwrap_or(text);
        let mut number = Self { digits: [0; DIGITS_MAX], length: 0 };
        for octet in text.bytes() {
            match octet {
                b'0'..=b'9' => {
                    if let Some(place) = number.digits.get_mut(usize::from(number.length)) {
                        *place = octet - b'0';
                        number.length += 1;
                    }
                }
                b' ' | b'-' | b'.' | b'(' | b')' | b'/' => {}
                _ => return None,
            }
        }
        (number.length > 0).then_some(number)
    }

    fn digits(&self) -> &[u8] {
        self.digits.get(..usize::from(self.length)).unwrap_or(&[])
    }
}

impl fmt::Display for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits().iter().try_for_each(|digit| digit.fmt(f))
    }
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialled({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone_of(zones: &Zones, number: &str) -> Option<String> {
        let found = zones.find(&Dialled::parse(number)?)?;
        Some(format!("{} {}", zones.name(found.zone), found.digits))
    }

    #[test]
    fn the_longest_prefix_wins() {
        let zones = Zones::new(&[
            ("national", vec!["+49"]),
            ("mobile", vec!["4915", "4916", "4917"]),
            ("premium", vec!["49900"]),
            ("us", vec!["1"]),
            ("caribbean", vec!["1876"]),
        ])
        .unwrap();
        for (number, zone) in [
            ("+49301234567", Some("national 2")),
            ("tel:+49-171-2345678;phone-context=x", Some("mobile 4")),
            ("sip:+4990012345@ims.example.org;user=phone", Some("premium 5")),
            ("0012125550100", Some("us 1")),
            ("18765550100", Some("caribbean 4")),
            ("4", None),
            ("7", None),
            ("sip:alice@example.org", None),
            ("urn:service:sos", None),
            ("", None),
        ] {
            assert_eq!(zone_of(&zones, number).as_deref(), zone, "{number}");
        }
        assert_eq!(zones.id("us").map(|id| zones.name(id)), Some("us"));
        assert_eq!(Dialled::parse("+49 (30) 123/45.6").unwrap().to_string(), "4930123456");
    }

    #[test]
    fn every_problem_is_named() {
        let zones = [("a", vec!["49", "x"]), ("a", vec!["+49"]), ("b", Vec::new()), ("c", vec!["1234567890123456"])];
        let problems = Zones::new(&zones).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["zones.a[1]", "zones.a", "zones.a[0]", "zones.b", "zones.c[0]"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// The same as looking at every prefix.
        #[test]
        fn it_is_the_longest_of_all(
            prefixes in prop::collection::btree_set("[0-3]{1,6}", 1..60),
            number in "[0-3]{1,8}",
        ) {
            let zones: Vec<(String, Vec<String>)> =
                prefixes.iter().map(|prefix| (format!("z{prefix}"), vec![prefix.clone()])).collect();
            let zones = Zones::new(&zones).unwrap();
            let dialled = Dialled::parse(&format!("+{number}")).unwrap();
            let digits = dialled.to_string();
            let longest = prefixes.iter().filter(|prefix| digits.starts_with(*prefix)).max_by_key(|prefix| prefix.len());
            let found = zones.find(&dialled).map(|found| zones.name(found.zone).to_owned());
            prop_assert_eq!(found, longest.map(|prefix| format!("z{prefix}")));
        }
    }
}

//! What changed between two versions of a tariff, an offer or accounting periods: in meaning, and in words.
//!
//! Each document is written down as facts of its checked values; facts are compared. However it is written, the same meaning has
//! the same facts, and whatever a document can say is one: nothing changes silently. Pure. Absent: what it costs whom, which is
//! [`crate::simulate`], and who approves it.

mod facts;
mod words;

use std::collections::HashMap;

use super::Document;
use facts::{Fact, Facts, Part, Style};

/// Entries that are named of a part that is new or gone; more are counted.
const NAMED_MAX: usize = 16;

/// What happened to a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// Only the new version says it.
    Added,
    /// Only the old version says it.
    Removed,
    /// Both do, not the same.
    Changed,
}

impl ChangeKind {
    /// As programs read it: added, removed, changed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// What a change alone does to what the same usage or holding costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Never less, and more for some usage.
    Dearer,
    /// Nothing, or it cannot be told from this change alone.
    Open,
    /// Never more, and less for some usage.
    Cheaper,
}

impl Effect {
    /// As programs read it: dearer, cheaper, open.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dearer => "dearer",
            Self::Open => "open",
            Self::Cheaper => "cheaper",
        }
    }
}

/// One change in meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where, e.g. `prices/national-peak/rate`; `~1` and `~0` stand for `/` and `~` in names, as in a JSON Pointer.
    pub path: String,
    /// What happened.
    pub kind: ChangeKind,
    /// What the old version says, in words; `None` where it says nothing.
    pub before: Option<String>,
    /// What the new version says.
    pub after: Option<String>,
    /// The change as people say it: `price national-peak: 0.09 to 0.11 EUR per minute, from 2027-04-01`.
    pub words: String,
    /// What it does to the bill.
    pub effect: Effect,
}

/// What changed from `old` to `new`: what makes it dearer first, then the rest in the order of the document. Empty where both mean
/// the same.
///
/// # Errors
/// They are no two versions of one kind.
pub fn diff(old: &Document, new: &Document) -> Result<Vec<Change>, String> {
    let (before, after) = match (old, new) {
        (Document::Tariff(old), Document::Tariff(new)) => (Facts::of_tariff(old), Facts::of_tariff(new)),
        (Document::Offer(old), Document::Offer(new)) => (Facts::of_offer(old), Facts::of_offer(new)),
        (Document::Accounting(old, _), Document::Accounting(new, _)) => {
            (Facts::of_periods(old), Facts::of_periods(new))
        }
        (Document::Tariff(_) | Document::Offer(_) | Document::Accounting(..), _) => {
            return Err(format!("{old} and {new} are no two versions of one thing; name two of the same kind"));
        }
    };
    let mut changes = compare(&before, &after);
    // Ties of allowances go to the first (R37): their order says something only there.
    if changes.is_empty() && before.costs != after.costs {
        changes.extend(order("allowances", "allowances", &before.allowances, &after.allowances));
    }
    if old.version() != new.version() && changes.is_empty() {
        changes.push(Change {
            path: "version".to_owned(),
            kind: ChangeKind::Changed,
            before: Some(old.version().to_string()),
            after: Some(new.version().to_string()),
            words: "nothing but the version number changed".to_owned(),
            effect: Effect::Open,
        });
    }
    changes.sort_by_key(|change| change.effect != Effect::Dearer);
    Ok(changes)
}

fn compare(old: &Facts, new: &Facts) -> Vec<Change> {
    let mut changes = Vec::new();
    let by_path = |facts: &'_ Facts| -> HashMap<String, usize> {
        facts.parts.iter().enumerate().map(|(place, part)| (part.path.clone(), place)).collect()
    };
    let (known, left) = (by_path(old), by_path(new));
    for part in &new.parts {
        match known.get(&part.path).and_then(|place| old.parts.get(*place)) {
            Some(before) => part_changes(before, part, &new.from, &mut changes),
            None => changes.push(whole(part, ChangeKind::Added)),
        }
    }
    let gone = old.parts.iter().filter(|part| !left.contains_key(&part.path));
    changes.extend(gone.map(|part| whole(part, ChangeKind::Removed)));
    changes.extend(order("calendar/windows", "windows", &old.windows, &new.windows));
    changes.extend(winners(old, new));
    changes
}

/// A part that only one of them has.
fn whole(part: &Part, kind: ChangeKind) -> Change {
    let said: Vec<String> = part.facts.iter().filter(|fact| !fact.is_usual).map(Fact::said).collect();
    let mut text = said.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if said.len() > NAMED_MAX {
        text.push_str(&format!(", and {} more", said.len() - NAMED_MAX));
    }
    let (before, after) = if kind == ChangeKind::Added { (None, Some(text)) } else { (Some(text), None) };
    let words = match (&before, &after) {
        (None, Some(text)) => format!("{}: new, {text}", part.label),
        (text, _) => format!("{}: gone, was {}", part.label, text.as_deref().unwrap_or("")),
    };
    let effect = match kind {
        ChangeKind::Removed => part.effect_of_new.reversed(),
        ChangeKind::Added | ChangeKind::Changed => part.effect_of_new,
    };
    Change { path: part.path.clone(), kind, before, after, words, effect }
}

impl Effect {
    const fn reversed(self) -> Self {
        match self {
            Self::Dearer => Self::Cheaper,
            Self::Open => Self::Open,
            Self::Cheaper => Self::Dearer,
        }
    }
}

/// What differs within a part that both have.
fn part_changes(old: &Part, new: &Part, from: &str, changes: &mut Vec<Change>) {
    let index = |part: &Part| -> HashMap<String, usize> {
        part.facts.iter().enumerate().map(|(place, fact)| (fact.key.clone(), place)).collect()
    };
    let (known, left) = (index(old), index(new));
    let find = |part: &'_ Part, places: &HashMap<String, usize>, key: &str| -> Option<Fact> {
        places.get(key).and_then(|place| part.facts.get(*place)).cloned()
    };
    for fact in &new.facts {
        let before = find(old, &known, &fact.key);
        if before.as_ref().is_none_or(|before| before.same != fact.same) {
            let stood = before.clone().or_else(|| find(old, &known, fact.stands_for?));
            let effect = facts::effect(stood.as_ref(), Some(fact), fact);
            changes.push(change(new, before.as_ref(), Some(fact), fact, effect, from));
        }
    }
    for fact in old.facts.iter().filter(|fact| !left.contains_key(&fact.key)) {
        let stands = fact.stands_for.and_then(|usual| find(new, &left, usual));
        let effect = facts::effect(Some(fact), stands.as_ref(), fact);
        changes.push(change(new, Some(fact), None, fact, effect, from));
    }
}

fn change(part: &Part, before: Option<&Fact>, after: Option<&Fact>, fact: &Fact, effect: Effect, from: &str) -> Change {
    let label = if fact.label.is_empty() { String::new() } else { format!("{} ", fact.label) };
    let said = match (fact.style, before, after) {
        (Style::Member, None, _) => format!("{} added", fact.text_of()),
        (Style::Member, Some(_), _) => format!("{} removed", fact.text_of()),
        (Style::Flag, _, _) => {
            let now = after.is_some_and(|fact| fact.same == "true");
            format!("{} {}", if now { "now" } else { "no longer" }, fact.label)
        }
        (Style::Value, Some(old), Some(new)) if !old.number.is_empty() && old.rest == new.rest => {
            format!("{label}{} to {}{}", old.number, new.number, new.rest)
        }
        (Style::Value, old, new) => {
            let text = |fact: Option<&Fact>, none: &str| fact.map_or_else(|| none.to_owned(), Fact::text_of);
            format!("{label}now {}, was {}", text(new, fact.absent), text(old, fact.absent))
        }
    };
    let from = if part.is_dated && fact.weight.is_some() { from } else { "" };
    Change {
        path: if part.path.is_empty() { fact.key.clone() } else { format!("{}/{}", part.path, fact.key) },
        kind: match (before, after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            (Some(_), Some(_)) => ChangeKind::Changed,
        },
        before: before.map(Fact::text_of),
        after: after.map(Fact::text_of),
        words: format!("{}: {said}{from}", part.label),
        effect,
    }
}

/// Another order of what both have, where that says something.
fn order(path: &str, label: &str, old: &[String], new: &[String]) -> Option<Change> {
    let common = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|name| those.contains(name)).cloned().collect()
    };
    let (before, after) = (common(old, new).join(", "), common(new, old).join(", "));
    (before != after).then(|| Change {
        path: path.to_owned(),
        kind: ChangeKind::Changed,
        words: format!("{label}: order now {after}, was {before}"),
        before: Some(before),
        after: Some(after),
        effect: Effect::Open,
    })
}

/// Prices of one rank of which the first one wins: another one than before.
fn winners(old: &Facts, new: &Facts) -> Vec<Change> {
    let mut changes = Vec::new();
    for (rank, after) in &new.ranks {
        let Some(before) = old.ranks.get(rank) else { continue };
        let place: HashMap<&str, usize> =
            before.iter().enumerate().map(|(place, price)| (price.id.as_str(), place)).collect();
        let common: Vec<_> = after.iter().filter_map(|price| Some((price, *place.get(price.id.as_str())?))).collect();
        if common.is_sorted_by_key(|(_, place)| *place) {
            continue;
        }
        // Each with the first one that it has overtaken: enough to be told, and no more than there are prices.
        for (number, (price, place)) in common.iter().enumerate() {
            let passed = common.iter().skip(number + 1).take(facts::COMPARED_MAX);
            let passed = passed.filter(|(_, other)| other < place).find(|(other, _)| price.may_meet(other));
            if let Some((other, _)) = passed {
                changes.push(Change {
                    path: format!("prices/{}", words::escaped(&price.id)),
                    kind: ChangeKind::Changed,
                    before: Some(format!("after {}", other.id)),
                    after: Some(format!("before {}", other.id)),
                    words: format!("price {}: now wins over {}, which won before", price.id, other.id),
                    effect: Effect::Open,
                });
            }
        }
    }
    changes
}

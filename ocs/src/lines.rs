//! On which line of a YAML or JSON text something stands: for errors about what a checked document says.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The shape of a document, with its places.
#[derive(Debug)]
pub(crate) struct Lines(Spanned<Node>);

#[derive(Debug)]
enum Node {
    Map(BTreeMap<String, Spanned<Node>>),
    List(Vec<Spanned<Node>>),
    Leaf,
}

impl Lines {
    /// Of a text; `None` when it has no such shape.
    pub(crate) fn of(text: &str) -> Option<Self> {
        serde_saphyr::from_str(text).ok().map(Self)
    }

    /// The line, from 1, of a path such as `prices[2].tiers[0].rate`; of a member that is not there, where what it
    /// should be in begins.
    pub(crate) fn line(&self, path: &str) -> usize {
        let mut at = &self.0;
        for step in path.split(['.', '[']) {
            let below = match (&at.value, step.strip_suffix(']')) {
                (Node::Map(members), None) => members.get(step),
                (Node::List(items), Some(number)) => number.parse().ok().and_then(|number: usize| items.get(number)),
                (Node::Map(_) | Node::List(_) | Node::Leaf, _) => None,
            };
            let Some(below) = below else { break };
            at = below;
        }
        usize::try_from(at.referenced.line()).unwrap_or(0)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

struct Shape;

impl<'de> Visitor<'de> for Shape {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(key) = map.next_key()? {
            members.insert(key, map.next_value()?);
        }
        Ok(Node::Map(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_line() {
        let text = "# a comment\ntariff: t\nversion: 1\nprices:\n  - {id: data, rate: x}\n  - id: voice\n    tiers:\n      - {up_to: 1 min}\n      - {rate: y}\n";
        let lines = Lines::of(text).unwrap();
        for (path, line) in [
            ("tariff", 2),
            ("version", 3),
            ("prices[0].rate", 5),
            ("prices[0].pulse", 5),
            ("prices[1].id", 6),
            ("prices[1].tiers[1].rate", 9),
            ("prices[1].tiers[0].rate", 8),
        ] {
            assert_eq!(lines.line(path), line, "{path}");
        }
        let lines = Lines::of("{\n\"tariff\": null,\n\"prices\": [\n{\"rate\": 1.5}, {\n\"rate\": true}]}").unwrap();
        assert_eq!((lines.line("tariff"), lines.line("prices[0].rate"), lines.line("prices[1].rate")), (2, 4, 5));
    }
}

//! Records by a key that they carry themselves, packed.
//!
//! A hash map keeps up to half of its places free, each as large as a record and a copy of its key. Here a place takes
//! four octets, and the records lie beside each other in chunks: nothing is moved or set aside twice as the table grows.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

/// Records in one chunk.
const CHUNK: usize = 64;

/// A record that carries its key, which does not change while it is in a table.
pub trait Keyed {
    /// What it is found by.
    type Key: Hash + Eq;

    /// Its key.
    fn key(&self) -> &Self::Key;
}

/// Records, each found by its key. At most `u32::MAX`; further ones are not taken.
pub struct Table<T> {
    /// Places of records, by the hash of their keys.
    index: HashTable<u32>,
    /// All full but the last.
    chunks: Vec<Vec<T>>,
    /// Where the last one to be changed was found: one command asks for the same again and again.
    recent: u32,
    hasher: DefaultHashBuilder,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { index: HashTable::new(), chunks: Vec::new(), recent: 0, hasher: DefaultHashBuilder::default() }
    }
}

impl<T: Keyed> Table<T> {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The record of this key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&T>
    where
        T::Key: Borrow<Q>,
    {
        at(&self.chunks, self.place(key)?)
    }

    /// The record of this key, to be changed; its key stays.
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut T>
    where
        T::Key: Borrow<Q>,
    {
        if at(&self.chunks, self.recent).is_none_or(|record| record.key().borrow() != key) {
            self.recent = self.place(key)?;
        }
        at_mut(&mut self.chunks, self.recent)
    }

    /// Two different records, to be changed; their keys stay.
    pub fn get_two_mut<Q: Hash + Eq + ?Sized>(&mut self, one: &Q, other: &Q) -> Option<(&mut T, &mut T)>
    where
        T::Key: Borrow<Q>,
    {
        let place = |place: u32| usize::try_from(place).ok();
        let (one, other) = (place(self.place(one)?)?, place(self.place(other)?)?);
        let (low, high) = (one.min(other), one.max(other));
        let (before, from) = self.chunks.split_at_mut_checked(high / CHUNK)?;
        let (there, beyond) = from.first_mut()?.split_at_mut_checked(high % CHUNK)?;
        let low = match before.get_mut(low / CHUNK) {
            Some(chunk) => chunk.get_mut(low % CHUNK)?,
            None => there.get_mut(low % CHUNK)?,
        };
        let high = beyond.first_mut()?;
        Some(if one < other { (low, high) } else { (high, low) })
    }

    /// Whether there is a record of this key.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        T::Key: Borrow<Q>,
    {
        self.place(key).is_some()
    }

    /// Puts a record in place of any other of its key, and returns that one.
    pub fn insert(&mut self, record: T) -> Option<T> {
        if let Some(place) = self.place(record.key()) {
            return at_mut(&mut self.chunks, place).map(|there| std::mem::replace(there, record));
        }
        let Ok(place) = u32::try_from(self.len()) else { return Some(record) };
        let Self { index, chunks, hasher, .. } = self;
        let hash = hasher.hash_one(record.key());
        match chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push(record),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(record);
                chunks.push(chunk);
            }
        }
        index.insert_unique(hash, place, |place| hash_at(hasher, chunks, *place));
        None
    }

    /// Takes the record of this key out; the last one moves to its place.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<T>
    where
        T::Key: Borrow<Q>,
    {
        let Self { index, chunks, hasher, .. } = self;
        let is_it = |place: &u32| at(chunks, *place).is_some_and(|record| record.key().borrow() == key);
        let (place, _) = index.find_entry(hasher.hash_one(key), is_it).ok()?.remove();
        let last = chunks.last_mut()?.pop()?;
        if chunks.last().is_some_and(Vec::is_empty) {
            chunks.pop();
        }
        let Some(there) = at_mut(chunks, place) else { return Some(last) };
        let moved_from = u32::try_from(index.len()).ok()?;
        let hash = hasher.hash_one(last.key());
        if let Some(moved) = index.find_mut(hash, |known| *known == moved_from) {
            *moved = place;
        }
        Some(std::mem::replace(there, last))
    }

    /// All records, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// All records, in no order, to be changed; their keys stay.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }

    fn place<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        T::Key: Borrow<Q>,
    {
        let is_it = |place: &u32| at(&self.chunks, *place).is_some_and(|record| record.key().borrow() == key);
        self.index.find(self.hasher.hash_one(key), is_it).copied()
    }
}

/// Different names kept at once; further ones are not shared.
const NAMES_MAX: usize = 1024;

/// Names that many records have, each in memory once.
#[derive(Debug)]
pub struct Names<N>(HashSet<N>);

impl<N> Default for Names<N> {
    fn default() -> Self {
        Self(HashSet::default())
    }
}

impl<N: Hash + Eq + Clone> Names<N> {
    /// Puts the one that is kept in place of an equal one.
    pub fn share(&mut self, name: &mut N) {
        if let Some(known) = self.0.get(name) {
            name.clone_from(known);
        } else if self.0.len() < NAMES_MAX {
            self.0.insert(name.clone());
        }
    }
}

fn split(place: u32) -> (usize, usize) {
    let place = usize::try_from(place).unwrap_or(usize::MAX);
    (place / CHUNK, place % CHUNK)
}

fn at<T>(chunks: &[Vec<T>], place: u32) -> Option<&T> {
    let (chunk, place) = split(place);
    chunks.get(chunk)?.get(place)
}

fn at_mut<T>(chunks: &mut [Vec<T>], place: u32) -> Option<&mut T> {
    let (chunk, place) = split(place);
    chunks.get_mut(chunk)?.get_mut(place)
}

fn hash_at<T: Keyed>(hasher: &DefaultHashBuilder, chunks: &[Vec<T>], place: u32) -> u64 {
    at(chunks, place).map_or(0, |record| hasher.hash_one(record.key()))
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("len", &self.index.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Keyed for (u16, u32) {
        type Key = u16;

        fn key(&self) -> &u16 {
            &self.0
        }
    }

    proptest! {
        /// Whatever is put in and taken out, it holds what an ordered map holds.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u16..400, any::<u32>(), 0u8..3), 0..2000)) {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for (key, value, step) in steps {
                if step == 0 {
                    prop_assert_eq!(table.remove(&key).map(|(_, value)| value), model.remove(&key));
                } else {
                    prop_assert_eq!(table.insert((key, value)).map(|(_, value)| value), model.insert(key, value));
                }
                prop_assert_eq!(table.get(&key).map(|(_, value)| value), model.get(&key));
                let other = key / 2;
                let two = table.get_two_mut(&key, &other).map(|(one, other)| (one.0, other.0));
                let both = key != other && model.contains_key(&key) && model.contains_key(&other);
                prop_assert_eq!(two, both.then_some((key, other)));
            }
            prop_assert_eq!(table.len(), model.len());
            let mut all: Vec<(u16, u32)> = table.values().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }
}

//! Octets of records: numbers of variable length, texts and lists, written to a growing buffer and read back.
//!
//! A number takes as many octets as it needs (LEB128, signed ones zigzag), and one way of writing it only: what can be
//! read has been written like this. Reading is bounded by the input: it never panics, and never sets aside more memory
//! than there are octets left. Absent: what any record means, and tolerance for octets that are not understood.

use std::fmt;

use rating_engine::ids::TariffName;

/// Why octets are not the record they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The member that could not be read.
    pub what: &'static str,
    /// Where it begins, in octets from the front of what was given.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a member of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The octets end inside it.
    Ended,
    /// It is none of the values that it can have.
    Value,
    /// It is a text but not UTF-8.
    Text,
    /// Octets follow where nothing should.
    Trailing,
    /// It is of a format that is not known here; written by a later release.
    Version(u8),
    /// It names a tariff version that is not at hand.
    TariffMissing {
        /// The tariff.
        name: TariffName,
        /// Its version.
        version: u32,
    },
    /// It names a tariff version whose content is not what it was when this was written.
    TariffDiffers {
        /// The tariff.
        name: TariffName,
        /// Its version.
        version: u32,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at octet {}: ", self.what, self.offset)?;
        match &self.fault {
            Fault::Ended => f.write_str("the octets end"),
            Fault::Value => f.write_str("no such value"),
            Fault::Text => f.write_str("not UTF-8"),
            Fault::Trailing => f.write_str("octets follow that belong to nothing"),
            Fault::Version(version) => write!(f, "format {version} is not known; it was written by a later release"),
            Fault::TariffMissing { name, version } => write!(f, "tariff {name} version {version} is missing"),
            Fault::TariffDiffers { name, version } => {
                write!(f, "tariff {name} version {version} is not the content that was charged by")
            }
        }
    }
}

impl std::error::Error for RecordError {}

/// Writes members at the end of a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub(crate) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    #[inline]
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    #[inline]
    pub(crate) fn u64(&mut self, value: u64) {
        // Most numbers are small.
        match value.to_le_bytes() {
            [low @ ..0x80, 0, 0, 0, 0, 0, 0, 0] => self.u8(low),
            _ => self.long_u64(value),
        }
    }

    /// A number of more than one octet, four octets at a time.
    fn long_u64(&mut self, mut value: u64) {
        while value >= 1 << 28 {
            self.raw(&(septets(value) | 0x8080_8080).to_le_bytes());
            value >>= 28;
        }
        let [a, b, c, d] = septets(value).to_le_bytes();
        match value {
            0..0x80 => self.u8(a),
            0x80..0x4000 => self.raw(&[a | 0x80, b]),
            0x4000..0x20_0000 => self.raw(&[a | 0x80, b | 0x80, c]),
            _ => self.raw(&[a | 0x80, b | 0x80, c | 0x80, d]),
        }
    }

    #[inline]
    pub(crate) fn i64(&mut self, value: i64) {
        self.u64((value << 1 ^ value >> 63).cast_unsigned());
    }

    pub(crate) fn u128(&mut self, mut value: u128) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.u8(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.u8(low);
    }

    pub(crate) fn i128(&mut self, value: i128) {
        self.u128((value << 1 ^ value >> 127).cast_unsigned());
    }

    /// Eight octets, for numbers that are as good as random.
    #[inline]
    pub(crate) fn fixed64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    #[inline]
    pub(crate) fn length(&mut self, length: usize) {
        self.u64(u64::try_from(length).unwrap_or(u64::MAX));
    }

    /// Octets whose number the reader knows.
    #[inline]
    pub(crate) fn raw(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    #[inline]
    pub(crate) fn octets(&mut self, octets: &[u8]) {
        self.length(octets.len());
        self.raw(octets);
    }

    #[inline]
    pub(crate) fn str(&mut self, text: &str) {
        self.octets(text.as_bytes());
    }

    #[inline]
    pub(crate) fn list<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        for item in items {
            put(self, item);
        }
    }

    /// Which of the optional members that follow are there; the first is bit 0.
    #[inline]
    pub(crate) fn presence(&mut self, present: &[bool]) {
        self.u64(present.iter().rev().fold(0, |bits, there| bits << 1 | u64::from(*there)));
    }

    /// A part with its length before it, in four octets, so that it can be skipped or replaced unread.
    pub(crate) fn section(&mut self, put: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.raw(&[0; SECTION_LENGTH]);
        put(self);
        let length = self.0.len() - start - SECTION_LENGTH;
        if let Some(place) = self.0.get_mut(start..start + SECTION_LENGTH) {
            place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

/// The lowest 28 bits, seven to an octet.
const fn septets(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    low & 0x7F | low << 1 & 0x7F00 | low << 2 & 0x7F_0000 | low << 3 & 0x7F00_0000
}

/// Items of a list that memory is set aside for without asking whether the octets can hold them.
const ITEMS_AT_ONCE: usize = 16;
/// How far the last octet of the longest number is shifted: one bit of it fits.
const LAST_SHIFT: u32 = 63;
/// Octets of a section's length.
const SECTION_LENGTH: usize = 4;

/// Reads members off the front of octets.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Where `rest` ends, counted from the front of what was given.
    end: usize,
}

/// What a read comes to.
pub(crate) type Read<T> = Result<T, RecordError>;

impl<'a> Reader<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets, end: octets.len() }
    }

    pub(crate) const fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// An error in the member that begins at `offset`.
    pub(crate) const fn error(what: &'static str, offset: usize, fault: Fault) -> RecordError {
        RecordError { what, offset, fault }
    }

    /// An error in the member that comes next.
    pub(crate) const fn fail(&self, what: &'static str, fault: Fault) -> RecordError {
        Self::error(what, self.offset(), fault)
    }

    pub(crate) fn raw(&mut self, length: usize, what: &'static str) -> Read<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.fail(what, Fault::Ended))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Read<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.fail(what, Fault::Ended))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Read<u8> {
        self.array::<1>(what).map(|[octet]| octet)
    }

    /// One octet that stands for one of a few values.
    pub(crate) fn code<T>(&mut self, what: &'static str, value: impl FnOnce(u8) -> Option<T>) -> Read<T> {
        let offset = self.offset();
        let code = self.u8(what)?;
        value(code).ok_or_else(|| Self::error(what, offset, Fault::Value))
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Read<u128> {
        let offset = self.offset();
        let mut value = 0u128;
        for shift in (0..u128::BITS).step_by(7) {
            let octet = self.u8(what)?;
            let part = u128::from(octet & 0x7F);
            // Neither a part that does not fit nor a needless last octet was ever written.
            if part << shift >> shift != part || (octet == 0 && shift > 0) {
                return Err(Self::error(what, offset, Fault::Value));
            }
            value |= part << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Self::error(what, offset, Fault::Value))
    }

    pub(crate) fn i128(&mut self, what: &'static str) -> Read<i128> {
        let value = self.u128(what)?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    #[inline]
    pub(crate) fn u64(&mut self, what: &'static str) -> Read<u64> {
        match self.rest.split_first() {
            // Most numbers are small.
            Some((octet, rest)) if *octet < 0x80 => {
                self.rest = rest;
                Ok((*octet).into())
            }
            _ => self.long_u64(what),
        }
    }

    fn long_u64(&mut self, what: &'static str) -> Read<u64> {
        let (mut value, mut rest) = (0, self.rest);
        for shift in (0..u64::BITS).step_by(7) {
            let (octet, after) = rest.split_first().ok_or_else(|| Self::error(what, self.end, Fault::Ended))?;
            rest = after;
            value |= u64::from(octet & 0x7F) << shift;
            if octet & 0x80 == 0 {
                // Neither a part that does not fit nor a needless last octet was ever written.
                if (*octet == 0 && shift > 0) || (*octet > 1 && shift == LAST_SHIFT) {
                    break;
                }
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.fail(what, Fault::Value))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Read<i64> {
        let value = self.u64(what)?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// A number of a narrower type.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, what: &'static str) -> Read<T> {
        let offset = self.offset();
        T::try_from(self.u64(what)?).map_err(|_| Self::error(what, offset, Fault::Value))
    }

    pub(crate) fn fixed64(&mut self, what: &'static str) -> Read<u64> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// How many octets or items follow: each takes at least one octet, so more than are left cannot be.
    fn length(&mut self, what: &'static str) -> Read<usize> {
        let offset = self.offset();
        let length = self.number::<usize>(what)?;
        if length > self.rest.len() {
            return Err(Self::error(what, offset, Fault::Ended));
        }
        Ok(length)
    }

    pub(crate) fn octets(&mut self, what: &'static str) -> Read<&'a [u8]> {
        let length = self.length(what)?;
        self.raw(length, what)
    }

    pub(crate) fn str(&mut self, what: &'static str) -> Read<&'a str> {
        let offset = self.offset();
        std::str::from_utf8(self.octets(what)?).map_err(|_| Self::error(what, offset, Fault::Text))
    }

    pub(crate) fn list<T>(&mut self, what: &'static str, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.length(what)?;
        // What is set aside at once is little, or no more than what is left; a longer list grows as it is read.
        let fits = self.rest.len() / size_of::<T>().max(1);
        let mut items = Vec::with_capacity(count.min(fits.max(ITEMS_AT_ONCE)));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// A list that is mostly short and lies in its owner.
    pub(crate) fn few<T, L: FromIterator<T>>(
        &mut self,
        what: &'static str,
        read: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<L> {
        Ok(self.list(what, read)?.into_iter().collect())
    }

    /// Which of `count` optional members that follow are there.
    pub(crate) fn presence(&mut self, count: u32, what: &'static str) -> Read<Presence> {
        let offset = self.offset();
        let bits = self.u64(what)?;
        if bits.checked_shr(count).unwrap_or(0) != 0 {
            return Err(Self::error(what, offset, Fault::Value));
        }
        Ok(Presence(bits))
    }

    /// The next optional member.
    pub(crate) fn option<T>(
        &mut self,
        presence: &mut Presence,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<Option<T>> {
        if presence.take() { read(self).map(Some) } else { Ok(None) }
    }

    /// The next optional list; one that is not there is empty.
    pub(crate) fn listed<T>(
        &mut self,
        presence: &mut Presence,
        what: &'static str,
        read: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        if presence.take() { self.list_of_some(what, read) } else { Ok(Vec::new()) }
    }

    /// A list that would not have been written if it were empty.
    pub(crate) fn list_of_some<T>(
        &mut self,
        what: &'static str,
        read: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let offset = self.offset();
        let items = self.list(what, read)?;
        if items.is_empty() { Err(Self::error(what, offset, Fault::Value)) } else { Ok(items) }
    }

    /// A part with its length before it.
    pub(crate) fn section(&mut self, what: &'static str) -> Read<&'a [u8]> {
        let length = self.array(what).map(u32::from_be_bytes)?;
        self.raw(usize::try_from(length).unwrap_or(usize::MAX), what)
    }

    /// A reader of `part`, which ended where this one stands now.
    pub(crate) const fn within(&self, part: &'a [u8]) -> Self {
        Self { rest: part, end: self.offset() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes what is left.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(crate) const fn finish(&self, what: &'static str) -> Read<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.fail(what, Fault::Trailing)) }
    }

    /// The version octet that a record begins with.
    pub(crate) fn version(&mut self, known: u8, what: &'static str) -> Read<()> {
        let offset = self.offset();
        let version = self.u8(what)?;
        if version == known { Ok(()) } else { Err(Self::error(what, offset, Fault::Version(version))) }
    }
}

/// Which optional members are there, taken one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presence(u64);

impl Presence {
    pub(crate) const fn take(&mut self) -> bool {
        let there = self.0 & 1 == 1;
        self.0 >>= 1;
        there
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_from_as_few_octets_as_they_need(a: u64, b: i64, c: u128, d: i128) {
            let mut out = Vec::new();
            let mut w = Writer::new(&mut out);
            w.u64(a);
            w.i64(b);
            w.u128(c);
            w.i128(d);
            let mut r = Reader::new(&out);
            prop_assert_eq!((r.u64("a"), r.i64("b"), r.u128("c"), r.i128("d")), (Ok(a), Ok(b), Ok(c), Ok(d)));
            prop_assert_eq!(r.finish("end"), Ok(()));
        }
    }

    #[test]
    fn a_number_has_one_form() {
        for octets in [
            &[0x80, 0x00][..],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        ] {
            let fault = Reader::new(octets).u64("number").map_err(|error| (error.offset, error.fault));
            assert_eq!(fault, Err((0, Fault::Value)), "{octets:?}");
        }
        for (value, length) in [(0, 1), (127, 1), (128, 2), (u64::MAX, 10)] {
            let mut out = Vec::new();
            Writer::new(&mut out).u64(value);
            assert_eq!(out.len(), length, "{value}");
        }
    }

    #[test]
    fn a_length_beyond_the_octets_is_refused_before_anything_is_set_aside() {
        let mut out = Vec::new();
        Writer::new(&mut out).u64(u64::MAX >> 1);
        let ended = Reader::new(&out).list("list", |r| r.u8("item"));
        assert_eq!(ended, Err(RecordError { what: "list", offset: 0, fault: Fault::Ended }));
        assert_eq!(Reader::new(&out).octets("octets").map_err(|error| error.fault), Err(Fault::Ended));
    }

    #[test]
    fn errors_say_where_and_what() {
        let error = Reader::new(&[2]).version(1, "account").unwrap_err();
        assert_eq!(error.to_string(), "account at octet 0: format 2 is not known; it was written by a later release");
    }
}

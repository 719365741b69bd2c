//! Protobuf fields, written one after another: for what is sent so often that building the generated message first would
//! cost more than sending it.
//!
//! Octets are those that the generated message would encode to when fields are written in ascending order; whoever
//! uses this proves it by reading them back (`cdr-export/tests/convert.rs`).

use std::fmt::{Display, Write};

/// Writes fields at the end of a buffer. Values that are the default of their field are left out, as proto3 wants it.
#[derive(Debug)]
pub struct Fields<'a>(&'a mut Vec<u8>);

const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
/// Octets of the longest length.
const LENGTH_OCTETS_MAX: usize = 10;

impl<'a> Fields<'a> {
    /// At the end of `out`.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.0.push(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.0.push(low);
    }

    fn key(&mut self, number: u32, kind: u32) {
        self.varint((number << 3 | kind).into());
    }

    /// A number that is written even if it is 0: of an optional field, or of a oneof.
    pub fn present(&mut self, number: u32, value: impl Into<u64>) {
        self.key(number, VARINT);
        self.varint(value.into());
    }

    /// An unsigned number, or a boolean.
    pub fn uint(&mut self, number: u32, value: impl Into<u64>) {
        let value = value.into();
        if value != 0 {
            self.present(number, value);
        }
    }

    /// A signed number, or an enum.
    pub fn int(&mut self, number: u32, value: impl Into<i64>) {
        self.uint(number, value.into().cast_unsigned());
    }

    /// An optional unsigned number.
    pub fn some_uint(&mut self, number: u32, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.present(number, value);
        }
    }

    /// An optional signed number.
    pub fn some_int(&mut self, number: u32, value: Option<impl Into<i64>>) {
        self.some_uint(number, value.map(|value| value.into().cast_unsigned()));
    }

    /// Octets, or a text, that are written even if there are none: of an optional or a repeated field.
    pub fn present_octets(&mut self, number: u32, octets: &[u8]) {
        self.key(number, LENGTH_DELIMITED);
        self.varint(u64::try_from(octets.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(octets);
    }

    /// Octets.
    pub fn octets(&mut self, number: u32, octets: &[u8]) {
        if !octets.is_empty() {
            self.present_octets(number, octets);
        }
    }

    /// A text.
    pub fn text(&mut self, number: u32, text: &str) {
        self.octets(number, text.as_bytes());
    }

    /// An optional text.
    pub fn some_text(&mut self, number: u32, text: Option<&str>) {
        if let Some(text) = text {
            self.present_octets(number, text.as_bytes());
        }
    }

    /// Each of several texts.
    pub fn texts<'t>(&mut self, number: u32, texts: impl IntoIterator<Item = &'t str>) {
        texts.into_iter().for_each(|text| self.present_octets(number, text.as_bytes()));
    }

    /// A text as a value displays itself; written even if it is empty.
    pub fn display(&mut self, number: u32, value: &impl Display) {
        self.delimited(number, |fields| {
            // Nothing but a value's own refusal can fail: the buffer grows.
            let _ = write!(Text(fields.0), "{value}");
        });
    }

    /// Several numbers in one piece.
    pub fn packed(&mut self, number: u32, values: impl ExactSizeIterator<Item = u32>) {
        if values.len() > 0 {
            self.delimited(number, |fields| values.for_each(|value| fields.varint(value.into())));
        }
    }

    /// A message; written even if it is empty.
    pub fn message(&mut self, number: u32, put: impl FnOnce(&mut Fields<'_>)) {
        self.delimited(number, put);
    }

    /// Something with its length before it. One octet is left for the length; what is longer is moved once.
    fn delimited(&mut self, number: u32, put: impl FnOnce(&mut Fields<'_>)) {
        self.key(number, LENGTH_DELIMITED);
        let place = self.0.len();
        self.0.push(0);
        put(&mut Fields(self.0));
        let length = self.0.len() - place - 1;
        match u8::try_from(length) {
            Ok(short) if short < 0x80 => {
                if let Some(octet) = self.0.get_mut(place) {
                    *octet = short;
                }
            }
            _ => self.move_up(place, length),
        }
    }

    fn move_up(&mut self, place: usize, length: usize) {
        let (mut prefix, mut octets, mut rest) = ([0; LENGTH_OCTETS_MAX], 0, length);
        for octet in &mut prefix {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            *octet = if rest == 0 { low } else { low | 0x80 };
            octets += 1;
            if rest == 0 {
                break;
            }
        }
        self.0.resize(self.0.len() + octets - 1, 0);
        self.0.copy_within(place + 1..place + 1 + length, place + octets);
        if let (Some(there), Some(prefix)) = (self.0.get_mut(place..place + octets), prefix.get(..octets)) {
            there.copy_from_slice(prefix);
        }
    }
}

struct Text<'a>(&'a mut Vec<u8>);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

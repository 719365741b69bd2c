//! Whole messages: where one ends in a stream, its parts when read, and how one is written.
//!
//! Reading borrows; nothing is looked at before it is asked for. Writing appends to a buffer the caller keeps, without
//! an allocation per AVP: the length of a group is filled in when the group ends.

use std::fmt;
use std::net::IpAddr;

use crate::avp::{Address, Avp, AvpFlags, Avps, NTP_TO_UNIX_SECONDS};
use crate::dictionary::{self, AvpCode};
use crate::error::FramingError;
use crate::header::{HEADER_OCTETS, Header, UINT24_MAX, VERSION};

/// The longest message the length field can tell, in whole words (RFC 6733 3).
pub const MESSAGE_OCTETS_MAX: usize = (UINT24_MAX as usize) & !3;

/// How long the message at the beginning of `octets` is; `None` while its length is not there yet.
///
/// `max` is the longest message that is accepted.
///
/// # Errors
/// The stream cannot be a sequence of messages, and there is no way to find the next one (RFC 6733 2.1, 3).
#[inline]
pub fn frame_length(octets: &[u8], max: usize) -> Result<Option<usize>, FramingError> {
    let Some(&[version, l0, l1, l2]) = octets.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes([0, l0, l1, l2]);
    if version != VERSION {
        return Err(FramingError::Version { version });
    }
    let frame = length as usize;
    if frame < HEADER_OCTETS || !frame.is_multiple_of(4) {
        return Err(FramingError::Length { length });
    }
    if frame > max {
        return Err(FramingError::TooLong { length, max });
    }
    Ok(Some(frame))
}

/// One whole message, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    header: Header,
    octets: &'a [u8],
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the header of the message that `octets` are, no more and no less.
    ///
    /// # Errors
    /// `octets` are not one whole message.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, FramingError> {
        let cut = FramingError::Cut { octets: octets.len() };
        match frame_length(octets, MESSAGE_OCTETS_MAX)? {
            Some(length) if length == octets.len() => Self::unframed(octets).ok_or(cut),
            Some(_) | None => Err(cut),
        }
    }

    /// The message `octets` are, whatever their version and length field say; `None` without a whole header.
    pub(crate) fn unframed(octets: &'a [u8]) -> Option<Self> {
        let (header, body) = octets.split_first_chunk::<HEADER_OCTETS>()?;
        Some(Self { header: Header::decode(header), octets, body })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// All octets of the message.
    #[must_use]
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The AVPs at the top of the message, in order.
    #[must_use]
    #[inline]
    pub const fn avps(&self) -> Avps<'a> {
        Avps::new(self.body)
    }

    /// The first AVP `code` at the top of the message, as far as it can be read.
    #[must_use]
    pub fn find(&self, code: AvpCode) -> Option<Avp<'a>> {
        self.avps().find(code)
    }
}

/// The message would not fit the 24 bits of a length (RFC 6733 3, 4.1). Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageTooLong;

impl fmt::Display for MessageTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is longer than its length field can tell")
    }
}

impl std::error::Error for MessageTooLong {}

/// Appends one message to a buffer. The M flag of each AVP is the one the dictionary demands.
///
/// What does not fit a length field is remembered and told by [`MessageWriter::finish`], so that the calls in between
/// need no error handling.
#[derive(Debug)]
#[must_use = "finish() fills in the length"]
pub struct MessageWriter<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    too_long: bool,
}

impl<'b> MessageWriter<'b> {
    /// Begins a message at the end of `out`.
    #[inline]
    pub fn new(out: &'b mut Vec<u8>, header: &Header) -> Self {
        let start = out.len();
        out.extend_from_slice(&header.encode(0));
        Self { out, start, too_long: false }
    }

    /// Fills in the length and returns it.
    ///
    /// # Errors
    /// The message is too long; the buffer is as it was before.
    #[inline]
    pub fn finish(self) -> Result<usize, MessageTooLong> {
        let length = self.out.len() - self.start;
        match u32::try_from(length) {
            Ok(total) if total <= UINT24_MAX && !self.too_long => {
                set_length(self.out, self.start, total);
                Ok(length)
            }
            Ok(_) | Err(_) => {
                self.out.truncate(self.start);
                Err(MessageTooLong)
            }
        }
    }

    /// Unsigned32, and Enumerated where its values are not negative.
    #[inline]
    pub fn u32(&mut self, code: AvpCode, value: u32) {
        self.fixed(code, value.to_be_bytes());
    }

    /// Unsigned64.
    #[inline]
    pub fn u64(&mut self, code: AvpCode, value: u64) {
        self.fixed(code, value.to_be_bytes());
    }

    /// Integer32, Enumerated.
    #[inline]
    pub fn i32(&mut self, code: AvpCode, value: i32) {
        self.fixed(code, value.to_be_bytes());
    }

    /// Integer64.
    #[inline]
    pub fn i64(&mut self, code: AvpCode, value: i64) {
        self.fixed(code, value.to_be_bytes());
    }

    /// Time, from Unix seconds. The type has no room for the era (RFC 6733 4.3.1): a receiver reads it right from 1968
    /// to 2104.
    #[inline]
    pub fn time(&mut self, code: AvpCode, unix_seconds: i64) {
        let [_, _, _, _, seconds @ ..] = unix_seconds.wrapping_add(NTP_TO_UNIX_SECONDS).to_be_bytes();
        self.fixed(code, seconds);
    }

    /// UTF8String, DiameterIdentity, DiameterURI, IPFilterRule.
    #[inline]
    pub fn utf8(&mut self, code: AvpCode, text: &str) {
        self.octets(code, text.as_bytes());
    }

    /// OctetString, and any other type as the octets it is made of.
    #[inline]
    pub fn octets(&mut self, code: AvpCode, data: &[u8]) {
        self.flagged(code, AvpFlags::new(code, dictionary::is_sent_mandatory(code)), data);
    }

    /// Address.
    pub fn address(&mut self, code: AvpCode, address: Address<'_>) {
        self.grouped_octets(code, |out| match address {
            Address::Ip(IpAddr::V4(v4)) => {
                out.extend_from_slice(&[0, 1]);
                out.extend_from_slice(&v4.octets());
            }
            Address::Ip(IpAddr::V6(v6)) => {
                out.extend_from_slice(&[0, 2]);
                out.extend_from_slice(&v6.octets());
            }
            Address::Other { family, octets } => {
                out.extend_from_slice(&family.to_be_bytes());
                out.extend_from_slice(octets);
            }
        });
    }

    /// A Grouped AVP whose members `members` writes.
    #[inline]
    pub fn grouped<R>(&mut self, code: AvpCode, members: impl FnOnce(&mut Self) -> R) -> R {
        let start = self.begin(code);
        let result = members(self);
        self.end(start);
        result
    }

    /// An AVP as it was received, flags included: what an answer has to hand back unchanged.
    pub fn copy(&mut self, avp: &Avp<'_>) {
        self.flagged(avp.code, avp.flags, avp.data);
    }

    /// AVPs that are octets already, each with its padding.
    pub fn encoded(&mut self, avps: &[u8]) {
        self.out.extend_from_slice(avps);
        self.pad();
    }

    fn grouped_octets(&mut self, code: AvpCode, data: impl FnOnce(&mut Vec<u8>)) {
        let start = self.begin(code);
        data(self.out);
        self.end(start);
    }

    #[inline]
    fn begin(&mut self, code: AvpCode) -> usize {
        let start = self.out.len();
        self.header(code, AvpFlags::new(code, dictionary::is_sent_mandatory(code)), 0);
        start
    }

    #[inline]
    fn end(&mut self, start: usize) {
        match u32::try_from(self.out.len() - start) {
            Ok(length) if length <= UINT24_MAX => set_length_at(self.out, start + 5, length),
            Ok(_) | Err(_) => self.too_long = true,
        }
        self.pad();
    }

    /// Data of whole words, which need no padding.
    #[inline]
    fn fixed<const N: usize>(&mut self, code: AvpCode, value: [u8; N]) {
        const { assert!(N == 4 || N == 8) };
        let flags = AvpFlags::new(code, dictionary::is_sent_mandatory(code));
        let mut length = if N == 4 { 12 } else { 16 };
        if flags.has_vendor() {
            length += 4;
        }
        self.header(code, flags, length);
        self.out.extend_from_slice(&value);
    }

    #[inline]
    fn flagged(&mut self, code: AvpCode, flags: AvpFlags, data: &[u8]) {
        match u32::try_from(flags.header_octets() + data.len()) {
            Ok(length) if length <= UINT24_MAX => {
                self.header(code, flags, length);
                self.out.extend_from_slice(data);
                self.pad();
            }
            Ok(_) | Err(_) => self.too_long = true,
        }
    }

    #[inline]
    fn header(&mut self, code: AvpCode, flags: AvpFlags, length: u32) {
        write_avp_header(self.out, code, flags, length);
    }

    #[inline]
    fn pad(&mut self) {
        pad(self.out, self.start);
    }
}

/// Writes an AVP header; the caller has seen to it that `length` fits 24 bits.
#[inline]
pub(crate) fn write_avp_header(out: &mut Vec<u8>, code: AvpCode, flags: AvpFlags, length: u32) {
    let [c0, c1, c2, c3] = code.code.to_be_bytes();
    let [_, l0, l1, l2] = length.to_be_bytes();
    let [v0, v1, v2, v3] = code.vendor.to_be_bytes();
    let header = [c0, c1, c2, c3, flags.octet(), l0, l1, l2, v0, v1, v2, v3];
    if flags.has_vendor() {
        out.extend_from_slice(&header);
    } else {
        let [header @ .., _, _, _, _] = header;
        out.extend_from_slice(&header);
    }
}

/// Zero octets up to the next whole word, counted from `start` (RFC 6733 4.1).
#[inline]
pub(crate) fn pad(out: &mut Vec<u8>, start: usize) {
    let padding: &[u8] = match (out.len() - start) % 4 {
        0 => return,
        1 => &[0, 0, 0],
        2 => &[0, 0],
        _ => &[0],
    };
    out.extend_from_slice(padding);
}

fn set_length(out: &mut [u8], start: usize, length: u32) {
    set_length_at(out, start + 1, length);
}

#[inline]
fn set_length_at(out: &mut [u8], at: usize, length: u32) {
    let [_, l0, l1, l2] = length.to_be_bytes();
    if let Some(field) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<3>) {
        *field = [l0, l1, l2];
    }
}

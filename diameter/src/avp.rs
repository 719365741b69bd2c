//! AVPs as they lie in a message (RFC 6733 4): borrowed, read in one pass, never copied.
//!
//! [`Avps`] yields one AVP after the other and ends at the first whose length does not fit. The typed readers check the
//! length their type demands. Groups open only down to [`DEPTH_MAX`]. Whether an AVP is known, allowed or missing is
//! for [`mod@crate::validate`].

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str;

use crate::dictionary::{AvpCode, Kind, traits};
use crate::error::{DecodeError, OwnedAvp};
use crate::header::UINT24_MAX;

/// Groups inside groups that are opened. The deepest group of the charging dictionary needs 6.
pub const DEPTH_MAX: u8 = 16;

/// Octets of an AVP header without a vendor id (RFC 6733 4.1).
pub const AVP_HEADER_OCTETS: usize = 8;

/// Octets of an AVP header with a vendor id (RFC 6733 4.1).
pub const VENDOR_AVP_HEADER_OCTETS: usize = 12;

/// Seconds from 1900, where the Time type begins, to 1970 (RFC 6733 4.3.1).
pub const NTP_TO_UNIX_SECONDS: i64 = 2_208_988_800;

/// Seconds of one NTP era; the second begins on 2036-02-07T06:28:16Z (RFC 6733 4.3.1).
const NTP_ERA_SECONDS: i64 = 1 << 32;

/// The AVP flags (RFC 6733 4.1). Reserved bits are ignored when read and sent as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AvpFlags(u8);

impl AvpFlags {
    const VENDOR: u8 = 0x80;
    const MANDATORY: u8 = 0x40;

    /// The flags of an octet; the reserved bits are dropped.
    #[must_use]
    pub const fn from_octet(octet: u8) -> Self {
        Self(octet & 0xe0)
    }

    /// The flags we send: V follows from the vendor.
    #[must_use]
    pub const fn new(code: AvpCode, mandatory: bool) -> Self {
        let vendor = if code.vendor == 0 { 0 } else { Self::VENDOR };
        let mandatory = if mandatory { Self::MANDATORY } else { 0 };
        Self(vendor | mandatory)
    }

    /// The flags as an octet.
    #[must_use]
    pub const fn octet(self) -> u8 {
        self.0
    }

    /// V: the header has a vendor id.
    #[must_use]
    pub const fn has_vendor(self) -> bool {
        self.0 & Self::VENDOR != 0
    }

    /// M: a receiver that does not know the AVP must not go on.
    #[must_use]
    pub const fn is_mandatory(self) -> bool {
        self.0 & Self::MANDATORY != 0
    }

    /// Octets of the header these flags announce.
    #[must_use]
    pub const fn header_octets(self) -> usize {
        if self.has_vendor() { VENDOR_AVP_HEADER_OCTETS } else { AVP_HEADER_OCTETS }
    }
}

/// One AVP, borrowed from the message it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avp<'a> {
    /// Code and vendor.
    pub code: AvpCode,
    /// Flags.
    pub flags: AvpFlags,
    /// How many groups it lies in.
    pub depth: u8,
    /// The data, without header and padding.
    pub data: &'a [u8],
}

/// The data of an AVP of type Address (RFC 6733 4.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// Family 1 or 2.
    Ip(IpAddr),
    /// Any other family of the IANA registry, 8 being E.164.
    Other {
        /// The address family number.
        family: u16,
        /// The address as that family writes it.
        octets: &'a [u8],
    },
}

impl<'a> Avp<'a> {
    /// Unsigned32, and Enumerated where its values are not negative.
    ///
    /// # Errors
    /// The data is not 4 octets long.
    #[inline]
    pub fn u32(&self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Unsigned64.
    ///
    /// # Errors
    /// The data is not 8 octets long.
    #[inline]
    pub fn u64(&self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Integer32, Enumerated.
    ///
    /// # Errors
    /// The data is not 4 octets long.
    #[inline]
    pub fn i32(&self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Integer64.
    ///
    /// # Errors
    /// The data is not 8 octets long.
    #[inline]
    pub fn i64(&self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Time, as Unix seconds. Values whose top bit is clear belong to the era that begins in 2036 (RFC 6733 4.3.1).
    ///
    /// # Errors
    /// The data is not 4 octets long.
    #[inline]
    pub fn time(&self) -> Result<i64, DecodeError> {
        let seconds = self.u32()?;
        let era = if seconds & 0x8000_0000 == 0 { NTP_ERA_SECONDS } else { 0 };
        Ok(i64::from(seconds) + era - NTP_TO_UNIX_SECONDS)
    }

    /// UTF8String, DiameterIdentity, DiameterURI, IPFilterRule.
    ///
    /// # Errors
    /// The data is not UTF-8.
    #[inline]
    pub fn utf8(&self) -> Result<&'a str, DecodeError> {
        str::from_utf8(self.data).map_err(|_| self.invalid_value())
    }

    /// Address.
    ///
    /// # Errors
    /// There is no family, or the address has not the length of its family.
    pub fn address(&self) -> Result<Address<'a>, DecodeError> {
        if !Kind::Address.admits(self.data) {
            return Err(self.invalid_length());
        }
        let Some((family, octets)) = self.data.split_first_chunk::<2>() else { return Err(self.invalid_length()) };
        let family = u16::from_be_bytes(*family);
        if let (1, Ok(v4)) = (family, <[u8; 4]>::try_from(octets)) {
            return Ok(Address::Ip(IpAddr::V4(Ipv4Addr::from(v4))));
        }
        if let (2, Ok(v6)) = (family, <[u8; 16]>::try_from(octets)) {
            return Ok(Address::Ip(IpAddr::V6(Ipv6Addr::from(v6))));
        }
        Ok(Address::Other { family, octets })
    }

    /// The members of a Grouped AVP.
    ///
    /// # Errors
    /// The group lies deeper than [`DEPTH_MAX`].
    #[inline]
    pub fn grouped(&self) -> Result<Avps<'a>, DecodeError> {
        if self.depth >= DEPTH_MAX {
            return Err(DecodeError::NestedTooDeep { code: self.code });
        }
        Ok(Avps { rest: self.data, depth: self.depth + 1 })
    }

    /// The error for data whose length its type does not allow. A group's members cannot be read then, and are left out.
    #[cold]
    #[must_use]
    pub fn invalid_length(&self) -> DecodeError {
        let is_group = traits(self.code).is_some_and(|traits| traits.kind == Kind::Grouped);
        let avp = if is_group { OwnedAvp::zeroed(self.code, self.flags) } else { OwnedAvp::from(self) };
        DecodeError::AvpLength { avp }
    }

    /// The error for a value that cannot be used where it stands.
    #[cold]
    #[must_use]
    pub fn invalid_value(&self) -> DecodeError {
        DecodeError::AvpValue { avp: OwnedAvp::from(self) }
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        <[u8; N]>::try_from(self.data).map_err(|_| self.invalid_length())
    }
}

/// The AVPs of a message or of a group, in order. After an error there is nothing more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Avps<'a> {
    rest: &'a [u8],
    depth: u8,
}

impl<'a> Avps<'a> {
    /// The AVPs that lie in `octets`, at the top of a message.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets, depth: 0 }
    }

    /// The first AVP `code`, as far as the octets can be read.
    #[must_use]
    pub fn find(self, code: AvpCode) -> Option<Avp<'a>> {
        self.map_while(Result::ok).find(|avp| avp.code == code)
    }

    /// Reads the first AVP of `rest` and returns what comes after its padding; `None` when it does not fit.
    #[inline]
    fn split(rest: &'a [u8], depth: u8) -> Option<(Avp<'a>, &'a [u8])> {
        let (&[c0, c1, c2, c3, flags, l0, l1, l2], after) = rest.split_first_chunk::<AVP_HEADER_OCTETS>()?;
        // One word with the flags above: cheaper than three octets.
        let length = (u32::from_be_bytes([flags, l0, l1, l2]) & UINT24_MAX) as usize;
        let flags = AvpFlags::from_octet(flags);
        let vendor = if flags.has_vendor() { u32::from_be_bytes(*after.first_chunk::<4>()?) } else { 0 };
        let code = AvpCode { code: u32::from_be_bytes([c0, c1, c2, c3]), vendor };
        // The padding counts as part of what surrounds the AVP, so that has to hold it too (RFC 6733 4.1, 4.4).
        let (whole, next) = rest.split_at_checked((length + 3) & !3)?;
        let data = whole.get(flags.header_octets()..length)?;
        Some((Avp { code, flags, depth, data }, next))
    }
}

impl<'a> Iterator for Avps<'a> {
    type Item = Result<Avp<'a>, UnreadableAvp<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Self::split(self.rest, self.depth) {
            Some((avp, next)) => {
                self.rest = next;
                Some(Ok(avp))
            }
            None => Some(Err(UnreadableAvp { octets: mem::take(&mut self.rest) })),
        }
    }
}

/// Octets that begin with something that is no AVP, or one that does not fit. `?` makes a [`DecodeError`] of it.
///
/// Borrowed and small on purpose: with the whole error in the item of [`Avps`], reading took several times as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableAvp<'a> {
    octets: &'a [u8],
}

impl From<UnreadableAvp<'_>> for DecodeError {
    #[cold]
    fn from(unreadable: UnreadableAvp<'_>) -> Self {
        let octets = unreadable.octets;
        let Some((&[c0, c1, c2, c3, flags, l0, l1, l2], after)) = octets.split_first_chunk::<AVP_HEADER_OCTETS>()
        else {
            return Self::AvpHeaderCut { octets: octets.to_vec() };
        };
        let flags = AvpFlags::from_octet(flags);
        let declared = u32::from_be_bytes([0, l0, l1, l2]);
        let vendor = after.first_chunk::<4>().filter(|_| flags.has_vendor()).copied().unwrap_or_default();
        let code = AvpCode { code: u32::from_be_bytes([c0, c1, c2, c3]), vendor: u32::from_be_bytes(vendor) };
        if (declared as usize) < flags.header_octets() {
            return Self::AvpShort { code, flags, declared };
        }
        let left = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        Self::AvpOverrun { code, flags, declared, left }
    }
}

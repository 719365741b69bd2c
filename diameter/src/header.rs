//! The 20 octets every Diameter message begins with (RFC 6733 3).
//!
//! [`crate::message`] decides where a message ends; this file only says what its first octets mean.

use std::fmt;

/// Octets of the header (RFC 6733 3).
pub const HEADER_OCTETS: usize = 20;

/// The only version of the protocol (RFC 6733 3).
pub const VERSION: u8 = 1;

/// The largest number that fits the 24 bits of a length or a command code.
pub(crate) const UINT24_MAX: u32 = 0x00ff_ffff;

/// A command code, shared by the request and its answer (RFC 6733 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandCode(u32);

impl CommandCode {
    /// CER and CEA (RFC 6733 5.3).
    pub const CAPABILITIES_EXCHANGE: Self = Self(257);
    /// RAR and RAA (RFC 6733 8.3, RFC 8506 5.5).
    pub const RE_AUTH: Self = Self(258);
    /// ACR and ACA (RFC 6733 9.7).
    pub const ACCOUNTING: Self = Self(271);
    /// CCR and CCA (RFC 8506 3).
    pub const CREDIT_CONTROL: Self = Self(272);
    /// ASR and ASA (RFC 6733 8.5).
    pub const ABORT_SESSION: Self = Self(274);
    /// STR and STA (RFC 6733 8.4).
    pub const SESSION_TERMINATION: Self = Self(275);
    /// DWR and DWA (RFC 6733 5.5).
    pub const DEVICE_WATCHDOG: Self = Self(280);
    /// DPR and DPA (RFC 6733 5.4).
    pub const DISCONNECT_PEER: Self = Self(282);

    /// `None` when `code` does not fit the 24 bits of the field.
    #[must_use]
    pub const fn new(code: u32) -> Option<Self> {
        if code <= UINT24_MAX { Some(Self(code)) } else { None }
    }

    /// The code as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for CommandCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An application id (RFC 6733 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplicationId(pub u32);

impl ApplicationId {
    /// The base protocol's own commands.
    pub const COMMON: Self = Self(0);
    /// Base accounting (Rf).
    pub const ACCOUNTING: Self = Self(3);
    /// Credit control (Gy, Ro).
    pub const CREDIT_CONTROL: Self = Self(4);
    /// A relay: has every application in common with everybody.
    pub const RELAY: Self = Self(0xffff_ffff);
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The command flags (RFC 6733 3). Reserved bits are ignored when read and sent as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// An answer without any other flag.
    pub const NONE: Self = Self(0);
    /// R: a request.
    pub const REQUEST: Self = Self(0x80);
    /// P: agents may forward it.
    pub const PROXIABLE: Self = Self(0x40);
    /// E: an answer that reports a protocol error, in the `answer-message` grammar (RFC 6733 7.2).
    pub const ERROR: Self = Self(0x20);
    /// T: perhaps sent before, on another connection.
    pub const RETRANSMITTED: Self = Self(0x10);

    /// The flags in one octet, reserved bits dropped.
    #[must_use]
    pub const fn from_octet(octet: u8) -> Self {
        Self(octet & 0xf0)
    }

    /// The flags as the octet that is sent.
    #[must_use]
    pub const fn octet(self) -> u8 {
        self.0
    }

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Only the flags that are in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What the header says, the length apart: that is a fact of the framing, not of the meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Command flags.
    pub flags: Flags,
    /// Command code.
    pub command: CommandCode,
    /// Application id.
    pub application: ApplicationId,
    /// Unique on one connection while the request is pending; an answer copies it.
    pub hop_by_hop: u32,
    /// With Origin-Host it tells duplicates; an answer copies it.
    pub end_to_end: u32,
}

impl Header {
    /// Reads the header; version and length are looked at by [`crate::message::frame_length`].
    #[must_use]
    pub const fn decode(octets: &[u8; HEADER_OCTETS]) -> Self {
        let [_, _, _, _, flags, c0, c1, c2, a0, a1, a2, a3, h0, h1, h2, h3, e0, e1, e2, e3] = *octets;
        Self {
            flags: Flags::from_octet(flags),
            command: CommandCode(u32::from_be_bytes([0, c0, c1, c2])),
            application: ApplicationId(u32::from_be_bytes([a0, a1, a2, a3])),
            hop_by_hop: u32::from_be_bytes([h0, h1, h2, h3]),
            end_to_end: u32::from_be_bytes([e0, e1, e2, e3]),
        }
    }

    /// The header of a message of `length` octets (24 bits of it are sent).
    #[must_use]
    pub const fn encode(&self, length: u32) -> [u8; HEADER_OCTETS] {
        let [_, l0, l1, l2] = length.to_be_bytes();
        let [_, c0, c1, c2] = self.command.0.to_be_bytes();
        let [a0, a1, a2, a3] = self.application.0.to_be_bytes();
        let [h0, h1, h2, h3] = self.hop_by_hop.to_be_bytes();
        let [e0, e1, e2, e3] = self.end_to_end.to_be_bytes();
        [VERSION, l0, l1, l2, self.flags.0, c0, c1, c2, a0, a1, a2, a3, h0, h1, h2, h3, e0, e1, e2, e3]
    }

    /// Whether this is a request.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.flags.contains(Flags::REQUEST)
    }

    /// The header of the answer to this request: the same ids and application, P kept, R and T cleared (RFC 6733 6.2).
    #[must_use]
    pub const fn answer(&self) -> Self {
        Self { flags: self.flags.intersection(Flags::PROXIABLE), ..*self }
    }
}

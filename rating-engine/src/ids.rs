//! Names of things, as types that cannot be mistaken for one another.
//!
//! Every id is made where the outside world enters (a decoder, an import file, recovery) and only carried from there
//! on: there is no `From<u64>` and no arithmetic beyond "the next one".

use std::fmt;
use std::sync::Arc;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// Names the thing with this number.
            pub const fn new(number: $int) -> Self {
                Self(number)
            }

            /// The number, for encoders and people.
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Whose subscribers these are; 0 is the operator itself.
    TenantId(u16)
}
number! {
    /// One process's stretch of the CDR stream; a CDR's id is partition + position.
    PartitionId(u16)
}
number! {
    /// A charging group: an account and every account or member that can pay for it. The shard key.
    GroupId(u64)
}
number! {
    /// An account: what pays.
    AccountId(u64)
}
number! {
    /// A subscriber: who uses. Internal; network identifiers point at it.
    SubscriberId(u64)
}
number! {
    /// Rating-Group (RFC 8506 8.29): the network's name for a class of traffic.
    RatingGroup(u32)
}
number! {
    /// Service-Identifier (RFC 8506 8.28): the network's name for one service.
    ServiceId(u32)
}
number! {
    /// Log sequence number of one command's entry. Starts at 1; 0 means "before everything". Never reused.
    Lsn(u64)
}
number! {
    /// Place of a rated CDR in its partition. Starts at 1, gap-free; 0 means "before the first".
    CdrPosition(u64)
}

impl Lsn {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl CdrPosition {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A session's or one-time event's name: the protocol's own session id (and sub-session), as octets.
///
/// Shared, because the session, the index at the edge and the deadline queue all hold it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<[u8]>);

impl SessionId {
    /// Names the session by these octets.
    pub fn new(octets: &[u8]) -> Self {
        Self(octets.into())
    }

    /// The octets, for encoders.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for SessionId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Octets of a name that needs no memory of its own.
const SHORT_NAME: usize = 14;

/// A name's text. Names are copied with every command: one of a few letters lies here itself, so that no core waits for
/// another one's count of who shares it.
#[derive(Clone)]
enum Text {
    Short { length: u8, octets: [u8; SHORT_NAME] },
    Long(Arc<Box<str>>),
}

impl Text {
    fn new(text: &str) -> Self {
        let mut octets = [0; SHORT_NAME];
        match (octets.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short { length, octets }
            }
            _ => Self::Long(Arc::new(text.into())),
        }
    }

    fn octets(&self) -> &[u8] {
        match self {
            Self::Short { length, octets } => octets.get(..usize::from(*length)).unwrap_or(octets),
            Self::Long(text) => text.as_bytes(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Short { .. } => std::str::from_utf8(self.octets()).unwrap_or(""),
            Self::Long(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Short { length, octets }, Self::Short { length: other_length, octets: other_octets }) => {
                length == other_length && octets == other_octets
            }
            (Self::Long(text), Self::Long(other)) => text == other,
            // The length alone decides which of both a text is.
            (Self::Short { .. }, Self::Long(_)) | (Self::Long(_), Self::Short { .. }) => false,
        }
    }
}

impl Eq for Text {}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.octets().cmp(other.octets())
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for Text {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.octets().hash(state);
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Text);

        impl $name {
            /// Takes the text as the name.
            pub fn new(text: &str) -> Self {
                Self(Text::new(text))
            }

            /// The text, for encoders and people.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

name! {
    /// A bucket's id, unique in its account; ties in the order of consumption are broken by its octets (R17).
    BucketId
}
name! {
    /// A cycle counter's id, unique among its subscriber's.
    CounterId
}
name! {
    /// A price's id, unique in its tariff version.
    PriceId
}
name! {
    /// A tariff's name.
    TariffName
}
name! {
    /// An offer's name.
    OfferName
}
name! {
    /// The key a person or system gives a mutation so that repeating it changes nothing.
    IdempotencyKey
}

/// A name for a subscriber, within a tenant. The first five are the network's; the others are said by people and their systems
/// only: no request of a network element carries them, so that no front end finds anybody by them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// E.164 number without `+`; at most 15 digits, packed so that leading zeros count.
    Msisdn(Digits),
    /// IMSI; at most 15 digits.
    Imsi(Digits),
    /// SIP URI, as written.
    Sip(Box<str>),
    /// Network access identifier, as written.
    Nai(Box<str>),
    /// Any other private identifier.
    Private(Box<str>),
    /// The number of the SIM card.
    Iccid(Iccid),
    /// The operator's own number for the subscriber, as its other systems write it: 1 to [`EXTERNAL_OCTETS_MAX`] octets
    /// ([`Identifier::external`]).
    External(Box<str>),
}

/// Octets of an operator's own number.
pub const EXTERNAL_OCTETS_MAX: usize = 128;

/// Up to 18 decimal digits, leading zeros kept: a 1 is put before them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digits(u64);

impl Digits {
    /// Parses 1 to 18 decimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_ascii(text.as_bytes())
    }

    /// The same, from octets that may be anything.
    pub fn from_ascii(octets: &[u8]) -> Option<Self> {
        if octets.is_empty() || octets.len() > 18 {
            return None;
        }
        octets
            .iter()
            .try_fold(1_u64, |packed, octet| {
                let digit = octet.wrapping_sub(b'0');
                // A 1 and 18 digits fit.
                (digit <= 9).then(|| packed.wrapping_mul(10).wrapping_add(u64::from(digit)))
            })
            .map(Self)
    }

    /// The packed form, for encoders.
    pub const fn packed(self) -> u64 {
        self.0
    }

    /// Reads the packed form back; `None` when it is no such number.
    pub fn from_packed(packed: u64) -> Option<Self> {
        let text = packed.to_string();
        let digits = text.strip_prefix('1')?;
        (!digits.is_empty()).then_some(Self(packed)).filter(|_| digits.len() <= 18)
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.get(1..).unwrap_or(""))
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a SIM card (ITU-T E.118), at most 20 digits with its check digit, as the card has it: two digits an octet, the
/// first one high, what is left filled with F.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iccid([u8; 10]);

impl Iccid {
    /// Digits of the longest.
    const DIGITS_MAX: usize = 20;
    /// What stands where there is no digit.
    const FILLER: u8 = 0xF;

    /// Parses what is printed on a card or read from one: spaces are left out, and a last F, which fills what is read from a
    /// card with an odd number of digits. The check digit is not checked: not every issuer has one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_suffix(['F', 'f']).unwrap_or(text);
        let (mut packed, mut digits) = ([u8::MAX; 10], 0_usize);
        for octet in text.bytes().filter(|octet| *octet != b' ') {
            let digit = octet.wrapping_sub(b'0');
            let place = packed.get_mut(digits / 2).filter(|_| digit <= 9)?;
            *place = if digits % 2 == 0 { digit << 4 | Self::FILLER } else { *place & 0xF0 | digit };
            digits += 1;
        }
        (digits > 0).then_some(Self(packed))
    }

    /// The packed form, for encoders.
    pub const fn packed(&self) -> &[u8; 10] {
        &self.0
    }

    /// Reads the packed form back; `None` when it is no such number.
    pub fn from_packed(packed: [u8; 10]) -> Option<Self> {
        let mut digits = Self(packed).nibbles().skip_while(|digit| *digit <= 9).peekable();
        (packed[0] >> 4 <= 9 && digits.all(|nibble| nibble == Self::FILLER)).then_some(Self(packed))
    }

    fn nibbles(self) -> impl Iterator<Item = u8> {
        self.0.into_iter().flat_map(|octet| [octet >> 4, octet & 0xF])
    }
}

impl fmt::Display for Iccid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nibbles().take_while(|digit| *digit <= 9).try_for_each(|digit| digit.fmt(f))
    }
}

impl fmt::Debug for Iccid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Identifier {
    /// An operator's own number; `None` for one that is empty or too long, has control characters, or white space around it.
    pub fn external(text: &str) -> Option<Self> {
        let is_one = (1..=EXTERNAL_OCTETS_MAX).contains(&text.len())
            && text.trim() == text
            && !text.chars().any(char::is_control);
        is_one.then(|| Self::External(text.into()))
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Msisdn(digits) => write!(f, "msisdn-{digits}"),
            Self::Imsi(digits) => write!(f, "imsi-{digits}"),
            Self::Sip(text) => write!(f, "sip-{text}"),
            Self::Nai(text) => write!(f, "nai-{text}"),
            Self::Private(text) => write!(f, "private-{text}"),
            Self::Iccid(number) => write!(f, "iccid-{number}"),
            Self::External(text) => write!(f, "external-{text}"),
        }
    }
}

impl std::str::FromStr for Identifier {
    type Err = String;

    /// Reads the form that `Display` writes, e.g. `msisdn-491701234567`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, value) =
            text.split_once('-').ok_or_else(|| format!("'{text}' names no kind; write e.g. msisdn-491701234567"))?;
        let digits = || {
            let plain = value.strip_prefix('+').unwrap_or(value);
            Digits::parse(plain).ok_or_else(|| format!("'{value}' is not 1 to 18 decimal digits"))
        };
        match kind {
            "msisdn" => Ok(Self::Msisdn(digits()?)),
            "imsi" => Ok(Self::Imsi(digits()?)),
            "sip" => Ok(Self::Sip(value.into())),
            "nai" => Ok(Self::Nai(value.into())),
            "private" => Ok(Self::Private(value.into())),
            "iccid" => Iccid::parse(value)
                .map(Self::Iccid)
                .ok_or_else(|| format!("'{value}' is not 1 to {} decimal digits", Iccid::DIGITS_MAX)),
            "external" => Self::external(value).ok_or_else(|| {
                format!(
                    "'{value}' is no number of another system: 1 to {EXTERNAL_OCTETS_MAX} octets, no control characters, no \
                     white space around it"
                )
            }),
            _ => Err(format!(
                "'{kind}' is no kind of identifier; use msisdn, imsi, sip, nai, private, iccid or external"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_keep_leading_zeros() {
        let zero = Digits::parse("00123").unwrap();
        assert_ne!(zero, Digits::parse("123").unwrap());
        assert_eq!(zero.to_string(), "00123");
        assert_eq!(Digits::from_packed(zero.packed()), Some(zero));
        assert_eq!(Digits::parse(""), None);
        assert_eq!(Digits::parse("1234567890123456789"), None);
    }

    /// One card is one name, however it was written down.
    #[test]
    fn a_card_is_known_by_its_digits_however_they_are_written() {
        let card: Identifier = "iccid-8949012345678901234".parse().unwrap();
        for written in ["iccid-8949 0123 4567 8901 234", "iccid-8949012345678901234F", "iccid- 89490123456789012 34f "]
        {
            assert_eq!(written.parse(), Ok(card.clone()), "{written}");
        }
        assert_eq!(card.to_string(), "iccid-8949012345678901234");
        for text in ["8949012345678901234", "89490123456789012345", "00", "8"] {
            let number = Iccid::parse(text).unwrap();
            assert_eq!(number.to_string(), text);
            assert_eq!(Iccid::from_packed(*number.packed()), Some(number));
        }
        let (short, long) = (Iccid::parse("12").unwrap(), Iccid::parse("123").unwrap());
        assert_ne!(short, long);
        for bad in ["", " ", "F", "894901234567890123456", "8949FF", "8949F0", "89-49", "8949x", "+8949"] {
            assert_eq!(Iccid::parse(bad), None, "{bad}");
        }
        assert_eq!(Iccid::from_packed([0xFF; 10]), None, "no digit");
        assert_eq!(Iccid::from_packed([0x12, 0xF3, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), None, "a gap");
        assert_eq!(Iccid::from_packed([0x1A; 10]), None, "no digits");
    }

    #[test]
    fn a_number_of_another_system_is_kept_as_it_is() {
        for text in ["external-4711", "external-CRM/00 17-a", "external-K\u{f6}ln"] {
            assert_eq!(text.parse::<Identifier>().unwrap().to_string(), text);
        }
        let longest = format!("external-{}", "x".repeat(EXTERNAL_OCTETS_MAX));
        assert!(longest.parse::<Identifier>().is_ok());
        for bad in ["external-", "external- 1", "external-1 ", "external-a\tb", &format!("{longest}x")] {
            assert!(bad.parse::<Identifier>().is_err(), "{bad:?}");
        }
    }
}

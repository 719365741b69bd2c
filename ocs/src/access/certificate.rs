//! What a client certificate says about who holds it. That it was signed by `grpc.client_ca` and is in force, the TLS
//! handshake has seen to.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;

/// How a caller is known by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// `sha256:` and the SHA-256 of the certificate, in hex, with colons or without, as
    /// `openssl x509 -noout -fingerprint -sha256` prints it.
    Fingerprint([u8; 32]),
    /// `URI:` and a name in its subjectAltName.
    Uri(String),
    /// `DNS:` and a name in its subjectAltName, in lower case.
    Dns(String),
    /// `CN=` and the one common name of its subject.
    CommonName(String),
}

impl std::str::FromStr for Known {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |name: &str| if name.is_empty() { None } else { Some(name.to_owned()) };
        let known = if let Some(digits) = text.strip_prefix("sha256:") {
            fingerprint(&digits.replace(':', "")).map(Self::Fingerprint)
        } else if let Some(name) = text.strip_prefix("URI:") {
            named(name).map(Self::Uri)
        } else if let Some(name) = text.strip_prefix("DNS:") {
            named(&name.to_ascii_lowercase()).map(Self::Dns)
        } else {
            text.strip_prefix("CN=").and_then(named).map(Self::CommonName)
        };
        known.ok_or_else(|| {
            format!("'{text}' names no certificate; write sha256:64 HEX DIGITS, CN=NAME, DNS:NAME or URI:NAME")
        })
    }
}

/// 64 hex digits.
pub(super) fn fingerprint(digits: &str) -> Option<[u8; 32]> {
    let mut octets = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(octets)
}

/// What a certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    fingerprint: [u8; 32],
    uris: Vec<String>,
    dns: Vec<String>,
    common_name: Option<String>,
}

impl Names {
    /// Of a certificate; one that cannot be read has its fingerprint only.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut names = Self { fingerprint: Sha256::digest(certificate).into(), ..Self::default() };
        if let Ok(read) = EndEntityCert::try_from(certificate) {
            names.uris = read.valid_uri_names().map(str::to_owned).collect();
            names.dns = read.valid_dns_names().map(str::to_ascii_lowercase).collect();
            names.common_name = common_name(read.subject());
        }
        names
    }

    /// Whether it is the one that is meant.
    pub(super) fn are(&self, known: &Known) -> bool {
        match known {
            Known::Fingerprint(fingerprint) => *fingerprint == self.fingerprint,
            Known::Uri(name) => self.uris.contains(name),
            Known::Dns(name) => self.dns.contains(name),
            Known::CommonName(name) => self.common_name.as_ref() == Some(name),
        }
    }
}

/// As a configuration would name it, for whoever has to write it there.
impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sha256:")?;
        self.fingerprint.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        // It was signed by our authority, but messages and logs have an end, and lines.
        let short = |name: &str| name.chars().filter(|c| !c.is_control()).take(80).collect::<String>();
        let uri = self.uris.first().map(|name| format!(", URI:{}", short(name)));
        let dns = self.dns.first().map(|name| format!(", DNS:{}", short(name)));
        let common_name = self.common_name.as_ref().map(|name| format!(", CN={}", short(name)));
        [uri, dns, common_name].into_iter().flatten().try_for_each(|name| f.write_str(&name))
    }
}

/// id-at-commonName, 2.5.4.3 (RFC 5280 A.1).
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
/// UTF8String, PrintableString, IA5String: the others are of another age.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// The common name of a subject (RFC 5280 4.1.2.6, without its outer tag). Of several, none: which would count?
fn common_name(mut subject: &[u8]) -> Option<String> {
    let mut found = None;
    while !subject.is_empty() {
        let (tag, mut attributes, rest) = element(subject)?;
        if tag != SET {
            return None;
        }
        while !attributes.is_empty() {
            let (tag, attribute, more) = element(attributes)?;
            let (kind, oid, value) = element(attribute)?;
            if tag != SEQUENCE || kind != OID {
                return None;
            }
            if oid == COMMON_NAME {
                let (text, octets, _) = element(value)?;
                if found.is_some() || !TEXTS.contains(&text) {
                    return None;
                }
                found = Some(std::str::from_utf8(octets).ok()?.to_owned());
            }
            attributes = more;
        }
        subject = rest;
    }
    found
}

/// The first element in DER (X.690 8.1): its tag, what is in it, and what follows.
fn element(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_names: &[&str], sans: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_is_known_by_its_names_and_its_fingerprint() {
        let sans = vec![
            SanType::DnsName("Desk.example.org".try_into().unwrap()),
            SanType::URI("spiffe://example.org/desk".try_into().unwrap()),
        ];
        let certificate = certificate(&["Front desk, Zürich"], sans);
        let names = Names::of(&certificate);
        let digits: String = Sha256::digest(&certificate).iter().map(|octet| format!("{octet:02X}:")).collect();
        let fingerprint = format!("sha256:{}", digits.trim_end_matches(':'));
        for known in [&*fingerprint, "CN=Front desk, Zürich", "DNS:desk.EXAMPLE.org", "URI:spiffe://example.org/desk"]
        {
            assert!(names.are(&known.parse().unwrap()), "{known} is {names}");
        }
        for other in ["CN=Front desk", "CN=Example", "DNS:example.org", "URI:spiffe://example.org/desk/2"] {
            assert!(!names.are(&other.parse().unwrap()), "{other} is not {names}");
        }
        assert!(
            names.to_string().ends_with(", URI:spiffe://example.org/desk, DNS:desk.example.org, CN=Front desk, Zürich")
        );
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_forms() {
        for wrong in ["", "desk", "CN=", "DNS:", "URI:", "sha256:12", "sha1:00", &format!("sha256:{}", "g".repeat(64))]
        {
            let refused = wrong.parse::<Known>().unwrap_err();
            assert!(refused.contains("CN=NAME"), "{refused}");
        }
    }

    #[test]
    fn of_two_common_names_none_counts() {
        let one = |name: &[u8]| {
            let mut octets = vec![SET, u8::try_from(name.len()).unwrap() + 9, SEQUENCE];
            octets.extend([u8::try_from(name.len()).unwrap() + 7, OID, 3, 0x55, 4, 3, 0x0c]);
            octets.push(u8::try_from(name.len()).unwrap());
            octets.extend(name);
            octets
        };
        assert_eq!(common_name(&one(b"desk")).as_deref(), Some("desk"));
        assert_eq!(common_name(&[one(b"desk"), one(b"admin")].concat()), None);
        assert_eq!(common_name(&[]), None);
    }

    proptest! {
        #[test]
        fn damaged_subjects_and_certificates_are_read_or_not(
            at in any::<prop::sample::Index>(),
            octet in any::<u8>(),
            cut in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = common_name(&noise);
            let mut octets = certificate(&["desk"], Vec::new()).to_vec();
            let place = at.index(octets.len());
            octets[place] = octet;
            octets.truncate(cut.index(octets.len()) + 1);
            let names = Names::of(&CertificateDer::from(octets));
            prop_assert!(names.to_string().starts_with("sha256:"));
        }
    }
}

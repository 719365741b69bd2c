//! Codes of vouchers, and the secret key by which they are kept: what is stored of a code is HMAC-SHA256 (RFC 2104) of it, cut to
//! 128 bits. Whoever has a copy of the data folder's records, but not the key, can neither read a code nor try out which digits fit.
//!
//! The key is made at first use and stays in a file of its own beside the records, for its owner only. It is part of a backup:
//! without it no voucher can be redeemed. HMAC is ten lines over the SHA-256 that is there, held to published vectors; that is
//! less to trust than one crate more. Randomness is an argument; absent: time, the log, and codes that are kept.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use balance_store::records::{CODE_HASH_OCTETS, CodeHash};
use sha2::{Digest, Sha256};

use crate::store::{OpenError, because};

/// Digits of a code, the check digit among them.
pub const CODE_DIGITS: usize = 16;
/// Octets of the secret key.
const KEY_OCTETS: usize = 32;
/// The file that has it, in the data folder.
pub const KEY_FILE: &str = "voucher.key";
/// One code in so many.
const CODES: u64 = 1_000_000_000_000_000;
/// Random numbers from here on would make some codes likelier than others.
const EVEN: u64 = u64::MAX / CODES * CODES;
/// Octets that SHA-256 takes at once.
const BLOCK: usize = 64;

/// Where random octets come from.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]) -> std::io::Result<()>;

/// The system's random source.
///
/// # Errors
/// When it cannot be read.
pub fn system_random() -> std::io::Result<impl FnMut(&mut [u8]) -> std::io::Result<()>> {
    let mut source = File::open("/dev/urandom")?;
    Ok(move |octets: &mut [u8]| source.read_exact(octets))
}

/// A code: 16 digits that fit together.
#[derive(Clone, PartialEq, Eq)]
pub struct Code([u8; CODE_DIGITS]);

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(hidden)")
    }
}

impl Code {
    /// A new one; all are equally likely.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn random(random: Random<'_>) -> std::io::Result<Self> {
        let number = loop {
            let mut octets = [0; 8];
            random(&mut octets)?;
            let number = u64::from_be_bytes(octets);
            if number < EVEN {
                break number % CODES;
            }
        };
        let text = format!("{number:015}");
        let mut digits = [0; CODE_DIGITS];
        digits.iter_mut().zip(text.bytes()).for_each(|(digit, letter)| *digit = letter - b'0');
        let check = check_digit(&digits);
        if let Some(last) = digits.last_mut() {
            *last = check;
        }
        Ok(Self(digits))
    }

    /// Reads a code as people type it: spaces and hyphens between its digits do not matter.
    ///
    /// # Errors
    /// What is wrong with it; that it is nobody's code is not known here.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut digits = [0; CODE_DIGITS];
        let mut typed = text.bytes().filter(|octet| !matches!(octet, b' ' | b'-'));
        for digit in &mut digits {
            match typed.next() {
                Some(octet @ b'0'..=b'9') => *digit = octet - b'0',
                Some(_) | None => return Err("is no code; a code has 16 digits"),
            }
        }
        if typed.next().is_some() {
            return Err("is no code; a code has 16 digits");
        }
        if digits.last() != Some(&check_digit(&digits)) {
            return Err("has a mistyped digit: its last digit does not fit the others; read it again");
        }
        Ok(Self(digits))
    }

    /// Its digits, to be printed.
    pub fn digits(&self) -> String {
        self.0.iter().map(|digit| char::from(b'0' + digit)).collect()
    }
}

/// The last digit that fits those before it (Luhn, ISO/IEC 7812-1 annex B): one wrong digit is always found, and all but one
/// (09 and 90) exchanges of neighbours.
fn check_digit(digits: &[u8; CODE_DIGITS]) -> u8 {
    let sum = digits.iter().rev().skip(1).enumerate().fold(0u8, |sum, (place, digit)| {
        let worth = if place % 2 == 0 { digit * 2 } else { *digit };
        (sum + if worth > 9 { worth - 9 } else { worth }) % 10
    });
    (10 - sum) % 10
}

/// The secret key.
#[derive(Clone)]
pub struct Secret([u8; KEY_OCTETS]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Secret {
    /// Reads the key of a data folder, if it has one.
    ///
    /// # Errors
    /// When the file cannot be read, or is no key.
    pub fn read(folder: &Path) -> Result<Option<Self>, OpenError> {
        let file = folder.join(KEY_FILE);
        let octets = match std::fs::read(&file) {
            Ok(octets) => octets,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(because(&format!("read {}", file.display()))(error)),
        };
        let key = octets.try_into().map_err(|octets: Vec<u8>| {
            let length = octets.len();
            OpenError(format!("{}: has {length} octets, not {KEY_OCTETS}; restore it from a backup", file.display()))
        })?;
        Ok(Some(Self(key)))
    }

    /// Makes the key of a data folder that has none: durable before it is used, and never half there.
    ///
    /// # Errors
    /// When the file cannot be written, or one is there.
    pub fn make(folder: &Path, random: Random<'_>) -> Result<Self, OpenError> {
        let mut key = [0; KEY_OCTETS];
        random(&mut key).map_err(because("the system's random source"))?;
        let (file, draft) = (folder.join(KEY_FILE), folder.join(format!("{KEY_FILE}.new")));
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| OpenError(format!("write {path}: {error}"))
        };
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&draft)(error)),
            Ok(()) | Err(_) => {}
        }
        let mut opened =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed(&draft))?;
        opened.write_all(&key).and_then(|()| opened.sync_all()).map_err(failed(&draft))?;
        // A link does not replace a key that somebody else has put there.
        std::fs::hard_link(&draft, &file).map_err(failed(&file))?;
        std::fs::remove_file(&draft).map_err(failed(&draft))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(&file))?;
        Ok(Self(key))
    }

    /// What is kept of a code.
    pub fn hash(&self, code: &Code) -> CodeHash {
        let mac = hmac(&self.0, &[b"voucher ", &code.0]);
        let mut hash = [0; CODE_HASH_OCTETS];
        hash.iter_mut().zip(mac).for_each(|(to, from)| *to = from);
        hash
    }

    /// Tells this key from another one, and nothing else of it.
    pub fn check(&self) -> [u8; 8] {
        let mac = hmac(&self.0, &[b"key check"]);
        let mut check = [0; 8];
        check.iter_mut().zip(mac).for_each(|(to, from)| *to = from);
        check
    }
}

/// HMAC-SHA256 (RFC 2104) with a key that is not longer than a block.
fn hmac(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    let padded = |with: u8| {
        let mut block = [with; BLOCK];
        block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36));
    let inner = message.iter().fold(inner, |hash, part| hash.chain_update(part)).finalize();
    Sha256::new().chain_update(padded(0x5C)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// RFC 4231, test cases 1 and 2.
    #[test]
    fn the_mac_is_the_published_one() {
        assert_eq!(
            hex(&hmac(&[0x0B; 20], &[b"Hi There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(&hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_code_is_read_as_it_was_printed_and_no_mistyped_one_is() {
        let mut next = 7u64;
        let mut random = |octets: &mut [u8]| {
            for octet in octets {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *octet = next.to_be_bytes()[0];
            }
            Ok(())
        };
        // The number of a payment card that books use.
        assert!(Code::parse("4111 1111 1111 1111").is_ok());
        for _ in 0..200 {
            let code = Code::random(&mut random).unwrap();
            let digits = code.digits();
            assert_eq!(digits.len(), CODE_DIGITS);
            let (front, back) = digits.split_at(4);
            assert_eq!(Code::parse(&format!("{front}-{back} ")), Ok(code));
            for place in 0..CODE_DIGITS {
                let mut mistyped = digits.clone().into_bytes();
                mistyped[place] = b'0' + (mistyped[place] - b'0' + 3) % 10;
                assert!(Code::parse(std::str::from_utf8(&mistyped).unwrap()).is_err());
            }
            assert!(Code::parse(&digits[1..]).is_err() && Code::parse(&format!("{digits}0")).is_err());
        }
    }

    #[test]
    fn numbers_that_would_make_some_codes_likelier_are_drawn_again() {
        let mut draws = [u64::MAX, EVEN, 42].into_iter();
        let mut random = |octets: &mut [u8]| {
            octets.copy_from_slice(&draws.next().unwrap().to_be_bytes());
            Ok(())
        };
        assert!(Code::random(&mut random).unwrap().digits().starts_with("000000000000042"));
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Secret::read(folder.path()).unwrap().is_none());
        let made = Secret::make(folder.path(), &mut system_random().unwrap()).unwrap();
        assert!(Secret::make(folder.path(), &mut system_random().unwrap()).is_err(), "it is never replaced");
        let read = Secret::read(folder.path()).unwrap().unwrap();
        let code = Code::parse("4111111111111111").unwrap();
        assert_eq!((read.hash(&code), read.check()), (made.hash(&code), made.check()));
        let mode = std::fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join(KEY_FILE), b"short").unwrap();
        assert!(Secret::read(folder.path()).is_err());
    }
}

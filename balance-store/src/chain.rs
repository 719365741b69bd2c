//! The cryptographic chain over CDRs, and over audit records: h_i = SHA-256(h_{i-1} || record octets).
//!
//! Every log frame and every CDR block carries the value after its last CDR, every audit record the value after itself, so that
//! a record changed, removed or added later changes every value after it.

use sha2::{Digest, Sha256};

/// A chain's value after some record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashChain([u8; 32]);

impl HashChain {
    /// The value before the first record.
    pub const START: Self = Self([0; 32]);

    /// A value read from somewhere.
    #[must_use]
    pub const fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The 32 octets.
    #[must_use]
    pub const fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The value after one more record.
    #[must_use]
    pub fn after(self, record: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(record).finalize().into())
    }
}

impl std::fmt::Display for HashChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl std::fmt::Debug for HashChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HashChain({self})")
    }
}

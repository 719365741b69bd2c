//! Fixed-width fields in octets, read and written without an index that could be out of bounds.

/// Reads fields off the front of a slice; `None` means it ended early.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Writes fields into a fixed piece of memory; what does not fit is an error of the caller and is not written.
pub(crate) struct FieldsMut<'a>(&'a mut [u8]);

impl<'a> FieldsMut<'a> {
    pub(crate) const fn new(octets: &'a mut [u8]) -> Self {
        Self(octets)
    }

    pub(crate) fn put(mut self, field: &[u8]) -> Self {
        let whole = std::mem::take(&mut self.0);
        if let Some((head, rest)) = whole.split_at_mut_checked(field.len()) {
            head.copy_from_slice(field);
            self.0 = rest;
        }
        self
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.put(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.put(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.put(&value.to_le_bytes())
    }
}

/// Length-prefixed records (`[u32 length][octets]` each), one after another.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// Whether the octets are exactly `count` records.
    pub(crate) fn are_exactly(octets: &'a [u8], count: u32) -> bool {
        let mut records = Self(octets);
        let mut seen = 0u32;
        while !records.0.is_empty() {
            if records.next().is_none() || seen == count {
                return false;
            }
            seen += 1;
        }
        seen == count
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(to_usize(u64::from(u32::from_le_bytes(*length))))?;
        self.0 = rest;
        Some(record)
    }
}

/// A file offset or length as a memory length; saturates where memory could not hold it anyway.
pub(crate) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A memory length as a file length.
pub(crate) fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// `value` rounded up to a multiple of eight: where frames and blocks begin.
pub(crate) const fn aligned(value: u64) -> u64 {
    value.saturating_add(7) & !7
}

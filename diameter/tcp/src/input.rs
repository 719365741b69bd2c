//! The read buffer of a connection: allocated once, filled at the end, consumed at the front.

/// Octets that were read and not yet handled.
#[derive(Debug)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    read_octets_max: usize,
}

impl Input {
    /// Room for a message of `message_octets_max`, filled by `read_octets_max` at a time. The octets are zero pages until
    /// they are used, so that an idle connection costs little.
    pub(crate) fn new(read_octets_max: usize, message_octets_max: usize) -> Self {
        let read_octets_max = read_octets_max.max(1);
        Self { buffer: vec![0; read_octets_max.max(message_octets_max)], start: 0, end: 0, read_octets_max }
    }

    pub(crate) fn octets(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn consume(&mut self, octets: usize) {
        self.start = (self.start + octets).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Where to read to; what is unhandled moves to the front first: less than a message when all whole ones are handled.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let end = self.buffer.len().min(self.end.saturating_add(self.read_octets_max));
        self.buffer.get_mut(self.end..end).unwrap_or_default()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.start == 0 && self.end == self.buffer.len()
    }

    pub(crate) fn filled(&mut self, octets: usize) {
        self.end = (self.end + octets).min(self.buffer.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_moves_to_the_front() {
        let mut input = Input::new(6, 8);
        input.space()[..6].copy_from_slice(b"abcdef");
        input.filled(6);
        input.consume(4);
        assert_eq!(input.octets(), b"ef");
        assert_eq!(input.space().len(), 6);
        input.space().copy_from_slice(b"ghijkl");
        input.filled(6);
        assert_eq!(input.octets(), b"efghijkl");
        assert!(input.is_full());
        input.consume(8);
        assert_eq!(input.space().len(), 6);
    }
}

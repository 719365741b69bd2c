//! The streams' servers for batches that are encoded where they are read.
//!
//! On the wire this is [`super::v1::cdr_export_server`] and [`super::v1::cdr_consumption_server`]. In memory a batch is the octets of a
//! [`StreamCdrsResponse`] or a [`CdrBatch`]: the thread that reads a CDR also encodes it and frees it, nothing but octets crosses to the
//! thread that sends, and the size of a batch is known as it grows. Only servers use this.

use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::v1::{CdrBatch, ConsumeResponse, ParkedDelivery, StreamCdrsResponse, consume_response};
use crate::fields::Fields;

#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/encoded/ocs.cdr.v1.rs"));
}
pub use generated::{cdr_consumption_server, cdr_export_server};

/// Number of `StreamCdrsResponse.records`, of `CdrBatch.records` and of `ParkedDelivery.record`.
const RECORDS: u32 = 1;
/// Numbers of `ConsumeResponse.batch` and `ConsumeResponse.delivery`.
const BATCH: u32 = 2;
const DELIVERY: u32 = 5;

/// An encoded [`StreamCdrsResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedResponse(Bytes);

impl EncodedResponse {
    /// The octets.
    pub const fn octets(&self) -> &Bytes {
        &self.0
    }
}

/// An [`EncodedResponse`] in the making.
#[derive(Debug, Default)]
pub struct ResponseEncoder(Vec<u8>);

impl ResponseEncoder {
    /// Makes room for so many octets.
    pub fn with_capacity(octets: usize) -> Self {
        Self(Vec::with_capacity(octets))
    }

    /// Adds a record behind the ones before: `put` writes the fields of a [`super::v1::RatedCdr`].
    pub fn push(&mut self, put: impl FnOnce(&mut Fields<'_>)) {
        Fields::new(&mut self.0).message(RECORDS, put);
    }

    /// Octets so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the fields beside the records.
    pub fn finish(mut self, next_position: u64, chain_hash: Vec<u8>) -> EncodedResponse {
        // Encoded messages that are put together are one message.
        StreamCdrsResponse { records: Vec::new(), next_position, chain_hash }.encode_raw(&mut self.0);
        EncodedResponse(self.0.into())
    }

    /// The same, as a batch of a consumer.
    pub fn finish_batch(mut self, next_position: u64, chain_hash: Vec<u8>, attempt: u32) -> EncodedConsumeResponse {
        CdrBatch { records: Vec::new(), next_position, chain_hash, attempt }.encode_raw(&mut self.0);
        EncodedConsumeResponse::Batch(self.0.into())
    }

    /// The one record, as a parked CDR that is sent again.
    pub fn finish_delivery(mut self, attempts: u32) -> EncodedConsumeResponse {
        ParkedDelivery { record: None, attempts }.encode_raw(&mut self.0);
        EncodedConsumeResponse::Delivery(self.0.into())
    }
}

/// A [`ConsumeResponse`] whose batch is encoded.
#[derive(Clone, Debug, PartialEq)]
pub enum EncodedConsumeResponse {
    /// The octets of a [`CdrBatch`].
    Batch(Bytes),
    /// The octets of a [`ParkedDelivery`].
    Delivery(Bytes),
    /// Anything else.
    Said(Box<ConsumeResponse>),
}

impl Default for EncodedConsumeResponse {
    fn default() -> Self {
        Self::Said(Box::default())
    }
}

impl From<consume_response::Message> for EncodedConsumeResponse {
    fn from(message: consume_response::Message) -> Self {
        Self::Said(Box::new(ConsumeResponse { message: Some(message) }))
    }
}

impl Message for EncodedResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    /// Skips every field: a response is sent encoded, never received so.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buf, context)
    }

    fn clear(&mut self) {
        self.0 = Bytes::new();
    }
}

impl Message for EncodedConsumeResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        match self {
            Self::Batch(octets) => prost::encoding::bytes::encode(BATCH, octets, buf),
            Self::Delivery(octets) => prost::encoding::bytes::encode(DELIVERY, octets, buf),
            Self::Said(said) => said.encode_raw(buf),
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Batch(octets) => prost::encoding::bytes::encoded_len(BATCH, octets),
            Self::Delivery(octets) => prost::encoding::bytes::encoded_len(DELIVERY, octets),
            Self::Said(said) => said.encoded_len(),
        }
    }

    /// Skips every field: a response is sent encoded, never received so.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buf, context)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::v1::RatedCdr;
    use super::*;

    #[test]
    fn what_is_encoded_bit_by_bit_is_one_response() {
        let long = RatedCdr { position: 7, cdr_id: "0-7".repeat(100), ..RatedCdr::default() };
        let records = vec![long, RatedCdr { position: 8, ..RatedCdr::default() }, RatedCdr::default()];
        let mut encoder = ResponseEncoder::default();
        for record in &records {
            encoder.push(|fields| {
                fields.uint(2, record.position);
                fields.text(3, &record.cdr_id);
            });
        }
        let encoded = encoder.finish(9, vec![1, 2]);
        let response = StreamCdrsResponse { records, next_position: 9, chain_hash: vec![1, 2] };
        assert_eq!(encoded.encode_to_vec(), response.encode_to_vec());
    }

    #[test]
    fn an_encoded_batch_is_the_message_of_a_consumer() {
        let record = RatedCdr { position: 7, ..RatedCdr::default() };
        let mut encoder = ResponseEncoder::default();
        encoder.push(|fields| fields.uint(2, record.position));
        let encoded = encoder.finish_batch(8, vec![3], 2);
        let batch = CdrBatch { records: vec![record], next_position: 8, chain_hash: vec![3], attempt: 2 };
        let message = ConsumeResponse { message: Some(consume_response::Message::Batch(batch)) };
        assert_eq!(encoded.encode_to_vec(), message.encode_to_vec());
        assert_eq!(encoded.encoded_len(), message.encoded_len());

        let mut encoder = ResponseEncoder::default();
        encoder.push(|fields| fields.uint(2, 7u64));
        let encoded = encoder.finish_delivery(3);
        let record = Some(RatedCdr { position: 7, ..RatedCdr::default() });
        let message = consume_response::Message::Delivery(ParkedDelivery { record, attempts: 3 });
        let message = ConsumeResponse { message: Some(message) };
        assert_eq!(encoded.encode_to_vec(), message.encode_to_vec());
    }
}

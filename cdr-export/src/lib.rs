//! The CDR stream: rated CDRs out of the store, over gRPC, to finance.
//!
//! `ocs` hands in a [`CdrFeed`] over what the store keeps and serves [`CdrExportService`]. [`convert`] turns a CDR into
//! protobuf and is the only place that does. A client that is slow, or gone, blocks its own stream and nothing else: it
//! holds a few batches of memory and no lock.
//!
//! Absent on purpose: what is on disk (the feed's business), consumer groups and acknowledgements (methods to come, a
//! client keeps its own position until then), and any way to change a CDR.

pub mod convert;
mod cursor;
mod service;
mod stats;

pub use convert::{CdrView, ExchangeView, LineView, OfferView, RatingView, TariffView};
pub use cursor::{CdrBatch, CdrFeed, CdrReader, Extent, FeedStopped, ReadError};
pub use service::{CdrExportService, ExportLimits};
pub use stats::ExportStats;

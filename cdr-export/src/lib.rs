//! The CDR streams: rated CDRs out of the store, over gRPC, to finance.
//!
//! `ocs` hands in a [`CdrFeed`] over what the store keeps and serves [`CdrExportService`], where clients keep their own position, and,
//! with a [`ConsumerBook`], [`CdrConsumptionService`], where the charging system keeps it. [`convert`] turns a CDR into protobuf and is
//! the only place that does. A client that is slow, or gone, blocks its own stream and nothing else: it holds a few batches of memory
//! and no lock.
//!
//! Absent on purpose: what is on disk (the feed's and the book's business), who makes consumers (an operator, through `ocs-api`), and
//! any way to change a CDR.

mod consume;
pub mod consumer;
pub mod convert;
mod cursor;
mod pump;
mod selection;
mod service;
mod stats;

pub use consume::{CdrConsumptionService, ConsumeLimits, ConsumerBook, ConsumerHold, HoldRefusal, Lost};
pub use convert::{CdrView, ExchangeView, LineView, OfferView, RatingView, TariffView};
pub use cursor::{CdrBatch, CdrFeed, CdrReader, Extent, FeedStopped, ReadError};
pub use selection::{ACCOUNTS_MAX, Selection};
pub use service::{CdrExportService, ExportLimits};
pub use stats::ExportStats;

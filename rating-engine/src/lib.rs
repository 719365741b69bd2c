//! The centre of the charging system: accounts, sessions, prices, and the one place where a balance changes.
//!
//! Front ends build [`command::Command`]s, the store keeps [`command::Writes`] and rated CDRs; everything between is here
//! and pure: no sockets, no disk, no clock, no random numbers, no serialisation. Time is an argument. [`shard::Shard`] is
//! the only thing that touches a balance; [`shards::Shards`] the only thing with a lock.
//!
//! Absent on purpose: protocol names, documents, and a second way to price.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod account;
pub mod calendar;
pub mod cdr;
pub mod command;
pub mod context;
pub mod crossing;
pub mod explain;
pub mod ids;
pub mod money;
pub mod networks;
pub mod offer;
pub mod period;
pub mod periods;
pub mod rating;
pub mod reach;
pub mod refund;
pub mod rerate;
pub mod selector;
pub mod session;
pub mod shard;
pub mod shards;
pub mod table;
pub mod tariff;
pub mod tariffs;
pub mod time;
pub mod units;
pub mod zones;

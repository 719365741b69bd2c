//! `ocs`: the process in which all parts meet. Configuration, clock, wiring, telemetry, command line.
//!
//! [`charging`] is the one use case; [`app`] composes front ends, store and export around it; the rest is what people run.
//! Absent on purpose: pricing (rating-engine), wire formats (diameter), octets on disk (balance-store).

pub mod access;
pub mod app;
pub mod archive;
pub mod asking;
pub mod audit;
pub mod audit_log;
mod calm;
pub mod canary;
pub mod catalogue;
pub mod charging;
pub mod cli;
mod clients;
pub mod clock;
pub mod commands;
pub mod config;
pub mod consumers;
pub mod control;
pub mod demo;
pub mod directory;
pub mod disk;
pub mod doors;
pub mod edge;
pub mod ending;
pub mod explained;
pub mod feed;
pub mod files;
pub mod grpc;
pub mod gy;
pub mod import;
mod lines;
pub mod masked;
pub mod operations;
pub mod publishing;
mod replay;
pub mod rerating;
pub mod setup;
pub mod simulate;
pub mod store;
mod stored_usage;
pub mod tail;
pub mod telemetry;
mod totals;
pub mod traffic;
pub mod vouchers;
pub mod walk;
pub mod watching;
pub mod what_if;

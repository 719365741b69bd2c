//! The real binary against real peers and against nonsense, over TCP on loopback.
//!
//! What needs a tool from a package registry (python-diameter, freeDiameter, tshark, strace, jsonschema, PyYAML, grpcio) runs `setup.sh`
//! first and skips itself, loudly, where the tool cannot be had; so does what needs the messages captured from a real SMF. With
//! `OCS_REQUIRE_PEERS=1` it fails instead when `setup.sh` says that the tool is there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bad_input;
mod durable;
mod finance;
mod freediameter;
mod health;
mod open5gs;
mod operator;
mod python;
mod schema;
mod server;
mod tshark;
mod wire;

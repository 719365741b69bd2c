//! The promises of the store, one test each, told from outside.

#![cfg(test)]

mod campaign;
mod cdrs;
mod checkpoint;
mod fuzz;
mod journal;
mod kill;
mod log_contract;
mod log_damage;
mod state_contract;
mod support;

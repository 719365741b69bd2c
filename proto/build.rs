//! Compiles the `.proto` files with protox: no protoc is needed on the machine.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

/// Every file with a service; what they import comes with them.
const FILES: [&str; 15] = [
    CDR_FILE,
    "ocs/cdr/v1/totals.proto",
    CONSUMERS_FILE,
    "ocs/operator/v1/accounts.proto",
    "ocs/operator/v1/approvals.proto",
    "ocs/operator/v1/audit.proto",
    "ocs/operator/v1/catalogue.proto",
    "ocs/operator/v1/clock.proto",
    "ocs/operator/v1/notifications.proto",
    "ocs/operator/v1/rerating.proto",
    "ocs/operator/v1/groups.proto",
    "ocs/operator/v1/sessions.proto",
    "ocs/operator/v1/subscribers.proto",
    "ocs/operator/v1/usage.proto",
    "ocs/operator/v1/vouchers.proto",
];
const CDR_FILE: &str = "ocs/cdr/v1/cdr.proto";
const CONSUMERS_FILE: &str = "ocs/cdr/v1/consumers.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=ocs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let descriptors = protox::compile(FILES, ["."])?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;

    // Only what streams CDRs is wanted twice.
    let mut streams = protox::compile([CDR_FILE, CONSUMERS_FILE], ["."])?;
    streams.file.iter_mut().for_each(|file| file.service.retain(|service| service.name() != "CdrConsumers"));
    // The servers of the streams once more, with batches that are octets already: see `cdr::encoded`.
    let encoded = out.join("encoded");
    std::fs::create_dir_all(&encoded)?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(encoded)
        .extern_path(".ocs.charging.v1", "crate::charging::v1")
        .extern_path(".ocs.cdr.v1", "crate::cdr::v1")
        .extern_path(".ocs.cdr.v1.StreamCdrsResponse", "crate::cdr::encoded::EncodedResponse")
        .extern_path(".ocs.cdr.v1.ConsumeResponse", "crate::cdr::encoded::EncodedConsumeResponse")
        .compile_fds(streams)?;
    Ok(())
}

//! The interface of the charging system for finance and operators, as compiled from the `.proto` files beside it.
//!
//! Generated messages, clients and servers, by package and version; the `.proto` files are the documentation. By hand are
//! the words that all of them share, out of the centre's types ([`charging::convert`], [`cdr::convert`]), and responses that are encoded
//! where they are read ([`cdr::encoded`]), and how every service says why not ([`refusal`]). Every other conversion lives with the service that needs it.

use prost::Message;

/// Package `ocs.charging`: money, units and services.
pub mod charging {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("ocs.charging.v1");
    }

    pub mod convert;
}

/// Package `ocs.cdr`: rated CDRs and their export.
pub mod cdr {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("ocs.cdr.v1");
    }

    pub mod convert;
    pub mod encoded;
}

/// Package `ocs.operator`: accounts, usage records and the development clock.
pub mod operator {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("ocs.operator.v1");
    }
}

pub mod fields;
pub mod refusal;

/// Every message and service as an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The paths of all methods, as they are called: `/ocs.operator.v1.Accounts/GetAccount`.
pub fn method_paths() -> Vec<String> {
    // It was written by the build a moment before this was compiled.
    let descriptors = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let services =
        descriptors.file.iter().flat_map(|file| file.service.iter().map(|service| (file.package(), service)));
    let methods = services.flat_map(|(package, service)| {
        service.method.iter().map(move |method| format!("/{package}.{}/{}", service.name(), method.name()))
    });
    methods.collect()
}

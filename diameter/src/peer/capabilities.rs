//! What the two sides of a connection tell each other in CER and CEA (RFC 6733 5.3).
//!
//! [`Cer`] is a CER as read; [`write_cea`] is our side of it. What follows from them is for the state machine.

use std::net::IpAddr;

use super::Local;
use crate::avp::{Address, Avp};
use crate::dictionary::{AvpCode, VENDOR_3GPP};
use crate::error::{DecodeError, ResultCode};
use crate::header::ApplicationId;
use crate::message::{Message, MessageTooLong, MessageWriter};

/// Octets of an Origin-Host or Origin-Realm, and characters of a Product-Name: what a domain name may have.
const NAME_MAX: usize = 255;

/// Inband-Security-Id: none (RFC 6733 6.10).
const NO_INBAND_SECURITY: u32 = 0;

/// What a peer says about itself in its CER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerFacts {
    /// Origin-Host: who it is.
    pub host: String,
    /// Origin-Realm.
    pub realm: String,
    /// Product-Name.
    pub product: String,
    /// Vendor-Id, the vendor of the product.
    pub vendor: u32,
    /// Firmware-Revision.
    pub firmware: Option<u32>,
    /// Origin-State-Id; a higher one than before means that the peer lost its sessions (RFC 6733 8.16).
    pub origin_state: Option<u32>,
}

/// A CER: the facts, and what it offers.
#[derive(Debug, Default)]
pub(super) struct Cer {
    pub(super) facts: PeerFacts,
    pub(super) has_common_application: bool,
    security_offered: bool,
    accepts_no_security: bool,
}

impl Cer {
    pub(super) fn read(message: &Message<'_>) -> Result<Self, DecodeError> {
        let mut cer = Self::default();
        for avp in message.avps() {
            let avp = avp?;
            match avp.code {
                AvpCode::ORIGIN_HOST => cer.facts.host = identity(&avp)?.to_owned(),
                AvpCode::ORIGIN_REALM => cer.facts.realm = identity(&avp)?.to_owned(),
                AvpCode::PRODUCT_NAME => cer.facts.product = product(avp.utf8()?),
                AvpCode::VENDOR_ID => cer.facts.vendor = avp.u32()?,
                AvpCode::FIRMWARE_REVISION => cer.facts.firmware = Some(avp.u32()?),
                AvpCode::ORIGIN_STATE_ID => cer.facts.origin_state = Some(avp.u32()?),
                AvpCode::AUTH_APPLICATION_ID | AvpCode::ACCT_APPLICATION_ID => cer.offer(avp.u32()?),
                // The vendor id in it does not count, and that both ids are there is tolerated (RFC 6733 6.11).
                AvpCode::VENDOR_SPECIFIC_APPLICATION_ID => {
                    for member in avp.grouped()? {
                        let member = member?;
                        if matches!(member.code, AvpCode::AUTH_APPLICATION_ID | AvpCode::ACCT_APPLICATION_ID) {
                            cer.offer(member.u32()?);
                        }
                    }
                }
                AvpCode::INBAND_SECURITY_ID => {
                    cer.security_offered = true;
                    cer.accepts_no_security |= avp.u32()? == NO_INBAND_SECURITY;
                }
                _ => {}
            }
        }
        Ok(cer)
    }

    /// Ours is credit control, by whichever AVP it is offered; a relay has everything in common (RFC 6733 5.3).
    fn offer(&mut self, application: u32) {
        let application = ApplicationId(application);
        self.has_common_application |= matches!(application, ApplicationId::CREDIT_CONTROL | ApplicationId::RELAY);
    }

    /// Whether the connection may stay as it is: there is no TLS to be had in band (RFC 6733 13.1).
    pub(super) const fn has_common_security(&self) -> bool {
        !self.security_offered || self.accepts_no_security
    }
}

/// A DiameterIdentity (RFC 6733 4.3.1). It names the peer in tables and logs, so it has to be a name: visible ASCII.
pub(super) fn identity<'a>(avp: &Avp<'a>) -> Result<&'a str, DecodeError> {
    let octets = avp.data;
    let is_name = !octets.is_empty() && octets.len() <= NAME_MAX && octets.iter().all(u8::is_ascii_graphic);
    if is_name { avp.utf8() } else { Err(avp.invalid_value()) }
}

/// A Product-Name is for people and decides little: what cannot stand in a line of a log is left out.
fn product(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(NAME_MAX).collect()
}

/// Appends a CEA with everything it may tell about us (RFC 6733 5.3.2).
pub(super) fn write_cea(
    out: &mut Vec<u8>,
    cer: &Message<'_>,
    local: &Local,
    addresses: &[IpAddr],
    code: ResultCode,
    error: Option<&DecodeError>,
) -> Result<usize, MessageTooLong> {
    let mut cea = MessageWriter::new(out, &cer.header().answer());
    cea.u32(AvpCode::RESULT_CODE, code.0);
    cea.utf8(AvpCode::ORIGIN_HOST, &local.identity.host);
    cea.utf8(AvpCode::ORIGIN_REALM, &local.identity.realm);
    for address in addresses {
        cea.address(AvpCode::HOST_IP_ADDRESS, Address::Ip(*address));
    }
    cea.u32(AvpCode::VENDOR_ID, local.vendor);
    cea.utf8(AvpCode::PRODUCT_NAME, &local.product);
    local.identity.write_state(&mut cea);
    if let Some(error) = error {
        cea.utf8(AvpCode::ERROR_MESSAGE, &error.to_string());
        if let Some(failed) = error.failed_avp() {
            cea.grouped(AvpCode::FAILED_AVP, |cea| cea.encoded(&failed));
        }
    }
    cea.u32(AvpCode::SUPPORTED_VENDOR_ID, VENDOR_3GPP);
    cea.u32(AvpCode::AUTH_APPLICATION_ID, ApplicationId::CREDIT_CONTROL.0);
    cea.u32(AvpCode::FIRMWARE_REVISION, local.firmware);
    cea.finish()
}

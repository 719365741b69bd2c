//! The circumstances of usage: everything a price may depend on and a CDR must repeat.
//!
//! Protocol-neutral; Gy and Nchf fill the same fields. Values are kept as the network gave them, so that what a CDR
//! says is what was said. All of it is input to rating; nothing here is interpreted.

use std::net::IpAddr;
use std::sync::Arc;

use crate::ids::Identifier;
use crate::tariff::Service;

/// A mobile network: MCC and MNC, digits as written (`26201`, `310410`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Plmn([u8; 6]);

impl Plmn {
    /// Parses 5 or 6 digits.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_ascii(text.as_bytes())
    }

    /// The same, from octets that may be anything.
    pub fn from_ascii(octets: &[u8]) -> Option<Self> {
        if !(octets.len() == 5 || octets.len() == 6) || !octets.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut padded = [0; 6];
        for (place, digit) in padded.iter_mut().zip(octets) {
            *place = *digit;
        }
        Some(Self(padded))
    }

    /// The digits as octets; 0 stands for a sixth that is not there.
    pub const fn octets(&self) -> &[u8; 6] {
        &self.0
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        let length = if self.0[5] == 0 { 5 } else { 6 };
        self.0.get(..length).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or("")
    }
}

/// A network slice (S-NSSAI, TS 23.003 28.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice {
    /// Slice/Service Type.
    pub service_type: u8,
    /// Slice Differentiator, 24 bits.
    pub differentiator: Option<u32>,
}

/// Who asks, about whom, and under which circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The kind of service.
    pub service: Service,
    /// Service-Context-Id as given.
    pub service_context: Arc<str>,
    /// The network element that asks (Origin-Host, NF name).
    pub client_host: Arc<str>,
    /// Its realm.
    pub client_realm: Arc<str>,
    /// Every identifier of the subscriber that the request carried, in its order.
    pub identifiers: Vec<Identifier>,
    /// Equipment identity (IMEISV or other) as given.
    pub equipment: Option<Box<[u8]>>,
    /// Correlation of several sessions of one service (CC-Correlation-Id, Acct-Multi-Session-Id).
    pub correlation: Option<Box<[u8]>>,
    /// Packet data.
    pub packet: Option<Box<PacketContext>>,
    /// IMS, voice.
    pub ims: Option<Box<ImsContext>>,
    /// Short messages.
    pub sms: Option<Box<SmsContext>>,
}

impl Context {
    /// Moves what it says out of it; only what is shared anyway stays.
    pub fn take(&mut self) -> Self {
        Self {
            service: self.service,
            service_context: std::mem::take(&mut self.service_context),
            client_host: self.client_host.clone(),
            client_realm: self.client_realm.clone(),
            identifiers: std::mem::take(&mut self.identifiers),
            equipment: self.equipment.take(),
            correlation: self.correlation.take(),
            packet: self.packet.take(),
            ims: self.ims.take(),
            sms: self.sms.take(),
        }
    }

    /// Takes over what a later request says and keeps what it leaves out. Returns whether anything changed.
    pub fn update(&mut self, later: &Self) -> bool {
        let before = self.clone();
        self.service = later.service;
        self.service_context = later.service_context.clone();
        self.client_host = later.client_host.clone();
        self.client_realm = later.client_realm.clone();
        take_list(&mut self.identifiers, &later.identifiers);
        take(&mut self.equipment, &later.equipment);
        take(&mut self.correlation, &later.correlation);
        match (&mut self.packet, &later.packet) {
            (Some(mine), Some(theirs)) => mine.update(theirs),
            (mine, theirs) => take(mine, theirs),
        }
        match (&mut self.ims, &later.ims) {
            (Some(mine), Some(theirs)) => mine.update(theirs),
            (mine, theirs) => take(mine, theirs),
        }
        take(&mut self.sms, &later.sms);
        *self != before
    }
}

fn take<T: Clone>(mine: &mut Option<T>, theirs: &Option<T>) {
    if theirs.is_some() {
        mine.clone_from(theirs);
    }
}

fn take_list<T: Clone>(mine: &mut Vec<T>, theirs: &[T]) {
    if !theirs.is_empty() {
        *mine = theirs.to_vec();
    }
}

/// PS-Information (TS 32.299 7.2.158) as far as rating and CDRs use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketContext {
    /// Access point name (Called-Station-Id).
    pub apn: Option<Box<str>>,
    /// 3GPP-Charging-Id: of the bearer.
    pub charging_id: Option<u32>,
    /// PDN-Connection-Charging-ID: of the default bearer.
    pub pdn_connection_id: Option<u32>,
    /// Serving network (3GPP-SGSN-MCC-MNC): decides roaming.
    pub serving_plmn: Option<Plmn>,
    /// Home network (3GPP-IMSI-MCC-MNC).
    pub home_plmn: Option<Plmn>,
    /// Gateway's network (3GPP-GGSN-MCC-MNC).
    pub gateway_plmn: Option<Plmn>,
    /// 3GPP-RAT-Type octet.
    pub rat: Option<u8>,
    /// 3GPP-User-Location-Info, octets as sent.
    pub location: Option<Box<[u8]>>,
    /// 3GPP-MS-TimeZone, octets as sent.
    pub time_zone: Option<[u8; 2]>,
    /// 3GPP-Charging-Characteristics, as a number.
    pub charging_characteristics: Option<u16>,
    /// SGSN-Address or SGW-Address.
    pub serving_node: Option<IpAddr>,
    /// Serving-Node-Type.
    pub serving_node_type: Option<u32>,
    /// GGSN-Address: the gateway.
    pub gateway: Option<IpAddr>,
    /// PDP-Addresses of the device.
    pub device_addresses: Vec<IpAddr>,
    /// 3GPP-PDP-Type.
    pub pdp_type: Option<u32>,
    /// 3GPP-NSAPI: bearer id octet.
    pub nsapi: Option<u8>,
    /// 3GPP-Selection-Mode octet.
    pub selection_mode: Option<u8>,
    /// QoS-Class-Identifier.
    pub qci: Option<u32>,
    /// Charging-Rule-Base-Name.
    pub rule_base: Option<Box<str>>,
    /// 3GPP-PS-Data-Off-Status.
    pub ps_data_off: Option<u32>,
    /// Presence-Reporting-Area-Status.
    pub presence_area: Option<u32>,
    /// Slice of the PDU session (5G only).
    pub slice: Option<Slice>,
}

impl PacketContext {
    fn update(&mut self, later: &Self) {
        take(&mut self.apn, &later.apn);
        take(&mut self.charging_id, &later.charging_id);
        take(&mut self.pdn_connection_id, &later.pdn_connection_id);
        take(&mut self.serving_plmn, &later.serving_plmn);
        take(&mut self.home_plmn, &later.home_plmn);
        take(&mut self.gateway_plmn, &later.gateway_plmn);
        take(&mut self.rat, &later.rat);
        take(&mut self.location, &later.location);
        take(&mut self.time_zone, &later.time_zone);
        take(&mut self.charging_characteristics, &later.charging_characteristics);
        take(&mut self.serving_node, &later.serving_node);
        take(&mut self.serving_node_type, &later.serving_node_type);
        take(&mut self.gateway, &later.gateway);
        take_list(&mut self.device_addresses, &later.device_addresses);
        take(&mut self.pdp_type, &later.pdp_type);
        take(&mut self.nsapi, &later.nsapi);
        take(&mut self.selection_mode, &later.selection_mode);
        take(&mut self.qci, &later.qci);
        take(&mut self.rule_base, &later.rule_base);
        take(&mut self.ps_data_off, &later.ps_data_off);
        take(&mut self.presence_area, &later.presence_area);
        take(&mut self.slice, &later.slice);
    }
}

/// IMS-Information (TS 32.299 7.2.77) as far as rating and CDRs use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImsContext {
    /// SIP method of the event.
    pub sip_method: Option<Box<str>>,
    /// Role-Of-Node: 0 originating, 1 terminating, 2 forwarding.
    pub role: Option<u32>,
    /// Node-Functionality.
    pub node_functionality: Option<u32>,
    /// User-Session-Id: the SIP call id.
    pub user_session: Option<Box<str>>,
    /// Calling-Party-Addresses.
    pub calling: Vec<Box<str>>,
    /// Called-Party-Address: the rating destination.
    pub called: Option<Box<str>>,
    /// Requested-Party-Addresses: as dialled.
    pub requested: Vec<Box<str>>,
    /// IMS-Charging-Identifier.
    pub icid: Option<Box<str>>,
    /// Access-Network-Information texts.
    pub access_network: Vec<Box<str>>,
    /// IMS-Visited-Network-Identifier.
    pub visited_network: Option<Box<str>>,
    /// Cause-Code.
    pub cause_code: Option<i32>,
    /// IMS-Emergency-Indicator.
    pub emergency: bool,
}

impl ImsContext {
    fn update(&mut self, later: &Self) {
        take(&mut self.sip_method, &later.sip_method);
        take(&mut self.role, &later.role);
        take(&mut self.node_functionality, &later.node_functionality);
        take(&mut self.user_session, &later.user_session);
        take_list(&mut self.calling, &later.calling);
        take(&mut self.called, &later.called);
        take_list(&mut self.requested, &later.requested);
        take(&mut self.icid, &later.icid);
        take_list(&mut self.access_network, &later.access_network);
        take(&mut self.visited_network, &later.visited_network);
        take(&mut self.cause_code, &later.cause_code);
        self.emergency |= later.emergency;
    }
}

/// SMS-Information (TS 32.299 7.2.212) as far as rating and CDRs use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmsContext {
    /// Originator-Received-Address or other originator.
    pub originator: Option<Box<str>>,
    /// Recipient addresses.
    pub recipients: Vec<Box<str>>,
    /// SMSC-Address digits.
    pub service_centre: Option<Box<str>>,
    /// SM-Message-Type.
    pub message_type: Option<u32>,
    /// SMS-Node.
    pub node: Option<u32>,
    /// Number-Of-Messages-Sent.
    pub messages: Option<u32>,
    /// Data-Coding-Scheme.
    pub data_coding: Option<i32>,
    /// SM-Service-Type.
    pub service_type: Option<u32>,
}

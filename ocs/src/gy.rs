//! The Gy front end joined to charging: one request in, one encoded answer out, inline.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use diameter::gy::profile::Selector;
use diameter::gy::{self, Names, PeerProfile, Profiles, ServiceContexts};
use diameter::{CommandCode, Identity, Message, PeerFacts, Reason, ResultCode, error_answer};
use diameter_tcp::{CloseReason, Handled, Handler, PeerEvent};
use rating_engine::ids::{Lsn, SubscriberId};

use crate::asking::Ways;
use crate::charging::Charging;
use crate::config;
use crate::telemetry::PeerEnd;

/// Client hosts behind one connection whose profile is remembered.
const RECOGNISED_MAX: usize = 64;

/// A connection that has been behind for this long is overloaded.
const OVERLOADED_AFTER: Duration = Duration::from_millis(50);

/// Restarted clients whose sessions wait to be released.
const RESTARTS_MAX: usize = 1024;

/// Of those released at once, how many are named.
const CLIENTS_SHOWN: usize = 8;

/// What all connections share.
#[derive(Debug)]
pub struct GyFront {
    charging: Arc<Charging>,
    own: Identity,
    contexts: ServiceContexts,
    profiles: Profiles,
    standard: Arc<PeerProfile>,
    restarted: SyncSender<(Arc<str>, u32)>,
    ways: Arc<Ways>,
}

impl GyFront {
    /// The front end as configured.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(charging: Arc<Charging>, config: &config::Gy) -> std::io::Result<Self> {
        let (restarted, to_release) = std::sync::mpsc::sync_channel(RESTARTS_MAX);
        let releasing = charging.clone();
        std::thread::Builder::new()
            .name("client-restart".to_owned())
            .spawn(move || release_restarted(&releasing, &to_release))?;
        let own = crate::app::identity(config);
        let contexts = config.service_contexts.iter();
        let contexts = contexts.filter_map(|(name, service)| Some((name.as_str().into(), service.parse().ok()?)));
        let profiles = config.peers.iter().filter_map(|peer| {
            let selector = match (&peer.host, &peer.realm, &peer.product) {
                (Some(host), ..) => Selector::Host(host.as_str().into()),
                (None, Some(realm), _) => Selector::Realm(realm.as_str().into()),
                (None, None, Some(product)) => Selector::Product(product.as_str().into()),
                (None, None, None) => return None,
            };
            let profile = if peer.profile == "open5gs" { PeerProfile::OPEN5GS } else { PeerProfile::STANDARD };
            Some((selector, Arc::new(profile)))
        });
        Ok(Self {
            charging,
            own,
            contexts: ServiceContexts::new(contexts.collect()),
            profiles: Profiles::new(profiles.collect()),
            standard: Arc::new(PeerProfile::STANDARD),
            restarted,
            ways: Arc::default(),
        })
    }

    /// Over whom clients are reached that are not connected themselves.
    pub fn ways(&self) -> Arc<Ways> {
        self.ways.clone()
    }

    /// A restarted client's sessions are released beside the traffic, by one thread.
    fn client_seen(&self, host: &Arc<str>, state: u32) {
        if self.charging.client_seen(host, state) && self.restarted.try_send((host.clone(), state)).is_err() {
            tracing::error!(client = %host, "too many clients restarted at once; this one's old sessions will expire");
        }
    }
}

/// Releases sessions of restarted clients until the front end is gone: of all that wait, at once.
fn release_restarted(charging: &Charging, restarted: &Receiver<(Arc<str>, u32)>) {
    while let Ok(first) = restarted.recv() {
        let waiting: Vec<_> = std::iter::once(first).chain(restarted.try_iter().take(RESTARTS_MAX)).collect();
        let released = charging.release_restarted(&waiting);
        if released > 0 {
            let clients: Vec<&str> = waiting.iter().take(CLIENTS_SHOWN).map(|(host, _)| &**host).collect();
            tracing::info!(?clients, of = waiting.len(), released, "released the sessions of restarted clients");
        }
    }
}

/// The handler of one connection.
#[derive(Clone, Debug)]
pub struct GyHandler {
    front: Arc<GyFront>,
    names: Option<Names>,
    /// Whether the connection has not kept up for too long: new work is shed until it does.
    overloaded: bool,
    /// Profiles that clients behind this connection gave away.
    recognised: Vec<(Arc<str>, &'static PeerProfile)>,
}

impl GyHandler {
    /// A handler for connections to come.
    pub fn new(front: Arc<GyFront>) -> Self {
        Self { front, names: None, overloaded: false, recognised: Vec::new() }
    }

    fn recognise(&mut self, product: &str, request: &gy::GyRequest) -> Option<&'static PeerProfile> {
        let host = &request.context.client_host;
        if let Some((_, profile)) = self.recognised.iter().find(|(known, _)| known == host) {
            return Some(profile);
        }
        let profile = gy::recognise(product, request)?;
        if self.recognised.len() >= RECOGNISED_MAX {
            self.recognised.remove(0);
        }
        self.recognised.push((host.clone(), profile));
        Some(profile)
    }
}

impl Handler for GyHandler {
    fn handle(&mut self, peer: &PeerFacts, request: &Message<'_>, now: Instant, out: &mut Vec<u8>) -> Handled {
        let front = self.front.clone();
        let at_once = Handled::Answer { lsn: Lsn::default(), deadline: None };
        if request.header().command != CommandCode::CREDIT_CONTROL {
            // Sessions end with a CCR here; whoever sends STR or another request has none of ours (RFC 8506 5.5).
            let code = ResultCode::UNKNOWN_SESSION_ID;
            out.extend(error_answer(request, &front.own, code, None, Some("credit control sessions end with a CCR-T")));
            return at_once;
        }
        let names = self.names.get_or_insert_with(|| Names::new(peer.host.as_str().into(), peer.realm.as_str().into()));
        let mut parsed = match gy::parse(request, front.charging.clock.now(), &front.contexts, names) {
            Ok(parsed) => parsed,
            Err(error) => {
                out.extend(error.answer(request, &front.own));
                return at_once;
            }
        };
        // Some clients tell their restart marker only when they connect.
        if parsed.client_state == 0 && parsed.context.client_host.eq_ignore_ascii_case(&peer.host) {
            parsed.client_state = peer.origin_state.unwrap_or(0);
        }
        front.client_seen(&parsed.context.client_host, parsed.client_state);
        front.ways.note(&parsed.context.client_host, &peer.host);
        let configured =
            front.profiles.find(&parsed.context.client_host, &parsed.context.client_realm, &peer.product).cloned();
        let profile = match &configured {
            Some(profile) => profile,
            None => self.recognise(&peer.product, &parsed).unwrap_or(&front.standard),
        };
        let (command, echo) = parsed.into_command(SubscriberId::default(), profile);
        let deadline = profile.deadline_millis(command.action.kind());
        let deadline = deadline.map(|millis| now + Duration::from_millis(millis.into()));
        let shed = if self.overloaded { front.charging.shed(&command) } else { None };
        let charged = shed.unwrap_or_else(|| front.charging.charge(command));
        match gy::encode(out, &echo, &charged.outcome, &front.own, profile) {
            Ok(_) => Handled::Answer { lsn: charged.lsn, deadline },
            Err(_) => Handled::NoAnswer,
        }
    }

    fn behind(&mut self, duration: Duration) {
        self.overloaded = duration > OVERLOADED_AFTER;
    }

    fn on_event(&mut self, event: &PeerEvent<'_>) {
        match event {
            PeerEvent::Opened(peer) => {
                self.front.charging.telemetry.peer_opened();
                self.front.client_seen(&peer.host.as_str().into(), peer.origin_state.unwrap_or(0));
            }
            PeerEvent::Suspect(peer) => {
                tracing::warn!(peer = %peer.host, "peer does not answer the watchdog");
            }
            PeerEvent::Recovered(peer) => tracing::info!(peer = %peer.host, "peer answers again"),
            // The connection logs its own end.
            PeerEvent::Closed(Some(_), reason) => self.front.charging.telemetry.peer_closed(peer_end(reason)),
            PeerEvent::Closed(None, _) => {}
        }
    }
}

fn peer_end(reason: &CloseReason) -> PeerEnd {
    match reason {
        CloseReason::Protocol(reason) => match reason {
            Reason::DisconnectedByPeer { .. } | Reason::Disconnected | Reason::Rejected => PeerEnd::Disconnected,
            Reason::Silent => PeerEnd::Silent,
            Reason::ConnectionLost => PeerEnd::Lost,
            Reason::NoCer
            | Reason::NotCer
            | Reason::Refused { .. }
            | Reason::BadCer(_)
            | Reason::Framing(_)
            | Reason::OutboxFull => PeerEnd::Broken,
        },
        CloseReason::MarkLost => PeerEnd::Disconnected,
        CloseReason::Io(_) | CloseReason::Replaced => PeerEnd::Lost,
        CloseReason::Stalled => PeerEnd::Broken,
    }
}

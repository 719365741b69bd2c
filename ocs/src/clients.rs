//! Which client hosts there are, by the restart marker that each was seen with (Origin-State-Id, RFC 6733 8.16).

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use rating_engine::shards::Shards;

/// Client hosts whose restart marker is remembered; sessions of further ones expire instead of being released.
const CLIENTS_MAX: usize = 65_536;

/// The restart marker of each client host that was seen last, or before that the lowest of its open sessions.
#[derive(Debug, Default)]
pub(crate) struct Clients(DashMap<Arc<str>, u32, foldhash::fast::RandomState>);

impl Clients {
    /// The hosts of the sessions that a start found open.
    pub(crate) fn of(shards: &Shards) -> Self {
        let Self(clients) = Self::default();
        for index in 0..shards.len() {
            shards.with_index(index, |shard| {
                for session in shard.sessions().filter(|session| session.is_open() && session.client_state != 0) {
                    let host = caseless(&session.context.client_host);
                    if clients.len() < CLIENTS_MAX || clients.contains_key(&host) {
                        let mut lowest = clients.entry(host).or_insert(session.client_state);
                        *lowest = session.client_state.min(*lowest);
                    }
                }
            });
        }
        Self(clients)
    }

    /// Notes a marker and says whether the host has restarted. 0 says nothing, and a host that has no session has none to
    /// lose. When the table is full, hosts that are in it are still followed, and no others.
    pub(crate) fn seen(&self, host: &Arc<str>, state: u32) -> bool {
        if state == 0 {
            return false;
        }
        let host = &caseless(host);
        let known = self.0.get(host).map(|known| *known);
        if known.is_some_and(|known| known >= state) || (known.is_none() && self.0.len() >= CLIENTS_MAX) {
            return false;
        }
        match self.0.entry(host.clone()) {
            Entry::Occupied(mut known) if *known.get() < state => {
                known.insert(state);
                true
            }
            Entry::Occupied(_) => false,
            Entry::Vacant(new) => {
                // It has no sessions, not even from before our own start.
                new.insert(state);
                false
            }
        }
    }
}

/// A host's name as it is compared: case does not count (RFC 6733 4.3.1).
pub(crate) fn caseless(host: &Arc<str>) -> Arc<str> {
    if host.bytes().any(|octet| octet.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_follows_the_hosts_it_knows_and_takes_no_others() {
        let clients = Clients::default();
        let host = |number: usize| Arc::from(format!("gateway-{number}"));
        for number in 0..CLIENTS_MAX {
            assert!(!clients.seen(&host(number), 7), "seen for the first time");
        }
        for state in [7, 8] {
            assert!(!clients.seen(&host(CLIENTS_MAX), state), "there is no room, so nothing is known about it");
        }
        assert_eq!(clients.0.len(), CLIENTS_MAX);
        assert!(!clients.seen(&host(3), 7), "nothing new");
        assert!(clients.seen(&host(3), 8), "one that is known is still followed");
        assert!(!clients.seen(&host(3), 7), "an older marker is late, not a restart");
        assert!(!clients.seen(&host(3), 0), "0 says nothing");
        assert!(clients.seen(&Arc::from("Gateway-3"), 9), "names of hosts have no case");
    }
}

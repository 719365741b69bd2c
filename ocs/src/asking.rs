//! Asking clients back: whether a session should ask anew for its units (RAR) or end (ASR), and what the client said to it.
//!
//! ```text
//! session ─► its client's connection, else the agent's it came over ─► RAR or ASR ─► its answer within five seconds ─► Asked
//! ```
//!
//! A question changes nothing here: what follows is the client's own next request. When money arrives, the sessions that
//! waited for it are asked to ask again, by one task behind a bounded queue; nobody waits for that. Absent: repeating a question
//! that got no answer, and clients that are not reached over Gy.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use diameter::gy::ask::{Addressee, Answer, AnswerCode, Ask, Meaning, Scope, encode};
use diameter::{Identity, Message, RequestError};
use diameter_tcp::{PeerHandle, Peers, RequestFailure};
use rating_engine::ids::SessionId;
use rating_engine::session::Session;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clients::caseless;
use crate::telemetry::{AskKind, AskResult, Telemetry};

/// How long a client may take to answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Sessions that may wait to be asked after money arrived; further ones ask by themselves when their grants end.
pub const QUEUE_MAX: usize = 10_000;

/// Of those, how many are asked at a time: clients that do not answer must not keep the others waiting.
const IN_FLIGHT_MAX: usize = 256;

/// Clients behind agents whose way is known; further ones are reached only where they are connected themselves.
const WAYS_MAX: usize = 65_536;

/// A session that is open, and where its client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// The session.
    pub id: SessionId,
    /// Its client's Origin-Host.
    pub client_host: Arc<str>,
    /// Its client's Origin-Realm.
    pub client_realm: Arc<str>,
}

impl From<&Session> for OpenSession {
    fn from(session: &Session) -> Self {
        let context = &session.context;
        Self {
            id: session.id.clone(),
            client_host: context.client_host.clone(),
            client_realm: context.client_realm.clone(),
        }
    }
}

/// What came of asking a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The client does it.
    Consented {
        /// 2002: its next request follows; 2001: to a re-authorisation, one is on its way already.
        code: AnswerCode,
    },
    /// The client, or an agent in its place, does not.
    Refused {
        /// Why; [`Meaning::UnknownSession`]: the client does not have this session.
        code: AnswerCode,
        /// The same in its own words.
        message: Option<Box<str>>,
    },
    /// No open connection leads to the client; nothing was sent.
    NoPeer {
        /// Its Origin-Host.
        host: Arc<str>,
    },
    /// No answer within [`ANSWER_MAX`]; whether the client does it is not known.
    TimedOut,
    /// The connection ended before the answer; whether the client does it is not known.
    ConnectionLost,
    /// Too much waits for this connection already; nothing was sent.
    Busy,
    /// The answer is none, or the session has a name that cannot be sent.
    Defective {
        /// What is wrong.
        what: String,
    },
}

impl Asked {
    const fn result(&self) -> AskResult {
        match self {
            Self::Consented { .. } => AskResult::Consented,
            Self::Refused { code, .. } => match code.meaning() {
                Meaning::UnknownSession => AskResult::UnknownSession,
                Meaning::Consented | Meaning::UnableToComply | Meaning::Other => AskResult::Refused,
            },
            Self::NoPeer { .. } => AskResult::NoPeer,
            Self::TimedOut => AskResult::TimedOut,
            Self::ConnectionLost => AskResult::ConnectionLost,
            Self::Busy => AskResult::Busy,
            Self::Defective { .. } => AskResult::Defective,
        }
    }
}

impl From<Answer> for Asked {
    fn from(Answer { code, message }: Answer) -> Self {
        match code.meaning() {
            Meaning::Consented => Self::Consented { code },
            Meaning::UnknownSession | Meaning::UnableToComply | Meaning::Other => Self::Refused { code, message },
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consented { code } => write!(f, "the client consents: {code}"),
            Self::Refused { code, message: None } => write!(f, "the client refuses: {code}"),
            Self::Refused { code, message: Some(message) } => write!(f, "the client refuses: {code}, \"{message}\""),
            Self::NoPeer { host } => {
                write!(f, "no open connection leads to {host}; ask again when it is connected")
            }
            Self::TimedOut => write!(f, "the client did not answer within {} s", ANSWER_MAX.as_secs()),
            Self::ConnectionLost => f.write_str("the connection to the client ended before its answer"),
            Self::Busy => f.write_str("too much waits for the connection to the client; ask again later"),
            Self::Defective { what } => f.write_str(what),
        }
    }
}

/// Over which peer the requests of each client came that is not connected itself (RFC 6733 6.1: what we ask it goes the same way).
#[derive(Debug, Default)]
pub struct Ways(DashMap<Arc<str>, Arc<str>, foldhash::fast::RandomState>);

impl Ways {
    /// A request of `client` came over `peer`. When the table is full, clients that are in it are still followed.
    pub(crate) fn note(&self, client: &Arc<str>, peer: &str) {
        if client.eq_ignore_ascii_case(peer) {
            return;
        }
        let client = caseless(client);
        let known = self.0.get(&client).map(|over| **over == *peer);
        if known == Some(true) || (known.is_none() && self.0.len() >= WAYS_MAX) {
            return;
        }
        self.0.insert(client, peer.into());
    }

    fn to(&self, client: &Arc<str>) -> Option<Arc<str>> {
        self.0.get(&caseless(client)).map(|over| over.clone())
    }
}

/// Asks clients.
#[derive(Debug)]
pub struct Asking {
    asker: Asker,
    queue: mpsc::Sender<OpenSession>,
    /// Whether sessions were left out since there was last room for all.
    overflows: AtomicBool,
}

/// What it takes to ask.
#[derive(Clone, Debug)]
struct Asker {
    own: Arc<Identity>,
    peers: Peers,
    ways: Arc<Ways>,
    telemetry: Arc<Telemetry>,
}

impl Asking {
    /// Asks as `own` over the connections of `peers`, and over `ways` to whom is not connected. Must be called in a runtime: it
    /// starts the task that asks when money arrives, which ends with this.
    pub fn start(own: Identity, peers: Peers, ways: Arc<Ways>, telemetry: Arc<Telemetry>) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let asker = Asker { own: Arc::new(own), peers, ways, telemetry };
        tokio::spawn(asker.clone().reauthorise_all(queued));
        Self { asker, queue, overflows: AtomicBool::new(false) }
    }

    /// Asks the client of `session` to report and ask for units anew (RAR, RFC 8506 5.5).
    pub async fn reauthorise(&self, session: &OpenSession, scope: Scope) -> Asked {
        self.asker.ask(Ask::Reauthorise(scope), session).await
    }

    /// Asks the client of `session` to end it (ASR, RFC 6733 8.5). Until its CCR-T comes the session is open.
    pub async fn abort(&self, session: &OpenSession) -> Asked {
        self.asker.ask(Ask::Abort, session).await
    }

    /// Has sessions asked to ask again, because there is money for what they were denied. Never waits.
    pub fn money_arrived(&self, sessions: Vec<OpenSession>) {
        let left_out = sessions.into_iter().filter(|session| self.queue.try_send(session.clone()).is_err()).count();
        let overflowed = self.overflows.swap(left_out > 0, Ordering::Relaxed);
        if left_out > 0 {
            let count = u64::try_from(left_out).unwrap_or(u64::MAX);
            self.asker.telemetry.asked(AskKind::Reauthorise, AskResult::LeftOut, count);
            if !overflowed {
                tracing::warn!(
                    left_out,
                    "too many sessions wait to be asked after top-ups; these learn of their money when they ask next"
                );
            }
        }
    }
}

impl Asker {
    /// Asks one session after the other, some at a time, until nobody is left who could queue one.
    async fn reauthorise_all(self, mut queued: mpsc::Receiver<OpenSession>) {
        let mut asked = JoinSet::new();
        while let Some(session) = queued.recv().await {
            while asked.try_join_next().is_some() {}
            if asked.len() >= IN_FLIGHT_MAX {
                asked.join_next().await;
            }
            let asker = self.clone();
            asked.spawn(async move {
                let asked = asker.ask(Ask::Reauthorise(Scope::default()), &session).await;
                tracing::debug!(session = %session.id, client = %session.client_host, %asked, "asked to ask again");
            });
        }
    }

    async fn ask(&self, ask: Ask, session: &OpenSession) -> Asked {
        let asked = self.send(ask, session).await;
        let kind = match ask {
            Ask::Reauthorise(_) => AskKind::Reauthorise,
            Ask::Abort => AskKind::Abort,
        };
        self.telemetry.asked(kind, asked.result(), 1);
        asked
    }

    async fn send(&self, ask: Ask, session: &OpenSession) -> Asked {
        let OpenSession { id, client_host, client_realm } = session;
        let Some(peer) = self.way_to(client_host) else { return Asked::NoPeer { host: client_host.clone() } };
        let mut request = Vec::with_capacity(256);
        let to = Addressee { session: id, host: client_host, realm: client_realm };
        if let Err(error) = encode(&mut request, ask, &to, &self.own) {
            return Asked::Defective { what: error.to_string() };
        }
        let answer = match tokio::time::timeout(ANSWER_MAX, peer.request(request.into())).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => return failed(failure, client_host),
            Err(_) => return Asked::TimedOut,
        };
        match Message::parse(&answer) {
            Ok(answer) => match Answer::read(&answer, ask, id) {
                Ok(answer) => answer.into(),
                Err(error) => Asked::Defective { what: error.to_string() },
            },
            Err(error) => Asked::Defective { what: error.to_string() },
        }
    }

    fn way_to(&self, client: &Arc<str>) -> Option<PeerHandle> {
        self.peers.get(client).or_else(|| self.peers.get(&self.ways.to(client)?))
    }
}

fn failed(failure: RequestFailure, host: &Arc<str>) -> Asked {
    match failure {
        RequestFailure::Busy | RequestFailure::NotSent(RequestError::TooManyPending) => Asked::Busy,
        // It is about to end, or does not answer the watchdog.
        RequestFailure::NotSent(RequestError::NotOpen) => Asked::NoPeer { host: host.clone() },
        RequestFailure::NotSent(error @ RequestError::NotARequest) => Asked::Defective { what: error.to_string() },
        RequestFailure::TimedOut => Asked::TimedOut,
        RequestFailure::ConnectionLost => Asked::ConnectionLost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_behind_agents_is_found_over_the_one_that_it_came_over_last() {
        let ways = Ways::default();
        let client: Arc<str> = "pgw.example.org".into();
        ways.note(&client, "PGW.example.org");
        assert_eq!(ways.to(&client), None, "it is connected itself");
        for agent in ["a.example.org", "b.example.org"] {
            ways.note(&client, agent);
            assert_eq!(ways.to(&"Pgw.example.org".into()).as_deref(), Some(agent));
        }
    }

    #[test]
    fn a_full_table_of_ways_follows_the_clients_it_knows_and_takes_no_others() {
        let ways = Ways::default();
        let client = |number: usize| Arc::from(format!("pgw-{number}"));
        for number in 0..=WAYS_MAX {
            ways.note(&client(number), "a");
        }
        assert_eq!((ways.0.len(), ways.to(&client(WAYS_MAX))), (WAYS_MAX, None));
        ways.note(&client(7), "b");
        assert_eq!(ways.to(&client(7)).as_deref(), Some("b"));
    }

    #[tokio::test]
    async fn sessions_beyond_the_queue_are_left_out_and_nobody_waits() {
        let asking = Asking::start(
            Identity { host: "ocs.example.org".into(), realm: "example.org".into(), state: 1 },
            Peers::default(),
            Arc::default(),
            Arc::new(Telemetry::new()),
        );
        let session = OpenSession {
            id: SessionId::new(b"pgw;1"),
            client_host: "pgw.example.org".into(),
            client_realm: "example.org".into(),
        };
        // The task that asks does not run in between.
        asking.money_arrived(vec![session.clone(); QUEUE_MAX]);
        assert!(!asking.overflows.load(Ordering::Relaxed) && asking.queue.capacity() == 0);
        asking.money_arrived(vec![session.clone(); 2]);
        assert!(asking.overflows.load(Ordering::Relaxed));
        while asking.queue.capacity() < QUEUE_MAX {
            tokio::task::yield_now().await;
        }
        asking.money_arrived(vec![session]);
        assert!(!asking.overflows.load(Ordering::Relaxed), "there is room again");
    }
}

//! The `Sessions` service: what is open, and having clients ask again or stop.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::sessions_server::{Sessions, SessionsServer};
use rating_engine::ids::SessionId;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::name::{self, parse_account, parse_session};
use crate::operations::{Ask, ClientAnswer, Operations, SessionChange, SessionFilter, SessionSnapshot};
use crate::refusal::refused;
use crate::request::{IDENTIFIER_OCTETS_MAX, REASON_OCTETS_MAX, Rejection, text};
use crate::{accounts, page};

/// The `Sessions` service.
#[derive(Debug)]
pub struct SessionsService<O> {
    operations: Arc<O>,
}

impl<O: Operations> SessionsService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> SessionsServer<Self> {
        SessionsServer::new(self)
    }

    async fn ask(&self, caller: Caller, id: SessionId, ask: Ask, reason: String) -> Result<wire::ClientAnswer, Status> {
        let what = name::session(&id);
        let answer = self.operations.ask_client(caller, id, ask, reason.into()).await;
        answer.map(said).map_err(|error| refused(&error, &what))
    }
}

type Changes = Pin<Box<dyn Stream<Item = Result<wire::WatchSessionsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<O: Operations> Sessions for SessionsService<O> {
    type WatchSessionsStream = Changes;

    async fn list_sessions(
        &self,
        request: Request<wire::ListSessionsRequest>,
    ) -> Result<Response<wire::ListSessionsResponse>, Status> {
        let wire::ListSessionsRequest { page_size, page_token, account, client_host, waiting } = request.into_inner();
        let max = page::size(page_size)?;
        let after = if page_token.is_empty() {
            None
        } else {
            let known = parse_session("page_token", &page_token);
            Some(
                known
                    .map_err(|_| Rejection::new("page_token", "is none of ours; give back the one of the last page"))?,
            )
        };
        let selection = if account.is_empty() { None } else { Some(parse_account("account", &account)?) };
        text("client_host", &client_host, IDENTIFIER_OCTETS_MAX)?;
        let client_host = (!client_host.is_empty()).then(|| client_host.into());
        let filter = SessionFilter { account: selection, client_host, waiting };
        let found = self.operations.sessions(filter, after, max).await.map_err(|error| refused(&error, &account))?;
        let last = found.last().filter(|_| found.len() >= max);
        let next_page_token = last.map(|last| name::session(&last.session.id)).unwrap_or_default();
        Ok(Response::new(wire::ListSessionsResponse { sessions: found.iter().map(shown).collect(), next_page_token }))
    }

    async fn watch_sessions(&self, request: Request<wire::WatchSessionsRequest>) -> Result<Response<Changes>, Status> {
        let wire::WatchSessionsRequest { account, client_host } = request.into_inner();
        let selection = if account.is_empty() { None } else { Some(parse_account("account", &account)?) };
        text("client_host", &client_host, IDENTIFIER_OCTETS_MAX)?;
        let client_host = (!client_host.is_empty()).then(|| client_host.into());
        let filter = SessionFilter { account: selection, client_host, waiting: false };
        let changes = self.operations.watch_sessions(filter).await.map_err(|error| refused(&error, &account))?;
        Ok(Response::new(Box::pin(changes.map(|change| Ok(happened(&change))))))
    }

    async fn get_session(
        &self,
        request: Request<wire::GetSessionRequest>,
    ) -> Result<Response<wire::GetSessionResponse>, Status> {
        let name = request.into_inner().name;
        let found = self.operations.session(parse_session("name", &name)?).await;
        let found = found.map_err(|error| refused(&error, &name))?;
        Ok(Response::new(wire::GetSessionResponse { session: Some(shown(&found)) }))
    }

    async fn reauthorize_session(
        &self,
        request: Request<wire::ReauthorizeSessionRequest>,
    ) -> Result<Response<wire::ReauthorizeSessionResponse>, Status> {
        let caller = Caller::of(&request);
        let wire::ReauthorizeSessionRequest { name, reason } = request.into_inner();
        text("reason", &reason, REASON_OCTETS_MAX)?;
        let answer = self.ask(caller, parse_session("name", &name)?, Ask::Reauthorize, reason).await?;
        Ok(Response::new(wire::ReauthorizeSessionResponse { answer: Some(answer) }))
    }

    async fn terminate_session(
        &self,
        request: Request<wire::TerminateSessionRequest>,
    ) -> Result<Response<wire::TerminateSessionResponse>, Status> {
        let caller = Caller::of(&request);
        let wire::TerminateSessionRequest { name, reason } = request.into_inner();
        said_why(&reason)?;
        let answer = self.ask(caller, parse_session("name", &name)?, Ask::Terminate, reason).await?;
        Ok(Response::new(wire::TerminateSessionResponse { answer: Some(answer) }))
    }

    async fn release_session(
        &self,
        request: Request<wire::ReleaseSessionRequest>,
    ) -> Result<Response<wire::ReleaseSessionResponse>, Status> {
        let caller = Caller::of(&request);
        let wire::ReleaseSessionRequest { name, reason } = request.into_inner();
        said_why(&reason)?;
        let done = self.operations.release(caller, parse_session("name", &name)?, reason.into()).await;
        done.map_err(|error| refused(&error, &name))?;
        Ok(Response::new(wire::ReleaseSessionResponse {}))
    }
}

fn happened(change: &SessionChange) -> wire::WatchSessionsResponse {
    let (event, session, missed) = match change {
        SessionChange::Opened(session) => (wire::SessionEvent::Opened, Some(session), 0),
        SessionChange::Changed(session) => (wire::SessionEvent::Changed, Some(session), 0),
        SessionChange::Ended(session) => (wire::SessionEvent::Ended, Some(session), 0),
        SessionChange::Missed(missed) => (wire::SessionEvent::Missed, None, *missed),
    };
    wire::WatchSessionsResponse { event: event.into(), session: session.map(shown), missed }
}

fn said_why(reason: &str) -> Result<(), Rejection> {
    if reason.is_empty() {
        return Err(Rejection::new("reason", "is missing; say why, for whoever reads the records later"));
    }
    text("reason", reason, REASON_OCTETS_MAX)
}

fn shown(open: &SessionSnapshot) -> wire::Session {
    wire::Session {
        name: name::session(&open.session.id),
        account: name::account(open.tenant, open.session.account),
        session: Some(accounts::session(&open.session, open.currency, &open.tariffs)),
    }
}

fn said(answer: ClientAnswer) -> wire::ClientAnswer {
    let (kind, result_code, message) = match answer {
        ClientAnswer::Consented(code) => (wire::ClientAnswerKind::Consented, code, String::new()),
        ClientAnswer::UnknownSession(code) => {
            let message = "the client has no such session; release it if it stays open".to_owned();
            (wire::ClientAnswerKind::UnknownSession, code, message)
        }
        ClientAnswer::Refused(code, message) => (wire::ClientAnswerKind::Refused, code, message),
        ClientAnswer::NotConnected(message) => (wire::ClientAnswerKind::NotConnected, 0, message),
        ClientAnswer::NoAnswer(message) => (wire::ClientAnswerKind::NoAnswer, 0, message),
    };
    wire::ClientAnswer { kind: kind.into(), result_code, message }
}

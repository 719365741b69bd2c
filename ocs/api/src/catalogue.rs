//! The `Catalogue` service: documents from a draft to what is charged by.

use std::future::Future;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use ocs_proto::operator::v1 as wire;
use ocs_proto::operator::v1::catalogue_server::{Catalogue, CatalogueServer};
use prost::Message;
use rating_engine::ids::TenantId;
use rating_engine::reach::Share;
use rating_engine::time::Timestamp;
use sha2::{Digest, Sha256};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::caller::Caller;
use crate::name::{SubscriberSelector, parse_subscriber};
use crate::operations::OperationError;
use crate::page;
use crate::refusal::{refused, status};
use crate::request::{IDENTIFIER_OCTETS_MAX, KEY_OCTETS_MAX, REASON_OCTETS_MAX, Rejection, instant, text};

/// Octets of a request that has a document in it: the largest, and what stands around it.
const REQUEST_OCTETS_MAX: usize = (4 << 20) + (64 << 10);
/// Octets of an etag.
const ETAG_OCTETS_MAX: usize = 64;
/// Drafts and offers that a what-if names at most.
const NAMED_MAX: usize = 32;
/// Subscribers that a request names at most.
const SUBSCRIBERS_MAX: usize = 100;
/// Subscribers that a simulation names where nothing is said.
const TOP_DEFAULT: usize = 10;

/// What a document is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKind {
    /// Accounting periods.
    Accounting,
    /// An offer.
    Offer,
    /// A tariff.
    Tariff,
}

/// Names one version of a document. In the order in which documents are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentName {
    /// What it is of.
    pub kind: DocumentKind,
    /// The tariff's or offer's name; "periods" of accounting periods.
    pub id: Box<str>,
    /// The version's number.
    pub version: u32,
}

impl DocumentName {
    /// The one name of accounting periods.
    pub const PERIODS: &str = "periods";

    /// The document that a name is of.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(field: &'static str, name: &str) -> Result<Self, Rejection> {
        if name.is_empty() {
            return Err(Rejection::new(field, "is missing; give a name, e.g. tariffs/smart/versions/3"));
        }
        text(field, name, IDENTIFIER_OCTETS_MAX)?;
        let malformed = || {
            let examples = "tariffs/smart/versions/3, offers/gold/versions/1 or accounting/versions/2";
            Rejection::new(field, format!("is {name:?}; give a name, e.g. {examples}"))
        };
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| number.to_string() == text);
        let (kind, id, version) = match name.split('/').collect::<Vec<_>>()[..] {
            ["tariffs", id, "versions", version] => (DocumentKind::Tariff, id, version),
            ["offers", id, "versions", version] => (DocumentKind::Offer, id, version),
            ["accounting", "versions", version] => (DocumentKind::Accounting, Self::PERIODS, version),
            _ => return Err(malformed()),
        };
        let version = number(version).ok_or_else(malformed)?;
        if id.is_empty() {
            return Err(malformed());
        }
        Ok(Self { kind, id: id.into(), version })
    }
}

impl std::fmt::Display for DocumentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, id, version } = self;
        match kind {
            DocumentKind::Tariff => write!(f, "tariffs/{id}/versions/{version}"),
            DocumentKind::Offer => write!(f, "offers/{id}/versions/{version}"),
            DocumentKind::Accounting => write!(f, "accounting/versions/{version}"),
        }
    }
}

/// What a change of a document is based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftBasis {
    /// Whatever there is.
    Any,
    /// That there is none yet.
    New,
    /// The document with this etag.
    Etag(Box<str>),
}

impl DraftBasis {
    fn parse(etag: String) -> Result<Self, Rejection> {
        text("etag", &etag, ETAG_OCTETS_MAX)?;
        Ok(match etag.as_str() {
            "" => Self::Any,
            "-" => Self::New,
            _ => Self::Etag(etag.into()),
        })
    }
}

/// Whom a version is to be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareAsked {
    /// Of all subscribers, less than all; none for the share that there is.
    pub share: Share,
    /// Who is in by name, too.
    pub named: Vec<(TenantId, SubscriberSelector)>,
}

impl ShareAsked {
    fn parse(basis_points: u32, named: &[String]) -> Result<Self, Rejection> {
        let share = Share::new(basis_points).filter(|share| *share < Share::WHOLE).ok_or_else(|| {
            let reason =
                format!("is {basis_points}; give up to 9999, 1/10,000 of all each; to all of them it is promoted");
            Rejection::new("share_basis_points", reason)
        })?;
        if named.len() > SUBSCRIBERS_MAX {
            let reason = format!("has {}; name at most {SUBSCRIBERS_MAX}", named.len());
            return Err(Rejection::new("named", reason));
        }
        if share == Share::NONE && named.is_empty() {
            return Err(Rejection::new("share_basis_points", "is missing; give a share, or name subscribers"));
        }
        let named = named.iter().map(|name| parse_subscriber("named", name)).collect::<Result<_, _>>()?;
        Ok(Self { share, named })
    }
}

/// What is done with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentStep {
    /// This text becomes the draft.
    Put(Box<str>, DraftBasis),
    /// What is not published is deleted.
    Delete(DocumentName, DraftBasis),
    /// A draft is approved.
    Approve(DocumentName, DraftBasis),
    /// What is approved is published: at an instant, or now.
    Publish(DocumentName, DraftBasis, Option<Timestamp>),
    /// What is approved is published for a share of subscribers, or the share is raised.
    Share(DocumentName, DraftBasis, ShareAsked),
    /// What is published for a share is for all.
    Promote(DocumentName, DraftBasis),
    /// What is published is taken back.
    RollBack(DocumentName, DraftBasis),
    /// Accounting periods before an instant are closed.
    ClosePeriods(Box<str>),
}

impl DocumentStep {
    /// The method that asks for it.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Put(..) => "Catalogue/PutDraft",
            Self::Delete(..) => "Catalogue/DeleteDraft",
            Self::Approve(..) => "Catalogue/ApproveDraft",
            Self::Publish(..) => "Catalogue/PublishDocument",
            Self::Share(..) => "Catalogue/PublishShare",
            Self::Promote(..) => "Catalogue/PromoteDocument",
            Self::RollBack(..) => "Catalogue/RollBackDocument",
            Self::ClosePeriods(_) => "Catalogue/CloseAccountingPeriod",
        }
    }
}

/// A change of a document that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentAsked {
    /// What.
    pub step: DocumentStep,
    /// The caller's idempotency key.
    pub key: Box<str>,
    /// Over method and request: tells a repeat from a reused key.
    pub digest: [u8; 32],
    /// Why; may be empty.
    pub reason: Box<str>,
}

impl DocumentAsked {
    fn new(step: DocumentStep, key: &str, reason: &str, message: &impl Message) -> Result<Self, Rejection> {
        if key.is_empty() {
            return Err(Rejection::new(
                "idempotency_key",
                "is missing; give a text that is unique to this change, e.g. a UUID, and repeat it when you try again",
            ));
        }
        text("idempotency_key", key, KEY_OCTETS_MAX)?;
        text("reason", reason, REASON_OCTETS_MAX)?;
        let digest = Sha256::new().chain_update(step.method()).chain_update([0]).chain_update(message.encode_to_vec());
        Ok(Self { step, key: key.into(), digest: digest.finalize().into(), reason: reason.into() })
    }
}

/// What a change of a document led to.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentChanged {
    /// The document afterwards.
    pub document: wire::Document,
    /// What counts in its place, where it was rolled back.
    pub in_force: Option<wire::Document>,
    /// First instant of the oldest open accounting period, where one was closed.
    pub closed_until: Option<Timestamp>,
    /// Whether this is the first answer again.
    pub repeated: bool,
}

/// The new document of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewDocument {
    /// One that is stored.
    Named(DocumentName),
    /// A text.
    Text(Box<str>),
}

/// Which documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DocumentFilter {
    /// Only of this kind.
    pub kind: Option<wire::DocumentKind>,
    /// Only in this state.
    pub state: Option<wire::DocumentState>,
}

/// A checked question about a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodAsked {
    /// The version that takes the place of all of its tariff.
    pub name: DocumentName,
    /// First instant of the period.
    pub from: Timestamp,
    /// First instant after it.
    pub to: Timestamp,
    /// Subscribers to name at either end.
    pub top: usize,
}

/// Why something of the catalogue was not done; nothing changed.
#[derive(Clone, Debug, PartialEq)]
pub enum CatalogueRefusal {
    /// There is no such document.
    Unknown,
    /// Its state forbids it: which it is in, and what to do.
    WrongState(String),
    /// The version is published with other content.
    Taken(String),
    /// It does not fit what is published.
    NotPossible(String),
    /// No version would be left.
    NothingBefore,
    /// Its author cannot approve it.
    SamePerson(String),
    /// It has changed since.
    Stale,
    /// The key was used for another request.
    KeyReused,
    /// The text has problems.
    Problems(Vec<wire::DocumentProblem>),
    /// There are too many drafts.
    TooMany(String),
    /// A field that only the implementation could check.
    Field(&'static str, String),
    /// Another simulation runs.
    Simulating,
    /// Changes came faster than they were read.
    Lagged,
    /// As for every operation.
    Operation(OperationError),
}

impl From<OperationError> for CatalogueRefusal {
    fn from(error: OperationError) -> Self {
        Self::Operation(error)
    }
}

impl CatalogueRefusal {
    fn status(self, what: &str) -> Status {
        let failed = |reason: &str, message: String| status(Code::FailedPrecondition, reason, message);
        match self {
            Self::Unknown => {
                status(Code::NotFound, "DOCUMENT_NOT_FOUND", format!("{what} is not there; list what there is"))
            }
            Self::WrongState(reason) => failed("WRONG_STATE", format!("{what}: {reason}")),
            Self::Taken(reason) => failed("VERSION_TAKEN", reason),
            Self::NotPossible(reason) => failed("NOT_POSSIBLE", format!("{what}: {reason}")),
            Self::NothingBefore => failed(
                "NOTHING_BEFORE",
                format!("{what} is the only version that counts now; publish another one, then roll this one back"),
            ),
            Self::SamePerson(author) => status(
                Code::PermissionDenied,
                "SAME_PERSON",
                format!("{what} was drafted by {author}; have somebody else approve it"),
            ),
            Self::Stale => refused(&OperationError::Stale, what),
            Self::KeyReused => refused(&OperationError::Refused(rating_engine::command::Refusal::KeyReused), what),
            Self::Problems(problems) => {
                let count = problems.len();
                let mut said = crate::refusal::details("INVALID_DOCUMENT");
                let mut words = Vec::new();
                for problem in problems {
                    let place = match (problem.path.as_str(), problem.line) {
                        ("", 0) => "source".to_owned(),
                        ("", line) => format!("source:{line}"),
                        (path, _) => format!("source.{path}"),
                    };
                    if words.len() < 3 {
                        words.push(format!("{place}: {}", problem.reason));
                    }
                    said.add_bad_request_violation(place, problem.reason);
                }
                let message = format!("the document has {count} problems; {}", words.join("; "));
                Status::with_error_details(Code::InvalidArgument, message, said)
            }
            Self::TooMany(reason) => status(Code::ResourceExhausted, "TOO_MANY_DRAFTS", reason),
            Self::Field(field, reason) => Rejection::new(field, reason).into(),
            Self::Simulating => status(
                Code::ResourceExhausted,
                "SIMULATION_RUNNING",
                "another simulation of a period is running; try again when it has ended",
            ),
            Self::Lagged => status(
                Code::Aborted,
                "WATCH_LAGGED",
                "changes came faster than they were read; list the documents, and watch again",
            ),
            Self::Operation(error) => refused(&error, what),
        }
    }
}

/// What the service needs done.
pub trait CatalogueOperations: Send + Sync + 'static {
    /// Documents behind `after`, in their order.
    fn documents(
        &self,
        filter: DocumentFilter,
        after: Option<DocumentName>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<wire::Document>, CatalogueRefusal>> + Send;

    /// One document with its text.
    fn document(
        &self,
        name: DocumentName,
    ) -> impl Future<Output = Result<wire::GetDocumentResponse, CatalogueRefusal>> + Send;

    /// Changes one; ends when it is durable, and in force.
    fn change_document(
        &self,
        caller: Caller,
        asked: DocumentAsked,
    ) -> impl Future<Output = Result<DocumentChanged, CatalogueRefusal>> + Send;

    /// What a text would be.
    fn validate(&self, source: String) -> impl Future<Output = Result<wire::Document, CatalogueRefusal>> + Send;

    /// What differs.
    fn diff(
        &self,
        old: Option<DocumentName>,
        new: NewDocument,
    ) -> impl Future<Output = Result<wire::DiffDocumentsResponse, CatalogueRefusal>> + Send;

    /// What one use would cost.
    fn simulate_event(
        &self,
        request: wire::SimulateEventRequest,
    ) -> impl Future<Output = Result<wire::SimulateEventResponse, CatalogueRefusal>> + Send;

    /// What a period would have cost: progress on the way, the result at last. It ends early when nobody reads.
    fn simulate_period(&self, asked: PeriodAsked) -> Steps<wire::SimulatePeriodResponse>;

    /// Every change from now on.
    fn watch_documents(&self) -> Steps<wire::WatchDocumentsResponse>;
}

/// What comes one after the other; a refusal is the last.
pub type Steps<T> = BoxStream<'static, Result<T, CatalogueRefusal>>;

/// The `Catalogue` service.
#[derive(Debug)]
pub struct CatalogueService<O> {
    operations: Arc<O>,
}

impl<O: CatalogueOperations> CatalogueService<O> {
    /// Serves what the operations can do.
    pub const fn new(operations: Arc<O>) -> Self {
        Self { operations }
    }

    /// As a service for `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> CatalogueServer<Self> {
        CatalogueServer::new(self)
            .max_decoding_message_size(REQUEST_OCTETS_MAX)
            .max_encoding_message_size(REQUEST_OCTETS_MAX)
    }

    async fn change(&self, caller: Caller, asked: DocumentAsked, what: &str) -> Result<DocumentChanged, Status> {
        self.operations.change_document(caller, asked).await.map_err(|refusal| refusal.status(what))
    }
}

type Streamed<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl<O: CatalogueOperations> Catalogue for CatalogueService<O> {
    type SimulatePeriodStream = Streamed<wire::SimulatePeriodResponse>;
    type WatchDocumentsStream = Streamed<wire::WatchDocumentsResponse>;

    async fn list_documents(
        &self,
        request: Request<wire::ListDocumentsRequest>,
    ) -> Result<Response<wire::ListDocumentsResponse>, Status> {
        let wire::ListDocumentsRequest { page_size, page_token, kind, state } = request.into_inner();
        let max = page::size(page_size)?;
        let after = if page_token.is_empty() { None } else { Some(DocumentName::parse("page_token", &page_token)?) };
        let unknown =
            |field: &'static str, number: i32| Rejection::new(field, format!("is {number}, which is not known"));
        let kind = wire::DocumentKind::try_from(kind).map_err(|_| unknown("kind", kind))?;
        let state = wire::DocumentState::try_from(state).map_err(|_| unknown("state", state))?;
        let filter = DocumentFilter {
            kind: Some(kind).filter(|kind| *kind != wire::DocumentKind::Unspecified),
            state: Some(state).filter(|state| *state != wire::DocumentState::Unspecified),
        };
        let documents = self.operations.documents(filter, after, max).await;
        let documents = documents.map_err(|refusal| refusal.status("the catalogue"))?;
        let last = documents.last().filter(|_| documents.len() >= max);
        let next_page_token = last.map(|last| last.name.clone()).unwrap_or_default();
        Ok(Response::new(wire::ListDocumentsResponse { documents, next_page_token }))
    }

    async fn get_document(
        &self,
        request: Request<wire::GetDocumentRequest>,
    ) -> Result<Response<wire::GetDocumentResponse>, Status> {
        let (caller, name) = (Caller::of(&request), request.into_inner().name);
        let found = self.operations.document(DocumentName::parse("name", &name)?).await;
        let mut found = found.map_err(|refusal| refusal.status(&name))?;
        if !caller.sees_accounts {
            found.named.clear();
        }
        Ok(Response::new(found))
    }

    async fn put_draft(
        &self,
        request: Request<wire::PutDraftRequest>,
    ) -> Result<Response<wire::PutDraftResponse>, Status> {
        let (caller, mut request) = (Caller::of(&request), request.into_inner());
        let basis = DraftBasis::parse(request.etag.clone())?;
        let mut asked = DocumentAsked::new(
            DocumentStep::Put("".into(), basis.clone()),
            &request.idempotency_key,
            &request.reason,
            &request,
        )?;
        asked.step = DocumentStep::Put(std::mem::take(&mut request.source).into(), basis);
        let done = self.change(caller, asked, "the draft").await?;
        Ok(Response::new(wire::PutDraftResponse { document: Some(done.document), repeated: done.repeated }))
    }

    async fn delete_draft(
        &self,
        request: Request<wire::DeleteDraftRequest>,
    ) -> Result<Response<wire::DeleteDraftResponse>, Status> {
        let (caller, request) = (Caller::of(&request), request.into_inner());
        let (name, basis) = (DocumentName::parse("name", &request.name)?, DraftBasis::parse(request.etag.clone())?);
        let step = DocumentStep::Delete(name, basis);
        let asked = DocumentAsked::new(step, &request.idempotency_key, &request.reason, &request)?;
        let done = self.change(caller, asked, &request.name).await?;
        Ok(Response::new(wire::DeleteDraftResponse { repeated: done.repeated }))
    }

    async fn validate_document(
        &self,
        request: Request<wire::ValidateDocumentRequest>,
    ) -> Result<Response<wire::ValidateDocumentResponse>, Status> {
        let (problems, document) = match self.operations.validate(request.into_inner().source).await {
            Ok(document) => (Vec::new(), Some(document)),
            Err(CatalogueRefusal::Problems(problems)) => (problems, None),
            Err(CatalogueRefusal::Taken(reason) | CatalogueRefusal::NotPossible(reason)) => {
                (vec![wire::DocumentProblem { path: String::new(), line: 0, reason }], None)
            }
            Err(refusal) => return Err(refusal.status("the document")),
        };
        Ok(Response::new(wire::ValidateDocumentResponse { problems, document }))
    }

    async fn diff_documents(
        &self,
        request: Request<wire::DiffDocumentsRequest>,
    ) -> Result<Response<wire::DiffDocumentsResponse>, Status> {
        use wire::diff_documents_request::New;
        let wire::DiffDocumentsRequest { old_name, new } = request.into_inner();
        let old = if old_name.is_empty() { None } else { Some(DocumentName::parse("old_name", &old_name)?) };
        let new = match new {
            Some(New::NewName(name)) => NewDocument::Named(DocumentName::parse("new_name", &name)?),
            Some(New::NewSource(source)) => NewDocument::Text(source.into()),
            None => return Err(Rejection::new("new", "is missing; give new_name or new_source").into()),
        };
        let differs = self.operations.diff(old, new).await;
        Ok(Response::new(differs.map_err(|refusal| refusal.status("a document that is compared"))?))
    }

    async fn simulate_event(
        &self,
        request: Request<wire::SimulateEventRequest>,
    ) -> Result<Response<wire::SimulateEventResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        if !request.subscriber.is_empty() && !caller.sees_accounts {
            return Err(status(
                Code::PermissionDenied,
                "MISSING_RIGHT",
                format!(
                    "subscriber: {} may not see accounts; describe one by balance, offers and tariff instead",
                    caller.name
                ),
            ));
        }
        for (field, given) in [
            ("subscriber", &request.subscriber),
            ("tariff", &request.tariff),
            ("balance", &request.balance),
            ("used", &request.used),
            ("service", &request.service),
            ("to", &request.to),
            ("from", &request.from),
            ("visited", &request.visited),
            ("rat", &request.rat),
            ("apn", &request.apn),
        ] {
            text(field, given, IDENTIFIER_OCTETS_MAX)?;
        }
        for (field, given) in [("drafts", &request.drafts), ("offers", &request.offers)] {
            if given.len() > NAMED_MAX {
                return Err(Rejection::new(field, format!("has {}; give at most {NAMED_MAX}", given.len())).into());
            }
            given.iter().try_for_each(|given| text(field, given, IDENTIFIER_OCTETS_MAX))?;
        }
        let answer = self.operations.simulate_event(request).await;
        Ok(Response::new(answer.map_err(|refusal| refusal.status("the simulation"))?))
    }

    async fn simulate_period(
        &self,
        request: Request<wire::SimulatePeriodRequest>,
    ) -> Result<Response<Self::SimulatePeriodStream>, Status> {
        let request = request.into_inner();
        let needed = |field, given: Option<prost_types::Timestamp>| {
            let given = given.ok_or_else(|| Rejection::new(field, "is missing; give an instant"))?;
            instant(field, given)
        };
        let (from, to) = (needed("from", request.from)?, needed("to", request.to)?);
        if to <= from {
            return Err(Rejection::new("to", "is not later than from").into());
        }
        let name = DocumentName::parse("name", &request.name)?;
        let top = usize::try_from(request.top).ok().filter(|top| *top > 0).unwrap_or(TOP_DEFAULT);
        let steps = self.operations.simulate_period(PeriodAsked { name, from, to, top });
        let steps = steps.map(move |step| step.map_err(|refusal| refusal.status(&request.name)));
        Ok(Response::new(steps.boxed()))
    }

    async fn approve_draft(
        &self,
        request: Request<wire::ApproveDraftRequest>,
    ) -> Result<Response<wire::ApproveDraftResponse>, Status> {
        let (caller, request) = (Caller::of(&request), request.into_inner());
        let (name, basis) = (DocumentName::parse("name", &request.name)?, DraftBasis::parse(request.etag.clone())?);
        if !matches!(basis, DraftBasis::Etag(_)) {
            return Err(Rejection::new("etag", "is missing; give that of the draft that you have read").into());
        }
        let step = DocumentStep::Approve(name, basis);
        let asked = DocumentAsked::new(step, &request.idempotency_key, &request.reason, &request)?;
        let done = self.change(caller, asked, &request.name).await?;
        Ok(Response::new(wire::ApproveDraftResponse { document: Some(done.document), repeated: done.repeated }))
    }

    async fn publish_document(
        &self,
        request: Request<wire::PublishDocumentRequest>,
    ) -> Result<Response<wire::PublishDocumentResponse>, Status> {
        let (caller, request) = (Caller::of(&request), request.into_inner());
        let (name, basis) = (DocumentName::parse("name", &request.name)?, DraftBasis::parse(request.etag.clone())?);
        let at = request.at.map(|at| instant("at", at)).transpose()?;
        let step = DocumentStep::Publish(name, basis, at);
        let asked = DocumentAsked::new(step, &request.idempotency_key, &request.reason, &request)?;
        let done = self.change(caller, asked, &request.name).await?;
        Ok(Response::new(wire::PublishDocumentResponse { document: Some(done.document), repeated: done.repeated }))
    }

    async fn publish_share(
        &self,
        request: Request<wire::PublishShareRequest>,
    ) -> Result<Response<wire::PublishShareResponse>, Status> {
        let (caller, request) = (Caller::of(&request), request.into_inner());
        let (name, basis) = (DocumentName::parse("name", &request.name)?, DraftBasis::parse(request.etag.clone())?);
        let share = ShareAsked::parse(request.share_basis_points, &request.named)?;
        let step = DocumentStep::Share(name, basis, share);
        let asked = DocumentAsked::new(step, &request.idempotency_key, &request.reason, &request)?;
        let done = self.change(caller, asked, &request.name).await?;
        Ok(Response::new(wire::PublishShareResponse { document: Some(done.document), repeated: done.repeated }))
    }

    async fn promote_document(
        &self,
        request: Request<wire::PromoteDocumentRequest>,
    ) -> Result<Response<wire::PromoteDocumentResponse>, Status> {
        let (caller, request) = (Caller::of(&request), request.into_inner());
        let (name, basis) = (DocumentName::parse("name", &request.name)?, DraftBasis::parse(request.etag.clone())?);
        let step = DocumentStep::Promote(name, basis);
        let asked = DocumentAsked::new(step, &request.idempotency_key, &request.reason, &request)?;
        let done = self.change(caller, asked, &request.name).await?;
        Ok(Response::new(wire::PromoteDocumentResponse { document: Some(done.document), repeated: done.repeated }))
    }

    async fn roll_back_document(
        &self,
        request: Request<wire::RollBackDocumentRequest>,
    ) -> Result<Response<wire::RollBackDocumentResponse>, Status> {
        let (caller, request) = (Caller::of(&request), request.into_inner());
        let (name, basis) = (DocumentName::parse("name", &request.name)?, DraftBasis::parse(request.etag.clone())?);
        if request.reason.is_empty() {
            return Err(Rejection::new("reason", "is missing; say why, for whoever reads the records later").into());
        }
        let step = DocumentStep::RollBack(name, basis);
        let asked = DocumentAsked::new(step, &request.idempotency_key, &request.reason, &request)?;
        let done = self.change(caller, asked, &request.name).await?;
        let (document, in_force) = (Some(done.document), done.in_force);
        Ok(Response::new(wire::RollBackDocumentResponse { document, in_force, repeated: done.repeated }))
    }

    async fn watch_documents(
        &self,
        _: Request<wire::WatchDocumentsRequest>,
    ) -> Result<Response<Self::WatchDocumentsStream>, Status> {
        let changes = self.operations.watch_documents();
        Ok(Response::new(changes.map(|change| change.map_err(|refusal| refusal.status("the watch"))).boxed()))
    }

    async fn close_accounting_period(
        &self,
        request: Request<wire::CloseAccountingPeriodRequest>,
    ) -> Result<Response<wire::CloseAccountingPeriodResponse>, Status> {
        let (caller, request) = (Caller::of(&request), request.into_inner());
        text("until", &request.until, IDENTIFIER_OCTETS_MAX)?;
        let step = DocumentStep::ClosePeriods(request.until.as_str().into());
        let asked = DocumentAsked::new(step, &request.idempotency_key, &request.reason, &request)?;
        let done = self.change(caller, asked, "the accounting periods").await?;
        let (document, closed_until) = (Some(done.document), done.closed_until.map(ocs_proto::charging::convert::time));
        Ok(Response::new(wire::CloseAccountingPeriodResponse { document, closed_until, repeated: done.repeated }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_found_by_the_name_it_was_shown_under() {
        for name in ["tariffs/smart/versions/3", "offers/gold.m/versions/0", "accounting/versions/4294967295"] {
            assert_eq!(DocumentName::parse("name", name).unwrap().to_string(), name);
        }
        for bad in [
            "",
            "smart",
            "tariffs/smart",
            "tariffs//versions/1",
            "tariffs/smart/versions/01",
            "tariffs/smart/versions/-1",
            "tariffs/smart/versions/4294967296",
            "accounting/periods/versions/1",
        ] {
            assert_eq!(DocumentName::parse("name", bad).unwrap_err().field, "name", "{bad}");
        }
    }
}

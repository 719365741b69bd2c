//! Documents from a draft to what is charged by, on a running system.
//!
//! ```text
//! draft ─► approved ─► (scheduled, or canary) ─► published ─► rolled back
//! ```
//!
//! One change at a time: look, append one entry (document, dossier, request, audit record), wait until it is durable, swap the versions
//! in force in one store. Charging never waits for any of it. A version that is published keeps its content for ever; rolling back is
//! a mark on its dossier that [`rating_engine::tariffs::Tariffs`] is made with, and so is every step of a canary. Absent: gRPC, and who
//! may call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use balance_store::keys::{self, Drawer};
use balance_store::records::{self, CanaryStep, Deed, DoneRequest, Dossier, Schedule};
use ocs_api::{
    CatalogueRefusal, DocumentAsked, DocumentChanged, DocumentFilter, DocumentKind, DocumentName, DocumentStep,
    DraftBasis, OperationError, ShareAsked, SubscriberSelector, name,
};
use ocs_proto::charging::convert::time;
use ocs_proto::operator::v1 as wire;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use rating_engine::command::Refusal;
use rating_engine::ids::{OfferName, SubscriberId, TariffName, TenantId};
use rating_engine::reach::Share;
use rating_engine::tariffs::Tariffs;
use rating_engine::time::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::broadcast;

use crate::audit_log::{By, Differences};
use crate::calm::calmly;
use crate::canary::{self, Counters};
use crate::catalogue::{self, CatalogueError, Document};
use crate::charging::Charging;
use crate::edge::{Beside, DeskKey, DeskRecord};
use crate::import::DocumentRecord;
use crate::setup::There;
use crate::store::{Catalogue, OpenError, because};

/// Documents that are not published.
pub const DRAFTS_MAX: usize = 500;
/// Octets of their texts together.
pub const DRAFTS_OCTETS_MAX: usize = 128 << 20;
/// Requests that are remembered; beyond, the oldest are forgotten before their time.
pub const REQUESTS_MAX: usize = 10_000;
/// How long a request is remembered.
const REQUEST_KEPT_SECONDS: i64 = 30 * 86_400;
/// Remembered requests that one change forgets at most.
const FORGOTTEN_AT_ONCE: usize = 16;
/// Changes that wait for a slow watcher.
const WATCH_BEHIND_MAX: usize = 1024;
/// What stands before the keys of our requests.
const REQUESTS: &[u8] = b"catalogue\0";

/// Publishes documents.
#[derive(Debug)]
pub struct Publisher {
    charging: Arc<Charging>,
    catalogue: Arc<Catalogue>,
    /// Whether somebody else than its author has to approve a draft.
    four_eyes: bool,
    /// Held over a whole change: remembered requests by their time.
    changing: Mutex<BTreeSet<(Timestamp, DeskKey)>>,
    /// What is not published.
    drafts: RwLock<BTreeMap<DocumentName, Draft>>,
    watched: broadcast::Sender<wire::WatchDocumentsResponse>,
}

/// A document that is not published.
#[derive(Clone, Debug)]
struct Draft {
    document: Document,
    octets: usize,
    due: Option<Timestamp>,
}

/// What a change comes to before it is written.
struct Change {
    name: DocumentName,
    before: Option<Dossier>,
    after: Option<Dossier>,
    /// What is published by it, and its text.
    published: Option<(Document, Box<str>)>,
    is_withdrawn: bool,
    /// From when on it counts what was said of whom a version is for, where that is said by it.
    from: Option<Timestamp>,
    /// What is drafted by it.
    drafted: Option<Document>,
}

/// The name of a document.
pub fn name_of(document: &Document) -> DocumentName {
    let (kind, id) = match document {
        Document::Tariff(version) => (DocumentKind::Tariff, version.name().as_str()),
        Document::Offer(version) => (DocumentKind::Offer, version.name().as_str()),
        Document::Accounting(..) => (DocumentKind::Accounting, DocumentName::PERIODS),
    };
    DocumentName { kind, id: id.into(), version: document.version() }
}

/// What a text says. Large ones take their time: requests of the network do not wait for it.
fn read(source: &str) -> Result<Document, CatalogueRefusal> {
    let read = calmly(|| catalogue::parse(source)).map_err(|error| OperationError::Store(error.to_string()))?;
    read.map_err(|error| CatalogueRefusal::Problems(problems(error)))
}

/// The name under which the store keeps a document.
pub(crate) fn kept_as(name: &DocumentName) -> TariffName {
    match name.kind {
        DocumentKind::Tariff => TariffName::new(&name.id),
        DocumentKind::Offer => TariffName::new(&format!("offer:{}", name.id)),
        DocumentKind::Accounting => TariffName::new("accounting:"),
    }
}

fn key_of(name: &DocumentName) -> Vec<u8> {
    let mut rest = Vec::new();
    keys::catalogue(&mut rest, &kept_as(name), name.version);
    keys::desk(Drawer::Drafts, &rest)
}

impl Publisher {
    /// Over a running system.
    ///
    /// # Errors
    /// When the desk has something that cannot be read.
    pub fn open(charging: Arc<Charging>, catalogue: Arc<Catalogue>, four_eyes: bool) -> Result<Self, OpenError> {
        let (edge, stored) = (&charging.edge, &catalogue);
        let (mut drafts, mut requests) = (BTreeMap::new(), BTreeSet::new());
        for (_, value) in edge.desk_records(&keys::desk(Drawer::Drafts, b""), None, usize::MAX) {
            let dossier = records::decode_dossier(&value).map_err(because("a dossier of the desk"))?;
            if let (None, Some(source)) = (&dossier.published, &dossier.source) {
                let document = catalogue::parse_stored(source).map_err(because("a draft of the desk"))?;
                if stored.same(&document).is_some() {
                    continue;
                }
                let draft = Draft { octets: source.len(), due: dossier.scheduled.map(|it| it.due), document };
                drafts.insert(name_of(&draft.document), draft);
            }
        }
        for (key, value) in edge.desk_records(&keys::desk(Drawer::Requests, REQUESTS), None, usize::MAX) {
            let done = records::decode_done_request(&value).map_err(because("a request of the desk"))?;
            requests.insert((done.at, key));
        }
        charging.canaries.store(Counters::of(catalogue.canaries()));
        let (watched, _) = broadcast::channel(WATCH_BEHIND_MAX);
        let (changing, drafts) = (Mutex::new(requests), RwLock::new(drafts));
        Ok(Self { charging, catalogue, four_eyes, changing, drafts, watched })
    }

    /// Every change from now on.
    pub fn watch(&self) -> broadcast::Receiver<wire::WatchDocumentsResponse> {
        self.watched.subscribe()
    }

    /// Does what somebody asks for. Waits for the disk.
    ///
    /// # Errors
    /// Why it is not done; nothing has changed then.
    pub fn change(&self, caller: &str, asked: &DocumentAsked) -> Result<DocumentChanged, CatalogueRefusal> {
        // What takes its time is done before others wait.
        let drafted = match &asked.step {
            DocumentStep::Put(source, _) => Some(read(source)?),
            DocumentStep::Delete(..)
            | DocumentStep::Approve(..)
            | DocumentStep::Publish(..)
            | DocumentStep::Share(..)
            | DocumentStep::Promote(..)
            | DocumentStep::RollBack(..)
            | DocumentStep::ClosePeriods(_) => None,
        };
        let mut requests = self.changing.lock();
        let mut key = REQUESTS.to_vec();
        key.extend_from_slice(asked.key.as_bytes());
        let key = keys::desk(Drawer::Requests, &key);
        if let Some(known) = self.charging.edge.desk_record(&key) {
            let mut first = first_answer(&known, &asked.digest)?;
            if let (DocumentStep::ClosePeriods(_), Ok(name)) =
                (&asked.step, DocumentName::parse("name", &first.document.name))
            {
                first.closed_until = self.find(&name).as_ref().and_then(closed_until);
            }
            return Ok(first);
        }
        if self.charging.journal.is_saturated() {
            return Err(OperationError::Refused(Refusal::TooBusy).into());
        }
        let now = self.charging.clock.now();
        let change = self.work(caller, asked, drafted, now)?;
        let by = By {
            caller: caller.into(),
            method: asked.step.method(),
            target: change.name.to_string().into(),
            key: asked.key.clone(),
            reason: asked.reason.clone(),
        };
        let answer = self.answer(&change, now);
        let mut octets = Vec::new();
        let container = wire::RollBackDocumentResponse {
            document: Some(answer.document.clone()),
            in_force: answer.in_force.clone(),
            repeated: false,
        };
        let done = DoneRequest { at: now, digest: asked.digest, answer: container.encode_to_vec().into() };
        records::encode_done_request(&mut octets, &done);
        let mut desk = vec![DeskRecord::there(key.clone(), octets)];
        let forgotten = to_forget(&requests, now);
        desk.extend(forgotten.iter().map(|(_, key)| DeskRecord::gone(key.clone())));
        self.write(&by, &change, desk, now)?;
        for known in &forgotten {
            requests.remove(known);
        }
        requests.insert((now, key.into()));
        Ok(answer)
    }

    /// When the next document is to be published.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.drafts.read().values().filter_map(|draft| draft.due).min()
    }

    /// Publishes what is due at `now`. What does not fit any more is left approved, and says why.
    pub fn publish_due(&self, now: Timestamp) {
        if self.next_due().is_none_or(|due| due > now) {
            return;
        }
        let _changing = self.changing.lock();
        let mut due: Vec<(Timestamp, DocumentName)> = {
            let drafts = self.drafts.read();
            let due = drafts.iter().filter_map(|(name, draft)| Some((draft.due?, name.clone())));
            due.filter(|(due, _)| *due <= now).collect()
        };
        due.sort();
        for (_, name) in due {
            let Some(before) = self.dossier(&name) else { continue };
            let Some(Schedule { said, reason, .. }) = before.scheduled.clone() else { continue };
            let mut by = By {
                caller: said.who.clone(),
                method: "Catalogue/PublishDocument",
                target: name.to_string().into(),
                key: Box::default(),
                reason,
            };
            let change = match self.publishing(name.clone(), before.clone(), &said.who, now) {
                Ok(change) => change,
                Err(refusal) => {
                    let failure = words(&refusal);
                    tracing::error!(document = %name, %failure, "could not be published when it was due");
                    by.reason = failure.as_str().into();
                    let after = Dossier { scheduled: None, failure: failure.into(), ..before.clone() };
                    Change { before: Some(before), after: Some(after), ..Change::of(name) }
                }
            };
            if self.write(&by, &change, Vec::new(), now).is_err() {
                return;
            }
        }
    }

    /// Documents behind `after`, in their order, and the entry that they follow from.
    pub fn list(&self, filter: DocumentFilter, after: Option<&DocumentName>, max: usize) -> Vec<wire::Document> {
        let mut all: BTreeMap<DocumentName, Document> =
            self.catalogue.documents().into_iter().map(|document| (name_of(&document), document)).collect();
        all.extend(self.drafts.read().iter().map(|(name, draft)| (name.clone(), draft.document.clone())));
        let behind = all.into_iter().filter(|(name, _)| after.is_none_or(|after| name > after));
        let shown = behind.map(|(name, document)| shown(&name, &document, self.dossier(&name).as_ref()));
        let wanted = |it: &wire::Document| {
            filter.kind.is_none_or(|kind| kind == it.kind()) && filter.state.is_none_or(|state| state == it.state())
        };
        shown.filter(wanted).take(max).collect()
    }

    /// A document, with its text where it is not published; and whether that is so.
    ///
    /// # Errors
    /// When there is no such document.
    pub fn get(&self, name: &DocumentName) -> Result<(wire::GetDocumentResponse, bool), CatalogueRefusal> {
        let document = self.find(name).ok_or(CatalogueRefusal::Unknown)?;
        let dossier = self.dossier(name);
        let shown = Some(shown(name, &document, dossier.as_ref()));
        let (source, named) = dossier.map(|it| (it.source.clone(), canary::named(&it))).unwrap_or_default();
        let there = There::running(&self.catalogue, &self.charging);
        let named = named.into_iter().map(|id| {
            let tenant = there.subscriber(id).map(|it| it.tenant);
            name::subscriber(tenant.unwrap_or_default(), id)
        });
        let has_text = source.is_some();
        let source = source.map(String::from).unwrap_or_default();
        Ok((wire::GetDocumentResponse { document: shown, source, named: named.collect() }, has_text))
    }

    /// A document, published or not.
    pub fn find(&self, name: &DocumentName) -> Option<Document> {
        self.published(name).or_else(|| self.drafts.read().get(name).map(|draft| draft.document.clone()))
    }

    /// The document of the same tariff or offer that counts at `now`, for whoever is in no canary, if any does.
    pub fn in_force(&self, tariffs: &Tariffs, name: &DocumentName, now: Timestamp) -> Option<Document> {
        match name.kind {
            DocumentKind::Tariff => tariffs.at(&TariffName::new(&name.id), now, None).cloned().map(Document::Tariff),
            DocumentKind::Offer => tariffs.offer(&OfferName::new(&name.id), None).cloned().map(Document::Offer),
            DocumentKind::Accounting => {
                let (periods, hash) = self.catalogue.periods_of(tariffs.periods()?.version())?;
                Some(Document::Accounting(periods, hash))
            }
        }
    }

    /// Reads a text, and whether it could be published beside what is.
    ///
    /// # Errors
    /// Its problems, or why it does not fit.
    pub fn check(&self, source: &str) -> Result<Document, CatalogueRefusal> {
        let document = read(source)?;
        self.fits(&document, source)?;
        Ok(document)
    }

    /// How a document that is not stored would be shown.
    pub fn would_be(&self, document: &Document) -> wire::Document {
        let name = name_of(document);
        shown(&name, document, self.dossier(&name).as_ref())
    }

    fn published(&self, name: &DocumentName) -> Option<Document> {
        match name.kind {
            DocumentKind::Tariff => self.catalogue.get(&TariffName::new(&name.id), name.version).map(Document::Tariff),
            DocumentKind::Offer => self.catalogue.offer(&OfferName::new(&name.id), name.version).map(Document::Offer),
            DocumentKind::Accounting if *name.id == *DocumentName::PERIODS => {
                self.catalogue.periods_of(name.version).map(|(periods, hash)| Document::Accounting(periods, hash))
            }
            DocumentKind::Accounting => None,
        }
    }

    fn dossier(&self, name: &DocumentName) -> Option<Dossier> {
        let octets = self.charging.edge.desk_record(&key_of(name))?;
        // What is there was read at the start, or written by us.
        let dossier = records::decode_dossier(&octets).ok()?;
        // A draft of what was imported meanwhile is nothing any more.
        let is_overtaken = dossier.drafted.is_some() && dossier.published.is_none() && dossier.withdrawn.is_none();
        Some(dossier).filter(|_| !is_overtaken || self.published(name).is_none())
    }

    /// Whether a document is new and fits what is published.
    fn fits(&self, document: &Document, source: &str) -> Result<(), CatalogueRefusal> {
        let record = DocumentRecord { document: document.clone(), source: source.into() };
        let there = There::running(&self.catalogue, &self.charging);
        match there.has_document(&record) {
            Ok(false) => Ok(()),
            Ok(true) => Err(CatalogueRefusal::WrongState(
                "is published with this content; raise the version for another one".to_owned(),
            )),
            Err(reason) if self.published(&name_of(document)).is_some() => Err(CatalogueRefusal::Taken(reason)),
            Err(reason) => Err(CatalogueRefusal::NotPossible(reason)),
        }
    }

    /// What a step comes to; `drafted` is what the text of a draft says.
    fn work(
        &self,
        caller: &str,
        asked: &DocumentAsked,
        drafted: Option<Document>,
        now: Timestamp,
    ) -> Result<Change, CatalogueRefusal> {
        let deed = || Deed { who: caller.into(), at: now };
        match &asked.step {
            DocumentStep::Put(source, basis) => {
                let document = drafted.map_or_else(|| read(source), Ok)?;
                self.fits(&document, source)?;
                let name = name_of(&document);
                let before = self.dossier(&name);
                self.is_based_on(&name, before.as_ref(), basis)?;
                if before.as_ref().is_some_and(|before| before.approved.is_some()) {
                    let reason = "is approved, and stays as it is; delete it, or raise the version".to_owned();
                    return Err(CatalogueRefusal::WrongState(reason));
                }
                self.has_room(&name, source.len())?;
                let after = Dossier { source: Some(source.clone()), drafted: Some(deed()), ..empty() };
                Ok(Change { before, after: Some(after), drafted: Some(document), ..Change::of(name) })
            }
            DocumentStep::Delete(name, basis) => {
                let before = self.unpublished(name, basis, "is published and stays; roll it back instead")?;
                Ok(Change { before: Some(before), ..Change::of(name.clone()) })
            }
            DocumentStep::Approve(name, basis) => {
                let before = self.unpublished(name, basis, "is published already")?;
                if before.approved.is_some() {
                    return Err(CatalogueRefusal::WrongState("is approved already; publish it".to_owned()));
                }
                if let Some(author) = before.drafted.as_ref().filter(|author| self.four_eyes && *author.who == *caller)
                {
                    return Err(CatalogueRefusal::SamePerson(author.who.to_string()));
                }
                self.still_fits(name, &before)?;
                let after = Dossier { approved: Some(deed()), ..before.clone() };
                Ok(Change { before: Some(before), after: Some(after), ..Change::of(name.clone()) })
            }
            DocumentStep::Publish(name, basis, at) => {
                let before = self.unpublished(name, basis, "is published already")?;
                if before.approved.is_none() {
                    let reason = "is a draft; have somebody approve it first".to_owned();
                    return Err(CatalogueRefusal::WrongState(reason));
                }
                match at.filter(|at| *at > now) {
                    None => self.publishing(name.clone(), before, caller, now),
                    Some(due) => {
                        self.still_fits(name, &before)?;
                        let schedule = Schedule { due, said: deed(), reason: asked.reason.clone() };
                        let failure = Box::default();
                        let after = Dossier { scheduled: Some(schedule), failure, ..before.clone() };
                        Ok(Change { before: Some(before), after: Some(after), ..Change::of(name.clone()) })
                    }
                }
            }
            DocumentStep::Share(name, basis, asked) => self.sharing(name, basis, asked, deed()),
            DocumentStep::Promote(name, basis) => self.promoting(name, basis, deed()),
            DocumentStep::RollBack(name, basis) => self.rolling_back(name, basis, deed()),
            DocumentStep::ClosePeriods(until) => {
                let periods = self.catalogue.periods().ok_or_else(|| {
                    let reason = "there are no accounting periods; publish some first".to_owned();
                    CatalogueRefusal::NotPossible(reason)
                })?;
                let source = catalogue::closing(&periods, until, now)
                    .map_err(|reason| CatalogueRefusal::Field("until", reason))?;
                let document =
                    catalogue::parse(&source).map_err(|error| CatalogueRefusal::Field("until", error.to_string()))?;
                let name = name_of(&document);
                if self.dossier(&name).is_some() {
                    let reason = format!("{name} is drafted; publish or delete it first");
                    return Err(CatalogueRefusal::NotPossible(reason));
                }
                self.fits(&document, &source)?;
                let after = Dossier { drafted: Some(deed()), published: Some(deed()), ..empty() };
                Ok(Change { after: Some(after), published: Some((document, source.into())), ..Change::of(name) })
            }
        }
    }

    /// The dossier of what is not published, based on what somebody saw of it.
    fn unpublished(
        &self,
        name: &DocumentName,
        basis: &DraftBasis,
        published: &str,
    ) -> Result<Dossier, CatalogueRefusal> {
        let before = self.dossier(name);
        if self.published(name).is_some() {
            let share = before.as_ref().and_then(canary::running);
            let canary =
                share.map(|share| format!("is published for {share} of subscribers; promote it, or roll it back"));
            return Err(CatalogueRefusal::WrongState(canary.unwrap_or_else(|| published.to_owned())));
        }
        self.is_based_on(name, before.as_ref(), basis)?;
        before.ok_or(CatalogueRefusal::Unknown)
    }

    fn is_based_on(
        &self,
        name: &DocumentName,
        dossier: Option<&Dossier>,
        basis: &DraftBasis,
    ) -> Result<(), CatalogueRefusal> {
        let is_so = match basis {
            DraftBasis::Any => true,
            DraftBasis::New => dossier.is_none(),
            DraftBasis::Etag(etag) => self.find(name).is_some_and(|there| *etag_of(&there, dossier) == **etag),
        };
        if is_so { Ok(()) } else { Err(CatalogueRefusal::Stale) }
    }

    fn has_room(&self, name: &DocumentName, octets: usize) -> Result<(), CatalogueRefusal> {
        let drafts = self.drafts.read();
        let others = drafts.iter().filter(|(known, _)| *known != name);
        let (count, sum) = others.fold((1, octets), |(count, sum), (_, it)| (count + 1, it.octets.saturating_add(sum)));
        if count > DRAFTS_MAX || sum > DRAFTS_OCTETS_MAX {
            return Err(CatalogueRefusal::TooMany(format!(
                "there would be {count} drafts of {sum} octets, and may be {DRAFTS_MAX} of {DRAFTS_OCTETS_MAX}; publish or delete some"
            )));
        }
        Ok(())
    }

    fn still_fits(&self, name: &DocumentName, dossier: &Dossier) -> Result<Document, CatalogueRefusal> {
        let there = self.drafts.read().get(name).map(|draft| draft.document.clone());
        let document = there.ok_or(CatalogueRefusal::Unknown)?;
        self.fits(&document, dossier.source.as_deref().unwrap_or_default())?;
        Ok(document)
    }

    fn publishing(
        &self,
        name: DocumentName,
        before: Dossier,
        who: &str,
        now: Timestamp,
    ) -> Result<Change, CatalogueRefusal> {
        let document = self.still_fits(&name, &before)?;
        let published = Some(Deed { who: who.into(), at: now });
        let (mut after, failure) = (before.clone(), Box::default());
        let published_as = Some((document, after.source.take().unwrap_or_default()));
        let after = Dossier { published, scheduled: None, failure, ..after };
        Ok(Change { before: Some(before), after: Some(after), published: published_as, ..Change::of(name) })
    }

    /// Who did something that counts from a little later on: after every step before it, and when every shard knows it.
    fn counting(&self, dossier: Option<&Dossier>, deed: Deed) -> Deed {
        // A manual clock may stand still for as long as it likes.
        let lead = if self.charging.clock.is_manual() { 0 } else { canary::LEAD_MILLIS };
        let after = |millis: i64, more| Timestamp::from_millis(millis.saturating_add(more));
        let last = dossier.and_then(|dossier| dossier.canary.last()).map(|step| after(step.said.at.millis(), 1));
        let soon = after(deed.at.millis(), lead);
        Deed { at: last.map_or(soon, |last| last.max(soon)), ..deed }
    }

    /// Ends when `from` is there: whoever was told that something counts is charged by it.
    fn reach(&self, from: Timestamp) {
        let left = from.millis().saturating_sub(self.charging.clock.now().millis());
        if self.charging.clock.is_manual() {
            return;
        }
        match u64::try_from(left) {
            Ok(left) => std::thread::sleep(Duration::from_millis(left)),
            Err(_) => {
                tracing::warn!(%from, "what was to count from then on counts {} ms later: the disk was slow", -left)
            }
        }
    }

    fn sharing(
        &self,
        name: &DocumentName,
        basis: &DraftBasis,
        asked: &ShareAsked,
        deed: Deed,
    ) -> Result<Change, CatalogueRefusal> {
        if name.kind != DocumentKind::Tariff {
            let reason = "is no tariff; only tariffs are published for a share of subscribers".to_owned();
            return Err(CatalogueRefusal::Field("name", reason));
        }
        let running = self.dossier(name).filter(|dossier| canary::running(dossier).is_some());
        let (before, published) = match running {
            Some(before) => {
                self.is_based_on(name, Some(&before), basis)?;
                (before, None)
            }
            None => {
                let before = self.unpublished(name, basis, "was published for everybody")?;
                if before.approved.is_none() {
                    let reason = "is a draft; have somebody approve it first".to_owned();
                    return Err(CatalogueRefusal::WrongState(reason));
                }
                let document = self.still_fits(name, &before)?;
                self.has_others(name, deed.at)?;
                (before, Some(document))
            }
        };
        let named = self.named(&asked.named)?;
        let said = self.counting(Some(&before), deed);
        let step = canary::step(&before, asked.share, &named, said.clone()).map_err(CatalogueRefusal::NotPossible)?;
        let mut after = before.clone();
        let published = published.map(|document| (document, after.source.take().unwrap_or_default()));
        if published.is_some() {
            (after.published, after.scheduled, after.failure) = (Some(said), None, Box::default());
        }
        let from = Some(step.said.at);
        after.canary.push(step);
        Ok(Change { before: Some(before), after: Some(after), published, from, ..Change::of(name.clone()) })
    }

    /// Whether a canary can begin: whoever is not in it has another version, and not too many run.
    fn has_others(&self, name: &DocumentName, now: Timestamp) -> Result<(), CatalogueRefusal> {
        if self.in_force(&self.charging.tariffs.load(), name, now).is_none() {
            let reason =
                "would be the only version that counts: whoever is not in the share would have none".to_owned();
            return Err(CatalogueRefusal::NotPossible(reason));
        }
        let running = self.catalogue.canaries();
        if running.len() >= canary::RUNNING_MAX {
            let reason = format!(
                "would be one of {} that are for a share only, and {} may be; promote one, or roll it back",
                running.len() + 1,
                canary::RUNNING_MAX
            );
            return Err(CatalogueRefusal::NotPossible(reason));
        }
        Ok(())
    }

    /// The subscribers that are named.
    fn named(&self, named: &[(TenantId, SubscriberSelector)]) -> Result<BTreeSet<SubscriberId>, CatalogueRefusal> {
        let there = There::running(&self.catalogue, &self.charging);
        let one = |(tenant, selector): &(TenantId, SubscriberSelector)| {
            let found = match selector {
                SubscriberSelector::Id(id) => there.subscriber(*id),
                SubscriberSelector::Identifier(identifier) => there.identified(*tenant, identifier),
            };
            found.filter(|it| it.tenant == *tenant).map(|it| it.id).ok_or_else(|| {
                let named = match selector {
                    SubscriberSelector::Id(id) => id.to_string(),
                    SubscriberSelector::Identifier(identifier) => identifier.to_string(),
                };
                CatalogueRefusal::Field("named", format!("names {named}, who is not there"))
            })
        };
        named.iter().map(one).collect()
    }

    fn promoting(&self, name: &DocumentName, basis: &DraftBasis, deed: Deed) -> Result<Change, CatalogueRefusal> {
        let dossier = self.dossier(name);
        if dossier.is_none() && self.published(name).is_none() {
            return Err(CatalogueRefusal::Unknown);
        }
        self.is_based_on(name, dossier.as_ref(), basis)?;
        let before = dossier.filter(|dossier| canary::running(dossier).is_some()).ok_or_else(|| {
            CatalogueRefusal::WrongState("is not for a share of subscribers; there is nothing to promote".to_owned())
        })?;
        let said = self.counting(Some(&before), deed);
        let from = Some(said.at);
        let mut after = before.clone();
        after.canary.push(CanaryStep { said, share: Share::WHOLE, named: Vec::new() });
        Ok(Change { before: Some(before), after: Some(after), from, ..Change::of(name.clone()) })
    }

    fn rolling_back(&self, name: &DocumentName, basis: &DraftBasis, deed: Deed) -> Result<Change, CatalogueRefusal> {
        let before = self.dossier(name);
        let deed = self.counting(before.as_ref(), deed);
        let from = deed.at;
        if self.published(name).is_none() {
            return Err(match before {
                None => CatalogueRefusal::Unknown,
                Some(_) => CatalogueRefusal::WrongState("is not published; delete it instead".to_owned()),
            });
        }
        self.is_based_on(name, before.as_ref(), basis)?;
        if before.as_ref().is_some_and(|before| before.withdrawn.is_some()) {
            return Err(CatalogueRefusal::WrongState("is rolled back already".to_owned()));
        }
        let mut tariffs = Tariffs::clone(&self.charging.tariffs.load());
        let had = self.in_force(&tariffs, name, from).is_some();
        match name.kind {
            DocumentKind::Tariff => tariffs.withdraw(&TariffName::new(&name.id), name.version, from),
            DocumentKind::Offer => tariffs.withdraw_offer(&OfferName::new(&name.id), name.version),
            DocumentKind::Accounting => {
                let reason = "accounting periods that are closed stay closed".to_owned();
                return Err(CatalogueRefusal::NotPossible(reason));
            }
        }
        if had && self.in_force(&tariffs, name, from).is_none() {
            return Err(CatalogueRefusal::NothingBefore);
        }
        let after = Dossier { withdrawn: Some(deed), ..before.clone().unwrap_or_else(empty) };
        Ok(Change { before, after: Some(after), is_withdrawn: true, from: Some(from), ..Change::of(name.clone()) })
    }

    /// Writes a change, waits until it is durable, and has it count.
    fn write(
        &self,
        by: &By,
        change: &Change,
        mut desk: Vec<DeskRecord>,
        now: Timestamp,
    ) -> Result<(), CatalogueRefusal> {
        let key = key_of(&change.name);
        desk.push(match &change.after {
            None => DeskRecord::gone(key),
            Some(dossier) => {
                let mut octets = Vec::new();
                records::encode_dossier(&mut octets, dossier);
                DeskRecord::there(key, octets)
            }
        });
        let documents = change
            .published
            .iter()
            .map(|(document, source)| (TariffName::new(&document.kept_as()), document.version(), Arc::from(&**source)));
        let audit = Some(by.record(now, Self::differences(change)));
        let beside = Beside { documents: documents.collect(), desk, audit, ..Beside::default() };
        let Charging { edge, journal, tariffs, canaries, .. } = &*self.charging;
        let lsn = edge.append_alone(journal, now, &beside);
        // Whoever is charged by it is charged by something that no crash takes back.
        journal.mark().wait_for(lsn).map_err(|_| OperationError::Stopping)?;
        // Whom it is for is known before it is.
        if let (Some(_), Some(after)) = (change.from, &change.after) {
            self.catalogue.take_dossier(kept_as(&change.name).as_str(), change.name.version, after);
        }
        if let Some((document, _)) = &change.published {
            self.catalogue.insert(document.clone());
        }
        if change.published.is_some() || change.from.is_some() {
            tariffs.store(Arc::new(self.catalogue.tariffs()));
            canaries.store(Counters::of(self.catalogue.canaries()));
        }
        self.file(change);
        change.from.into_iter().for_each(|from| self.reach(from));
        let deleted = change.after.is_none();
        let document = self.answer(change, now).document;
        // Nobody may be watching.
        let _ = self.watched.send(wire::WatchDocumentsResponse { document: Some(document), deleted });
        Ok(())
    }

    /// Keeps what is not published at hand.
    fn file(&self, change: &Change) {
        let mut drafts = self.drafts.write();
        let Some(after) = change.after.as_ref().filter(|_| change.published.is_none()) else {
            drafts.remove(&change.name);
            return;
        };
        let due = after.scheduled.as_ref().map(|it| it.due);
        if let Some(document) = &change.drafted {
            let octets = after.source.as_deref().map_or(0, str::len);
            drafts.insert(change.name.clone(), Draft { document: document.clone(), octets, due });
        } else if let Some(draft) = drafts.get_mut(&change.name) {
            draft.due = due;
        }
    }

    /// The document as it is after a change; when it is deleted, as it was.
    fn answer(&self, change: &Change, now: Timestamp) -> DocumentChanged {
        let Change { name, before, after, published, drafted, is_withdrawn, from } = change;
        let from = from.unwrap_or(now);
        let published = published.as_ref().map(|(document, _)| document);
        let known = || published.cloned().or_else(|| drafted.clone()).or_else(|| self.find(name));
        let dossier = after.as_ref().or(before.as_ref());
        let document = known().map(|document| shown(name, &document, dossier)).unwrap_or_default();
        let in_force = is_withdrawn.then(|| {
            let mut tariffs = Tariffs::clone(&self.charging.tariffs.load());
            tariffs.withdraw(&TariffName::new(&name.id), name.version, from);
            tariffs.withdraw_offer(&OfferName::new(&name.id), name.version);
            let there = self.in_force(&tariffs, name, from)?;
            let named = name_of(&there);
            Some(shown(&named, &there, self.dossier(&named).as_ref()))
        });
        let closed_until = published.and_then(closed_until);
        DocumentChanged { document, in_force: in_force.flatten(), closed_until, repeated: false }
    }

    fn differences(change: &Change) -> Vec<records::Difference> {
        let mut differences = Differences::default();
        let state = |dossier: &Option<Dossier>| {
            let there = dossier.is_some() || (change.before.is_none() && change.is_withdrawn);
            let state = there.then(|| state_of(dossier.as_ref()).as_str_name());
            state.map(|state| state.trim_start_matches("DOCUMENT_STATE_").to_lowercase()).unwrap_or_default()
        };
        differences.note("state", state(&change.before), state(&change.after));
        let mut each = |what: &str, say: &dyn Fn(&Dossier) -> String| {
            let said = |dossier: &Option<Dossier>| dossier.as_ref().map(say).unwrap_or_default();
            differences.note(what, said(&change.before), said(&change.after));
        };
        each("due", &|dossier| dossier.scheduled.as_ref().map(|it| it.due.to_string()).unwrap_or_default());
        each("failure", &|dossier| dossier.failure.to_string());
        let step =
            |dossier: &Dossier, say: &dyn Fn(&CanaryStep) -> String| dossier.canary.last().map(say).unwrap_or_default();
        each("share", &|dossier| step(dossier, &|it| it.share.to_string()));
        each("share_from", &|dossier| step(dossier, &|it| it.said.at.to_string()));
        each("named", &|dossier| {
            canary::named(dossier).iter().map(SubscriberId::to_string).collect::<Vec<_>>().join(", ")
        });
        if change.drafted.is_some() {
            let digest = |dossier: &Dossier| {
                dossier.source.as_deref().map(|source| hex(&Sha256::digest(source.as_bytes()))).unwrap_or_default()
            };
            each("text_sha256", &digest);
        }
        if let Some((document, _)) = &change.published {
            differences.note("content_hash", String::new(), hex(document.content_hash()));
        }
        differences.into_vec()
    }
}

impl Change {
    fn of(name: DocumentName) -> Self {
        Self { name, before: None, after: None, published: None, is_withdrawn: false, from: None, drafted: None }
    }
}

fn empty() -> Dossier {
    Dossier {
        source: None,
        drafted: None,
        approved: None,
        scheduled: None,
        published: None,
        withdrawn: None,
        failure: Box::default(),
        canary: Vec::new(),
    }
}

/// The answer that was given first.
fn first_answer(known: &[u8], digest: &[u8; 32]) -> Result<DocumentChanged, CatalogueRefusal> {
    let broken = |_| OperationError::Store("a remembered request of the desk cannot be read".to_owned());
    let done = records::decode_done_request(known).map_err(|error| broken(error.to_string()))?;
    if done.digest != *digest {
        return Err(CatalogueRefusal::KeyReused);
    }
    let answer = wire::RollBackDocumentResponse::decode(&*done.answer).map_err(|error| broken(error.to_string()))?;
    let document = answer.document.unwrap_or_default();
    let closed_until = None;
    Ok(DocumentChanged { document, in_force: answer.in_force, closed_until, repeated: true })
}

/// Remembered requests whose time is over, and the oldest of too many.
pub(crate) fn to_forget(requests: &BTreeSet<(Timestamp, DeskKey)>, now: Timestamp) -> Vec<(Timestamp, DeskKey)> {
    let until = now.plus_seconds(-REQUEST_KEPT_SECONDS);
    let surplus = (requests.len() + 1).saturating_sub(REQUESTS_MAX);
    let old = requests.iter().enumerate().take_while(|(place, (at, _))| *place < surplus || *at < until);
    old.take(FORGOTTEN_AT_ONCE).map(|(_, known)| known.clone()).collect()
}

/// First instant of the oldest open period, of accounting periods.
pub fn closed_until(document: &Document) -> Option<Timestamp> {
    match document {
        Document::Accounting(periods, _) => Some(periods.closed_until()),
        Document::Tariff(_) | Document::Offer(_) => None,
    }
}

/// What is wrong with a text.
pub fn problems(error: CatalogueError) -> Vec<wire::DocumentProblem> {
    match error {
        CatalogueError::Syntax { line, reason } => {
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            vec![wire::DocumentProblem { path: String::new(), line, reason }]
        }
        CatalogueError::Problems(problems) => {
            let one = |it: rating_engine::tariff::Problem| wire::DocumentProblem {
                path: it.path,
                line: 0,
                reason: it.reason,
            };
            problems.into_iter().map(one).collect()
        }
    }
}

/// A refusal in words, for a record.
fn words(refusal: &CatalogueRefusal) -> String {
    match refusal {
        CatalogueRefusal::WrongState(reason)
        | CatalogueRefusal::Taken(reason)
        | CatalogueRefusal::NotPossible(reason)
        | CatalogueRefusal::TooMany(reason)
        | CatalogueRefusal::Field(_, reason) => reason.clone(),
        CatalogueRefusal::Unknown => "it is not there any more".to_owned(),
        CatalogueRefusal::NothingBefore
        | CatalogueRefusal::SamePerson(_)
        | CatalogueRefusal::Stale
        | CatalogueRefusal::KeyReused
        | CatalogueRefusal::Problems(_)
        | CatalogueRefusal::Simulating
        | CatalogueRefusal::Lagged
        | CatalogueRefusal::Operation(_) => format!("{refusal:?}"),
    }
}

/// Where a document is on its way; one without a dossier was published without a draft.
fn state_of(dossier: Option<&Dossier>) -> wire::DocumentState {
    match dossier {
        None => wire::DocumentState::Published,
        Some(Dossier { withdrawn: Some(_), .. }) => wire::DocumentState::RolledBack,
        Some(it) if canary::running(it).is_some() => wire::DocumentState::Canary,
        Some(Dossier { published: Some(_), .. } | Dossier { drafted: None, .. }) => wire::DocumentState::Published,
        Some(Dossier { scheduled: Some(_), .. }) => wire::DocumentState::Scheduled,
        Some(Dossier { approved: Some(_), .. }) => wire::DocumentState::Approved,
        Some(_) => wire::DocumentState::Draft,
    }
}

/// Changes with everything that is said of a document.
fn etag_of(document: &Document, dossier: Option<&Dossier>) -> String {
    let mut octets = Vec::new();
    if let Some(dossier) = dossier {
        records::encode_dossier(&mut octets, dossier);
    }
    let said = Sha256::new().chain_update(document.content_hash()).chain_update(octets);
    hex(said.finalize().get(..8).unwrap_or_default())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A document as it is shown.
fn shown(name: &DocumentName, document: &Document, dossier: Option<&Dossier>) -> wire::Document {
    let who = |deed: Option<&Deed>| deed.map(|deed| deed.who.to_string()).unwrap_or_default();
    let when = |deed: Option<&Deed>| deed.map(|deed| time(deed.at));
    let [drafted, approved, published, withdrawn] = match dossier {
        None => [None; 4],
        Some(it) => [it.drafted.as_ref(), it.approved.as_ref(), it.published.as_ref(), it.withdrawn.as_ref()],
    };
    let scheduled = dossier.and_then(|dossier| dossier.scheduled.as_ref());
    let (kind, valid_from) = match document {
        Document::Tariff(version) => {
            let begins = version.valid_from();
            let always = begins == Timestamp::from_millis(i64::MIN);
            (wire::DocumentKind::Tariff, (!always).then(|| time(begins)))
        }
        Document::Offer(_) => (wire::DocumentKind::Offer, None),
        Document::Accounting(..) => (wire::DocumentKind::Accounting, None),
    };
    wire::Document {
        name: name.to_string(),
        kind: kind.into(),
        id: name.id.to_string(),
        version: name.version,
        content_hash: document.content_hash().to_vec(),
        valid_from,
        state: state_of(dossier).into(),
        etag: etag_of(document, dossier),
        author: who(drafted),
        draft_time: when(drafted),
        approver: who(approved),
        approve_time: when(approved),
        due_time: scheduled.map(|it| time(it.due)),
        publisher: if scheduled.is_some() { who(scheduled.map(|it| &it.said)) } else { who(published) },
        publish_time: when(published),
        withdrawer: who(withdrawn),
        withdraw_time: when(withdrawn),
        failure: dossier.map(|dossier| dossier.failure.to_string()).unwrap_or_default(),
        canary: dossier.map(shown_canary).unwrap_or_default(),
    }
}

fn shown_canary(dossier: &Dossier) -> Vec<wire::CanaryStep> {
    let mut named = 0u32;
    let steps = dossier.canary.iter().map(|step| {
        named = named.saturating_add(u32::try_from(step.named.len()).unwrap_or(u32::MAX));
        wire::CanaryStep {
            from: Some(time(step.said.at)),
            share_basis_points: step.share.basis_points().into(),
            named,
            publisher: step.said.who.to_string(),
        }
    });
    steps.collect()
}

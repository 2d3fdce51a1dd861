//! The store seam: traits, each named for who calls it. A driver commits through [`Store`], the recovery
//! sweep and listings read [`RunIndex`], watchers read [`EventLog`], people answer through
//! [`Questions`]; conversations are [`Threads`], and what users keep beside them [`Sessions`]. A store on disk
//! implements all of them ([`AnyStore`]), and so does the one in memory.
//!
//! No store has a clock: times are wall time in milliseconds since 1970 and come from the caller. Processes
//! that share a store on several machines must agree on it to within some seconds, or one takes another's runs
//! early; the epoch then still keeps two from writing.

use std::fmt;
use std::sync::Arc;

use crate::BoxFuture;
use crate::definition::Pinned;
use crate::event::{Event, Status};
use crate::question::{Question, Questions};
use crate::record::{Outcome, Output, Record, RecordKind};
use crate::relay::Closing;
use crate::session::Sessions;
use crate::thread::{ThreadStep, Threads};

/// What one step writes. All of it is stored, or nothing is, also when the process or the machine dies; who
/// reads sees all of it or nothing. When the commit returns, the batch is as durable as the store was told to
/// be, and a refused batch has changed nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Given with the first batch of a run.
    pub definition: Option<Pinned>,
    /// Numbered on from what is stored, all under the epoch of the commit.
    pub records: Vec<Record>,
    /// Asking twice is asking once: a question that is stored stands as it is.
    pub asked: Vec<Question>,
    /// Ids of questions whose effect closed without needing the answer.
    pub withdrawn: Vec<String>,
    /// How the run stands after these records. Without it as before; a run begins as `running`. Where a record
    /// says that the run has ended, that counts.
    pub standing: Option<RunStanding>,
    /// Who drives the run and until when. Given with the first batch; later ones may renew it so, which saves
    /// [`Store::renew`]. A run that ends is let go of by itself.
    pub lease: Option<Lease>,
    /// Takes the place of the one before.
    pub snapshot: Option<Snapshot>,
    /// What becomes of the thread the run is on.
    pub thread: Option<Box<ThreadStep>>,
}

/// How a run stands, as far as listings and the sweep need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStanding {
    pub status: Status,
    /// When a run that rests wants to be driven on without anybody's doing: its nearest timer. Due times of
    /// its open questions are known to the store.
    pub due: Option<u64>,
}

/// A run belongs to its owner until then, or until another has claimed it after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Names a process; one that starts again has another name.
    pub owner: Arc<str>,
    /// Wall time in milliseconds since 1970.
    pub until: u64,
}

/// A run's state after the records below `seq`, in a form that is its writer's own business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of the first record it does not cover.
    pub seq: u64,
    pub state: Vec<u8>,
}

/// A run as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    pub definition: Pinned,
    pub snapshot: Option<Snapshot>,
    /// Those the snapshot does not cover; all where there is none.
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A newer epoch owns the run. The driver that reads this must stop at once.
    #[error("another process owns the run now")]
    Fenced,
    #[error("the run has {found} records where {expected} were expected; load it again")]
    Conflict { expected: u64, found: u64 },
    #[error("there is no run `{0}`")]
    UnknownRun(String),
    /// It is the turn of another run on the thread.
    #[error("run `{0}` has the thread")]
    ThreadHeld(String),
    /// The thread is not as the caller knew it: look again.
    #[error("the thread has changed meanwhile")]
    ThreadChanged,
    /// The run cannot end yet: messages came in that it has not heard of.
    #[error("messages came in that the run has not heard of")]
    Unheard,
    #[error("there is no thread `{0}`")]
    UnknownThread(String),
    #[error("there is no session `{0}`")]
    UnknownSession(String),
    /// Of a thread or a session.
    #[error("`{0}` is there already")]
    Exists(String),
    /// The state of a session is another's.
    #[error("the session has version {found} where {expected} was expected; load it again")]
    VersionConflict { expected: u64, found: u64 },
    /// Another owner's lease has not run out.
    #[error("`{owner}` drives the run; if it is gone, the run can be had at {}", crate::event::Timestamp(*until))]
    Owned { owner: String, until: u64 },
    /// The batch is not one. A fault of the caller's.
    #[error("the batch cannot be stored: {0}")]
    Malformed(String),
    /// The place where runs are kept does not do what it should.
    #[error("{0}")]
    Unavailable(Box<StoreFailure>),
    #[error("the store failed: {0}")]
    Broken(String),
}

impl StoreError {
    /// Whether the same may work later, once the cause has gone away. A run whose commit failed so must be
    /// loaded again all the same: the batch may have been stored.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Owned { .. } | Self::ThreadHeld(_) | Self::ThreadChanged => true,
            Self::Unavailable(failure) => failure.kind.is_retryable(),
            Self::Unheard
            | Self::UnknownThread(_)
            | Self::UnknownSession(_)
            | Self::Exists(_)
            | Self::VersionConflict { .. }
            | Self::Fenced
            | Self::Conflict { .. }
            | Self::UnknownRun(_)
            | Self::Malformed(_)
            | Self::Broken(_) => false,
        }
    }
}

/// What is wrong with the place where runs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFailure {
    pub kind: FailureKind,
    /// A file, or a database without its password.
    pub place: String,
    pub problem: String,
    /// What somebody can do.
    pub remedy: String,
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. {}", self.place, self.problem, self.remedy)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No room.
    Full,
    /// It cannot be written, or not by us.
    ReadOnly,
    /// It cannot be opened at all.
    CannotOpen,
    /// What is there was damaged, or is no store.
    Corrupt,
    /// A newer version wrote it.
    Newer,
    /// Others held it for too long.
    Busy,
    /// Its server does not answer.
    Unreachable,
    /// The store was closed.
    Closed,
    Other,
}

impl FailureKind {
    /// Whether the same may work once the cause has gone away.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Full | Self::ReadOnly | Self::CannotOpen | Self::Busy | Self::Unreachable => true,
            Self::Corrupt | Self::Newer | Self::Closed | Self::Other => false,
        }
    }
}

/// Keeps runs. The first batch of a run (expected record 0, epoch 1) creates it.
pub trait Store: Send + Sync {
    /// Makes the caller the owner of a stored run under a new epoch, and returns the epoch: whatever an older
    /// one still commits is refused.
    ///
    /// # Errors
    /// `Owned` while another owner's lease is valid at `now`. One's own can be claimed again.
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>>;

    /// Moves the end of the lease: on while the run is driven, to 0 to let go of it, which may be done twice.
    ///
    /// # Errors
    /// `Fenced`: somebody else has claimed the run, or it was let go of and belongs to nobody. A driver that only waits
    /// learns it here.
    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Lets go of a run that rests, so that anybody may claim it at once.
    fn release(&self, run: &str, epoch: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        self.renew(run, epoch, 0)
    }

    /// The run as its last commit left it.
    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>>;

    /// Compare and set: refused unless the epoch is the owner's and `expected` the next record's number.
    /// Dropping the future does not take the commit back.
    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// What there is to drive on, and what there is to list.
pub trait RunIndex: Send + Sync {
    /// Runs that somebody must claim, longest ready first: not final, leased to nobody at `now`, and either
    /// `queued` or `running`, or at rest with something to go on with. A run that waits has that when one of
    /// its questions was answered or is due, and, like one that is paused, at its own due time.
    fn claimable(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<Claimable, StoreError>>;

    /// Resolves once answers came in after the number given, with the number to give next, which begins at 0.
    /// Those of other processes too. So a sweep need not wait for its next turn.
    fn answers_after(&self, seen: u64) -> BoxFuture<'static, u64>;

    /// Newest first, a page at a time.
    fn runs(&self, query: RunQuery) -> BoxFuture<'static, Result<RunPage, StoreError>>;

    /// Forgets runs that ended before this time, oldest first and at most so many: their records, snapshots, questions
    /// and events. What they left on threads stays. Gives how many it were; a store may keep them all.
    fn forget_runs(&self, _before: u64, _limit: usize) -> BoxFuture<'static, Result<u64, StoreError>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Records of a run from this number on, at most `limit`: its whole history, whatever a snapshot covers.
    fn records(
        &self,
        run: &str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Record>, StoreError>>;
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimable {
    pub runs: Vec<String>,
    /// When the next run becomes claimable by time alone (a timer, a question that is due, a lease that runs
    /// out), as far as is known now. Not among `runs`, also where `limit` cut them.
    pub next: Option<u64>,
}

/// Which runs to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunQuery {
    /// That one alone.
    pub run: Option<String>,
    /// Any of these; all where there is none.
    pub status: Vec<Status>,
    pub agent: Option<String>,
    pub thread: Option<String>,
    /// Runs on a page, from 1 to 1000.
    pub limit: usize,
    /// [`RunPage::next`] of the page before.
    pub cursor: Option<RunCursor>,
}

impl Default for RunQuery {
    fn default() -> Self {
        Self { run: None, status: vec![], agent: None, thread: None, limit: 50, cursor: None }
    }
}

/// The last run of a page. As text, `CREATED:ID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunCursor {
    pub created: u64,
    pub id: String,
}

impl fmt::Display for RunCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.created, self.id)
    }
}

impl std::str::FromStr for RunCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':').and_then(|(created, id)| Some((created.parse().ok()?, id)));
        let (created, id) = parts.ok_or_else(|| format!("`{text}` is no cursor; give `next` of a page"))?;
        Ok(Self { created, id: id.to_owned() })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunPage {
    pub runs: Vec<RunSummary>,
    /// Where the next page begins; nothing after the last.
    pub next: Option<RunCursor>,
}

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    pub id: String,
    pub status: Status,
    pub agent: String,
    pub thread: Option<String>,
    /// Wall time of the first record, in milliseconds since 1970.
    pub created: u64,
    /// That of the last.
    pub updated: u64,
    /// Records so far.
    pub records: u64,
    pub epoch: u64,
    /// Who has the run, or had it last; nobody where it was let go of.
    pub lease: Option<Lease>,
}

/// Events of runs as watchers saw them. They are not part of what a run is made of: the log may be lost with
/// the last moments before a power cut, and is never ahead of what was shown.
pub trait EventLog: Send + Sync {
    /// Appends, and numbers on from the last without gaps, whatever numbers the events bear. Gives the number
    /// of the first.
    ///
    /// # Errors
    /// `Fenced`: a later epoch has written events of the run.
    fn append_events(
        &self,
        run: &str,
        epoch: u64,
        events: Vec<Event>,
    ) -> BoxFuture<'static, Result<u64, StoreError>>;

    /// Events of a run after this number, at most `limit`. None for a run that has none, known or not.
    fn events(
        &self,
        run: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Event>, StoreError>>;
}

/// All a store can do: what an engine is given.
pub trait AnyStore: Store + RunIndex + EventLog + Questions + Threads + Sessions {}

impl<S: Store + RunIndex + EventLog + Questions + Threads + Sessions> AnyStore for S {}

/// For those who write stores: what a batch says without saying it.
impl Batch {
    /// Whether the records are numbered on from `expected` under this epoch.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn check(&self, epoch: u64, expected: u64) -> Result<(), StoreError> {
        for (place, record) in (expected..).zip(&self.records) {
            if (record.seq, record.epoch) != (place, epoch) {
                return Err(StoreError::Malformed(format!(
                    "record {} of epoch {} where {place} of epoch {epoch} belongs",
                    record.seq, record.epoch
                )));
            }
        }
        Ok(())
    }

    /// How the run stands afterwards, where that changes.
    pub fn standing_after(&self) -> Option<RunStanding> {
        let ended = self.records.iter().find_map(|record| match &record.kind {
            RecordKind::Finished(Outcome::Succeeded { .. }) => Some(Status::Succeeded),
            RecordKind::Finished(Outcome::Failed(_)) => Some(Status::Failed),
            RecordKind::Finished(Outcome::Cancelled) => Some(Status::Cancelled),
            _ => None,
        });
        ended.map(|status| RunStanding { status, due: None }).or(self.standing)
    }

    /// Ids of questions that the run is done with: their answers were taken in, or they were closed.
    pub fn taken(&self, run: &str) -> Vec<String> {
        let ids = self.records.iter().filter_map(|record| match &record.kind {
            RecordKind::Result { effect, result: Ok(Output::Answer(_)), .. } => {
                Some(question_id(run, effect.as_str()))
            }
            RecordKind::Closed { question, closing, .. } if *closing != Closing::GoneOn => {
                Some(question.clone())
            }
            _ => None,
        });
        ids.collect()
    }

    /// The thread the run was accepted on.
    pub fn thread(&self) -> Option<&str> {
        self.records.iter().find_map(|record| match &record.kind {
            RecordKind::Accepted { thread, .. } | RecordKind::Queued { thread, .. } => thread.as_deref(),
            _ => None,
        })
    }
}

/// The id of the question that an effect asks.
fn question_id(run: &str, effect: &str) -> String {
    format!("{run}/{effect}")
}

impl Pinned {
    /// What listings call the agent, or the graph.
    pub fn agent_name(&self) -> &str {
        self.definition.name()
    }
}

impl Stored {
    /// A run whose records are all there.
    pub fn whole(definition: Pinned, records: Vec<Record>) -> Self {
        Self { definition, snapshot: None, records }
    }
}

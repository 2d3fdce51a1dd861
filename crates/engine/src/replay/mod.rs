//! A run done again from its records: models, tools, people, code and children give back what they gave then.
//! Nothing is asked and nothing is sent.
//!
//! The machine has no clock and no randomness, so the same inputs at the same times make the same run. A replay gives
//! it those, under the definition of then or of now, and looks at all that the run wants on the way: where that is
//! not what it wanted then, there is a [`Difference`].
//!
//! ```no_run
//! # fn main() -> Result<(), ambidex_core::Error> {
//! use ambidex_engine::{Recording, Replay};
//!
//! let recording = Recording::read("tests/refund.jsonl".as_ref())?;
//! let replayed = Replay::of(&recording).strict().run(|event| println!("{event:?}"))?;
//! assert!(replayed.differences.is_empty(), "{}", replayed.differences[0]);
//! # Ok(())
//! # }
//! ```

mod calls;
mod difference;
mod live;
mod player;
mod recording;
mod want;

use std::collections::HashSet;
use std::str::FromStr;

use ambidex_core::definition::Pinned;
use ambidex_core::effect::EffectId;
use ambidex_core::event::Event;
use ambidex_core::record::{Record, RecordKind};
use ambidex_core::run::Run;
use ambidex_core::{Error, ErrorKind};

use crate::carrier::Runnable;
use crate::result::{RunError, RunResult};

pub use calls::RecordedCall;
pub use difference::Difference;
pub use recording::Recording;

use player::Player;

/// How a recording is replayed.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    recording: &'a Recording,
    definition: Pinned,
    strict: bool,
    until: Option<Point>,
    ignored: Vec<String>,
}

/// Where a replay ends, so that what follows may happen for real. What had begun before it keeps what it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// After the record of this number.
    Record(u64),
    /// Before this effect begins.
    Effect(EffectId),
}

impl FromStr for Point {
    type Err = std::convert::Infallible;

    /// A number is a record's, all else an effect's id.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(record) => Self::Record(record),
            Err(_) => Self::Effect(EffectId::new(text)),
        })
    }
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// How the run stands at the end of the recording, at the point asked for, or where a strict replay stopped.
    pub result: RunResult,
    /// Where it wanted something else than was recorded, in the order in which that came up.
    pub differences: Vec<Difference>,
    /// What it still wants though the recorded run had ended: for this nothing is recorded.
    pub unanswered: Vec<EffectId>,
    definition: Pinned,
    records: Vec<Record>,
}

impl Replayed {
    /// The result as a run gives it.
    ///
    /// # Errors
    /// The run failed or was cancelled.
    pub fn ended(&self) -> Result<RunResult, RunError> {
        self.result.clone().ended()
    }

    /// The records that the replay made; where nothing differs, those that were recorded.
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

impl<'a> Replay<'a> {
    /// Under the definition that the run was recorded with.
    pub fn of(recording: &'a Recording) -> Self {
        let definition = recording.run().stored.definition.clone();
        Self { recording, definition, strict: false, until: None, ignored: Vec::new() }
    }

    /// As this agent or graph would do it today: with its instructions, tools, settings, limits and approvals. Its
    /// model, its hooks and its code are not called.
    #[must_use]
    pub fn by(mut self, runnable: &Runnable) -> Self {
        self.definition = runnable.carrier().pinned().clone();
        self
    }

    /// Stops at the first difference.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Ends there.
    #[must_use]
    pub fn until(mut self, point: Point) -> Self {
        self.until = Some(point);
        self
    }

    /// A place in which differences do not count, with all below it: `model`, `instructions`, `tools`,
    /// `messages[0]`, `arguments.date`.
    #[must_use]
    pub fn ignore(mut self, place: impl Into<String>) -> Self {
        self.ignored.push(place.into());
        self
    }

    /// Replays, and gives each event as watchers of the run saw it; a reply's text is one event.
    ///
    /// # Errors
    /// `store_failed`: the recording makes no run. `invalid_request`: it has no such point, or the agent or graph is
    /// another kind than was recorded.
    pub fn run(self, watch: impl FnMut(Event)) -> Result<Replayed, Error> {
        let before = self.until.as_ref().map(|point| self.before(point)).transpose()?;
        let file = self.recording.run();
        let recorded = Run::new(file.run.as_str(), file.stored.definition.clone());
        let replayed = Run::new(file.run.as_str(), self.definition.clone());
        if recorded.agent().is_some() != replayed.agent().is_some() {
            let (one, other) = match recorded.agent() {
                Some(_) => ("an agent's", "a graph"),
                None => ("a graph's", "an agent"),
            };
            let text = format!("the recording is {one}, and cannot be replayed by {other}");
            return Err(Error::new(ErrorKind::InvalidRequest, text));
        }
        let mut player = Player::new(recorded, replayed, &file.stored.records, before);
        (player.strict, player.ignored) = (self.strict, &self.ignored);
        player.play(watch)
    }

    /// The number of the first record behind a point, and what had begun before.
    fn before(&self, point: &Point) -> Result<(u64, HashSet<EffectId>), Error> {
        let records = &self.recording.run().stored.records;
        let begins = |record: &Record, id: &EffectId| matches!(&record.kind, RecordKind::Intent(intent) if intent.id == *id);
        let end = match point {
            Point::Record(seq) => Some(seq + 1).filter(|_| records.iter().any(|record| record.seq == *seq)),
            Point::Effect(id) => records.iter().find(|record| begins(record, id)).map(|record| record.seq),
        };
        let Some(end) = end else {
            let what = match point {
                Point::Record(seq) => format!("record {seq}"),
                Point::Effect(id) => format!("effect `{id}`"),
            };
            let text = format!(
                "{what} is not in the recording of {}; `ambidex runs trace` lists what there is",
                self.recording.run().run
            );
            return Err(Error::new(ErrorKind::InvalidRequest, text));
        };
        let first = records.iter().take_while(|record| record.seq < end);
        let begun = first.filter_map(|record| match &record.kind {
            RecordKind::Intent(intent) => Some(intent.id.clone()),
            _ => None,
        });
        Ok((end, begun.collect()))
    }
}

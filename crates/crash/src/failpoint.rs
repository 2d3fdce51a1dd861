//! Where a process can be told to kill itself. Nothing of the product knows of these places: they are seen from
//! outside, in what is committed and claimed, and in the tools.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use ambidex_core::effect::{EffectId, Task};
use ambidex_core::record::{Output, RecordKind};
use ambidex_core::store::Batch;
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The first commit of a run.
    Accept,
    /// The intent to call a tool is committed.
    Intent,
    /// A tool does what it does.
    Effect,
    /// What a tool returned is committed.
    Result,
    /// A state is committed beside the records it was folded from.
    Snapshot,
    /// A time to wait until is committed.
    Timer,
    /// That this time has come is committed.
    TimerOver,
    /// A question is committed.
    Question,
    /// A person's answer is stored.
    Answer,
    /// The run takes the answer in.
    Taken,
    /// The end of a run is committed.
    Finish,
    /// A run is claimed for recovery.
    Claim,
    /// The new owner commits that he took over, and what he found in doubt.
    Claimed,
}

impl Step {
    pub const ALL: [Self; 13] = [
        Self::Accept,
        Self::Intent,
        Self::Effect,
        Self::Result,
        Self::Snapshot,
        Self::Timer,
        Self::TimerOver,
        Self::Question,
        Self::Answer,
        Self::Taken,
        Self::Finish,
        Self::Claim,
        Self::Claimed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Intent => "intent",
            Self::Effect => "effect",
            Self::Result => "result",
            Self::Snapshot => "snapshot",
            Self::Timer => "timer",
            Self::TimerOver => "timer over",
            Self::Question => "question",
            Self::Answer => "answer",
            Self::Taken => "answer taken",
            Self::Finish => "finish",
            Self::Claim => "claim",
            Self::Claimed => "claimed",
        }
    }

    /// Whether only a process that recovers comes by here.
    pub fn is_of_recovery(self) -> bool {
        matches!(self, Self::Claim | Self::Claimed)
    }

    /// How often a process comes by here at the least, with the runs it starts.
    pub fn times(self) -> usize {
        match self {
            Self::Snapshot | Self::Timer | Self::TimerOver | Self::Question | Self::Answer | Self::Taken => 2,
            _ => 4,
        }
    }

    /// Whether a commit of this batch is such a step.
    pub fn is_in(self, batch: &Batch) -> bool {
        let any = |is: &dyn Fn(&RecordKind) -> bool| batch.records.iter().any(|record| is(&record.kind));
        match self {
            Self::Accept => any(&|kind| matches!(kind, RecordKind::Accepted { .. })),
            Self::Intent => any(&|kind| match kind {
                RecordKind::Intent(intent) => matches!(intent.task, Task::Tool { .. }),
                _ => false,
            }),
            Self::Result => {
                any(&|kind| matches!(kind, RecordKind::Result { result: Ok(Output::Tool(_)), .. }))
            }
            Self::Snapshot => batch.snapshot.is_some(),
            Self::Timer => any(&|kind| match kind {
                RecordKind::Intent(intent) => matches!(intent.task, Task::Wait { .. }),
                _ => false,
            }),
            Self::TimerOver => any(&|kind| match kind {
                RecordKind::Result { effect, .. } => is_wait(effect),
                _ => false,
            }),
            Self::Question => !batch.asked.is_empty(),
            Self::Taken => {
                any(&|kind| matches!(kind, RecordKind::Result { result: Ok(Output::Answer(_)), .. }))
            }
            Self::Finish => any(&|kind| matches!(kind, RecordKind::Finished(_))),
            Self::Claimed => any(&|kind| matches!(kind, RecordKind::Claimed)),
            Self::Effect | Self::Answer | Self::Claim => false,
        }
    }
}

/// The node of the graph that waits is called so.
pub const WAIT_NODE: &str = "rest";

fn is_wait(effect: &EffectId) -> bool {
    effect.as_str().split('#').next() == Some(WAIT_NODE)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failpoint {
    pub step: Step,
    pub side: Side,
}

impl Failpoint {
    pub fn all() -> impl Iterator<Item = Self> {
        Step::ALL.into_iter().flat_map(|step| [Side::Before, Side::After].map(|side| Self { step, side }))
    }
}

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(f, "{side} {}", self.step.name())
    }
}

impl FromStr for Failpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all().find(|point| point.to_string() == text).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(|point| point.to_string()).collect();
            format!("there is no failpoint {text:?}; there are: {}", names.join(", "))
        })
    }
}

/// What happens to the process there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mishap {
    Killed,
    /// It stands still, with all its threads, until somebody lets it go on.
    Stopped,
}

/// Kills or stops this process at a failpoint, when it comes by there for the nth time.
pub struct Trigger {
    point: Option<Failpoint>,
    mishap: Mishap,
    left: AtomicU32,
}

impl Trigger {
    /// `nth` counts from 1.
    pub fn new(at: Option<(Failpoint, u32)>, mishap: Mishap) -> Self {
        let (point, nth) = at.unzip();
        Self { point, mishap, left: AtomicU32::new(nth.unwrap_or(0)) }
    }

    /// Whether this is the moment. True once.
    pub fn is_due(&self, step: Step, side: Side) -> bool {
        self.point == Some(Failpoint { step, side }) && self.left.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Does not return where it is the moment to die.
    pub fn pass(&self, step: Step, side: Side) {
        if self.is_due(step, side) {
            match self.mishap {
                Mishap::Killed => loop {
                    // As `kill -9` does: nothing is flushed, dropped or told.
                    signal_this_process(Signal::KILL);
                },
                Mishap::Stopped => signal_this_process(Signal::STOP),
            }
        }
    }
}

fn signal_this_process(signal: Signal) {
    // It cannot fail for oneself.
    let _ = kill_process(getpid(), signal);
}

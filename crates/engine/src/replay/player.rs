//! The recorded run and the one that is replayed, step by step beside each other.

use std::collections::{HashMap, HashSet};

use ambidex_core::budget::BudgetKind;
use ambidex_core::effect::{EffectId, Task};
use ambidex_core::event::{Event, EventKind, Timestamp};
use ambidex_core::graph::NodeDefinition;
use ambidex_core::message::Part;
use ambidex_core::record::{Input, Outcome, Output, Pause, Record, RecordKind, Refused, Stamp};
use ambidex_core::reply::Reply;
use ambidex_core::run::{Admission, Occurrence, Phase, Run};
use ambidex_core::{Error, ErrorKind};

use super::Replayed;
use super::difference::{Difference, Place, compare};
use super::want::{Comparison, Want, plain};
use crate::result::RunResult;

pub(super) struct Player<'a> {
    pub(super) strict: bool,
    pub(super) ignored: &'a [String],
    recorded: Run,
    replayed: Run,
    source: &'a [Record],
    /// The record that is replayed, and the effects that may begin: of a whole replay, all that were recorded.
    end: u64,
    known: HashSet<EffectId>,
    begun: HashMap<EffectId, Vec<u64>>,
    /// The records with which a new owner took the run.
    claims: Vec<u64>,
    /// Those that the recording wanted and the replay does not yet, and the other way around.
    expected: Vec<(EffectId, Want)>,
    wanted: Vec<(EffectId, Want)>,
    /// Effects that were held back: nothing is recorded of them.
    refused: Vec<EffectId>,
    /// What came when nobody waited for it.
    held: Vec<(EffectId, Result<Output, Error>)>,
    comparison: Comparison,
    records: Vec<Record>,
    differences: Vec<Difference>,
    /// How the two stood when that was last said.
    said: Option<(Phase, Phase)>,
    events: u64,
}

/// What may begin in a step.
struct Begins<'a> {
    known: &'a HashSet<EffectId>,
    /// By effect, the numbers of the records with which it began.
    recorded: &'a HashMap<EffectId, Vec<u64>>,
    /// The next record that is no beginning. A call that queued for a place of its process began after it.
    next: u64,
    /// A new owner takes the run with this record. What a fork's past leaves out of a step begins after it.
    claimed: u64,
    /// Nothing else comes before that.
    ends: bool,
    refused: Vec<EffectId>,
}

impl<'a> Begins<'a> {
    /// What comes of this record.
    fn with(
        from: &Record,
        source: &[Record],
        known: &'a HashSet<EffectId>,
        recorded: &'a HashMap<EffectId, Vec<u64>>,
        claims: &[u64],
    ) -> Self {
        let behind = usize::try_from(from.seq).unwrap_or(usize::MAX).saturating_add(1);
        let later = source.get(behind..).unwrap_or_default();
        let claimed = claims.get(claims.partition_point(|seq| *seq <= from.seq)).copied().unwrap_or(u64::MAX);
        let next = later.iter().find(|record| !matches!(record.kind, RecordKind::Intent(_)));
        let ends = next.is_none_or(|record| record.seq == claimed);
        let next = next.map_or(u64::MAX, |record| record.seq);
        Self { known, recorded, next, claimed, ends, refused: Vec::new() }
    }

    fn may(&self, effect: &EffectId) -> bool {
        match self.recorded.get(effect) {
            Some(seqs) => self.known.contains(effect) && seqs.iter().any(|seq| *seq < self.claimed),
            None => !self.ends,
        }
    }
}

impl Admission for Begins<'_> {
    fn admit(&mut self, effect: &EffectId, _: &str) -> bool {
        match self.recorded.get(effect) {
            Some(seqs) => self.known.contains(effect) && seqs.iter().any(|seq| *seq < self.next),
            None => {
                self.refused.push(effect.clone());
                false
            }
        }
    }

    fn admit_node(&mut self, effect: &EffectId, _: &NodeDefinition) -> bool {
        self.admit(effect, "")
    }
}

impl<'a> Player<'a> {
    pub(super) fn new(
        recorded: Run,
        replayed: Run,
        source: &'a [Record],
        until: Option<(u64, HashSet<EffectId>)>,
    ) -> Self {
        let mut begun: HashMap<EffectId, Vec<u64>> = HashMap::new();
        let mut claims = Vec::new();
        for record in source {
            match &record.kind {
                RecordKind::Intent(intent) => begun.entry(intent.id.clone()).or_default().push(record.seq),
                RecordKind::Claimed => claims.push(record.seq),
                _ => {}
            }
        }
        let (end, known) = until.unwrap_or_else(|| (u64::MAX, begun.keys().cloned().collect()));
        Self {
            strict: false,
            ignored: &[],
            recorded,
            replayed,
            source,
            end,
            known,
            begun,
            claims,
            expected: Vec::new(),
            wanted: Vec::new(),
            refused: Vec::new(),
            held: Vec::new(),
            comparison: Comparison::default(),
            records: Vec::new(),
            differences: Vec::new(),
            said: None,
            events: 0,
        }
    }

    pub(super) fn play(mut self, mut watch: impl FnMut(Event)) -> Result<Replayed, Error> {
        for record in self.source {
            let input = self.input(record);
            if input.is_some() && record.seq < self.end {
                self.settle();
                if self.is_over() {
                    break;
                }
            }
            self.recorded.apply(record).map_err(corrupt)?;
            if let Some(input) = input {
                self.give(input, record, &mut watch)?;
            }
            if let RecordKind::Intent(intent) = &record.kind
                && record.seq < self.end
            {
                let want = Want::of(&self.recorded, &intent.id);
                self.expects(intent.id.clone(), want);
                if self.expected.iter().any(|(id, _)| *id == intent.id) {
                    // It had queued for a place until now.
                    self.step(Input::Tick, record, &mut watch)?;
                }
            }
            if self.is_over() {
                break;
            }
        }
        if !self.is_over() && self.end == u64::MAX {
            self.settle();
        }
        Ok(self.ended())
    }

    fn is_over(&self) -> bool {
        self.strict && !self.differences.is_empty()
    }

    fn ended(mut self) -> Replayed {
        if self.strict {
            self.differences.truncate(1);
        }
        let has_ended = |run: &Run| matches!(run.phase(), Phase::Finished(_));
        let is_final = self.end == u64::MAX && has_ended(&self.recorded) && !has_ended(&self.replayed);
        let open = self.replayed.effects().map(|open| open.intent.id.clone()).filter(|_| is_final);
        let unanswered = open.chain(self.refused.iter().filter(|_| is_final).cloned()).collect();
        let at = self.records.last().map_or(0, |record| record.at);
        Replayed {
            result: RunResult::of(&self.replayed, at),
            differences: self.differences,
            unanswered,
            definition: self.replayed.definition().clone(),
            records: self.records,
        }
    }

    /// What reached the recorded run from outside with this record; nothing where it followed from what was before.
    fn input(&self, record: &Record) -> Option<Input> {
        let attempt = |effect: &EffectId| self.recorded.open(effect).map(|open| open.attempt);
        let behind = record.seq >= self.end;
        let input = match &record.kind {
            RecordKind::Result { effect, result, .. } => {
                // Calls in doubt are given up by the run itself.
                let attempt = attempt(effect)?;
                Input::Done { effect: effect.clone(), attempt, result: result.clone() }
            }
            RecordKind::Lost { effect } => Input::Lost { effect: effect.clone(), attempt: attempt(effect)? },
            RecordKind::Asked { effect, question, beside } => Input::Asked {
                effect: effect.clone(),
                attempt: attempt(effect)?,
                question: question.clone(),
                beside: *beside,
            },
            RecordKind::Closed { effect, question, closing } => Input::Closed {
                effect: effect.clone(),
                attempt: attempt(effect)?,
                question: question.clone(),
                closing: *closing,
            },
            // Behind the point only what had begun before it still ends.
            _ if behind => return None,
            RecordKind::Accepted { input, thread, deadline_ms, parent, budget, .. } => Input::Accept {
                input: input.clone(),
                thread: thread.clone(),
                deadline_ms: *deadline_ms,
                parent: parent.clone(),
                budget: budget.clone(),
            },
            RecordKind::Queued { input, thread, deadline_ms, budget, .. } => Input::Queue {
                input: input.clone(),
                thread: thread.clone(),
                deadline_ms: *deadline_ms,
                budget: budget.clone(),
            },
            RecordKind::Claimed => Input::Claim,
            // In line for its thread, it is ended at once.
            RecordKind::Finished(Outcome::Cancelled) if matches!(self.replayed.phase(), Phase::New) => {
                Input::Cancel
            }
            RecordKind::Message(message) => Input::Message(message.clone()),
            RecordKind::Paused(Pause::Operator) => Input::Pause,
            RecordKind::Paused(Pause::Budget(BudgetKind::Wall)) if self.goes_on() => Input::Tick,
            RecordKind::Resumed(grant) => Input::Resume(grant.clone()),
            RecordKind::Patched(state) => Input::Patch(state.clone()),
            RecordKind::Stopping(Outcome::Cancelled) if !self.is_ending() => Input::Cancel,
            RecordKind::Stopping(_) if self.goes_on() => Input::Tick,
            RecordKind::Intent(_)
            | RecordKind::Paused(_)
            | RecordKind::Stopping(_)
            | RecordKind::Finished(_) => return None,
        };
        Some(input)
    }

    fn goes_on(&self) -> bool {
        matches!(self.replayed.phase(), Phase::Running)
    }

    fn is_ending(&self) -> bool {
        matches!(self.replayed.phase(), Phase::Stopping(_) | Phase::Finished(_))
    }

    /// Gives an input, and then what came too early before.
    fn give(&mut self, mut input: Input, from: &Record, watch: &mut impl FnMut(Event)) -> Result<(), Error> {
        let effect = match &input {
            Input::Done { effect, .. }
            | Input::Lost { effect, .. }
            | Input::Asked { effect, .. }
            | Input::Closed { effect, .. } => Some(effect.clone()),
            _ => None,
        };
        if let Some(effect) = effect {
            // Behind the point, of an effect that begins behind it too.
            if from.seq >= self.end && !self.known.contains(&effect) {
                return Ok(());
            }
            let Some(open) = self.replayed.open(&effect) else {
                if let Input::Done { effect, result, .. } = input {
                    self.held.push((effect, result));
                }
                return Ok(());
            };
            input = again(input, open.attempt);
        }
        self.step(input, from, watch)?;
        while let Some(at) = self.held.iter().position(|(effect, _)| self.replayed.open(effect).is_some()) {
            let (effect, result) = self.held.remove(at);
            let attempt = self.replayed.open(&effect).map_or(1, |open| open.attempt);
            self.step(Input::Done { effect, attempt, result }, from, watch)?;
        }
        Ok(())
    }

    fn step(&mut self, input: Input, from: &Record, watch: &mut impl FnMut(Event)) -> Result<(), Error> {
        let words = match &input {
            Input::Done { effect, attempt, result: Ok(Output::Reply(reply)) }
                if self.replayed.open(effect).is_some_and(|open| open.intent.task == Task::Model) =>
            {
                said(effect, *attempt, reply)
            }
            _ => Vec::new(),
        };
        let stamp = Stamp { at: from.at, epoch: from.epoch };
        let mut occurrences = Vec::new();
        let mut may = Begins::with(from, self.source, &self.known, &self.begun, &self.claims);
        let advanced = self.replayed.advance(input, stamp, &mut may, Some(&mut occurrences));
        self.refused.append(&mut may.refused);
        let mut records = match advanced {
            Ok(records) => records,
            Err(refused @ Refused::Corrupt(_)) => return Err(corrupt(refused)),
            // It stands otherwise than the recorded one did, which is said there.
            Err(_) => return Ok(()),
        };
        self.cut(from, &mut records, &mut occurrences)?;
        for occurrence in words.into_iter().chain(occurrences) {
            self.show(occurrence, from.at, watch);
        }
        let begun: Vec<EffectId> = records
            .iter()
            .filter_map(|record| match &record.kind {
                RecordKind::Intent(intent) => Some(intent.id.clone()),
                _ => None,
            })
            .collect();
        self.records.append(&mut records);
        for id in begun {
            let want = Want::of(&self.replayed, &id);
            self.wants(id, want);
        }
        Ok(())
    }

    /// Takes back what begins behind the point. What follows from a state follows again, whoever goes on with it.
    fn cut(
        &mut self,
        from: &Record,
        records: &mut Vec<Record>,
        occurrences: &mut Vec<Occurrence>,
    ) -> Result<(), Error> {
        let may = Begins::with(from, self.source, &self.known, &self.begun, &self.claims);
        let behind = self.end < u64::MAX;
        let begins = |record: &Record| match &record.kind {
            RecordKind::Intent(intent) if behind => !self.known.contains(&intent.id),
            RecordKind::Intent(intent) => !may.may(&intent.id),
            // Those that came from outside begin a step.
            RecordKind::Finished(_) | RecordKind::Stopping(_) | RecordKind::Paused(_) => {
                (behind || may.ends) && record.seq > records.first().map_or(0, |first| first.seq)
            }
            _ => false,
        };
        let Some(at) = records.iter().position(begins) else { return Ok(()) };
        let taken_back: Vec<EffectId> = records
            .drain(at..)
            .filter_map(|record| match record.kind {
                RecordKind::Intent(intent) => Some(intent.id),
                _ => None,
            })
            .collect();
        let all: Vec<Record> = self.records.iter().chain(records.iter()).cloned().collect();
        let folded = Run::fold(self.replayed.id().clone(), self.replayed.definition().clone(), &all);
        self.replayed = folded.map_err(corrupt)?;
        occurrences.retain(|occurrence| {
            let kept = occurrence.step.as_ref().is_none_or(|(id, _)| !taken_back.contains(id));
            kept && !matches!(occurrence.kind, EventKind::RunFinished { .. } | EventKind::RunStatus { .. })
        });
        Ok(())
    }

    fn show(&mut self, occurrence: Occurrence, at: u64, watch: &mut impl FnMut(Event)) {
        self.events += 1;
        let (step, attempt) = match occurrence.step {
            Some((step, attempt)) => (Some(step.shared()), Some(attempt)),
            None => (None, None),
        };
        watch(Event {
            seq: self.events,
            ts: Timestamp(at),
            run: self.replayed.id().clone(),
            thread: self.replayed.thread().map(Into::into),
            step,
            agent: Some(self.replayed.definition().agent_name().into()),
            attempt,
            kind: occurrence.kind,
        });
    }

    fn wants(&mut self, id: EffectId, now: Want) {
        if let Some(at) = self.expected.iter().position(|(expected, _)| *expected == id) {
            let (_, recorded) = self.expected.remove(at);
            return self.compare(id, &recorded, &now);
        }
        if !self.known.contains(&id) && self.end == u64::MAX {
            let what = format!("the run wants to {}, which was not recorded", now.words());
            return self.differ(Some(id), what, Vec::new());
        }
        self.wanted.push((id, now));
    }

    fn expects(&mut self, id: EffectId, recorded: Want) {
        match self.wanted.iter().position(|(wanted, _)| *wanted == id) {
            Some(at) => {
                let (_, now) = self.wanted.remove(at);
                self.compare(id, &recorded, &now);
            }
            None => self.expected.push((id, recorded)),
        }
    }

    fn compare(&mut self, id: EffectId, recorded: &Want, now: &Want) {
        let places = self.comparison.places(recorded, now);
        let places = self.counting(places);
        if !places.is_empty() {
            self.differ(Some(id), "what the run wants is not what was recorded".into(), places);
        }
    }

    /// The places that are not ignored.
    fn counting(&self, places: Vec<Place>) -> Vec<String> {
        let ignored = |place: &str| {
            self.ignored.iter().any(|ignored| {
                place
                    .strip_prefix(ignored.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
        };
        let counts = places.into_iter().filter(|(place, _)| !ignored(place));
        counts.map(|(place, text)| format!("{place}: {text}")).collect()
    }

    /// Before the next input the two must have come to the same.
    fn settle(&mut self) {
        for (id, recorded) in std::mem::take(&mut self.expected) {
            let what = match self.refused.pop() {
                Some(refused) => {
                    let what = "the run wants this, which was not recorded, and waits for it".to_owned();
                    self.differ(Some(refused), what, Vec::new());
                    continue;
                }
                None => format!("the recorded run wanted to {}, and this one does not", recorded.words()),
            };
            self.differ(Some(id), what, Vec::new());
        }
        let stand = (self.recorded.phase().clone(), self.replayed.phase().clone());
        if stand.0 == stand.1 || self.said.as_ref() == Some(&stand) {
            return;
        }
        let mut places = Vec::new();
        compare("stands", &plain(&stand.0), &plain(&stand.1), &mut places);
        let places = self.counting(places);
        self.said = Some(stand);
        if !places.is_empty() {
            self.differ(None, "the run does not stand as the recorded one did".into(), places);
        }
    }

    fn differ(&mut self, effect: Option<EffectId>, what: String, places: Vec<String>) {
        self.differences.push(Difference { effect, what, places });
    }
}

/// The same under the attempt that stands open.
fn again(input: Input, attempt: u32) -> Input {
    match input {
        Input::Done { effect, result, .. } => Input::Done { effect, attempt, result },
        Input::Lost { effect, .. } => Input::Lost { effect, attempt },
        Input::Asked { effect, question, beside, .. } => Input::Asked { effect, attempt, question, beside },
        Input::Closed { effect, question, closing, .. } => {
            Input::Closed { effect, attempt, question, closing }
        }
        other => other,
    }
}

/// A reply as it was shown.
fn said(effect: &EffectId, attempt: u32, reply: &Reply) -> Vec<Occurrence> {
    let parts = reply.message.parts.iter().filter_map(|part| match part {
        Part::Text { text } | Part::Refusal { text } => Some(EventKind::ModelDelta { text: text.clone() }),
        Part::Reasoning { text, .. } if !text.is_empty() => {
            Some(EventKind::ModelReasoning { text: text.clone() })
        }
        _ => None,
    });
    parts.map(|kind| Occurrence { step: Some((effect.clone(), attempt)), kind }).collect()
}

fn corrupt(refused: Refused) -> Error {
    Error::new(ErrorKind::StoreFailed, format!("the recording makes no run: {refused}")).retryable(false)
}

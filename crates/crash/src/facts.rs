//! What is known after a round, and whether it is as it was promised.

use std::collections::{BTreeMap, BTreeSet};

use ambidex_core::definition::Pinned;
use ambidex_core::effect::Task;
use ambidex_core::event::Status;
use ambidex_core::record::{Record, RecordKind};
use ambidex_core::run::Run;
use ambidex_core::store::RunSummary;
use ambidex_core::tool::EffectClass;

use crate::ledger::{Deed, Line, deeds};
use crate::store::Promise;
use crate::workload::{calls_of, effect_of};

/// A run as it is stored in the end.
#[derive(Clone, Debug)]
pub struct RunFacts {
    pub summary: RunSummary,
    pub definition: Pinned,
    pub records: Vec<Record>,
}

/// All that is known, from three sides: what the store promised, what it holds, what the world saw.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub promises: Vec<Promise>,
    pub runs: Vec<RunFacts>,
    /// Keys of calls that a person was asked about because they may have happened.
    pub asked_in_doubt: BTreeSet<String>,
    pub ledger: Vec<Line>,
    /// What the store's own check found.
    pub check: Vec<String>,
}

impl Facts {
    /// Runs whose acceptance was acknowledged.
    pub fn accepted(&self) -> BTreeSet<&str> {
        let accepted = self.promises.iter().filter_map(|promise| match promise {
            Promise::Committed { run, accepted: true, .. } => Some(&**run),
            _ => None,
        });
        accepted.collect()
    }

    pub fn claims(&self) -> usize {
        let claimed = |record: &&Record| matches!(record.kind, RecordKind::Claimed);
        self.runs.iter().map(|run| run.records.iter().filter(claimed).count()).sum()
    }

    /// Calls of idempotent tools beyond the first of their key.
    pub fn repeated(&self) -> usize {
        let deeds = deeds(&self.ledger);
        let idempotent =
            deeds.values().filter(|deeds| effect_of(&deeds[0].tool) == Some(EffectClass::Idempotent));
        idempotent.map(|deeds| deeds.len() - 1).sum()
    }

    /// What is not as it should be, a sentence each.
    pub fn violations(&self) -> Vec<String> {
        let mut wrong: Vec<String> =
            self.check.iter().map(|found| format!("the store's check: {found}")).collect();
        let stored: BTreeMap<&str, &RunFacts> = self.runs.iter().map(|run| (&*run.summary.id, run)).collect();
        self.of_promises(&stored, &mut wrong);
        for run in &self.runs {
            of_run(run, &mut wrong);
        }
        self.of_deeds(&stored, &mut wrong);
        self.of_doubts(&mut wrong);
        for deed in self.late().0 {
            wrong.push(format!("{}: process {} began it after it had lost the run", deed.key, deed.pid));
        }
        wrong
    }

    /// Effects that a process began, and those that it ended, after another had claimed their run.
    pub fn late(&self) -> (Vec<&Deed>, Vec<&Deed>) {
        let mut claims: BTreeMap<&str, Vec<(u64, u32)>> = BTreeMap::new();
        for line in &self.ledger {
            if let Line::Claimed { run, pid, at, .. } = line {
                claims.entry(run).or_default().push((*at, *pid));
            }
        }
        let owner = |run: &str, at: u64| {
            let earlier = claims.get(run).into_iter().flatten().filter(|(claimed, _)| *claimed <= at);
            earlier.max().map(|(_, pid)| *pid)
        };
        let (mut begun, mut done, mut latest) = (Vec::new(), Vec::new(), 0);
        for line in &self.ledger {
            match line {
                Line::Claimed { at, .. } => latest = latest.max(*at),
                Line::Begun(deed) if owner(deed.run(), deed.at).is_some_and(|pid| pid != deed.pid) => {
                    begun.push(deed);
                }
                // All claims that stand before it in the ledger.
                Line::Done(deed) if owner(deed.run(), latest).is_some_and(|pid| pid != deed.pid) => {
                    done.push(deed);
                }
                Line::Begun(_) | Line::Done(_) => {}
            }
        }
        (begun, done)
    }

    fn of_promises(&self, stored: &BTreeMap<&str, &RunFacts>, wrong: &mut Vec<String>) {
        for promise in &self.promises {
            let Promise::Committed { run, records, .. } = promise else { continue };
            let found = stored.get(&**run).map_or(0, |run| run.records.len());
            if u64::try_from(found).unwrap_or(0) < *records {
                wrong.push(format!("{run}: {records} records were acknowledged, {found} are there"));
            }
        }
    }

    fn of_deeds(&self, stored: &BTreeMap<&str, &RunFacts>, wrong: &mut Vec<String>) {
        let deeds = deeds(&self.ledger);
        for (key, deeds) in &deeds {
            let first = deeds[0];
            if deeds.iter().any(|deed| (&deed.tool, &deed.arguments) != (&first.tool, &first.arguments)) {
                wrong.push(format!("{key}: one key, two different calls"));
            }
            if effect_of(&first.tool) == Some(EffectClass::Once) && deeds.len() > 1 {
                wrong.push(format!(
                    "{key}: `{}` is to be done once, and was {} times",
                    first.tool,
                    deeds.len()
                ));
            }
            let intended = stored.get(first.run()).is_some_and(|run| {
                run.records.iter().any(|record| match &record.kind {
                    RecordKind::Intent(intent) => format!("{}/{}", first.run(), intent.id) == *key,
                    _ => false,
                })
            });
            if !intended {
                wrong.push(format!("{key}: it was done, and no intent is stored"));
            }
        }
        for run in &self.runs {
            for effect in [EffectClass::Idempotent, EffectClass::Once] {
                let id = &run.summary.id;
                let keys = deeds
                    .values()
                    .filter(|deeds| deeds[0].run() == &**id && effect_of(&deeds[0].tool) == Some(effect));
                let (found, due) = (keys.count(), calls_of(&run.summary.agent, effect));
                if found != due {
                    wrong.push(format!(
                        "{id}: {due} calls of tools that are {effect:?} are due, {found} keys were seen"
                    ));
                }
            }
        }
    }

    /// What was in flight at a death and must not be repeated is asked about, and nothing else is.
    fn of_doubts(&self, wrong: &mut Vec<String>) {
        let (mut lost, mut recorded) = (BTreeSet::new(), BTreeSet::new());
        for run in &self.runs {
            let id = &*run.summary.id;
            for (place, record) in run.records.iter().enumerate() {
                match &record.kind {
                    RecordKind::Claimed => {
                        let past = Run::fold(id, run.definition.clone(), &run.records[..place]);
                        let Ok(past) = past else {
                            wrong.push(format!("{id}: what came before record {place} cannot be folded"));
                            continue;
                        };
                        let open = past.effects().filter(|open| !open.intent.waits_for_a_person());
                        let once = open.filter(|open| !open.intent.class.repeatable());
                        lost.extend(once.map(|open| format!("{id}/{}", open.intent.id)));
                    }
                    RecordKind::Intent(intent) => {
                        if let Task::Ask { about, why: ambidex_core::question::Why::InDoubt } = &intent.task {
                            recorded.insert(format!("{id}/{about}"));
                        }
                    }
                    _ => {}
                }
            }
        }
        for key in lost.difference(&recorded) {
            wrong.push(format!("{key}: it may have happened, and nobody was asked"));
        }
        for key in recorded.difference(&lost) {
            wrong.push(format!("{key}: a person was asked about a call that was not in flight"));
        }
        for key in recorded.difference(&self.asked_in_doubt) {
            wrong.push(format!("{key}: it was recorded as in doubt, and its question was not listed"));
        }
    }
}

fn of_run(run: &RunFacts, wrong: &mut Vec<String>) {
    let RunFacts { summary, definition, records } = run;
    if summary.status != Status::Succeeded {
        wrong.push(format!("{}: it ended as {:?}", summary.id, summary.status));
    }
    match Run::fold(&*summary.id, definition.clone(), records) {
        Ok(folded) if folded.status() == summary.status => {}
        Ok(folded) => {
            let id = &summary.id;
            wrong.push(format!(
                "{id}: listed as {:?}, its records say {:?}",
                summary.status,
                folded.status()
            ));
        }
        Err(refused) => wrong.push(format!("{}: its records cannot be folded: {refused}", summary.id)),
    }
}

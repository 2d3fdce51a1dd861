//! A graph's run driven by hand. After every step it is folded again from its stored records, and restored from a
//! snapshot of it: no test has to ask for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ambidex_core::budget::{Budget, Grant};
use ambidex_core::definition::{Definition, Pinned};
use ambidex_core::effect::{Effect, EffectId, Work};
use ambidex_core::event::EventKind;
use ambidex_core::graph::{
    GraphDefinition, Next, NodeDefinition, NodeOutput, NodeWork, OnError, Reducer, State,
};
use ambidex_core::question::Answer;
use ambidex_core::record::{Input, Outcome, Output, Record, RecordKind, Refused, Stamp};
use ambidex_core::run::{Admission, Occurrence, Phase, Run, Snapshot, Unlimited};
use ambidex_core::tool::EffectClass;
use ambidex_core::{Error, ErrorKind};
use serde_json::{Value, json};

/// A function of the node's name that may be repeated.
pub fn node(name: &str, next: &[&str]) -> NodeDefinition {
    NodeDefinition { effect: EffectClass::Idempotent, next: to(next), ..NodeDefinition::code(name) }
}

pub fn works(name: &str, work: NodeWork, next: &[&str]) -> NodeDefinition {
    NodeDefinition { work, ..node(name, next) }
}

pub fn to(targets: &[&str]) -> Next {
    match targets {
        [] => Next::End,
        targets => Next::To(targets.iter().map(|target| (*target).into()).collect()),
    }
}

/// A function of its own chooses.
pub fn branch(function: &str, targets: &[&str]) -> Next {
    let targets = targets.iter().map(|target| (*target).into()).collect();
    Next::Branch { function: Some(function.into()), targets }
}

/// The node's own result chooses.
pub fn chooses(targets: &[&str]) -> Next {
    Next::Branch { function: None, targets: targets.iter().map(|target| (*target).into()).collect() }
}

pub fn goes_to(target: &str) -> OnError {
    OnError::Go(target.into())
}

pub fn graph(nodes: Vec<NodeDefinition>, fields: &[(&str, Reducer)]) -> GraphDefinition {
    let fields = fields.iter().map(|(field, reducer)| ((*field).to_owned(), *reducer));
    GraphDefinition { fields: fields.collect::<BTreeMap<_, _>>(), ..GraphDefinition::new("graph", nodes) }
}

pub fn pinned(graph: GraphDefinition) -> Pinned {
    Pinned::new(Definition::Graph(Arc::new(graph))).unwrap()
}

pub fn object(value: Value) -> State {
    match value {
        Value::Object(state) => state,
        other => panic!("no object: {other}"),
    }
}

pub struct Driven {
    pub run: Run,
    pub records: Vec<Record>,
    pub events: Vec<Occurrence>,
    pub at: u64,
    pub epoch: u64,
}

impl Driven {
    pub fn start(graph: GraphDefinition, state: Value) -> Self {
        Self::start_with(graph, state, &mut Unlimited)
    }

    pub fn start_with(graph: GraphDefinition, state: Value, admission: &mut dyn Admission) -> Self {
        let run = Run::new("run", pinned(graph));
        let mut driven = Self { run, records: vec![], events: vec![], at: 1_000_000, epoch: 1 };
        let input = object(state).into();
        driven
            .input_with(
                Input::Accept { input, thread: None, deadline_ms: Some(60_000), parent: None, budget: None },
                admission,
            )
            .unwrap();
        driven
    }

    pub fn input(&mut self, input: Input) -> Vec<Record> {
        self.try_input(input).unwrap()
    }

    pub fn try_input(&mut self, input: Input) -> Result<Vec<Record>, Refused> {
        self.input_with(input, &mut Unlimited)
    }

    pub fn input_with(
        &mut self,
        input: Input,
        admission: &mut dyn Admission,
    ) -> Result<Vec<Record>, Refused> {
        let stamp = Stamp { at: self.at, epoch: self.epoch };
        let step = crate::support::advance(
            &mut self.run,
            input,
            stamp,
            admission,
            &mut self.events,
            &mut self.records,
        )?;
        self.assert_folds();
        if self.run.status().is_final() {
            assert_eq!(self.open(), [""; 0], "nothing is open at the end");
        }
        Ok(step)
    }

    fn assert_folds(&self) {
        let definition = self.run.definition().clone();
        let folded = Run::fold("run", definition.clone(), &self.records).unwrap();
        assert!(folded == self.run, "folding again gives the same: {folded:#?} is not {:#?}", self.run);
        let restored = Run::restore("run", definition, stored(&self.run.snapshot()), &[]).unwrap();
        assert!(restored == self.run, "a snapshot gives the same: {restored:#?} is not {:#?}", self.run);
    }

    /// Ids of what should be in flight.
    pub fn open(&self) -> Vec<String> {
        self.run.effects().map(|open| open.intent.id.to_string()).collect()
    }

    pub fn effect(&self, id: &str) -> Effect {
        let open = self.run.open(&EffectId::new(id));
        self.run.effect(open.unwrap_or_else(|| panic!("{id} is not open: {:?}", self.open()))).unwrap()
    }

    /// What the node sees.
    pub fn seen(&self, id: &str) -> Value {
        match self.effect(id).work {
            Work::Code { call, .. } | Work::Child { call, .. } => Value::Object((**call.state()).clone()),
            work => panic!("{work:?}"),
        }
    }

    pub fn item(&self, id: &str) -> Value {
        match self.effect(id).work {
            Work::Code { call, .. } | Work::Child { call, .. } => call.item().cloned().unwrap(),
            work => panic!("{work:?}"),
        }
    }

    pub fn done(&mut self, id: &str, result: Result<Output, Error>) -> Vec<Record> {
        let effect = EffectId::new(id);
        let attempt =
            self.run.open(&effect).map_or_else(|| panic!("{id}: {:?}", self.open()), |open| open.attempt);
        self.input(Input::Done { effect, attempt, result })
    }

    /// A function returned this.
    pub fn gives(&mut self, id: &str, value: Value) -> Vec<Record> {
        self.done(id, Ok(Output::Node(value.into())))
    }

    /// All of these returned nothing.
    pub fn pass(&mut self, ids: &[&str]) {
        for id in ids {
            self.gives(id, Value::Null);
        }
    }

    pub fn chooses(&mut self, id: &str, targets: &[&str]) -> Vec<Record> {
        self.done(id, Ok(Output::Node(NodeOutput::go(targets.iter().copied()))))
    }

    pub fn fails(&mut self, id: &str, kind: ErrorKind) -> Vec<Record> {
        self.done(id, Err(Error::new(kind, "so it is")))
    }

    pub fn answer(&mut self, id: &str, answer: Answer) -> Vec<Record> {
        self.done(id, Ok(Output::Answer(answer)))
    }

    pub fn claim(&mut self) -> Vec<Record> {
        self.epoch += 1;
        self.input(Input::Claim)
    }

    pub fn resume(&mut self, iterations: u32) -> Vec<Record> {
        self.input(Input::Resume(Grant { iterations, budget: Budget::default() }))
    }

    /// What is in flight reports that it was cancelled, as a driver lets it.
    pub fn stop_all(&mut self) {
        for id in self.open() {
            self.done(&id, Err(Error::cancelled()));
        }
    }

    pub fn outcome(&self) -> &Outcome {
        match self.run.phase() {
            Phase::Finished(outcome) => outcome,
            phase => panic!("not finished: {phase:?}, open {:?}", self.open()),
        }
    }

    pub fn output(&self) -> &Value {
        match self.outcome() {
            Outcome::Succeeded { output: Some(output), .. } => output,
            outcome => panic!("{outcome:?}"),
        }
    }

    pub fn failure(&self) -> &Error {
        match self.outcome() {
            Outcome::Failed(error) => error,
            outcome => panic!("{outcome:?}"),
        }
    }

    pub fn state(&self) -> Value {
        Value::Object((*self.run.state().unwrap()).clone())
    }

    /// How often a node was started, by its intents of items and of it alone.
    pub fn intents(&self, prefix: &str) -> usize {
        let intents = self.records.iter().filter(|record| match &record.kind {
            RecordKind::Intent(intent) => intent.id.as_str().starts_with(prefix),
            _ => false,
        });
        intents.count()
    }

    pub fn shown(&self, mark: impl Fn(&EventKind) -> bool) -> usize {
        self.events.iter().filter(|shown| mark(&shown.kind)).count()
    }
}

/// As a store keeps it.
pub fn stored(snapshot: &Snapshot) -> Snapshot {
    serde_json::from_slice(&serde_json::to_vec(snapshot).unwrap()).unwrap()
}

pub fn none() -> Value {
    json!({})
}

//! A run driven by hand. Every step folds all records again, as stored, and compares, and so with a
//! snapshot: no test has to ask for it.

use std::sync::Arc;

use ambidex_core::budget::{Budget, Grant};
use ambidex_core::chunk::Finish;
use ambidex_core::definition::{AgentDefinition, Approval, Definition, Mode, Pinned, PinnedTool};
use ambidex_core::effect::{Effect, EffectId, Work};
use ambidex_core::message::{Arguments, History, Message, Part, Role, ToolCall, ToolResult};
use ambidex_core::question::Answer;
use ambidex_core::record::{Input, Outcome, Output, Pause, Record, RecordKind, Refused, Stamp};
use ambidex_core::reply::Reply;
use ambidex_core::run::{Admission, Occurrence, Phase, Run, Unlimited};
use ambidex_core::tool::{EffectClass, ToolOutput, ToolSpec};
use ambidex_core::{Error, ErrorKind, Usage};
use serde_json::{Value, json};

pub fn tool(name: &str, effect: EffectClass) -> PinnedTool {
    let spec = ToolSpec { effect, ..ToolSpec::new(name, "for tests") };
    PinnedTool { spec: Arc::new(spec), approval: Approval::Allow }
}

pub fn read(name: &str) -> PinnedTool {
    tool(name, EffectClass::Read)
}

pub fn exclusive(name: &str) -> PinnedTool {
    let spec = ToolSpec { effect: EffectClass::Read, exclusive: true, ..ToolSpec::new(name, "for tests") };
    PinnedTool { spec: Arc::new(spec), approval: Approval::Allow }
}

pub fn asking(name: &str, effect: EffectClass) -> PinnedTool {
    PinnedTool { approval: Approval::Ask, ..tool(name, effect) }
}

pub fn denied(name: &str) -> PinnedTool {
    PinnedTool { approval: Approval::Deny, ..read(name) }
}

pub fn agent(tools: Vec<PinnedTool>) -> AgentDefinition {
    AgentDefinition {
        name: "agent".into(),
        mode: Mode::Auto,
        model: "scripted".into(),
        instructions: String::new(),
        tools,
        tool_choice: Default::default(),
        settings: Default::default(),
        output: None,
        output_tool: None,
        max_iterations: 25,
        tool_concurrency: 16,
        budget: Budget::default(),
        stop: Default::default(),
        context: None,
        finish_hook: false,
    }
}

pub fn pinned(agent: AgentDefinition) -> Pinned {
    Pinned::new(Definition::Agent(Arc::new(agent))).unwrap()
}

/// A whole reply of words.
pub fn words(text: &str) -> Reply {
    Reply::new(Message::assistant(text), Finish::Stop, Usage::default())
}

/// Words that ended for another reason.
pub fn ended(text: &str, finish: Finish) -> Reply {
    Reply { finish, ..words(text) }
}

pub fn nothing(finish: Finish) -> Reply {
    Reply::new(Message::new(Role::Assistant, vec![]), finish, Usage::default())
}

/// A whole reply of calls, with the wire ids `c0`, `c1`...
pub fn calls(calls: &[(&str, Value)]) -> Reply {
    let calls = calls.iter().enumerate().map(|(index, (name, arguments))| {
        let arguments = match arguments {
            Value::String(raw) => Arguments::parse(raw),
            arguments => Arguments::Json(arguments.clone()),
        };
        Part::ToolCall(ToolCall { id: format!("c{index}"), name: (*name).into(), arguments, state: None })
    });
    Reply::new(Message::new(Role::Assistant, calls.collect()), Finish::ToolCalls, Usage::default())
}

/// One call of `look` without arguments.
pub fn look() -> Reply {
    calls(&[("look", json!({}))])
}

pub struct Machine {
    pub run: Run,
    pub records: Vec<Record>,
    pub events: Vec<Occurrence>,
    pub at: u64,
    pub epoch: u64,
}

impl Machine {
    pub fn start(agent: AgentDefinition) -> Self {
        Self::start_with(agent, None)
    }

    pub fn start_with(agent: AgentDefinition, deadline_ms: Option<u64>) -> Self {
        let mut machine = Self {
            run: Run::new("run", pinned(agent)),
            records: vec![],
            events: vec![],
            at: 1_000_000,
            epoch: 1,
        };
        let input = vec![Message::user("go")];
        machine.input(Input::Accept {
            input: input.into(),
            thread: None,
            deadline_ms,
            parent: None,
            budget: None,
        });
        machine
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
        let step = advance(&mut self.run, input, stamp, admission, &mut self.events, &mut self.records)?;
        let folded = Run::fold("run", self.run.definition().clone(), &self.records).unwrap();
        assert!(folded == self.run, "folding again gives the same");
        let snapshot = serde_json::to_vec(&self.run.snapshot()).unwrap();
        let snapshot = serde_json::from_slice(&snapshot).unwrap();
        let restored = Run::restore("run", self.run.definition().clone(), snapshot, &[]).unwrap();
        assert!(restored == self.run, "a snapshot gives the same");
        if self.run.status().is_final() {
            assert_answered(&self.run);
            assert_eq!(self.open(), [""; 0], "nothing is open at the end");
        }
        Ok(step)
    }

    /// Ids of what should be in flight.
    pub fn open(&self) -> Vec<String> {
        self.run.effects().map(|open| open.intent.id.to_string()).collect()
    }

    /// Ids of the intents among these records.
    pub fn intents(records: &[Record]) -> Vec<String> {
        let ids = records.iter().filter_map(|record| match &record.kind {
            RecordKind::Intent(intent) => Some(intent.id.to_string()),
            _ => None,
        });
        ids.collect()
    }

    pub fn effect(&self, id: &str) -> Effect {
        let open = self.run.effects().find(|open| open.intent.id.as_str() == id);
        self.run.effect(open.unwrap_or_else(|| panic!("{id} is not open: {:?}", self.open()))).unwrap()
    }

    /// Arguments a tool call would be run with now.
    pub fn arguments(&self, id: &str) -> Value {
        match self.effect(id).work {
            Work::Tool { call, .. } => call.arguments().clone(),
            work => panic!("{work:?}"),
        }
    }

    pub fn done(&mut self, id: &str, result: Result<Output, Error>) -> Vec<Record> {
        let attempt = self.effect(id).attempt;
        self.input(Input::Done { effect: EffectId::new(id), attempt, result })
    }

    /// Answers the model call that is open.
    pub fn reply(&mut self, reply: Reply) -> Vec<Record> {
        let id = format!("m{}", self.run.iterations());
        self.done(&id, Ok(Output::Reply(Box::new(reply))))
    }

    pub fn result(&mut self, id: &str, text: &str) -> Vec<Record> {
        self.done(id, Ok(Output::Tool(ToolOutput::Text(text.into()))))
    }

    pub fn fails(&mut self, id: &str, kind: ErrorKind) -> Vec<Record> {
        self.done(id, Err(Error::new(kind, "so it is")))
    }

    pub fn answer(&mut self, id: &str, answer: Answer) -> Vec<Record> {
        self.done(id, Ok(Output::Answer(answer)))
    }

    pub fn steer(&mut self, text: &str) -> Vec<Record> {
        self.input(Input::Message(Message::user(text)))
    }

    pub fn resume(&mut self, iterations: u32, budget: Budget) -> Vec<Record> {
        self.input(Input::Resume(Grant { iterations, budget }))
    }

    /// Another process goes on.
    pub fn claim(&mut self) -> Vec<Record> {
        self.epoch += 1;
        self.input(Input::Claim)
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

    pub fn text(&self) -> &str {
        match self.outcome() {
            Outcome::Succeeded { text, .. } => text,
            outcome => panic!("{outcome:?}"),
        }
    }

    pub fn failure(&self) -> &Error {
        match self.outcome() {
            Outcome::Failed(error) => error,
            outcome => panic!("{outcome:?}"),
        }
    }

    pub fn pause(&self) -> Pause {
        match self.run.phase() {
            Phase::Paused(pause) => *pause,
            phase => panic!("not paused: {phase:?}, open {:?}", self.open()),
        }
    }

    /// History as lines: `user: ...`, `assistant: ... [names of calls]`, `tool c0: ...`.
    pub fn heard(&self) -> Vec<String> {
        self.run.history().iter().map(|message| line(message)).collect()
    }
}

pub fn line(message: &Message) -> String {
    let names: Vec<_> = message.tool_calls().map(|call| call.name.as_str()).collect();
    match (message.role, message.parts.first()) {
        (Role::Tool, Some(Part::ToolResult(result))) => format!("tool {}: {}", result.call_id, result.text),
        (Role::Assistant, _) if !names.is_empty() => {
            format!("assistant: {}[{}]", message.text(), names.join(" "))
        }
        (Role::Assistant, _) => format!("assistant: {}", message.text()),
        _ => format!("user: {}", message.text()),
    }
}

/// Right behind a reply stand the answers to its calls, each once, in order: providers want it so.
pub fn assert_answered(run: &Run) {
    assert_answered_in(run.history());
}

pub fn assert_answered_in(history: &History) {
    let mut due: Vec<String> = vec![];
    for message in history.iter() {
        let results: Vec<&ToolResult> = message
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolResult(result) => Some(result),
                _ => None,
            })
            .collect();
        if results.is_empty() {
            assert!(due.is_empty(), "calls {due:?} have no answer in {:#?}", history);
        }
        for result in results {
            assert!(!due.is_empty() && due.remove(0) == result.call_id, "{:#?}", history);
        }
        due.extend(message.tool_calls().map(|call| call.id.clone()));
    }
    assert!(due.is_empty(), "calls {due:?} have no answer in {:#?}", history);
}

/// One step of a run, whose records are kept as a store would give them back.
pub fn advance(
    run: &mut Run,
    input: Input,
    stamp: Stamp,
    admission: &mut dyn Admission,
    events: &mut Vec<Occurrence>,
    records: &mut Vec<Record>,
) -> Result<Vec<Record>, Refused> {
    let before = run.clone();
    let step = match run.advance(input, stamp, admission, Some(events)) {
        Ok(step) => step,
        Err(refused) => {
            assert!(*run == before, "a refused input changes nothing");
            return Err(refused);
        }
    };
    let stored = serde_json::to_vec(&step).unwrap();
    records.extend(serde_json::from_slice::<Vec<Record>>(&stored).unwrap());
    assert_eq!(records[records.len() - step.len()..], step, "records survive their JSON");
    Ok(step)
}

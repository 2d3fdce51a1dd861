//! A world that is a pure function of what it is asked, with an honest operator in it: whatever the order
//! of completion and wherever a process dies, there is one right end.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ambidex_core::budget::{Budget, Grant};
use ambidex_core::chunk::Finish;
use ambidex_core::context::{Context, RunScope};
use ambidex_core::definition::{AgentDefinition, Compaction, Pinned, StopConditions};
use ambidex_core::effect::{Effect, Work};
use ambidex_core::message::{Arguments, History, Message, Part, Role, ToolCall};
use ambidex_core::question::{Answer, Question, Why};
use ambidex_core::record::{Input, Outcome, Output, Pause, Record, Stamp};
use ambidex_core::reply::{CallFault, Reply};
use ambidex_core::run::{Phase, Run, Unlimited};
use ambidex_core::tool::{EffectClass, ToolOutput};
use ambidex_core::{Error, ErrorKind, Usage};
use serde_json::json;

use crate::support::*;

/// What a world is made from.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub concurrency: u32,
    pub iterations: u32,
    pub tool_calls: Option<u64>,
    pub finish_hook: bool,
    pub stop_after: bool,
    /// Long conversations are summarised.
    pub compact: bool,
}

impl Plan {
    pub fn definition(&self) -> Pinned {
        let mut alone = exclusive("alone");
        alone.spec = Arc::new(ambidex_core::ToolSpec { effect: EffectClass::Once, ..(*alone.spec).clone() });
        let tools = vec![
            read("look"),
            tool("put", EffectClass::Idempotent),
            asking("pay", EffectClass::Once),
            tool("send", EffectClass::Once),
            tool("run", EffectClass::Undeclared),
            alone,
            denied("rm"),
        ];
        let after_tools = if self.stop_after { vec!["run".into()] } else { vec![] };
        pinned(AgentDefinition {
            max_iterations: self.iterations,
            tool_concurrency: self.concurrency,
            budget: Budget { tool_calls: self.tool_calls, ..Budget::default() },
            stop: StopConditions { after_tools, text: None },
            finish_hook: self.finish_hook,
            context: self.compact.then(|| Compaction {
                keep_last: 2,
                window: Some(400),
                ..Compaction::default()
            }),
            ..agent(tools)
        })
    }
}

/// Two processes' worth of memory: what really happened outside, and what was given back.
pub struct World {
    seed: u64,
    scope: Arc<RunScope>,
    /// How often each call took effect.
    pub happened: BTreeMap<String, u32>,
    /// Calls that took effect in a process that could not report it.
    unreported: BTreeSet<String>,
    keys: BTreeMap<String, String>,
    pub doubts: u32,
    pub claims: u32,
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl World {
    pub fn new(seed: u64) -> Self {
        let scope = RunScope { run: "run".into(), ..RunScope::default() };
        Self {
            seed,
            scope: Arc::new(scope),
            happened: BTreeMap::new(),
            unreported: BTreeSet::new(),
            keys: BTreeMap::new(),
            doubts: 0,
            claims: 0,
        }
    }

    fn perform(&mut self, effect: &Effect) -> Result<Output, Error> {
        match &effect.work {
            Work::Model { history, .. } => self.reply(effect.id.as_str(), history),
            Work::Summarise { history } => self.summary(history),
            Work::Tool { class, .. } => {
                let result = self.call(effect);
                if result.is_ok() {
                    self.happens(effect.id.as_str(), *class);
                }
                result
            }
            Work::FinishHook { outcome } => {
                let mut outcome = outcome.clone();
                if let Outcome::Succeeded { text, .. } = &mut outcome {
                    text.push('!');
                }
                Ok(Output::Outcome(Box::new(outcome)))
            }
            Work::Ask(question) => Ok(Output::Answer(self.decide(question))),
            Work::Code { .. } | Work::Child { .. } | Work::Wait { .. } => panic!("no graph: {effect:?}"),
        }
    }

    fn happens(&mut self, id: &str, class: EffectClass) {
        let times = self.happened.entry(id.to_owned()).or_default();
        *times += 1;
        assert!(class.repeatable() || *times == 1, "{id} happened {times} times");
    }

    /// Every reply depends on all that is seen, so whatever is seen too early or too late shows in the end.
    fn reply(&self, id: &str, history: &History) -> Result<Output, Error> {
        assert_answered_in(history);
        // The history that is seen may be cut short.
        let turn: u32 = id.trim_start_matches('m').split('.').next().unwrap().parse().unwrap();
        let seen = hash((self.seed, serde_json::to_string(&**history).unwrap()));
        let usage = Usage {
            input_tokens: seen % 1000,
            usd: Some((seen % 1_000_003) as f64 / 7_000_001.0),
            ..Usage::default()
        };
        let plain = |text: String, finish| Reply::new(Message::assistant(text), finish, usage);
        let reply = match seen % 23 {
            6 => return Err(Error::new(ErrorKind::ContextTooLong, format!("long {seen}"))),
            _ if turn >= 6 => plain(format!("done {seen}"), Finish::Stop),
            0 => return Err(Error::new(ErrorKind::Overloaded, format!("busy {seen}"))),
            1 => plain(format!("cut {seen}"), Finish::Length),
            2 => plain(String::new(), Finish::Stop),
            3 => plain(format!("searching {seen}"), Finish::Paused),
            4 if turn > 2 => plain(format!("sorry {seen}"), Finish::Refusal),
            5 if turn > 2 => plain(format!("early {seen}"), Finish::Stop),
            _ => self.calls(seen, usage),
        };
        Ok(Output::Reply(Box::new(reply)))
    }

    fn summary(&self, history: &History) -> Result<Output, Error> {
        assert_answered_in(history);
        let seen = hash((self.seed, serde_json::to_string(&**history).unwrap()));
        if seen.is_multiple_of(4) {
            return Err(Error::new(ErrorKind::Overloaded, format!("no summary {seen}")));
        }
        let usage = Usage { output_tokens: seen % 100, ..Usage::default() };
        let reply = Reply::new(Message::assistant(format!("so far {seen}")), Finish::Stop, usage);
        Ok(Output::Reply(Box::new(reply)))
    }

    fn calls(&self, seen: u64, usage: Usage) -> Reply {
        let names = ["look", "put", "pay", "send", "run", "alone", "rm", "fly", "look"];
        let count = 1 + seen / 23 % 5;
        let mut parts = vec![Part::text(format!("{seen}"))];
        for index in 0..count {
            let own = hash((seen, index));
            let arguments = match own % 11 {
                0 => Arguments::parse("{\"cut\": "),
                // Few enough that calls repeat.
                _ => Arguments::Json(json!({"n": own % 2})),
            };
            let name = names[(own / 11 % 9) as usize].to_owned();
            parts.push(Part::ToolCall(ToolCall { id: format!("w{index}"), name, arguments, state: None }));
        }
        let finish = if seen.is_multiple_of(7) { Finish::Length } else { Finish::ToolCalls };
        let mut reply = Reply::new(Message::new(Role::Assistant, parts), finish, usage);
        if seen.is_multiple_of(5) {
            let error = Error::new(ErrorKind::InvalidArguments, "`n` is too small");
            reply.faults = vec![CallFault { call: 0, error }];
        }
        reply
    }

    fn call(&mut self, effect: &Effect) -> Result<Output, Error> {
        let Work::Tool { call, .. } = &effect.work else { panic!("{effect:?}") };
        let (name, arguments) = (call.name(), call.arguments());
        let token = Default::default();
        let context = Context::new(self.scope.clone(), effect.id.shared(), effect.attempt, token, None);
        let key = context.idempotency_key();
        let known = self.keys.entry(effect.id.to_string()).or_insert_with(|| key.clone());
        assert_eq!(*known, key, "a repeat has the same key");
        match name {
            "look" => Ok(Output::Tool(ToolOutput::Text(format!("seen {arguments}")))),
            _ if hash((self.seed, effect.id.as_str())).is_multiple_of(5) => {
                Err(Error::new(ErrorKind::ToolFailed, format!("{name} failed")))
            }
            "put" => Ok(Output::Tool(ToolOutput::Json(json!({"key": key, "n": 0.1 + 0.2})))),
            _ => Ok(Output::Tool(ToolOutput::Text(format!("{name} {arguments} {key}")))),
        }
    }

    fn decide(&mut self, question: &Question) -> Answer {
        let about = question.about.as_str();
        match question.why {
            Why::Approval => match hash((self.seed, about)) % 4 {
                0 => Answer::Reject { reason: "no".into() },
                1 => Answer::Edit { args: json!({"n": 7}) },
                2 => Answer::Answer { answer: json!({"by hand": about}) },
                _ => Answer::Approve,
            },
            Why::Reply => panic!("no model of this world is a person"),
            Why::InDoubt => {
                self.doubts += 1;
                if !self.unreported.contains(about) {
                    return Answer::Repeat;
                }
                let key = format!("run/{about}");
                Answer::Answer { answer: json!(format!("{} {} {key}", question.tool, question.args)) }
            }
        }
    }

    /// The process dies with this in flight; by `chance` the call took effect before.
    fn dies(&mut self, effect: &Effect, chance: bool) {
        let Work::Tool { class, .. } = &effect.work else { return };
        if chance && !class.repeatable() && self.call(effect).is_ok() {
            self.happens(effect.id.as_str(), *class);
            self.unreported.insert(effect.id.to_string());
        }
    }

    pub fn crash(&mut self, run: &Run, chances: u64) {
        for (index, open) in run.effects().enumerate() {
            if let Some(effect) = run.effect(open) {
                self.dies(&effect, hash((chances, index)).is_multiple_of(2));
            }
        }
        self.claims += 1;
    }
}

pub struct Life {
    pub run: Run,
    pub records: Vec<Record>,
    pub epoch: u64,
    pub at: u64,
}

impl Life {
    pub fn begin(plan: &Plan) -> Self {
        let run = Run::new("run", plan.definition());
        let mut life = Self { run, records: vec![], epoch: 1, at: 1_000 };
        let input = vec![Message::user("go")];
        life.input(Input::Accept {
            input: input.into(),
            thread: Some("t".into()),
            deadline_ms: Some(1_000_000),
            parent: None,
            budget: None,
        });
        life
    }

    /// Another process finds these records.
    pub fn found(plan: &Plan, records: &[Record], world: &mut World, chances: u64) -> Self {
        let run = Run::fold("run", plan.definition(), records).unwrap();
        world.crash(&run, chances);
        let epoch = records.last().unwrap().epoch + 1;
        let mut life = Self { run, records: records.to_vec(), epoch, at: 500_000_000 };
        if !life.run.status().is_final() {
            life.input(Input::Claim);
        }
        life
    }

    fn input(&mut self, input: Input) {
        let stamp = Stamp { at: self.at, epoch: self.epoch };
        self.records.extend(self.run.advance(input, stamp, &mut Unlimited, None).unwrap());
    }

    /// Drives to the end by choices: which open effect completes next; with `disturbed`, also crashes,
    /// lost calls, pauses and ticks.
    pub fn drive(&mut self, world: &mut World, choices: &[u8], disturbed: bool) {
        for step in 0.. {
            if self.run.status().is_final() {
                return;
            }
            assert!(step < 3000, "the run must end: {:?}", self.run);
            self.at += 3;
            let choice = choices[step % choices.len()];
            let disturbed = disturbed && step < 150;
            let input = self.next(world, choice, step as u64, disturbed);
            self.input(input);
        }
    }

    fn next(&mut self, world: &mut World, choice: u8, step: u64, disturbed: bool) -> Input {
        let open: Vec<_> = self.run.effects().cloned().collect();
        if let Phase::Paused(pause) = self.run.phase()
            && (open.is_empty() || choice.is_multiple_of(2))
        {
            let iterations = u32::from(*pause == Pause::MaxIterations);
            let tool_calls = matches!(pause, Pause::Budget(_)).then_some(2);
            let budget = Budget { tool_calls, ..Budget::default() };
            return Input::Resume(Grant { iterations, budget });
        }
        assert!(!open.is_empty(), "a running run has something open: {:?}", self.run);
        let chosen = &open[choice as usize % open.len()];
        let effect = self.run.effect(chosen).unwrap();
        match choice {
            240.. if disturbed => {
                world.crash(&self.run, step);
                self.epoch += 1;
                Input::Claim
            }
            225..240 if disturbed && !chosen.intent.class.repeatable() => {
                world.dies(&effect, step.is_multiple_of(2));
                Input::Lost { effect: effect.id, attempt: effect.attempt }
            }
            215..225 if disturbed && matches!(self.run.phase(), Phase::Running) => Input::Pause,
            205..215 if disturbed => Input::Tick,
            _ => {
                let result = world.perform(&effect);
                Input::Done { effect: effect.id, attempt: effect.attempt, result }
            }
        }
    }

    /// What must be the same whatever happened on the way.
    pub fn end(&self) -> (Phase, History, Usage, u32) {
        let run = &self.run;
        (run.phase().clone(), run.history().clone(), *run.usage(), run.iterations())
    }
}

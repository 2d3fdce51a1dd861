//! What an effect asks for, to be compared with what it asked for when it was recorded.

use std::sync::Arc;

use ambidex_core::definition::AgentDefinition;
use ambidex_core::effect::{EffectId, Work};
use ambidex_core::message::{History, Message};
use ambidex_core::run::Run;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::difference::{Place, compare, short};

/// What is wanted of an effect.
#[derive(Clone, Debug)]
pub(super) enum Want {
    Model {
        agent: Arc<AgentDefinition>,
        history: History,
    },
    Summary {
        history: History,
    },
    /// In words, and as plain data.
    Other {
        words: String,
        data: Value,
    },
    /// Only time passes, or the effect has ended with the step it began in.
    Nothing,
}

impl Want {
    pub(super) fn of(run: &Run, id: &EffectId) -> Self {
        let Some(effect) = run.open(id).and_then(|open| run.effect(open)) else { return Self::Nothing };
        let (words, data) = match effect.work {
            Work::Model { agent, history } => return Self::Model { agent, history },
            Work::Summarise { history } => return Self::Summary { history },
            Work::Wait { .. } => return Self::Nothing,
            Work::Tool { call, .. } => {
                let (tool, arguments) = (call.name(), call.arguments());
                // What a template makes of the state is the driver's to say, when it is carried out.
                let template = call.node().and_then(|node| node.template());
                let data = json!({"tool": tool, "arguments": arguments, "template": template});
                (format!("call the tool `{tool}` with {}", short(arguments)), data)
            }
            Work::FinishHook { outcome } => {
                ("run the finish hook".to_owned(), json!({"outcome": plain(&outcome)}))
            }
            Work::Ask(question) => {
                let (about, tool, args) = (&question.about, &question.tool, &question.args);
                let data = json!({"about": about, "why": question.why, "tool": tool, "arguments": args});
                (format!("ask a person about `{about}`"), data)
            }
            Work::Code { function, call } => {
                let data = json!({"function": function, "input": call.input(), "template": call.template()});
                (format!("call the function `{function}`"), data)
            }
            Work::Child { call, .. } => {
                let node = call.definition();
                let data = json!({"node": node.name, "input": call.input(), "template": call.template()});
                (format!("start the run of the node `{}`", node.name), data)
            }
        };
        Self::Other { words, data }
    }

    /// In words: "the run wants to ...".
    pub(super) fn words(&self) -> String {
        match self {
            Self::Model { .. } => "call the model".into(),
            Self::Summary { .. } => "have the conversation summarised".into(),
            Self::Other { words, .. } => words.clone(),
            Self::Nothing => "wait".into(),
        }
    }
}

/// Compares what is wanted. What a conversation has in common with the one before was compared before.
#[derive(Default)]
pub(super) struct Comparison {
    /// What models are told beside the conversation was compared.
    told: bool,
    before: Option<(History, History)>,
}

impl Comparison {
    pub(super) fn places(&mut self, recorded: &Want, now: &Want) -> Vec<Place> {
        let mut places = Vec::new();
        match (recorded, now) {
            (Want::Model { agent: then, history: recorded }, Want::Model { agent, history }) => {
                if !std::mem::replace(&mut self.told, true) && then != agent {
                    compare("", &told(then), &told(agent), &mut places);
                }
                self.histories(recorded, history, &mut places);
            }
            (Want::Summary { history: recorded }, Want::Summary { history }) => {
                messages(0, recorded, history, &mut places);
            }
            (Want::Other { data: recorded, .. }, Want::Other { data, .. }) => {
                compare("", recorded, data, &mut places);
            }
            (Want::Nothing, _) | (_, Want::Nothing) => {}
            (recorded, now) => {
                let words = format!("recorded: {}, now: {}", recorded.words(), now.words());
                places.push(("kind".into(), words));
            }
        }
        places
    }

    fn histories(&mut self, recorded: &History, now: &History, places: &mut Vec<Place>) {
        let same = |before: &History, history: &History| {
            before.iter().zip(history.iter()).take_while(|(a, b)| Arc::ptr_eq(a, b)).count()
        };
        let known =
            self.before.as_ref().map_or(0, |(then, before)| same(then, recorded).min(same(before, now)));
        messages(known, recorded, now, places);
        self.before = Some((recorded.clone(), now.clone()));
    }
}

fn messages(from: usize, recorded: &[Arc<Message>], now: &[Arc<Message>], places: &mut Vec<Place>) {
    for index in from..recorded.len().max(now.len()) {
        let (recorded, now) = (recorded.get(index), now.get(index));
        if recorded == now {
            continue;
        }
        let plain = |message: Option<&Arc<Message>>| match message {
            Some(message) => json!({ (format!("messages[{index}]")): plain(&**message) }),
            None => json!({}),
        };
        compare("", &plain(recorded), &plain(now), places);
    }
}

/// What a model is told beside the conversation.
fn told(agent: &AgentDefinition) -> Value {
    let tools: Map<String, Value> = agent
        .tools
        .iter()
        .map(|tool| {
            let spec = &tool.spec;
            (spec.name.clone(), json!({"description": spec.description, "input": spec.input}))
        })
        .collect();
    json!({
        "model": agent.model,
        "instructions": agent.instructions,
        "tools": tools,
        "tool_choice": plain(&agent.tool_choice),
        "settings": plain(&agent.settings),
        "output": plain(&agent.output),
    })
}

pub(super) fn plain(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

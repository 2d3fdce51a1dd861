//! The graphs of a team: one for the whole, and one that is made of each analysis.

use ambidex_core::Error;
use ambidex_core::graph::{END, GraphDefinition, Next, NodeDefinition, NodeWork, OnError, Retry, Source};
use ambidex_core::tool::EffectClass;
use serde_json::{Value, json};

use super::functions::{
    Briefing, CHECK_PLAN, Checking, GATHER_OUTPUTS, Gate, JUDGE_QUALITY, WRITE_BRIEF, Work,
};
use super::settings::Settings;
use crate::merge::{How, Members};

// Nodes of the whole.
pub(super) const ANALYSE: &str = "analyse";
pub(super) const CHECK: &str = "check";
pub(super) const REPAIR: &str = "repair";
pub(super) const PARTS: &str = "parts";
pub(super) const RESULT: &str = "result";
pub(super) const GATE: &str = "gate";
/// Node of the parts' graph; no part can be called so.
pub(super) const GATHER: &str = "gather outputs";

// Fields of the state.
pub(super) const TASK: &str = "task";
/// What the planner is asked.
pub(super) const PLAN: &str = "plan prompt";
/// What it gave.
pub(super) const GIVEN: &str = "plan given";
pub(super) const ANALYSIS: &str = "analysis";
/// What the parts' graph is given.
pub(super) const WORK: &str = "work";
pub(super) const MEMBERS: &str = "members";
/// Plans that were given again, and rounds in which work was sent back.
pub(super) const REPAIRS: &str = "repairs";
pub(super) const ROUNDS: &str = "rounds";
/// Of the parts' graph: what failed.
pub(super) const ERRORS: &str = "errors";

/// The field of the parts' graph that takes what a part gave.
pub(super) fn output(part: &str) -> String {
    format!("{part} output")
}

/// Plan, parts, merge, and back where it is not good enough.
pub(super) fn whole(settings: &Settings, plans: bool) -> Result<GraphDefinition, Error> {
    let mut nodes = if plans { planning(settings, PARTS) } else { vec![] };
    let merge = settings.merge.nodes(RESULT, &Members::Listed(MEMBERS.to_owned()), Some(TASK))?;
    let mut parts = NodeDefinition::new(PARTS, NodeWork::Graph { graph: PARTS.to_owned(), pinned: None });
    parts.input = Source::Field(WORK.to_owned());
    parts.output = Some(MEMBERS.to_owned());
    parts.next = Next::To(vec![merge.first.clone()]);
    nodes.push(parts);
    nodes.extend(merge.nodes);
    if let Some(threshold) = settings.threshold {
        if let Some(last) = nodes.iter_mut().find(|node| node.name == merge.last) {
            last.next = Next::To(vec![GATE.to_owned()]);
        }
        let mut gate = code(GATE, JUDGE_QUALITY, json!(Gate { threshold, rounds: settings.rounds }));
        gate.next = Next::Branch { function: None, targets: vec![PARTS.to_owned(), END.to_owned()] };
        nodes.push(gate);
    }
    let mut definition = GraphDefinition::new(settings.name.clone(), nodes);
    definition.output = Some(RESULT.to_owned());
    definition.budget = settings.budget.clone();
    Ok(definition)
}

/// The planner alone: what it ends with is the analysis.
pub(super) fn analysing(settings: &Settings) -> GraphDefinition {
    let mut definition = GraphDefinition::new(format!("{}/analyse", settings.name), planning(settings, END));
    definition.output = Some(ANALYSIS.to_owned());
    definition.budget = settings.budget.clone();
    definition
}

/// The merge alone, of what is given as members.
pub(super) fn integrating(settings: &Settings) -> Result<GraphDefinition, Error> {
    let merge = settings.merge.nodes(RESULT, &Members::Listed(MEMBERS.to_owned()), Some(TASK))?;
    let mut definition = GraphDefinition::new(format!("{}/integrate", settings.name), merge.nodes);
    definition.output = Some(RESULT.to_owned());
    definition.budget = settings.budget.clone();
    Ok(definition)
}

fn planning(settings: &Settings, then: &str) -> Vec<NodeDefinition> {
    let agent = NodeWork::Agent { agent: settings.planner_name(), pinned: None };
    let mut analyse = NodeDefinition::new(ANALYSE, agent.clone());
    analyse.input = Source::Field(PLAN.to_owned());
    analyse.output = Some(GIVEN.to_owned());
    analyse.next = Next::To(vec![CHECK.to_owned()]);
    let checking = Checking {
        agents: settings.agents.iter().map(|member| member.name.clone()).collect(),
        most: settings.most_parts,
        repairs: settings.repairs,
        then: then.to_owned(),
    };
    let mut check = code(CHECK, CHECK_PLAN, json!(checking));
    check.next = Next::Branch { function: None, targets: vec![then.to_owned(), REPAIR.to_owned()] };
    let mut repair = NodeDefinition::new(REPAIR, agent);
    repair.input = Source::Field(REPAIR.to_owned());
    repair.output = Some(GIVEN.to_owned());
    repair.next = Next::To(vec![CHECK.to_owned()]);
    vec![analyse, check, repair]
}

/// The parts of one round: each is a run of its agent, and begins when what it needs is there.
pub(super) fn parts(settings: &Settings, work: &Work) -> GraphDefinition {
    let is_todo = |id: &str| work.todo.iter().any(|todo| todo == id);
    let todo: Vec<_> = work.analysis.parts.iter().filter(|part| is_todo(&part.id)).collect();
    let brief = |id: &str| format!("{id} brief");
    let wants_files = settings.merge.how == How::Integrate;
    let mut nodes = vec![];
    let mut start = vec![];
    for part in &todo {
        let mut briefing =
            code(&brief(&part.id), WRITE_BRIEF, json!(Briefing { part: part.id.clone(), wants_files }));
        briefing.output = Some(brief(&part.id));
        briefing.next = Next::To(vec![part.id.clone()]);
        if !part.needs.iter().any(|need| is_todo(need)) {
            start.push(briefing.name.clone());
        }
        nodes.push(briefing);
        let mut work =
            NodeDefinition::new(&*part.id, NodeWork::Agent { agent: part.agent.clone(), pinned: None });
        work.input = Source::Field(brief(&part.id));
        work.output = Some(output(&part.id));
        work.retry = Retry { attempts: settings.attempts, ..Retry::default() };
        work.timeout_ms = settings.part_timeout_ms;
        if settings.goes_on {
            work.on_error = OnError::Continue;
            work.error_field = Some(ERRORS.to_owned());
        }
        let mut next: Vec<String> = todo
            .iter()
            .filter(|other| other.needs.contains(&part.id))
            .map(|other| brief(&other.id))
            .collect();
        next.push(GATHER.to_owned());
        work.next = Next::To(next);
        nodes.push(work);
    }
    let mut gather = code(GATHER, GATHER_OUTPUTS, Value::Null);
    gather.output = Some(MEMBERS.to_owned());
    if start.is_empty() {
        start.push(GATHER.to_owned());
    }
    nodes.push(gather);
    let mut definition = GraphDefinition::new(format!("{}/{PARTS}", settings.name), nodes);
    definition.start = start;
    definition.output = Some(MEMBERS.to_owned());
    definition.concurrency = settings.at_once;
    definition
}

/// A node that changes nothing outside, so that it may run again.
fn code(name: &str, function: &str, input: Value) -> NodeDefinition {
    let mut node = NodeDefinition::new(name, NodeWork::Code { function: function.to_owned() });
    node.input = Source::Value(input);
    node.effect = EffectClass::Read;
    node
}

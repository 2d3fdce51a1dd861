//! The code of a team's nodes. What it needs to know is its node's input.

use std::collections::HashSet;

use ambidex_core::graph::{END, NodeCall, NodeOutput, State};
use ambidex_core::{Context, Error, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::analysis::Analysis;
use super::plan::{
    ANALYSIS, ERRORS, GIVEN, MEMBERS, PARTS, PLAN, REPAIR, REPAIRS, RESULT, ROUNDS, TASK, WORK, output,
};
use super::prompts::{self, Brief};
use crate::merge::{Code, Failure, MemberOutput, PartQuality, Quality};

pub(super) const CHECK_PLAN: &str = "ambidex.team.check";
pub(super) const WRITE_BRIEF: &str = "ambidex.team.brief";
pub(super) const GATHER_OUTPUTS: &str = "ambidex.team.gather";
pub(super) const JUDGE_QUALITY: &str = "ambidex.team.gate";

/// The code behind the nodes of every team, by the names that stand in them.
pub(super) fn functions() -> [(&'static str, Code); 4] {
    [(CHECK_PLAN, check), (WRITE_BRIEF, brief), (GATHER_OUTPUTS, gather), (JUDGE_QUALITY, gate)]
}

/// Settings of the node that looks at a plan.
#[derive(Serialize, Deserialize)]
pub(super) struct Checking {
    pub agents: Vec<String>,
    pub most: usize,
    pub repairs: u32,
    /// Where the path goes with a plan that can be followed.
    pub then: String,
}

/// What the parts' graph begins with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Work {
    pub task: String,
    pub analysis: Analysis,
    /// Parts to be done, in this round.
    pub todo: Vec<String>,
    /// What stands from earlier rounds.
    #[serde(default)]
    pub before: Vec<MemberOutput>,
    /// What judges said of parts that are done again.
    #[serde(default)]
    pub feedback: Vec<Feedback>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Feedback {
    pub part: String,
    pub reasons: Vec<String>,
}

impl Work {
    pub(super) fn all(task: &str, analysis: &Analysis) -> Self {
        let todo = analysis.parts.iter().map(|part| part.id.clone()).collect();
        Self { task: task.to_owned(), analysis: analysis.clone(), todo, ..Self::default() }
    }
}

/// Settings of a node that briefs an agent.
#[derive(Serialize, Deserialize)]
pub(super) struct Briefing {
    pub part: String,
    pub wants_files: bool,
}

/// Settings of the node that sends work back.
#[derive(Serialize, Deserialize)]
pub(super) struct Gate {
    pub threshold: f64,
    pub rounds: u32,
}

fn input<T: DeserializeOwned>(call: &NodeCall) -> Result<T, Error> {
    serde_json::from_value(call.input().unwrap_or_default())
        .map_err(|error| misfit(call, "its input", &error))
}

fn field<T: DeserializeOwned>(call: &NodeCall, name: &str) -> Result<T, Error> {
    serde_json::from_value(call.state().get(name).cloned().unwrap_or_default())
        .map_err(|error| misfit(call, &format!("`{name}` of the state"), &error))
}

fn misfit(call: &NodeCall, what: &str, error: &serde_json::Error) -> Error {
    let text = format!("the node `{}`: {what} is not a team's: {error}", call.definition().name);
    Error::new(ErrorKind::InvalidArguments, text)
}

fn count(call: &NodeCall, name: &str) -> u32 {
    let count = call.state().get(name).and_then(Value::as_u64).unwrap_or(0);
    count.try_into().unwrap_or(u32::MAX)
}

fn text(state: &State, name: &str) -> String {
    state.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn check(call: &NodeCall, _: &Context) -> Result<NodeOutput, Error> {
    let checking: Checking = input(call)?;
    let given = call.state().get(GIVEN).cloned().unwrap_or_default();
    let agents = checking.agents.iter().map(String::as_str);
    // A model without an output schema of its own gives text.
    let read = match &given {
        Value::String(text) => serde_json::from_str::<Analysis>(text.trim()),
        other => serde_json::from_value(other.clone()),
    };
    let problems = match &read {
        Ok(analysis) => analysis.problems(agents, checking.most),
        Err(error) => vec![format!("it is no plan: {error}")],
    };
    if let (Ok(analysis), true) = (&read, problems.is_empty()) {
        let work = Work::all(&text(call.state(), TASK), analysis);
        let update = json!({ ANALYSIS: analysis, WORK: work });
        return Ok(NodeOutput { go: vec![checking.then], ..update.into() });
    }
    let repairs: u32 = count(call, REPAIRS);
    if repairs >= checking.repairs {
        let text =
            format!("the plan cannot be followed, also after it was given again: {}", problems.join("; "));
        return Err(Error::new(ErrorKind::OutputInvalid, text));
    }
    let prompt = prompts::to_repair(&text(call.state(), PLAN), &given.to_string(), &problems);
    let update = json!({ REPAIRS: repairs + 1, "problems": problems, REPAIR: prompt });
    Ok(NodeOutput { go: vec![REPAIR.to_owned()], ..update.into() })
}

/// What a part gave in this run of the parts' graph.
fn given(state: &State, work: &Work, id: &str) -> Option<MemberOutput> {
    let part = work.analysis.part(id)?;
    if !work.todo.iter().any(|todo| todo == id) {
        return work.before.iter().find(|output| output.part.as_deref() == Some(id)).cloned();
    }
    let mut output = match state.get(&output(id)).filter(|value| !value.is_null()) {
        Some(value) => MemberOutput::new(&*part.agent, value.clone()),
        None => {
            let errors = state.get(ERRORS).and_then(Value::as_array);
            let error = errors.and_then(|errors| errors.iter().rev().find(|error| error["node"] == *id));
            let word =
                |key: &str, or: &str| error.and_then(|error| error[key].as_str()).unwrap_or(or).to_owned();
            let code = word("code", ErrorKind::EmptyReply.code());
            let failed =
                Failure { author: part.agent.clone(), code, message: word("message", "it gave nothing") };
            MemberOutput { author: part.agent.clone(), failed: Some(failed), ..MemberOutput::default() }
        }
    };
    output.part = Some(id.to_owned());
    output.task = (part.description != work.task).then(|| part.description.clone());
    Some(output)
}

fn work(call: &NodeCall) -> Result<Work, Error> {
    serde_json::from_value(Value::Object(State::clone(call.state())))
        .map_err(|error| misfit(call, "the state", &error))
}

fn brief(call: &NodeCall, _: &Context) -> Result<NodeOutput, Error> {
    let Briefing { part: id, wants_files } = input(call)?;
    let work = work(call)?;
    let part = work
        .analysis
        .part(&id)
        .ok_or_else(|| Error::new(ErrorKind::InvalidArguments, format!("the analysis has no part `{id}`")))?;
    let needed: Vec<_> = part.needs.iter().filter_map(|need| given(call.state(), &work, need)).collect();
    let feedback = work.feedback.iter().find(|feedback| feedback.part == id);
    let before = work.before.iter().find(|output| output.part.as_deref() == Some(&*id));
    let brief = Brief {
        task: &work.task,
        analysis: &work.analysis,
        part,
        needs: needed.iter().collect(),
        before: feedback.zip(before).map(|(feedback, before)| (&*before.text, &*feedback.reasons)),
        wants_files,
    };
    Ok(Value::String(brief.text()).into())
}

/// All outputs, in the order of the analysis.
fn gather(call: &NodeCall, _: &Context) -> Result<NodeOutput, Error> {
    let work = work(call)?;
    let all: Vec<_> =
        work.analysis.parts.iter().filter_map(|part| given(call.state(), &work, &part.id)).collect();
    Ok(json!(all).into())
}

/// Sends parts back that are not good enough, and with them those that were built on them.
fn gate(call: &NodeCall, _: &Context) -> Result<NodeOutput, Error> {
    let Gate { threshold, rounds } = input(call)?;
    let result: Value = field(call, RESULT)?;
    let quality: Quality = serde_json::from_value(result.get("quality").cloned().unwrap_or_default())
        .map_err(|error| misfit(call, "the result's quality", &error))?;
    let round: u32 = count(call, ROUNDS);
    let below = |score: Option<f64>| score.is_some_and(|score| score < threshold);
    let mut back: Vec<_> = quality.parts.iter().filter(|part| below(part.score)).collect();
    if back.is_empty() && below(quality.overall) {
        // The whole is not good enough, though each part is: the weakest can gain most.
        let scored = quality.parts.iter().filter(|part| part.score.is_some());
        back.extend(scored.min_by(|one, other| {
            let score = |part: &PartQuality| part.score.unwrap_or(f64::INFINITY);
            score(one).total_cmp(&score(other))
        }));
    }
    let end = || Ok(NodeOutput::go([END]));
    if back.is_empty() || round >= rounds {
        return end();
    }
    let members: Vec<MemberOutput> = field(call, MEMBERS)?;
    let mut work: Work = field(call, WORK)?;
    let mut todo: HashSet<&str> = back.iter().map(|part| part.part.as_str()).collect();
    for stage in work.analysis.stages().into_iter().flatten() {
        let part = work.analysis.part(stage);
        if part.is_some_and(|part| part.needs.iter().any(|need| todo.contains(need.as_str()))) {
            todo.insert(stage);
        }
    }
    let todo: Vec<String> = work
        .analysis
        .parts
        .iter()
        .map(|part| &part.id)
        .filter(|id| todo.contains(id.as_str()))
        .cloned()
        .collect();
    work.todo = todo;
    work.before = members;
    work.feedback = back
        .iter()
        .map(|part| {
            let reasons = part.reasons.iter().chain(&quality.remarks).cloned().collect();
            Feedback { part: part.part.clone(), reasons }
        })
        .collect();
    let update = json!({ ROUNDS: round + 1, WORK: work });
    Ok(NodeOutput { go: vec![PARTS.to_owned()], ..update.into() })
}

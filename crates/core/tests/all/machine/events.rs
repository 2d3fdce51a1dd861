//! What watchers are shown of a step.

use ambidex_core::event::{EventKind, Status, StepKind};
use ambidex_core::question::Answer;
use ambidex_core::record::Input;
use ambidex_core::tool::EffectClass;
use serde_json::json;

use crate::support::*;

fn shown(m: &Machine) -> Vec<String> {
    let line = |event: &ambidex_core::run::Occurrence| {
        let step = event.step.as_ref().map(|(id, attempt)| format!(" {id}#{attempt}")).unwrap_or_default();
        let kind = serde_json::to_value(&event.kind).unwrap();
        let detail = match &event.kind {
            EventKind::RunStatus { status } | EventKind::RunFinished { status, .. } => status.as_str().into(),
            EventKind::ToolCalled { args, .. } => args.to_string(),
            EventKind::ToolFinished { ok, output, seconds, .. } => format!("{ok} {output} {seconds}"),
            EventKind::StepFinished { ok, seconds, .. } => format!("{ok} {seconds}"),
            EventKind::ApprovalAnswered { decision, .. } => decision.clone(),
            _ => String::new(),
        };
        format!("{}{step} {detail}", kind["type"].as_str().unwrap()).trim_end().to_owned()
    };
    m.events.iter().map(line).collect()
}

#[test]
fn a_run_is_told_from_its_creation_to_its_end() {
    let mut m = Machine::start(agent(vec![asking("pay", EffectClass::Once)]));
    m.at += 1500;
    m.reply(calls(&[("pay", json!({"usd": 5})), ("fly", json!({}))]));
    m.answer("ask:t0.0", Answer::Edit { args: json!({"usd": 1}) });
    m.at += 250;
    m.result("t0.0", "paid");
    m.reply(words("done"));
    assert_eq!(
        shown(&m),
        [
            "run.created",
            "run.started",
            "step.started m0#1",
            "model.started m0#1",
            "model.finished m0#1",
            "tool.called t0.1#1 {}",
            "tool.finished t0.1#1 false unknown_tool: there is no tool `fly`; there are: pay 0",
            "step.finished m0#1 true 1.5",
            "approval.asked ask:t0.0#1",
            "run.status waiting",
            "approval.answered ask:t0.0#1 edit",
            "step.started t0.0#1",
            "tool.called t0.0#1 {\"usd\":1}",
            "run.status running",
            "tool.finished t0.0#1 true paid 0.25",
            "step.finished t0.0#1 true 0.25",
            "step.started m1#1",
            "model.started m1#1",
            "model.finished m1#1",
            "step.finished m1#1 true 0",
            "run.finished succeeded",
        ]
    );
}

#[test]
fn the_end_is_the_last_event_and_comes_once() {
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(look());
    m.input(Input::Cancel);
    m.stop_all();
    let ends: Vec<_> =
        m.events.iter().filter(|event| matches!(event.kind, EventKind::RunFinished { .. })).collect();
    assert_eq!(ends.len(), 1);
    let last = &m.events.last().unwrap().kind;
    assert!(
        matches!(last, EventKind::RunFinished { status: Status::Cancelled, error: None, .. }),
        "{last:?}"
    );
}

#[test]
fn a_pause_is_shown_as_the_status_it_leads_to() {
    let mut m = Machine::start(agent(vec![]));
    m.input(Input::Pause);
    m.resume(0, Default::default());
    let statuses = shown(&m).into_iter().filter(|line| line.starts_with("run.status"));
    assert_eq!(statuses.collect::<Vec<_>>(), ["run.status paused", "run.status running"]);
}

#[test]
fn only_deltas_of_one_kind_are_joined() {
    let text = |text: &str| EventKind::ModelDelta { text: text.into() };
    let thought = |text: &str| EventKind::ModelReasoning { text: text.into() };
    let mut joined = text("a");
    assert!(joined.join(&text("b")));
    assert_eq!(joined, text("ab"));
    assert!(!joined.join(&thought("c")));
    let mut started = EventKind::StepStarted { kind: StepKind::Model };
    assert!(!started.join(&text("a")));
    let mut thinking = thought("a");
    assert!(thinking.join(&thought("b")));
    assert_eq!(thinking, thought("ab"));
}

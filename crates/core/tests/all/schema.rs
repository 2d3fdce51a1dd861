//! The published schemas hold for what is really written.

use ambidex_core::event::Event;
use ambidex_core::graph::{NodeDefinition, NodeOutput, NodeWork, OnError, Reducer, Retry, Sent, Source};
use ambidex_core::message::{Image, ImageSource, Message, Part, ProviderState, Role};
use ambidex_core::record::{Input, Outcome, Output, Record, Stamp};
use ambidex_core::run::{Patch, Run};
use ambidex_core::schema;
use ambidex_core::tool::EffectClass;
use ambidex_core::{Error, ErrorKind, EventKind};
use serde_json::{Value, json};

use crate::graph::support::{Driven, branch, node, works};
use crate::support::*;
use crate::world::{Life, Plan, World};

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::draft202012::new(schema).unwrap()
}

fn assert_valid(validator: &jsonschema::Validator, value: &Value) {
    let faults: Vec<_> = validator.iter_errors(value).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:#?} in {value:#}");
}

/// A run with everything in it, and its events as a door would send them.
fn scripted() -> (Vec<Record>, Vec<Event>) {
    let mut m = Machine::start_with(
        agent(vec![read("look"), asking("pay", EffectClass::Once), tool("send", EffectClass::Once)]),
        Some(5000),
    );
    let parts = vec![
        Part::Image(Image { media_type: "image/png".into(), source: ImageSource::Base64("AA==".into()) }),
        Part::Image(Image {
            media_type: "image/png".into(),
            source: ImageSource::Url("https://a.test/i".into()),
        }),
        Part::Opaque { state: ProviderState { format: "anthropic".into(), json: "{}".into() } },
        Part::Reasoning { text: "hm".into(), state: None },
    ];
    m.input(Input::Message(Message::new(Role::User, parts)));
    let all = [
        ("look", json!({"n": 1})),
        ("pay", json!({})),
        ("send", json!({})),
        ("look", json!("{")),
        ("fly", json!({})),
    ];
    m.reply(calls(&all));
    m.claim();
    m.answer("doubt:t0.2.1", ambidex_core::question::Answer::Repeat);
    m.answer("ask:t0.1", ambidex_core::question::Answer::Edit { args: json!({"n": 2}) });
    m.input(Input::Pause);
    m.resume(2, ambidex_core::budget::Budget { usd: Some(1.5), ..Default::default() });
    m.result("t0.0", "seen");
    m.done("t0.1", Ok(ambidex_core::record::Output::Tool(json!({"paid": 1}).into())));
    m.fails("t0.2", ErrorKind::ToolFailed);
    m.input(Input::Cancel);
    m.stop_all();
    let shown = [
        EventKind::ModelDelta { text: "a".into() },
        EventKind::ModelReasoning { text: "a".into() },
        EventKind::ModelRestarted { reason: "a".into() },
        EventKind::RouteAttempt {
            route: "r".into(),
            target: "t".into(),
            attempt: 1,
            outcome: ambidex_core::chunk::AttemptOutcome::Failed,
            reason: "e".into(),
            seconds: 0.5,
            first_token: Some(0.25),
            wait: Some(1.0),
            usage: Default::default(),
        },
        EventKind::RouteSwitched {
            route: "r".into(),
            from: "t".into(),
            target: "u".into(),
            reason: "e".into(),
            seconds: 0.5,
        },
        EventKind::RouteRace {
            route: "r".into(),
            target: "u".into(),
            reason: "first token".into(),
            seconds: 0.5,
            losers: vec!["t".into()],
        },
        EventKind::ToolProgress { id: "t0.0".into(), data: json!([1]) },
        EventKind::RunFinished {
            status: ambidex_core::event::Status::Failed,
            text: String::new(),
            output: Some(json!({"n": 1})),
            usage: Default::default(),
            error: Some(Error::new(ErrorKind::Timeout, "late").with_request_id(Some("req-1".into()))),
        },
    ];
    let machine = m.events.into_iter().map(|shown| (shown.step, shown.kind));
    let kinds = machine.chain(shown.into_iter().map(|kind| (None, kind)));
    let events = (1..).zip(kinds).map(|(seq, (step, kind)): (u64, _)| {
        let mut event = serde_json::to_value(kind).unwrap();
        event["seq"] = seq.into();
        event["ts"] = "2026-01-01T00:00:00.000Z".into();
        event["run"] = "run".into();
        event["agent"] = "agent".into();
        if let Some((id, attempt)) = step {
            event["thread"] = "t".into();
            event["step"] = id.to_string().into();
            event["attempt"] = attempt.into();
        }
        serde_json::from_value(event).unwrap()
    });
    (m.records, events.collect())
}

#[test]
fn events_match_their_schema_and_survive_their_json() {
    let validator = validator(&schema::events());
    let (_, events) = scripted();
    assert!(events.len() > 40);
    for event in events {
        let value = serde_json::to_value(&event).unwrap();
        assert_valid(&validator, &value);
        assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
    }
    for wrong in [
        json!({"seq": 1, "ts": "now", "run": "r", "type": "run.unknown", "data": {}}),
        json!({"seq": 1, "ts": "now", "run": "r", "type": "model.delta", "data": {}}),
        json!({"seq": "1", "ts": "now", "run": "r", "type": "model.delta", "data": {"text": "a"}}),
        json!({"ts": "now", "run": "r", "type": "model.delta", "data": {"text": "a"}}),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

#[test]
fn records_match_their_schema() {
    let validator = validator(&schema::records());
    let mut records = scripted().0;
    for seed in 0..40 {
        let plan = Plan {
            seed,
            concurrency: 2,
            iterations: 3,
            tool_calls: Some(3),
            finish_hook: true,
            stop_after: true,
            compact: true,
        };
        let mut life = Life::begin(&plan);
        life.drive(&mut World::new(seed), &[3, 250, 17, 230, 99, 218, 4], true);
        records.extend(life.records);
    }
    for record in &records {
        assert_valid(&validator, &serde_json::to_value(record).unwrap());
    }
    for wrong in [
        json!({"v": 1, "seq": 0, "epoch": 1, "at": 1, "kind": "unknown"}),
        json!({"v": 1, "seq": -1, "epoch": 1, "at": 1, "kind": "claimed"}),
        json!({"v": 1, "seq": 0, "epoch": 1, "kind": "claimed"}),
        json!({"v": 1, "seq": 0, "epoch": 1, "at": 1, "kind": {"lost": {}}}),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

/// A graph with everything in it, and its run.
fn graph() -> (serde_json::Value, Vec<Record>, Vec<Event>) {
    let nodes = vec![
        NodeDefinition { pause_before: true, sends: vec!["map".into()], ..node("plan", &["ask", "wait"]) },
        NodeDefinition {
            approval: ambidex_core::definition::Approval::Ask,
            retry: Retry { attempts: 2, base_ms: Some(1), cap_ms: Some(2) },
            on_error: OnError::Continue,
            error_field: Some("faults".into()),
            timeout_ms: Some(5),
            ..node("map", &["child"])
        },
        NodeDefinition {
            input: Source::Value("?".into()),
            ..works("ask", NodeWork::Ask { form: Some(json!({})), expire_ms: Some(9) }, &["child"])
        },
        works("wait", NodeWork::Wait { ms: Some(5) }, &["child"]),
        NodeDefinition {
            next: branch("pick", &["plan", "end"]),
            ..works("child", NodeWork::Agent { agent: "a".into(), pinned: Some("h".into()) }, &[])
        },
    ];
    let definition = crate::graph::support::graph(nodes, &[("n", Reducer::Add)]);
    let json = serde_json::to_value(ambidex_core::definition::Definition::Graph(definition.clone().into()));
    let mut d = Driven::start(definition, json!({"n": 1}));
    d.resume(0);
    let send = vec![Sent { to: "map".into(), item: json!(1).into() }];
    let output = NodeOutput { value: json!({"n": 1}).into(), send, go: vec![] };
    d.done("plan#0", Ok(Output::Node(output)));
    d.answer("ask:map#0[0]", ambidex_core::question::Answer::Approve);
    d.fails("map#0[0]", ErrorKind::Overloaded);
    d.pass(&["wait#0", "retry:map#0[0].1", "map#0[0]"]);
    d.answer("human:ask#0", ambidex_core::question::Answer::Answer { answer: json!(3) });
    let outcome = Box::new(Outcome::Succeeded { text: "t".into(), output: None, completed: true });
    d.done("child#0", Ok(Output::Child { outcome, usage: Box::default() }));
    let stamp = Stamp { at: d.at, epoch: 1 };
    let patch = Patch::State(crate::graph::support::object(json!({"n": 5})));
    let fork = Run::fold("run", d.run.definition().clone(), &d.records).unwrap();
    let (_, mut records) = Run::fork("f", fork.definition().clone(), &d.records, Some(patch), stamp).unwrap();
    d.chooses("child#0?", &["end"]);
    records.extend(d.records);
    let events = (1..).zip(d.events).map(|(seq, shown): (u64, _)| {
        let step = shown.step.map(|(id, _)| id.shared());
        let ts = ambidex_core::event::Timestamp(1);
        Event { seq, ts, run: "run".into(), thread: None, step, agent: None, attempt: None, kind: shown.kind }
    });
    (json.unwrap(), records, events.collect())
}

#[test]
fn what_is_written_of_a_graph_matches_its_schema() {
    let (definition, records, events) = graph();
    assert_valid(&validator(&schema::definitions()), &definition);
    let read: ambidex_core::definition::Definition = serde_json::from_value(definition.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), definition);
    let (of_records, of_events) = (validator(&schema::records()), validator(&schema::events()));
    for record in &records {
        assert_valid(&of_records, &serde_json::to_value(record).unwrap());
    }
    for event in &events {
        assert_valid(&of_events, &serde_json::to_value(event).unwrap());
    }
    let texts: Vec<_> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    assert!(
        texts.iter().any(|text| text.contains("state.changed")) && records.len() > 40,
        "{}",
        records.len()
    );
}

#[test]
fn definitions_match_their_schema() {
    let validator = validator(&schema::definitions());
    let plan = Plan {
        seed: 1,
        concurrency: 2,
        iterations: 3,
        tool_calls: Some(3),
        finish_hook: true,
        stop_after: true,
        compact: true,
    };
    let definition = serde_json::to_value(&*plan.definition().definition).unwrap();
    assert_valid(&validator, &definition);
    assert!(!validator.is_valid(&json!({"agent": {"name": "a"}})));
}

//! The published schemas hold for what is really written.

use ambidex_core::event::Event;
use ambidex_core::message::{Image, ImageSource, Message, Part, ProviderState, Role};
use ambidex_core::record::{Input, Record};
use ambidex_core::schema;
use ambidex_core::tool::EffectClass;
use ambidex_core::{Error, ErrorKind, EventKind};
use serde_json::{Value, json};

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

//! Records as earlier builds wrote them stay readable. A file per kind of run: its definition in the first line, its
//! records in the others, its status in the name.
//!
//! `KEEP_RECORDS=1` writes those that are missing; a file that is there is never written again.

use std::path::{Path, PathBuf};

use ambidex_core::definition::Pinned;
use ambidex_core::event::Status;
use ambidex_core::question::Answer;
use ambidex_core::record::{Input, Record};
use ambidex_core::run::Run;
use ambidex_core::tool::EffectClass;
use serde_json::json;

use crate::graph::support::{Driven, node};
use crate::support::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records")
}

#[test]
fn stored_runs_of_earlier_builds_fold_to_what_they_were() {
    if std::env::var_os("KEEP_RECORDS").is_some() {
        keep_runs_of_this_build();
    }
    let mut names = vec![];
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        let head: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        let definition = Pinned::read(head["hash"].as_str().unwrap(), head["definition"].as_str().unwrap());
        let records: Vec<Record> = lines.clone().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (record, line) in records.iter().zip(lines) {
            assert_eq!(serde_json::to_string(record).unwrap(), line, "{}", path.display());
        }
        let run = Run::fold("run", definition.unwrap(), &records).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(name.ends_with(run.status().as_str()), "{name} is {:?}", run.status());
        if run.status() == Status::Succeeded {
            let output = head["output"].as_str().unwrap();
            assert_eq!(run.state().map_or(run.text(), |state| json!(*state).to_string()), output);
        }
        names.push(name);
    }
    names.sort_unstable();
    assert_eq!(names, ["1-agent-succeeded", "1-agent-waiting", "1-graph-succeeded", "1-graph-waiting"]);
}

fn keep(name: &str, run: &Run, records: &[Record]) {
    let path = folder().join(name).with_extension("jsonl");
    if path.exists() {
        return;
    }
    let definition = run.definition();
    let output = run.state().map_or(run.text(), |state| json!(*state).to_string());
    let head = json!({"hash": *definition.hash, "definition": *definition.text, "output": output});
    let lines = records.iter().map(|record| serde_json::to_string(record).unwrap());
    let lines: Vec<_> = std::iter::once(head.to_string()).chain(lines).collect();
    std::fs::create_dir_all(folder()).unwrap();
    std::fs::write(path, lines.join("\n") + "\n").unwrap();
}

fn keep_runs_of_this_build() {
    let mut m = Machine::start_with(
        agent(vec![read("look"), asking("pay", EffectClass::Once), tool("send", EffectClass::Once)]),
        Some(5000),
    );
    m.reply(calls(&[
        ("look", json!({"n": 1})),
        ("pay", json!({})),
        ("send", json!({})),
        ("look", json!("{")),
    ]));
    m.claim();
    m.steer("quickly");
    m.answer("doubt:t0.2.1", Answer::Repeat);
    m.input(Input::Pause);
    m.resume(2, Default::default());
    m.result("t0.0", "seen");
    m.result("t0.2", "sent");
    keep("1-agent-waiting", &m.run, &m.records);
    m.answer("ask:t0.1", Answer::Edit { args: json!({"n": 2}) });
    m.result("t0.1", "paid");
    m.reply(words("done"));
    keep("1-agent-succeeded", &m.run, &m.records);
    let mut d = kept_graph();
    keep("1-graph-waiting", &d.run, &d.records);
    d.answer("human:ask#0", Answer::Answer { answer: json!(true) });
    d.pass(&["last#0"]);
    keep("1-graph-succeeded", &d.run, &d.records);
}

fn kept_graph() -> Driven {
    use ambidex_core::graph::{NodeDefinition, NodeOutput, NodeWork, Reducer, Retry, Sent, Source};
    use ambidex_core::record::{Outcome, Output};
    let child = NodeWork::Agent { agent: "writer".into(), pinned: None };
    let ask = NodeWork::Ask { form: None, expire_ms: None };
    let nodes = vec![
        NodeDefinition { sends: vec!["map".into()], pause_after: true, ..node("plan", &["child", "nap"]) },
        NodeDefinition { retry: Retry { attempts: 2, ..Retry::default() }, ..node("map", &["join"]) },
        NodeDefinition { work: child, ..node("child", &["join"]) },
        NodeDefinition { work: NodeWork::Wait { ms: Some(9) }, ..node("nap", &["join"]) },
        NodeDefinition { work: NodeWork::Pass, ..node("join", &["ask"]) },
        NodeDefinition { work: ask, input: Source::Value("ok?".into()), ..node("ask", &["last"]) },
        node("last", &[]),
    ];
    let mut d = Driven::start(crate::graph::support::graph(nodes, &[("n", Reducer::Add)]), json!({"n": 1}));
    let send = [1, 2].map(|n| Sent { to: "map".into(), item: json!(n).into() }).into();
    d.done("plan#0", Ok(Output::Node(NodeOutput { value: json!({"n": 1}).into(), send, go: vec![] })));
    d.resume(0);
    d.fails("map#0[1]", ambidex_core::ErrorKind::Overloaded);
    d.claim();
    d.gives("map#0[0]", json!({"n": 10}));
    d.pass(&["retry:map#0[1].1", "nap#0"]);
    d.gives("map#0[1]", json!({"n": 100}));
    let outcome = Box::new(Outcome::Succeeded { text: "text".into(), output: None, completed: true });
    d.done("child#0", Ok(Output::Child { outcome, usage: Box::default() }));
    d
}

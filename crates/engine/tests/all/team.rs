//! Teams: a task taken apart, its parts done by agents, their outputs merged.

use std::time::Duration;

use ambidex_core::event::{EventKind, Status};
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::merge::{MemberOutput, Merge};
use ambidex_engine::team::{Complexity, OnFailure};
use ambidex_engine::{Analysis, Engine, Part, RunOptions, Team};
use serde_json::{Value, json};

use crate::support::until;
use crate::team_world::{Says, agent, judge};

fn ann_and_ben(engine: &Engine) -> (Says, Says, Team) {
    let (ann, ben) = (Says::text("from ann"), Says::text("from ben"));
    let agents = [agent(engine, "ann", &ann), agent(engine, "ben", &ben)];
    let team = Team::builder().agents(agents).planner(planner(plan())).build().unwrap();
    (ann, ben, team)
}

fn plan() -> Value {
    json!({
        "complexity": "high",
        "summary": "First notes, then two texts.",
        "parts": [
            {"id": "text", "description": "Write it", "agent": "ben", "needs": ["notes"], "expected": "a text"},
            {"id": "notes", "description": "Take notes", "agent": "ann", "needs": [], "expected": "notes"},
            {"id": "title", "description": "Find a title", "agent": "ben", "needs": [], "expected": "a title"},
        ],
    })
}

fn planner(plan: Value) -> Says {
    Says::json(plan)
}

#[tokio::test(start_paused = true)]
async fn a_task_is_taken_apart_and_each_part_sees_what_it_needs() {
    let (ann, ben, team) = ann_and_ben(&Engine::default());
    let result = team.run("Make a booklet").await.unwrap();
    let analysis = result.analysis.as_ref().unwrap();
    assert_eq!(analysis.complexity, Complexity::High);
    assert_eq!(analysis.stages(), [vec!["notes", "title"], vec!["text"]]);
    // In the order of the analysis, whoever was first.
    let parts: Vec<_> =
        result.parts.iter().map(|part| (part.part.as_deref().unwrap(), &*part.author, &*part.text)).collect();
    assert_eq!(
        parts,
        [("text", "ben", "from ben"), ("notes", "ann", "from ann"), ("title", "ben", "from ben")]
    );
    assert_eq!(result.text(), "from ben\n\nfrom ann\n\nfrom ben");
    let notes = ann.prompt(0);
    assert!(
        notes.contains("Make a booklet") && notes.contains("Take notes") && !notes.contains("from b"),
        "{notes}"
    );
    let text = ben.prompts().into_iter().find(|prompt| prompt.contains("Write it")).unwrap();
    assert!(text.contains("<output of=\"notes\" by=\"ann\"") && text.contains("from ann"), "{text}");
    let title = ben.prompts().into_iter().find(|prompt| prompt.contains("Find a title")).unwrap();
    assert!(!title.contains("from ann"), "{title}");
    // Planner and three parts, 10 and 1 tokens each: what children use is the team's.
    assert_eq!((result.run.usage.input_tokens, result.run.usage.output_tokens), (40, 4));
}

#[tokio::test(start_paused = true)]
async fn a_part_begins_when_what_it_needs_is_there_and_not_with_its_stage() {
    let engine = Engine::default();
    let quick = Says::text("quick");
    let slow = Says::text("slow").after(Duration::from_secs(60));
    let agents = [agent(&engine, "quick", &quick), agent(&engine, "slow", &slow)];
    let team = Team::builder().agents(agents).build().unwrap();
    let analysis = Analysis::new([
        Part::new("a", "quick", "first"),
        Part::new("b", "slow", "meanwhile"),
        Part::new("c", "quick", "second").needs(["a"]),
    ]);
    let running = team.start_with_analysis("x", &analysis, RunOptions::default()).unwrap();
    until("both quick parts are done while the slow one runs", || quick.calls() == 2).await;
    assert_eq!(slow.seen.gauge.now(), 1);
    assert_eq!(running.outcome().await.unwrap().status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn so_many_parts_are_done_at_once() {
    let engine = Engine::default();
    let model = Says::text("done");
    let one = agent(&engine, "one", &model);
    let team = Team::builder().agent(one).at_once(3).build().unwrap();
    let parts = (0..10).map(|n| Part::new(format!("p{n}"), "one", format!("do {n}")));
    let result = team.run_with_analysis("x", &Analysis::new(parts), RunOptions::default()).await.unwrap();
    assert_eq!((result.parts.len(), model.seen.gauge.peak()), (10, 3));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_cannot_be_followed_goes_back_once_with_what_is_wrong() {
    let engine = Engine::default();
    let mut wrong = plan();
    wrong["parts"][0]["agent"] = json!("bem");
    wrong["parts"][1]["needs"] = json!(["nothing"]);
    let planner =
        Says::new(move |_, before| Ok(if before == 0 { wrong.clone() } else { plan() }.to_string()));
    let (ann, ben) = (Says::text("from ann"), Says::text("from ben"));
    let agents = [agent(&engine, "ann", &ann), agent(&engine, "ben", &ben)];
    let team = Team::builder().agents(agents).planner(planner.clone()).build().unwrap();
    let result = team.run("x").await.unwrap();
    assert_eq!((result.parts.len(), planner.calls()), (3, 2));
    let told = planner.prompt(1);
    assert!(
        told.contains("the part `text` is for `bem`, which is no agent here")
            && told.contains("did you mean `ben`?")
    );
    assert!(told.contains("the part `notes` needs `nothing`, which is no part"), "{told}");
    assert!(told.starts_with(&planner.prompt(0)), "the second question stands by itself: {told}");
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_stays_wrong_fails_the_run_and_no_part_begins() {
    let engine = Engine::default();
    let circle = json!({"complexity": "low", "summary": "", "parts": [
        {"id": "a", "description": "d", "agent": "ann", "needs": ["b"], "expected": ""},
        {"id": "b", "description": "d", "agent": "ann", "needs": ["a"], "expected": ""},
    ]});
    let (ann, planner) = (Says::text("from ann"), Says::json(circle));
    let team = Team::builder().agent(agent(&engine, "ann", &ann)).planner(planner.clone()).build().unwrap();
    let failed = team.run("x").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::OutputInvalid);
    assert!(failed.error.message().contains("`a`, `b` wait for each other in a circle"), "{}", failed.error);
    assert_eq!((planner.calls(), ann.calls()), (2, 0));
}

#[test]
fn every_fault_of_an_analysis_is_named() {
    let agents = ["ann", "ben"];
    let faults = |analysis: Analysis| analysis.problems(agents, 3);
    assert_eq!(faults(Analysis::default()), ["it has no parts; give at least one"]);
    let all = faults(Analysis::new([
        Part::new("a b", "ann", "x"),
        Part::new("end", "ann", "x"),
        Part::new("c", "zoe", " "),
        Part::new("c", "ann", "x").needs(["c", "d"]),
    ]));
    let joined = all.join("\n");
    for part in [
        "4 parts, and 3 are the most",
        "part 1 has the id `a b`",
        "is not `end`",
        "says nothing",
        "`zoe`",
        "two parts",
        "needs itself",
        "needs `d`",
    ] {
        assert!(joined.contains(part), "{part}: {joined}");
    }
    assert!(
        faults(Analysis::new([Part::new("a", "ann", "x"), Part::new("b", "ben", "y").needs(["a"])]))
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn an_analysis_may_be_looked_at_and_changed_before_it_is_followed() {
    let (ann, _, team) = ann_and_ben(&Engine::default());
    let mut analysis = team.analyse("Make a booklet").await.unwrap();
    assert_eq!((analysis.parts.len(), ann.calls()), (3, 0));
    analysis.parts.truncate(2);
    let result = team.run_with_analysis("Make a booklet", &analysis, RunOptions::default()).await.unwrap();
    assert_eq!(result.parts.len(), 2);
    analysis.parts[0].agent = "zoe".into();
    let refused = team.run_with_analysis("x", &analysis, RunOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest);
    assert!(refused.error.message().contains("`zoe`"));
}

fn failing() -> Says {
    Says::new(|_, _| Err(Error::new(ErrorKind::Refused, "not this")))
}

#[tokio::test(start_paused = true)]
async fn a_part_that_fails_ends_the_run_or_is_left_out() {
    let engine = Engine::default();
    let analysis = Analysis::new([
        Part::new("good", "ann", "do it"),
        Part::new("bad", "ben", "do it"),
        Part::new("last", "ann", "finish").needs(["good", "bad"]),
    ]);
    let ann = Says::text("from ann");
    let team = |on_failure| {
        let agents = [agent(&engine, "ann", &ann), agent(&engine, "ben", &failing())];
        Team::builder().agents(agents).on_failure(on_failure).build().unwrap()
    };
    let failed =
        team(OnFailure::Fail).run_with_analysis("x", &analysis, RunOptions::default()).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Refused);
    assert!(failed.error.message().contains("the node `bad`"), "{}", failed.error);
    let result =
        team(OnFailure::Continue).run_with_analysis("x", &analysis, RunOptions::default()).await.unwrap();
    let failed = &result.merged()["failed"][0];
    assert_eq!((&failed["author"], &failed["code"]), (&json!("ben"), &json!("refused")));
    assert_eq!(result.text(), "from ann\n\nfrom ann");
    let last = ann.prompts().into_iter().find(|prompt| prompt.contains("finish")).unwrap();
    assert!(last.contains("The part `bad` by ben failed: ") && last.contains("not this"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_part_is_tried_again_where_that_may_help() {
    let engine = Engine::default();
    let flaky = Says::new(|_, before| match before {
        0 => Err(Error::new(ErrorKind::Overloaded, "come back later")),
        _ => Ok("at last".into()),
    });
    let team = Team::builder().agent(agent(&engine, "ann", &flaky)).attempts(3).build().unwrap();
    let result = team.run("x").await.unwrap();
    assert_eq!((result.text(), flaky.calls()), ("at last", 2));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_not_good_enough_goes_back_with_what_judges_said() {
    let engine = Engine::default();
    let ann = Says::text("solid");
    let ben = Says::new(|prompt, _| {
        Ok(if prompt.contains("not good enough yet") { "better" } else { "draft" }.into())
    });
    let cat =
        Says::new(|prompt, _| Ok(if prompt.contains("better") { "on better" } else { "on draft" }.into()));
    let agents = [agent(&engine, "ann", &ann), agent(&engine, "ben", &ben), agent(&engine, "cat", &cat)];
    let judge = judge(|text| if text.contains("draft") && !text.contains("on draft") { 4.0 } else { 9.0 });
    let team = Team::builder().agents(agents).judge(judge).threshold(7.0).build().unwrap();
    let analysis = Analysis::new([
        Part::new("a", "ann", "one"),
        Part::new("b", "ben", "two"),
        Part::new("c", "cat", "three").needs(["b"]),
    ]);
    let result = team.run_with_analysis("x", &analysis, RunOptions::default()).await.unwrap();
    assert_eq!(result.rounds, 1);
    // What was good is not done again; what was built on the draft is.
    assert_eq!((ann.calls(), ben.calls(), cat.calls()), (1, 2, 2));
    let again = ben.prompt(1);
    assert!(
        again.contains("You gave this before") && again.contains("draft") && again.contains("about `draft`"),
        "{again}"
    );
    let texts: Vec<_> = result.parts.iter().map(|part| &*part.text).collect();
    assert_eq!(texts, ["solid", "better", "on better"]);
    let quality = result.integrated().unwrap().quality;
    assert!(quality.parts.iter().all(|part| part.score == Some(9.0)), "{quality:?}");
}

#[tokio::test(start_paused = true)]
async fn work_goes_back_so_often_and_no_more() {
    let engine = Engine::default();
    let ann = Says::text("never good");
    let team =
        Team::builder().agent(agent(&engine, "ann", &ann)).judge(judge(|_| 3.0)).everyone().threshold(7.0);
    let result = team.rounds(2).build().unwrap().run("x").await.unwrap();
    assert_eq!((result.rounds, ann.calls()), (2, 3));
    assert_eq!(result.integrated().unwrap().quality.overall, Some(3.0));
}

#[tokio::test(start_paused = true)]
async fn cancelling_reaches_every_member() {
    let engine = Engine::default();
    let slow = Says::text("late").after(Duration::from_secs(3600));
    let agents = ["ann", "ben", "cat"].map(|name| agent(&engine, name, &slow));
    let team = Team::builder().agents(agents).build().unwrap();
    let mut handle = team.start("x", RunOptions::default()).unwrap();
    let mut events = handle.take_events();
    until("all work", || slow.seen.gauge.now() == 3).await;
    handle.cancel();
    let error = handle.outcome().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(slow.seen.gauge.now(), 0);
    engine.idle().await;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.kind);
    }
    assert!(matches!(last, Some(EventKind::RunFinished { status: Status::Cancelled, .. })), "{last:?}");
    let run = error.result.unwrap().run;
    for member in ["ann", "ben", "cat"] {
        let stored = engine.store().load(&format!("{run}/parts#0/{member}#0")).await.unwrap();
        let child = ambidex_core::run::Run::fold("x", stored.definition, &stored.records).unwrap();
        assert_eq!(child.status(), Status::Cancelled, "{member}");
        assert_eq!(child.parent(), Some(&*format!("{run}/parts#0")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_takes_its_members_along() {
    let engine = Engine::default();
    let slow = Says::text("late").after(Duration::from_secs(3600));
    let team =
        Team::builder().agents(["ann", "ben"].map(|name| agent(&engine, name, &slow))).build().unwrap();
    let running = tokio::spawn(async move { team.run("x").await });
    until("both work", || slow.seen.gauge.now() == 2).await;
    running.abort();
    until("nobody does", || slow.seen.gauge.now() == 0).await;
    engine.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_of_the_whole_team() {
    let engine = Engine::default();
    let model = Says::text("done");
    let budget = ambidex_core::budget::Budget { tokens: Some(25), ..Default::default() };
    let team =
        Team::builder().agent(agent(&engine, "one", &model)).at_once(1).budget(budget).build().unwrap();
    let parts = (0..10).map(|n| Part::new(format!("p{n}"), "one", format!("do {n}")));
    let result = team.run_with_analysis("x", &Analysis::new(parts), RunOptions::default()).await.unwrap();
    assert_eq!(result.run.status, Status::Paused);
    assert!(model.calls() < 10, "{}", model.calls());
}

#[tokio::test(start_paused = true)]
async fn results_that_are_there_can_be_integrated() {
    let engine = Engine::default();
    let judge = judge(|text| if text.contains("ann") { 8.0 } else { 6.0 });
    let team = Team::builder().agent(agent(&engine, "ann", &Says::text("x"))).judge(judge).build().unwrap();
    let results = vec![MemberOutput::new("ann", "by ann"), MemberOutput::new("zoe", "by another")];
    let result = team.integrate("the task", results).await.unwrap();
    let quality = result.integrated().unwrap().quality;
    let scores: Vec<_> = quality.agents.iter().map(|agent| (&*agent.author, agent.score)).collect();
    assert_eq!(scores, [("ann", Some(8.0)), ("zoe", Some(6.0))]);
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_built() {
    let engine = Engine::default();
    let ann = || agent(&engine, "ann", &Says::text("x"));
    let wrong: [(_, &str); 6] = [
        (Team::builder(), "it has no agents"),
        (Team::builder().agent(ann()).merge(Merge::vote("score")).threshold(5.0), "merge with `integrate`"),
        (Team::builder().agent(ann()).judge(judge(|_| 1.0)).threshold(11.0), "a score from 0 to 10"),
        (Team::builder().agent(ann()).rounds(2), "without a `threshold`"),
        (Team::builder().agent(ann()).merge(Merge::fuse("zoe")), "`zoe`, which is no model or agent here"),
        (Team::builder().agent(ann()).merge(Merge::concat()).judge(judge(|_| 1.0)), "asks neither"),
    ];
    for (builder, why) in wrong {
        let error = builder.build().map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(error.message().contains(why) && error.message().contains("team"), "{why}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_team_is_a_node_of_a_graph() {
    let (_, _, team) = ann_and_ben(&Engine::default());
    let graph = ambidex_engine::Graph::builder("outer")
        .graph_node("team", team.graph().clone(), ambidex_core::graph::Source::Value(team.state("go")))
        .build()
        .unwrap();
    let result = graph.run(json!({})).await.unwrap();
    assert_eq!(result.output.unwrap()["team"]["text"], "from ben\n\nfrom ann\n\nfrom ben");
}

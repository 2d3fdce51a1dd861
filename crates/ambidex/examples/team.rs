// A team builds a small project: a planner takes the task apart, agents do the parts, judges score them, what is not good
// enough goes back once, and the files are written to a folder. `cargo run --example team -- FOLDER`

use std::sync::Arc;

use ambidex::models::{ScriptedModel, Turn, When};
use ambidex::teams::Actor;
use ambidex::{Agent, Team};
use serde_json::json;

fn file(path: &str, text: &str) -> String {
    format!("```text path={path}\n{text}\n```")
}

fn verdict(scores: &[(&str, f64)], overall: f64) -> Turn {
    let verdicts = scores.iter().map(|(candidate, score)| {
        json!({"candidate": candidate, "score": score, "reason": if *score < 7.0 { "it says nothing of the input" } else { "good" }})
    });
    Turn::json(
        json!({"verdicts": verdicts.collect::<Vec<_>>(), "overall": overall, "remarks": "It fits together."}),
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let planner = ScriptedModel::new([Turn::json(json!({
        "complexity": "low",
        "summary": "The program first, for the manual is about it.",
        "parts": [
            {"id": "program", "description": "Write wc.py", "agent": "coder", "needs": [], "expected": "a program"},
            {"id": "manual", "description": "Write README.md", "agent": "writer", "needs": ["program"], "expected": "a manual"},
        ],
    }))]);
    let coder = ScriptedModel::new([file("wc.py", "import sys\nprint(len(sys.stdin.read().split()))")]);
    let writer = ScriptedModel::new([
        Turn::text(file("README.md", "wc.py counts the words of stdin."))
            .when(When::new().last("not good enough yet")),
        Turn::text(file("README.md", "wc.py counts words.")),
    ]);
    // Candidates come in an order of their own; what a judge says of which is found by its words.
    let judge = ScriptedModel::new([
        Turn::json(json!({
            "deployment": {"steps": ["copy wc.py"], "checks": ["echo a b | python3 wc.py"], "risks": []},
            "actions": [{"what": "count lines too", "who": "coder", "priority": "low"}],
        }))
        .when(When::new().last("Give deployment and actions")),
        verdict(&[("A", 9.0), ("B", 9.0)], 9.0).when(When::new().last("of stdin")),
        verdict(&[("A", 4.0), ("B", 9.0)], 6.0).when(
            When::new().matches(r"(?s)<candidate A [0-9a-f]+>\s+\(its part of the task: Write README")?,
        ),
        verdict(&[("A", 9.0), ("B", 4.0)], 6.0).when(When::new().last("Judge how well")),
    ]);
    let agent = |name: &str, instructions: &str, model: ScriptedModel| {
        Agent::builder().name(name).instructions(instructions).model(model).build()
    };
    let team = Team::builder()
        .agent(agent("coder", "You write programs.", coder)?)
        .agent(agent("writer", "You write for readers.", writer)?)
        .planner(planner)
        .judged_by(Actor::Model(Arc::new(judge)))
        .threshold(7.0)
        .build()?;

    let result = team.run("A command that counts words").await?;
    let whole = result.integrated().ok_or("nothing was integrated")?;
    println!("{}", whole.summary());
    println!(
        "{} parts, sent back {} time(s), {} tokens",
        result.parts.len(),
        result.rounds,
        result.run.usage.total_tokens()
    );
    let folder =
        std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("ambidex-team"), Into::into);
    for path in whole.write_to(&folder)? {
        println!("wrote {}", path.display());
    }
    assert_eq!((result.rounds, whole.quality.overall), (1, Some(9.0)));
    assert_eq!(whole.deployment.steps, ["copy wc.py"]);
    Ok(())
}

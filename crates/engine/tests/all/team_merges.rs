//! Merges that ask models, through teams in which everybody does the whole task.

use ambidex_core::{Error, ErrorKind};
use ambidex_engine::merge::{AssetKind, Merge};
use ambidex_engine::{Engine, Team, TeamResult};
use serde_json::json;

use crate::team_world::{Says, agent, candidates, judge, verdict_of};

async fn merged(
    merge: Option<Merge>,
    judges: &[Says],
    writer: Option<&Says>,
    says: &[(&str, &str)],
) -> TeamResult {
    let engine = Engine::default();
    let mut team = Team::builder().everyone();
    for (name, text) in says {
        team = team.agent(agent(&engine, name, &Says::text(text)));
    }
    for judge in judges {
        team = team.judge(judge.clone());
    }
    if let Some(writer) = writer {
        team = team.writer(writer.clone());
    }
    if let Some(merge) = merge {
        team = team.merge(merge);
    }
    team.build().unwrap().run("Name a colour").await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn votes_are_counted() {
    let says = [("a", "{\"score\": 8}"), ("b", "{\"score\": 3}"), ("c", "{\"score\": 7}")];
    let result = merged(Some(Merge::vote("score")), &[], None, &says).await;
    assert_eq!((&result.merged()["score"], &result.merged()["voted"]), (&json!(7), &json!(3)));
}

#[tokio::test(start_paused = true)]
async fn the_best_is_the_one_whose_median_is_highest() {
    // One judge is far off, and does not decide.
    let judges = [
        judge(|text| f64::from(text.len() as u32)),
        judge(|text| f64::from(text.len() as u32)),
        judge(|text| if text == "red" { 10.0 } else { 0.0 }),
    ];
    let result = merged(
        Some(Merge::new(ambidex_engine::merge::How::BestOf)),
        &judges,
        None,
        &[("a", "red"), ("b", "orange"), ("c", "teal")],
    )
    .await;
    assert_eq!((result.text(), &result.merged()["author"]), ("orange", &json!("b")));
    assert_eq!((&result.merged()["score"], &result.merged()["judges"]), (&json!(6.0), &json!(3)));
    let scores = &result.merged()["scores"];
    assert_eq!(
        scores[0],
        json!({"author": "a", "score": 3.0, "scores": [3.0, 3.0, 10.0], "reasons": ["about `red`", "about `red`", "about `red`"]})
    );
}

#[tokio::test(start_paused = true)]
async fn who_favours_the_first_place_favours_nobody() {
    let biased = Says::new(|prompt, _| {
        let scores = candidates(prompt).into_iter().enumerate().map(|(place, (letter, _))| {
            json!({"candidate": letter, "score": if place == 0 { 9 } else { 5 }, "reason": ""})
        });
        Ok(verdict_of(prompt, &scores.collect::<Vec<_>>(), 5.0))
    });
    let says = [("a", "red"), ("b", "orange"), ("c", "teal")];
    let result = merged(
        Some(Merge::new(ambidex_engine::merge::How::BestOf)),
        std::slice::from_ref(&biased),
        None,
        &says,
    )
    .await;
    let mut first: Vec<_> = biased.prompts().iter().map(|prompt| candidates(prompt)[0].1.clone()).collect();
    first.sort();
    assert_eq!(first, ["orange", "red", "teal"], "each stands first once");
    assert!(
        biased.prompts().iter().all(|prompt| !prompt.contains("by=\"") && prompt.contains("Name a colour"))
    );
    // Equal medians: the first member.
    assert_eq!(result.merged()["author"], "a");
    let medians: Vec<_> =
        result.merged()["scores"].as_array().unwrap().iter().map(|s| s["score"].clone()).collect();
    assert_eq!(medians, [5.0, 5.0, 5.0]);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_mixes_candidates_up_does_not_count() {
    let broken = Says::new(|prompt, _| {
        Ok(verdict_of(prompt, &[json!({"candidate": "A", "score": 5, "reason": ""})], 5.0))
    });
    let wild = Says::new(|prompt, _| {
        let all = candidates(prompt)
            .into_iter()
            .map(|(letter, _)| json!({"candidate": letter, "score": 70, "reason": ""}));
        Ok(verdict_of(prompt, &all.collect::<Vec<_>>(), 5.0))
    });
    let judges = [broken.clone(), judge(|text| if text == "teal" { 8.0 } else { 2.0 }), wild];
    let result = merged(
        Some(Merge::new(ambidex_engine::merge::How::BestOf)),
        &judges,
        None,
        &[("a", "red"), ("b", "teal")],
    )
    .await;
    assert_eq!((result.text(), &result.merged()["judges"]), ("teal", &json!(1)));
    let failed = result.merged()["failed"].to_string();
    assert!(
        failed.contains("candidate B is not judged once") && failed.contains("the scale is 0 to 10"),
        "{failed}"
    );

    let engine = Engine::default();
    let team = Team::builder()
        .everyone()
        .agent(agent(&engine, "a", &Says::text("red")))
        .judge(Says::new(|_, _| Err(Error::new(ErrorKind::Refused, "no"))));
    let failed = team
        .merge(Merge::new(ambidex_engine::merge::How::BestOf))
        .build()
        .unwrap()
        .run("x")
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::OutputInvalid);
    assert!(failed.error.message().contains("no judge gave a verdict"), "{}", failed.error);
}

#[tokio::test(start_paused = true)]
async fn one_text_is_written_from_all() {
    let writer = Says::text("a reddish orange");
    let merge = Merge { rubric: "It is short".into(), ..Merge::new(ambidex_engine::merge::How::Fuse) };
    let result = merged(Some(merge), &[], Some(&writer), &[("a", "red"), ("b", "orange")]).await;
    assert_eq!((result.text(), &result.merged()["authors"]), ("a reddish orange", &json!(["a", "b"])));
    let told = writer.prompt(0);
    assert!(
        told.contains("Name a colour") && told.contains("<work of=\"b\"") && told.contains("- It is short"),
        "{told}"
    );
}

const SHELL: &str = "Here is my part.\n\n```sh path=bin/run.sh\n#!/bin/sh\necho one\n```\n\nAnd what it does:\n\n### docs/use.md\n```markdown\nRun it.\n```\n";
const OTHER: &str = "**bin/run.sh**\n\n```sh\n#!/bin/sh\necho two\n```\n\n```src/lib.rs\nfn f() {}\n```\n";

#[tokio::test(start_paused = true)]
async fn assets_are_found_and_what_is_in_conflict_is_shown() {
    let judges = [judge(|text| if text.contains("two") { 8.0 } else { 5.0 })];
    let says = [
        ("ann", SHELL),
        ("ben", OTHER),
        ("cat", "I only have an opinion."),
        ("dan", "```js path=x.js\ncut off"),
    ];
    let result = merged(None, &judges, None, &says).await;
    let keys: Vec<_> = result.merged().as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["assets", "quality", "deployment", "actions"]);
    let whole = result.integrated().unwrap();
    let found: Vec<_> = whole.assets.iter().map(|asset| (&*asset.path, &*asset.author, asset.kind)).collect();
    assert_eq!(
        found,
        [
            ("bin/run.sh", "ann", AssetKind::File),
            ("docs/use.md", "ann", AssetKind::Document),
            ("bin/run.sh", "ben", AssetKind::File),
            ("src/lib.rs", "ben", AssetKind::File),
            ("cat.md", "cat", AssetKind::Document),
            ("dan.md", "dan", AssetKind::Document),
        ]
    );
    assert_eq!(whole.assets[0].content, "#!/bin/sh\necho one\n");
    let conflicts = whole.conflicts();
    let (path, versions) = &conflicts[0];
    let versions: Vec<_> =
        versions.iter().map(|asset| (&*asset.author, asset.conflict.as_ref().unwrap().chosen)).collect();
    // The one judges scored higher.
    assert_eq!((*path, versions), ("bin/run.sh", vec![("ben", true), ("ann", false)]));
    assert_eq!(conflicts.len(), 1);
    assert_eq!(whole.deployment.steps, ["copy it"]);
    assert_eq!((&*whole.actions[0].who, &*whole.actions[0].priority), ("ann", "high"));
    let asked =
        judges[0].prompts().into_iter().find(|prompt| prompt.ends_with("deployment and actions.")).unwrap();
    assert!(
        asked.contains("`bin/run.sh` is in conflict: versions by ben, ann; the first is taken"),
        "{asked}"
    );
    assert!(whole.summary().contains("- `bin/run.sh` by ann (not chosen; another version by ben)"));

    let folder = tempfile::tempdir().unwrap();
    let written = whole.write_to(folder.path()).unwrap();
    assert_eq!(written.len(), 6);
    assert_eq!(std::fs::read_to_string(folder.path().join("bin/run.sh")).unwrap(), "#!/bin/sh\necho two\n");
    assert_eq!(
        std::fs::read_to_string(folder.path().join("bin/run.sh.ann")).unwrap(),
        "#!/bin/sh\necho one\n"
    );
}

#[tokio::test(start_paused = true)]
async fn assets_come_as_data_too_and_equal_ones_are_one() {
    let listed =
        json!({"files": [{"path": "./a.txt", "content": "same"}, {"path": "b/c.rs", "content": "x"}]})
            .to_string();
    let mapped = json!({"assets": {"a.txt": "same\n"}}).to_string();
    let result = merged(None, &[judge(|_| 5.0)], None, &[("ann", &listed), ("ben", &mapped)]).await;
    let whole = result.integrated().unwrap();
    assert_eq!(whole.assets.len(), 2);
    assert_eq!((&*whole.assets[0].path, &whole.assets[0].also_by), ("a.txt", &vec!["ben".to_owned()]));
    assert!(whole.conflicts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_outside_of_the_folder() {
    for path in ["../x", "/etc/x", "a/../../x", ""] {
        let listed = json!({"files": [{"path": "good.txt", "content": "g"}, {"path": path, "content": "x"}]})
            .to_string();
        let result = merged(None, &[judge(|_| 5.0)], None, &[("ann", &listed)]).await;
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        let refused = result.integrated().unwrap().write_to(&inner).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArguments, "{path}");
        assert!(!inner.exists(), "{path}: nothing is written when one is refused");
    }
    let listed = json!({"files": {"link/x.txt": "x"}}).to_string();
    let result = merged(None, &[judge(|_| 5.0)], None, &[("ann", &listed)]).await;
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/tmp", folder.path().join("link")).unwrap();
    let refused = result.integrated().unwrap().write_to(folder.path()).unwrap_err();
    assert!(refused.message().contains("symbolic link"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_judge_or_an_integrator_that_fails_loses_no_assets_and_is_named() {
    let says = [("ann", SHELL)];
    let failing = || Says::new(|_, _| Err(Error::new(ErrorKind::Refused, "not me")));
    let result = merged(None, &[failing()], None, &says).await;
    let whole = result.integrated().unwrap();
    assert_eq!((whole.assets.len(), whole.quality.overall, whole.quality.judges), (2, None, 0));
    assert_eq!(whole.quality.failed.len(), 4);
    assert!(
        whole.deployment.risks[0].contains("the integrator failed")
            && whole.deployment.risks[0].contains("not me")
    );

    let result = merged(None, &[judge(|_| 7.0)], Some(&failing()), &says).await;
    let whole = result.integrated().unwrap();
    assert_eq!((whole.quality.overall, whole.quality.judges), (Some(7.0), 3));
    assert!(whole.deployment.risks[0].contains("not me") && whole.actions.is_empty());
    assert_eq!(whole.quality.failed[0].author, "the integrator");
}

#[tokio::test(start_paused = true)]
async fn a_member_may_be_called_writer_or_judge() {
    let says = [("writer", "red"), ("judge 1", "blue")];
    let result = merged(None, &[judge(|_| 5.0)], None, &says).await;
    let whole = result.integrated().unwrap();
    assert_eq!((whole.quality.failed.len(), &*whole.deployment.steps[0]), (0, "copy it"));
}

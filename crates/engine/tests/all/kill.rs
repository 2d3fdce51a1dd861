//! The driver dies after every single record; a new process goes on from the records as text.

use proptest::prelude::*;
use serde_json::json;

use crate::deadly::{Death, Plot, TOOLS, asks};
use crate::support::call;

const DEATHS: [Death; 3] = [Death::After, Death::Before, Death::Torn];

fn busy_plot() -> Plot {
    Plot {
        turns: vec![
            vec![
                call("pay", json!({"ms": 20})),
                call("look", json!({"ms": 5, "fail": "flaky"})),
                call("put", json!({"ms": 30})),
                call("send", json!({"ms": 10})),
                call("pay", json!({"ms": 4, "decision": "edit"})),
                call("nothing", json!({})),
            ],
            vec![
                call("look", json!({"ms": 1, "fail": "always"})),
                call("sweep", json!({"ms": 7})),
                call("send", json!({"ms": 3})),
                call("send", json!({"ms": 3, "second": true})),
                call("pay", json!({"decision": "reject"})),
                call("pay", json!({"decision": "answer"})),
            ],
        ],
        approvals: asks(false, false, true),
        concurrency: 3,
        steering: true,
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_after_every_record_changes_nothing() {
    let plot = busy_plot();
    let base = plot.live(Death::After, &[]).await;
    assert_eq!((base.deaths, base.doubts.len()), (0, 0));
    assert!(base.result.task_completed, "{:?}", base.result);
    let (mut lives, mut doubts, mut repeats) = (0, 0, 0);
    for at in 1..=base.records {
        for death in DEATHS {
            // Once; twice in a row; while it recovers, and once more.
            for kills in [vec![at], vec![at, at + 1], vec![at, at + 2, at + 3]] {
                let told = plot.check(&base, death, &kills).await;
                assert!(told.deaths >= 1, "{death:?} {kills:?}");
                lives += told.deaths + 1;
                doubts += told.doubts.len();
                repeats += told.repeats.len();
            }
        }
    }
    println!(
        "{} records, {lives} processes, {doubts} doubts, {repeats} calls a person repeated",
        base.records
    );
    assert!(base.records > 30 && doubts > 100 && repeats > 50, "the deaths must hit something");
}

#[tokio::test(start_paused = true)]
async fn a_queued_call_does_not_come_back_in_doubt() {
    // One `send` at a time: the second queues while the first is in flight and `look` ends.
    let send = || call("send", json!({"ms": 50}));
    let turn = vec![send(), call("send", json!({"ms": 50, "second": true})), call("look", json!({"ms": 5}))];
    let plot = Plot { turns: vec![turn], ..Plot::default() };
    let base = plot.live(Death::After, &[]).await;
    // accepted, m0; result of m0, t0.0, t0.2; result of t0.2
    for death in DEATHS {
        let told = plot.check(&base, death, &[6]).await;
        assert_eq!(told.deaths, 1);
        assert_eq!(told.doubts.into_iter().collect::<Vec<_>>(), ["run/t0.0"], "{death:?}");
        assert_eq!(told.world.begun("run/t0.1"), 1);
    }
}

fn any_call() -> impl Strategy<Value = (String, serde_json::Value)> {
    let fail = prop_oneof![4 => Just("no"), 1 => Just("always"), 1 => Just("flaky")];
    let decision =
        prop_oneof![3 => Just("approve"), 1 => Just("edit"), 1 => Just("reject"), 1 => Just("answer")];
    (0..TOOLS.len(), 0..25u64, fail, decision, 0..3u8).prop_map(|(tool, ms, fail, decision, n)| {
        call(TOOLS[tool].0, json!({"ms": ms, "fail": fail, "decision": decision, "n": n}))
    })
}

fn any_plot() -> impl Strategy<Value = Plot> {
    let turns = prop::collection::vec(prop::collection::vec(any_call(), 1..5), 1..4);
    let asked = (any::<bool>(), any::<bool>(), any::<bool>());
    (turns, asked, 1..5u32, any::<bool>()).prop_map(
        |(turns, (read, idempotent, once), concurrency, steering)| Plot {
            turns,
            approvals: asks(read, idempotent, once),
            concurrency,
            steering,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_run_survives_any_deaths(
        plot in any_plot(),
        moments in prop::collection::vec((0..3usize, prop::collection::vec(1..60u64, 1..5)), 6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let base = plot.live(Death::After, &[]).await;
            for (death, kills) in moments {
                let mut kills: Vec<u64> = kills.into_iter().map(|at| 1 + at % (base.records + 3)).collect();
                kills.sort_unstable();
                plot.check(&base, DEATHS[death], &kills).await;
            }
        });
    }
}

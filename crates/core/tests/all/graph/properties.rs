//! Random graphs: whatever completes first and wherever a process dies, the run ends the same.

use std::collections::BTreeSet;

use ambidex_core::record::{Outcome, Record, RecordKind};
use ambidex_core::run::{Phase, Run};
use proptest::prelude::*;

use super::support::stored;
use super::world::{Life, Plan, World, plans};

fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..60)
}

/// One effect after another, as they come: nothing disturbs.
fn plainly(plan: &Plan) -> Option<Life> {
    let mut life = Life::begin(&plan.definition());
    life.drive(&mut World::default(), &[0], false).then_some(life)
}

fn driven(plan: &Plan, choices: &[u8], disturbed: bool) -> Option<Life> {
    let mut life = Life::begin(&plan.definition());
    life.drive(&mut World::default(), choices, disturbed).then_some(life)
}

fn assert_same(life: Option<Life>, other: Option<&Life>) -> Result<(), TestCaseError> {
    match (life, other) {
        (Some(life), Some(other)) => {
            let (one, two) = (life.end(), other.end());
            prop_assert_eq!(
                one.1.to_string(),
                two.1.to_string(),
                "the state, down to the order of its fields"
            );
            prop_assert_eq!(one, two);
        }
        (None, None) => {} // both go round too long
        (life, _) => prop_assert!(false, "one of them ends: {:?}", life.map(|life| life.end())),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_completion_ends_the_same(plan in plans(), choices in choices()) {
        assert_same(driven(&plan, &choices, false), plainly(&plan).as_ref())?;
    }

    #[test]
    fn crashes_lost_calls_pauses_and_refused_permits_change_nothing(plan in plans(), choices in choices()) {
        assert_same(driven(&plan, &choices, true), plainly(&plan).as_ref())?;
    }

    #[test]
    fn stored_records_and_snapshots_give_the_live_state(
        plan in plans(),
        choices in choices(),
        cut in any::<prop::sample::Index>(),
    ) {
        let definition = plan.definition();
        let mut life = Life::begin(&definition);
        life.drive(&mut World::default(), &choices, true);
        let text = serde_json::to_vec(&life.records).unwrap();
        let records: Vec<Record> = serde_json::from_slice(&text).unwrap();
        prop_assert_eq!(&records, &life.records);
        let folded = Run::fold("run", definition.clone(), &records).unwrap();
        prop_assert!(folded == life.run, "{:#?} is not {:#?}", folded, life.run);
        // Anywhere, also within a step.
        let cut = 1 + cut.index(records.len());
        let half = Run::fold("run", definition.clone(), &records[..cut]).unwrap();
        let restored = Run::restore("run", definition.clone(), stored(&half.snapshot()), &[]).unwrap();
        prop_assert!(restored == half, "at {}: {:#?} is not {:#?}", cut, restored, half);
        let restored = Run::restore("run", definition, stored(&half.snapshot()), &records[cut..]).unwrap();
        prop_assert!(restored == life.run, "after {}: {:#?} is not {:#?}", cut, restored, life.run);
    }

    #[test]
    fn a_stopped_run_stops(plan in plans(), choices in choices(), cut in any::<prop::sample::Index>()) {
        let Some(life) = driven(&plan, &choices, true) else { return Ok(()) };
        let cut = 1 + cut.index(life.records.len());
        let mut life = Life::found(&plan.definition(), &life.records[..cut]);
        if life.run.status().is_final() {
            return Ok(());
        }
        let before = life.records.len();
        life.stop();
        let stopping = matches!(life.run.phase(), Phase::Finished(Outcome::Cancelled | Outcome::Succeeded { .. } | Outcome::Failed(_)));
        prop_assert!(stopping, "{:?}", life.run.phase());
        let started = life.records[before..].iter().filter(|record| matches!(record.kind, RecordKind::Intent(_)));
        prop_assert_eq!(started.count(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_prefix_of_the_records_finds_its_way_to_the_same_end(plan in plans(), choices in choices()) {
        let plain = plainly(&plan);
        let Some(first) = driven(&plan, &choices, false) else { return Ok(()) };
        let definition = plan.definition();
        for length in 1..=first.records.len() {
            let mut life = Life::found(&definition, &first.records[..length]);
            let ended = life.drive(&mut World::default(), &choices, true);
            assert_same(ended.then_some(life), plain.as_ref())?;
        }
    }
}

/// The graphs are worth driving through: they meet everything they are made for.
#[test]
fn the_graphs_are_rich() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut ended, mut long, mut again, mut joined) = (0, 0, 0, 0);
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        let plan = plans().new_tree(&mut runner).unwrap().current();
        assert_eq!(plan.graph().check(), Ok(()));
        let mut world = World::default();
        let mut life = Life::begin(&plan.definition());
        if life.drive(&mut world, &[0, 251, 7, 230, 18, 100, 220], true) {
            ended += 1;
        } else {
            long += 1;
        }
        seen.extend(world.seen);
        let works = life.end().2;
        again += usize::from(works.iter().any(|id| id.contains("#1")));
        joined += usize::from(works.len() > 8);
    }
    let kinds = [
        "approval", "branch", "child", "doubt", "failure", "paused", "question", "retry", "send", "tool",
        "wait",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), kinds);
    assert!(ended > 200 && long < 80 && again > 40 && joined > 60, "{ended} {long} {again} {joined}");
}

//! Random worlds: whatever completes first and wherever a process dies, the run ends the same.

use ambidex_core::message::History;
use ambidex_core::record::{Record, RecordKind};
use ambidex_core::run::{Run, Snapshot};
use ambidex_core::tool::EffectClass;
use proptest::prelude::*;

use crate::support::assert_answered;
use crate::world::{Life, Plan, World};

fn plans() -> impl Strategy<Value = Plan> {
    let tool_calls = prop::option::of(1u64..6);
    (any::<u64>(), 1u32..5, 1u32..9, tool_calls, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(seed, concurrency, iterations, tool_calls, finish_hook, stop_after, compact)| Plan {
            seed,
            concurrency,
            iterations,
            tool_calls,
            finish_hook,
            stop_after,
            compact,
        },
    )
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..60)
}

/// One effect after another, as they come: nothing disturbs.
fn plainly(plan: &Plan) -> (Life, World) {
    let mut world = World::new(plan.seed);
    let mut life = Life::begin(plan);
    life.drive(&mut world, &[1], false);
    (life, world)
}

fn assert_same(life: &Life, other: &Life) -> Result<(), TestCaseError> {
    let text = |history: &History| format!("{history:#?}");
    prop_assert_eq!(text(&life.end().1), text(&other.end().1));
    prop_assert_eq!(life.end(), other.end());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_completion_ends_the_same(plan in plans(), choices in choices()) {
        let (plain, _) = plainly(&plan);
        let mut life = Life::begin(&plan);
        life.drive(&mut World::new(plan.seed), &choices, false);
        assert_same(&life, &plain)?;
        assert_answered(&life.run);
    }

    #[test]
    fn crashes_lost_calls_pauses_and_ticks_change_nothing(plan in plans(), choices in choices()) {
        let (plain, once) = plainly(&plan);
        let mut life = Life::begin(&plan);
        let mut world = World::new(plan.seed);
        life.drive(&mut world, &choices, true);
        assert_same(&life, &plain)?;
        assert_answered(&life.run);
        let names = |world: &World| world.happened.keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(names(&world), names(&once), "the same calls took effect");
    }

    #[test]
    fn folding_the_stored_records_gives_the_live_state(plan in plans(), choices in choices()) {
        let mut life = Life::begin(&plan);
        life.drive(&mut World::new(plan.seed), &choices, true);
        let stored = life.records.iter().map(|record| {
            let text = serde_json::to_vec(record).unwrap();
            let read: Record = serde_json::from_slice(&text).unwrap();
            assert_eq!(&read, record, "{}", String::from_utf8_lossy(&text));
            read
        });
        let stored: Vec<_> = stored.collect();
        let folded = Run::fold("run", plan.definition(), &stored).unwrap();
        prop_assert!(folded == life.run, "{:#?} is not {:#?}", folded, life.run);
    }

    #[test]
    fn a_snapshot_and_the_records_after_it_give_the_live_state(
        plan in plans(),
        choices in choices(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut life = Life::begin(&plan);
        life.drive(&mut World::new(plan.seed), &choices, true);
        // Anywhere, also within a step.
        let cut = 1 + cut.index(life.records.len());
        let half = Run::fold("run", plan.definition(), &life.records[..cut]).unwrap();
        let snapshot: Snapshot = serde_json::from_slice(&serde_json::to_vec(&half.snapshot()).unwrap()).unwrap();
        prop_assert_eq!(snapshot.next_seq(), half.next_seq());
        let restored = Run::restore("run", plan.definition(), snapshot, &life.records[cut..]).unwrap();
        prop_assert!(restored == life.run, "{:#?} is not {:#?}", restored, life.run);
    }

    #[test]
    fn records_are_numbered_and_every_intent_has_one_result(plan in plans(), choices in choices()) {
        let mut life = Life::begin(&plan);
        life.drive(&mut World::new(plan.seed), &choices, true);
        let mut open = std::collections::BTreeSet::new();
        for (seq, record) in (0..).zip(&life.records) {
            prop_assert_eq!(record.seq, seq);
            match &record.kind {
                RecordKind::Intent(intent) => prop_assert!(open.insert(intent.id.clone()), "{}", intent.id),
                RecordKind::Result { effect, .. } => {
                    // A doubt that was cleared takes its call with it.
                    prop_assert!(open.remove(effect), "{}", effect);
                    if let Some((about, _)) = effect.as_str().strip_prefix("doubt:").and_then(|id| id.rsplit_once('.')) {
                        let cleared = life.records.iter().all(|later| !matches!(&later.kind,
                            RecordKind::Result { effect, .. } if later.seq > seq && effect.as_str() == about));
                        if cleared {
                            open.retain(|id| id.as_str() != about);
                        }
                    }
                }
                _ => {}
            }
        }
        prop_assert!(open.is_empty(), "{:?}", open);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_prefix_of_the_records_finds_its_way_to_the_end(plan in plans(), choices in choices()) {
        let (plain, _) = plainly(&plan);
        let mut first = Life::begin(&plan);
        first.drive(&mut World::new(plan.seed), &choices, false);
        for length in 1..=first.records.len() {
            let prefix = &first.records[..length];
            let mut world = World::new(plan.seed);
            reported(prefix, &plan, &mut world);
            let mut life = Life::found(&plan, prefix, &mut world, length as u64);
            life.drive(&mut world, &choices, true);
            assert_same(&life, &plain)?;
        }
    }
}

/// The calls that took effect and were reported by these records.
fn reported(records: &[Record], plan: &Plan, world: &mut World) {
    let mut run = Run::new("run", plan.definition());
    for record in records {
        if let RecordKind::Result { effect, result: Ok(_), .. } = &record.kind {
            let open = run.effects().find(|open| open.intent.id == *effect).unwrap();
            if open.intent.class != EffectClass::Read && effect.as_str().starts_with('t') {
                *world.happened.entry(effect.to_string()).or_default() += 1;
            }
        }
        run.apply(record).unwrap();
    }
}

/// The worlds are worth driving through: they meet everything they are made for.
#[test]
fn the_worlds_are_rich() {
    let (mut doubts, mut claims, mut happened) = (0, 0, 0);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let plan = Plan {
            seed,
            concurrency: 3,
            iterations: 4,
            tool_calls: Some(4),
            finish_hook: seed % 2 == 0,
            stop_after: seed % 3 == 0,
            compact: seed % 2 == 1,
        };
        let choices: Vec<u8> =
            (0..40u8).map(|n| (seed as u8).wrapping_mul(37).wrapping_add(n.wrapping_mul(29))).collect();
        let mut life = Life::begin(&plan);
        let mut world = World::new(seed);
        life.drive(&mut world, &choices, true);
        doubts += world.doubts;
        claims += world.claims;
        happened += world.happened.values().sum::<u32>();
        let text = serde_json::to_string(&life.records).unwrap();
        let marks = [
            "max_iterations",
            "tool_calls\":",
            "operator",
            "lost",
            "resumed",
            "repeated_calls",
            "overloaded",
            "refused",
            "empty_reply",
            "\"length\"",
            "\"paused\"",
            "\"repeat\"",
            "\"edit\"",
            "\"reject\"",
            "finish_hook",
            "summarise",
            "so far",
            "no summary",
            "\"m3.1\"",
            "exclusive",
            "invalid",
        ];
        seen.extend(marks.into_iter().filter(|mark| text.contains(mark)));
        let heard = serde_json::to_string(life.run.history()).unwrap();
        let told = ["unknown_tool", "not allowed here", "Do something else", "was empty", "was cut"];
        seen.extend(told.into_iter().filter(|mark| heard.contains(mark)));
    }
    assert!(doubts > 100 && claims > 200 && happened > 1000, "{doubts} {claims} {happened}");
    assert!(seen.len() >= 24, "only {seen:?}");
}

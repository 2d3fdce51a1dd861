use std::collections::HashSet;
use std::sync::Arc;

use ambidex_fake_provider::{Fault, Wire};
use ambidex_faults::{Case, Provider, Strikes, Table};

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_gives_what_is_due() {
    let table = Table::of(Case::all(), Arc::new(Provider)).await;
    assert!(table.holds(), "{:?}\n{}", table.totals(), table.faults());
    let totals = table.totals();
    assert_eq!((totals.rows, totals.violated), (Case::all().len(), 0));
    assert_eq!((totals.not_whole, totals.partial_arguments), (0, 0));
    assert_eq!((totals.sockets_held, totals.sockets_left), (0, 0));
    assert_eq!((totals.redirects, totals.refused), (0, 0));
    assert!(totals.given_up > 0 && totals.given_up == totals.hangups);
    assert!(totals.tools_run > 0);
}

#[test]
fn every_fault_is_in_the_table_in_each_format_it_exists_in() {
    let all = Case::all();
    for fault in Fault::all() {
        let rows: Vec<_> = all.iter().filter(|case| case.fault == *fault).collect();
        let wires: HashSet<Wire> = rows.iter().map(|case| case.wire).collect();
        assert_eq!(wires, fault.wires().iter().copied().collect(), "{fault:?}");
        for strikes in [Strikes::First, Strikes::Always] {
            assert_eq!(rows.iter().filter(|case| case.strikes == strikes).count(), wires.len(), "{fault:?}");
        }
    }
}

#[test]
fn what_is_due_agrees_with_what_the_fault_demands() {
    use ambidex_fake_provider::Demand;
    use ambidex_faults::expected::{Due, due};
    for case in Case::all() {
        let agrees = match due(case.fault, case.wire) {
            Due::Whole => case.fault.demand() == Demand::Whole,
            Due::Again { codes, .. } => case.fault.demand() == Demand::Unusable && !codes.is_empty(),
            Due::Fail { .. } => case.fault.demand() == Demand::Final,
            Due::Withhold { .. } => case.fault.demand() == Demand::Withhold,
            // Gone on with instead of failed: the whole text comes, or no completed result.
            Due::GoOn => case.fault == Fault::FinishLength,
        };
        assert!(agrees, "{}", case.name());
    }
}

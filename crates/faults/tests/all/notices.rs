//! Wrong clients are caught, and so is each single thing a row may get wrong.

use std::sync::Arc;
use std::time::Duration;

use ambidex::Status;
use ambidex_fake_provider::{Fault, Wire};
use ambidex_faults::expected::{Due, due};
use ambidex_faults::scenario::Line;
use ambidex_faults::verdict::violations;
use ambidex_faults::{Case, Kind, Provider, Row, Strikes, Table, run};

use crate::naive::Naive;

fn cases(faults: &[Fault]) -> Vec<Case> {
    Case::all().into_iter().filter(|case| faults.contains(&case.fault)).collect()
}

fn kinds(row: &Row) -> Vec<Kind> {
    violations(row).into_iter().map(|violation| violation.kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_a_cut_stream_for_whole_is_caught() {
    let cut = cases(&[
        Fault::TruncateClean,
        Fault::TruncateFin,
        Fault::TruncateUntilClose,
        Fault::ShortBody,
        Fault::MissingFinish,
        Fault::MissingMessageStop,
        Fault::DoneWithoutFinish,
        Fault::ErrorEventMid,
    ]);
    let table = Table::of(cut, Arc::new(Naive)).await;
    assert!(!table.holds());
    for (row, violations) in &table.rows {
        // Where only the end is missing, the content of a single lapse is whole by luck.
        let content_is_whole = matches!(
            row.case.fault,
            Fault::MissingFinish | Fault::MissingMessageStop | Fault::DoneWithoutFinish
        );
        let by_luck = content_is_whole && row.case.strikes == Strikes::First;
        let kind = if by_luck { Kind::Attempts } else { Kind::NotWhole };
        assert!(kinds(row).contains(&kind), "{}: {violations:?}", row.case.name());
    }
    assert_eq!(table.totals().violated, table.rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_makes_broken_arguments_empty_ones_is_caught() {
    let broken = cases(&[
        Fault::ArgumentsCut,
        Fault::ArgumentsCutUnsaid,
        Fault::ArgumentsNotJson,
        Fault::ArgumentsNotObject,
        Fault::DeepArguments,
    ]);
    let table = Table::of(broken, Arc::new(Naive)).await;
    for (row, violations) in &table.rows {
        assert!(kinds(row).contains(&Kind::PartialArguments), "{}: {violations:?}", row.case.name());
    }
    assert!(table.totals().partial_arguments >= table.rows.len());
}

/// A row as it is carried out by the model under test.
async fn good(fault: Fault, strikes: Strikes) -> Row {
    let row = run::row(Case { fault, wire: Wire::OpenAi, strikes }, &Provider).await.unwrap();
    assert_eq!(violations(&row), []);
    row
}

/// Whether the row, changed like this, is found out for this.
#[track_caller]
fn caught(row: &Row, kind: Kind, change: impl FnOnce(&mut Row)) {
    let mut changed = row.clone();
    change(&mut changed);
    let found = kinds(&changed);
    assert!(found.contains(&kind), "{kind:?} in {}: {found:?}", row.case.name());
}

#[tokio::test]
async fn each_thing_that_may_go_wrong_in_a_run_that_succeeds_is_caught() {
    let row = good(Fault::TruncateClean, Strikes::First).await;
    caught(&row, Kind::Outcome, |row| row.status = Some(Status::Paused));
    caught(&row, Kind::Outcome, |row| row.completed = false);
    caught(&row, Kind::NotWhole, |row| row.text.truncate(3));
    caught(&row, Kind::NotWhole, |row| {
        // The void text of the first attempt, kept.
        let void = Line::Assistant { text: "I list".into(), calls: vec![] };
        row.history.insert(1, void);
    });
    caught(&row, Kind::Tools, |row| drop(row.ran.pop()));
    caught(&row, Kind::Tools, |row| row.ran.push(row.ran[0].clone()));
    caught(&row, Kind::PartialArguments, |row| row.ran.push("list{}".into()));
    caught(&row, Kind::Events, |row| row.watched.restarts = 0);
    caught(&row, Kind::Events, |row| row.watched.retries = 0);
    caught(&row, Kind::Events, |row| row.watched.shown[0].insert(0, 'x'));
    caught(&row, Kind::Events, |row| row.watched.finished = None);
    caught(&row, Kind::Attempts, |row| row.provider.requests += 1);
    caught(&row, Kind::Attempts, |row| row.provider.struck = 0);
    caught(&row, Kind::Refused, |row| row.provider.refusals.push("an orphan tool result".into()));
    caught(&row, Kind::Dropped, |row| row.provider.odd = (2, 1));
    caught(&row, Kind::Redirect, |row| row.provider.redirected = 1);
    caught(&row, Kind::Sockets, |row| row.sockets_held = 1);
    caught(&row, Kind::Sockets, |row| row.sockets_left = 1);
    caught(&row, Kind::Hung, |row| row.status = None);
}

#[tokio::test]
async fn each_thing_that_may_go_wrong_in_a_run_that_fails_is_caught() {
    let row = good(Fault::Status401, Strikes::Always).await;
    caught(&row, Kind::Outcome, |row| row.code = Some("provider_error".into()));
    caught(&row, Kind::NotWhole, |row| row.status = Some(Status::Succeeded));
    caught(&row, Kind::Attempts, |row| row.provider.requests = 3);
    caught(&row, Kind::Wait, |row| row.took = Duration::from_secs(20));
    caught(&row, Kind::Message, |row| row.message = format!("fake: the key {} is wrong", run::KEY));
    caught(&row, Kind::Message, |row| row.message = String::new());
    let row = good(Fault::GarbageData, Strikes::Always).await;
    caught(&row, Kind::History, |row| row.history.push(Line::Assistant { text: "x".into(), calls: vec![] }));
    caught(&row, Kind::Tools, |row| row.ran.push("list{}".into()));
    let row = good(Fault::FinishLength, Strikes::Always).await;
    caught(&row, Kind::NotWhole, |row| row.completed = true);
}

#[tokio::test]
async fn a_wait_too_short_and_a_stall_too_long_are_caught() {
    let row = good(Fault::RateLimitFraction, Strikes::Always).await;
    caught(&row, Kind::Wait, |row| row.provider.waits[0] = Duration::from_millis(100));
    let row = good(Fault::StallSilent, Strikes::Always).await;
    caught(&row, Kind::Stall, |row| {
        row.provider.hangups[0] += Duration::from_secs(2);
        row.lateness = Duration::ZERO;
    });
    caught(&row, Kind::HangUp, |row| row.provider.hangups.clear());
}

#[test]
fn only_a_failure_that_a_wait_may_help_is_waited_for() {
    for case in Case::all() {
        if let Due::Again { codes, wait, .. } = due(case.fault, case.wire) {
            let asks = ["rate_limited", "overloaded"].contains(&codes[0]);
            assert!(wait.is_zero() || asks, "{}", case.name());
        }
    }
}

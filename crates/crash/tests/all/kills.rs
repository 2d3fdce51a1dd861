//! Processes that are really killed, a few of them.

use std::path::Path;
use std::process::Command;

fn crash(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ambidex-crash")).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn a_kill_between_an_effect_and_its_record_is_survived() {
    let text = crash(&["--seed", "5", "--store", "sqlite", "--only", "before result", "--each", "2"]);
    let line = text.lines().find(|line| line.contains("| before result |")).expect("its line");
    assert!(line.starts_with("| SQLite | before result | 2 |") && line.ends_with("| 0 |"), "{text}");
}

#[test]
fn a_failpoint_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_ambidex-crash")).args(["--only", "before lunch"]).output();
    let output = output.unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("there is no failpoint \"before lunch\"; there are: before accept, after accept"),
        "{text}"
    );
}

#[test]
fn a_power_cut_keeps_what_was_promised_and_loses_what_was_not() {
    let folder = tempfile::TempDir::new().unwrap();
    let power = run(folder.path());
    assert_eq!(power.violations().collect::<Vec<_>>(), [""; 0]);
    let [sync, batch] = &power.lines[..] else { panic!("two lines") };
    assert!(sync.acknowledged > 1_000 && sync.acknowledged == sync.due, "{sync:?}");
    // What a recorder that is not there, or a disk that forgets nothing, would not show.
    assert!(batch.due < batch.acknowledged && batch.lost_allowed > 0, "{batch:?}");
}

fn run(folder: &Path) -> ambidex_crash::power::Power {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(ambidex_crash::power::Power::of(40, 11, folder)).unwrap()
}

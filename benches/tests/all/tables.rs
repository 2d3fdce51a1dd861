use std::collections::BTreeMap;
use std::process::Command;

fn quick_run() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ambidex-benches"))
        .args(["run", "--quick", "--repetitions", "2", "--concurrency", "1,4", "--waiting", "50"])
        .args(["--turns", "30"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_table_is_printed_and_all_contenders_send_the_same() {
    let report = quick_run();
    let titles: Vec<&str> = report.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for title in
        ["A chat of one call", "An agent run of", "A streamed token", "50 runs waiting", "One long run"]
    {
        assert!(titles.iter().any(|found| found.starts_with(title)), "no `{title}` in {titles:?}");
    }
    assert!(!report.contains("NaN") && !report.contains("inf"), "{report}");

    let mut compared = 0;
    for section in report.split("\n## ").skip(1) {
        let mut sent: BTreeMap<&str, Vec<[&str; 3]>> = BTreeMap::new();
        let seen = section.split_once("Seen by the upstream").map_or("", |(_, seen)| seen);
        for line in seen.lines().filter(|line| line.contains("+ serde")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, at_once, _, requests, each, largest, ..] = cells[..] else { panic!("{line}") };
            sent.entry(at_once).or_default().push([requests, each, largest]);
        }
        for (at_once, rows) in sent {
            assert_eq!(rows.len(), 2, "at {at_once} in {section}");
            assert_eq!(rows[0], rows[1], "at {at_once} in {section}");
            compared += 1;
        }
    }
    // Three scenarios at two concurrencies, and two at one.
    assert_eq!(compared, 8);
}

#[test]
fn more_runs_at_once_than_open_files_is_refused_with_the_remedy() {
    let output = Command::new(env!("CARGO_BIN_EXE_ambidex-benches"))
        .args(["client", "--contender", "hyper", "--scenario", "waiting", "--upstream", "127.0.0.1:9"])
        .args(["--concurrency", "4000000000"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("the hard limit is") && errors.contains("--waiting"), "{errors}");
}

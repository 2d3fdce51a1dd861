use std::collections::BTreeMap;
use std::process::Command;

fn quick_run(more: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ambidex-benches"))
        .args(["run", "--quick", "--repetitions", "2", "--concurrency", "1,4", "--waiting", "50"])
        .args(["--turns", "30", "--queued", "20,200"])
        .args(more)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_table_is_printed_and_all_contenders_send_the_same() {
    let report = quick_run(&["--scenarios", "chat,agent,tokens,waiting,long"]);
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
fn what_ambidex_does_beside_itself_has_a_table_each_with_its_target() {
    let report = quick_run(&["--scenarios", "route,race,cache,queue"]);
    assert!(!report.contains("NaN") && !report.contains("inf"), "{report}");
    for (title, rows, target) in [
        ("A chat behind a route of depth 4", 2, "at most 5 %"),
        ("A race of 3", 1, "all"),
        ("A reply from the cache", 3, "under 10"),
        ("Calls behind one limit", 2, "about 1: linear"),
    ] {
        let section = section(&report, title);
        let found = section.lines().filter(|line| cells(line).contains(&target)).count();
        assert_eq!(found, rows, "{section}");
    }
}

#[test]
fn every_loser_of_a_race_is_hung_up_on_and_plain_calls_are_not() {
    let report = quick_run(&["--scenarios", "race"]);
    let section = section(&report, "A race of 3");
    let row = section.lines().find(|line| cells(line).contains(&"all")).unwrap();
    let [_, _, _, _, _, _, arrived, hung_up, ..] = cells(row)[..] else { panic!("{row}") };
    assert_eq!(arrived, hung_up, "{section}");
    // 40 races in one block and one before it, two losers each, in two samples.
    assert!(arrived.parse::<u32>().unwrap() <= 2 * 2 * 80, "{section}");
    assert_ne!(arrived, "0", "{section}");
}

fn section<'a>(report: &'a str, title: &str) -> &'a str {
    report.split("\n## ").find(|section| section.starts_with(title)).unwrap_or_else(|| panic!("{report}"))
}

fn cells(line: &str) -> Vec<&str> {
    line.split('|').map(str::trim).collect()
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

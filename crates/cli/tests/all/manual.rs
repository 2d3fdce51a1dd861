//! The manual says what the command does.

use std::path::Path;

use ambidex_cli::Exit;

use crate::support::Place;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

#[test]
fn manual_lists_every_exit_code() {
    let rows: String =
        Exit::ALL.iter().map(|(exit, meaning)| format!("| {} | {meaning} |\n", exit.code())).collect();
    let text = read("docs/command-line.md");
    let (_, rest) = text.split_once("<!-- exit codes -->\n| code | |\n|---|---|\n").unwrap();
    let (found, _) = rest.split_once("<!-- end of exit codes -->").unwrap();
    assert_eq!(found, rows, "docs/command-line.md");
    let readme = read("README.md");
    for (exit, _) in Exit::ALL {
        assert!(
            readme.contains(&format!("\n| {} | ", exit.code())),
            "README.md says nothing of {}",
            exit.code()
        );
    }
}

#[test]
fn the_configuration_in_the_readme_passes_its_check() {
    let readme = read("README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let place = Place::new();
    place.write("ambidex.toml", example);
    place.ambidex(&["config", "check"]).ends(0).prints("agents: helper").prints("tools: search, ticket");
}

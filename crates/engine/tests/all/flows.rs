//! `tests/flows/NAME.toml` in, `NAME.stderr` out: every fault that is found before a workflow runs; or, where there is
//! none, its drawings. `UPDATE=1` writes the expected files anew.

use std::fs;
use std::path::{Path, PathBuf};

use ambidex_config::{LoadOptions, Style};
use ambidex_engine::workflow::{Format, draw_steps, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flows")
}

#[track_caller]
fn compare(path: &Path, found: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if found != expected {
        wrong.push(format!("{}:\n--- expected\n{expected}--- found\n{found}", path.display()));
    }
}

#[test]
fn every_flow_gives_its_faults_or_its_drawings() {
    let mut names: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    names.sort();
    assert!(names.len() > 5);
    let mut wrong = Vec::new();
    for path in names {
        let options = LoadOptions {
            text: Some(String::new()),
            flow: Some(path.clone()),
            ..LoadOptions::in_directory(folder())
        };
        match load(&options) {
            Err(errors) => compare(&path.with_extension("stderr"), &errors.render(Style::Plain), &mut wrong),
            Ok(loaded) => {
                let name = loaded.flow.clone().unwrap();
                let steps = &loaded.config.workflows[&name];
                for (format, ending) in
                    [(Format::Text, "txt"), (Format::Mermaid, "mmd"), (Format::Svg, "svg")]
                {
                    compare(&path.with_extension(ending), &draw_steps(&name, steps, format), &mut wrong);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

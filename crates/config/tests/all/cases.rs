//! `tests/cases/NAME.toml` in, `NAME.stderr` out: every message of every fault.
//!
//! Lines that begin with `#!` set what is not in a file: `#! -c KEY=VALUE`, `#! env NAME=VALUE`,
//! `#! profile NAME`, `#! check profiles`. `UPDATE=1` writes the expected messages anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ambidex_config::{Config, ConfigErrorKind, ConfigErrors, Environment, LoadOptions, Style, load};
use serde_json::Value as Json;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

pub struct Case {
    pub name: String,
    pub text: String,
    pub expected: PathBuf,
    options: LoadOptions,
}

impl Case {
    pub fn errors(&self) -> Option<ConfigErrors> {
        load(&self.options).err()
    }

    /// Whether only the file counts, so that a schema could judge it.
    pub fn is_only_a_file(&self) -> bool {
        !self.text.lines().any(|line| line.starts_with("#!"))
    }
}

pub fn cases() -> Vec<Case> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    names.sort();
    names.into_iter().map(|path| case(&path)).collect()
}

fn case(path: &Path) -> Case {
    let text = fs::read_to_string(path).unwrap();
    let mut options = LoadOptions::in_directory(folder());
    options.text = Some(text.clone());
    let mut variables: Vec<(String, String)> = Vec::new();
    for directive in text.lines().filter_map(|line| line.strip_prefix("#! ")) {
        match directive.split_once(' ').unwrap() {
            ("-c", flag) => options.overrides.push(flag.into()),
            ("env", pair) => {
                let (name, value) = pair.split_once('=').unwrap();
                variables.push((name.into(), value.into()));
            }
            ("profile", name) => options.profile = Some(name.into()),
            ("check", "profiles") => options.check_profiles = true,
            other => panic!("{}: unknown directive {other:?}", path.display()),
        }
    }
    options.environment = Environment::from_iter(variables);
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    Case { name, text, expected: path.with_extension("stderr"), options }
}

#[test]
fn every_case_gives_its_messages() {
    let mut wrong = Vec::new();
    for case in cases() {
        let Some(errors) = case.errors() else {
            wrong.push(format!("{}: loads without error", case.name));
            continue;
        };
        let found = errors.render(Style::Plain);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&case.expected, &found).unwrap();
        }
        let expected = fs::read_to_string(&case.expected).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{}:\n--- expected\n{expected}--- found\n{found}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_message_has_a_case_file_and_none_is_left_over() {
    let stems = |extension: &str| -> BTreeSet<String> {
        let paths = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(stems("toml"), stems("stderr"));
}

#[test]
fn every_error_names_its_place() {
    for case in cases() {
        for error in &case.errors().unwrap() {
            let origin = &error.origin;
            assert!(origin.line_column().is_some(), "{}: {error}", case.name);
            let json = serde_json::to_value(error).unwrap();
            assert!(json["line"].is_u64() && json["column"].is_u64() && json["source"].is_string(), "{json}");
        }
    }
}

#[test]
fn what_the_public_surface_names_is_loaded_or_said_to_be_missing() {
    let case = cases().into_iter().find(|case| case.name == "later_everything").unwrap();
    for error in &case.errors().unwrap() {
        assert_eq!(error.kind, ConfigErrorKind::NotSupported, "{error}");
    }
}

#[test]
fn no_message_repeats_a_secret() {
    for case in cases() {
        let errors = case.errors().unwrap();
        let shown = format!(
            "{}{errors}{errors:?}{}",
            errors.render(Style::Color),
            serde_json::to_string(&errors).unwrap()
        );
        assert!(!shown.contains("hunter2"), "{}: {shown}", case.name);
    }
}

/// Paths of the schema, names of entries as `*`: `agents.*.retry.cap`.
fn schema_keys() -> BTreeSet<String> {
    let schema = Config::json_schema();
    let mut keys = BTreeSet::new();
    visit(&schema, &schema, "", &mut keys);
    keys
}

fn visit(schema: &Json, root: &Json, path: &str, keys: &mut BTreeSet<String>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(pointer) = schema["$ref"].as_str() {
        visit(root.pointer(pointer.trim_start_matches('#')).unwrap(), root, path, keys);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        if key != "profiles" {
            keys.insert(join(key));
            visit(property, root, &join(key), keys);
        }
    }
    if schema["items"].is_object() {
        visit(&schema["items"], root, path, keys);
    }
    if schema["additionalProperties"].is_object() {
        visit(&schema["additionalProperties"], root, &join("*"), keys);
    }
    for variant in
        ["anyOf", "oneOf", "allOf"].iter().flat_map(|key| schema[key].as_array().into_iter().flatten())
    {
        visit(variant, root, path, keys);
    }
}

#[test]
fn every_key_has_a_case_of_a_wrong_value() {
    let mut refused: BTreeSet<String> = BTreeSet::new();
    for error in cases().iter().flat_map(|case| case.errors().unwrap().iter().cloned().collect::<Vec<_>>()) {
        use ConfigErrorKind::{InvalidValue, OutOfRange, PlainSecret, WrongType};
        if matches!(error.kind, WrongType | InvalidValue | OutOfRange | PlainSecret) {
            // Elements of lists have no names.
            let key: String =
                error.key.split('[').map(|part| part.split_once(']').map_or(part, |it| it.1)).collect();
            let mut parts: Vec<&str> = key.split('.').collect();
            let named = ["providers", "models", "routes", "tools", "agents", "workflows"];
            if parts.len() > 1 && named.contains(&parts[0]) {
                parts[1] = "*";
            }
            if parts.len() > 3 && ["headers", "env", "query", "weights"].contains(&parts[2]) {
                parts[3] = "*";
            }
            refused.insert(parts.join("."));
        }
    }
    let keys = schema_keys();
    assert!(keys.len() > 80, "the walk over the schema finds its keys: {keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !refused.contains(*key)).collect();
    assert!(missing.is_empty(), "keys without a case: {missing:#?}");
}

//! A file that is one workflow: its top level holds the keys of the workflow, and may hold sections beside them.

use std::path::Path;

use serde_json::Value as Json;

use crate::layers::FileLayer;
use crate::sections::is_name;
use crate::source::Source;
use crate::tree::{Entry, Node, Table, Value};

/// Sections that may stand in such a file.
const SECTIONS: [&str; 13] = [
    "default_agent",
    "store",
    "runtime",
    "providers",
    "models",
    "routes",
    "cache",
    "tools",
    "approvals",
    "budgets",
    "agents",
    "workflows",
    "profiles",
];

/// Moves the keys of a workflow to where the configuration has them, and gives its name. Nothing where the file
/// is a configuration.
pub(crate) fn lift(root: &mut Table, path: &Path) -> Option<String> {
    let is_flow = root.contains_key("steps") || !root.contains_key("workflows");
    if !is_flow {
        return None;
    }
    let named = root.get("name").and_then(|entry| entry.node.as_text()).map(str::to_owned);
    let name = named.unwrap_or_else(|| stem(path));
    let mut workflow = Table::new();
    let mut sections = Table::new();
    for (key, entry) in std::mem::take(root) {
        if key == "name" && entry.node.as_text().is_some() {
            continue;
        }
        let is_section = SECTIONS.contains(&key.as_str());
        if is_section { &mut sections } else { &mut workflow }.insert(key, entry);
    }
    let first = workflow.values().next().or_else(|| sections.values().next());
    let origin = first.map_or_else(|| Source::built_in().at(0..0), |entry| entry.key.clone());
    // The whole file is the workflow, so its first key stands for it.
    let entry = |value| Entry { key: origin.clone(), node: Node::new(value, origin.clone()) };
    let workflows =
        sections.entry("workflows".to_owned()).or_insert_with(|| entry(Value::Table(Table::new())));
    if let Value::Table(workflows) = &mut workflows.node.value {
        workflows.insert(name.clone(), entry(Value::Table(workflow)));
    }
    *root = sections;
    Some(name)
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if is_name(&name) { name } else { format!("flow_{name}") }
}

/// Workflows made in code. Their places are their paths.
pub(crate) fn in_code(workflows: &[(String, Json)]) -> FileLayer {
    let origin = Source::code().at(0..0);
    let entry = |node| Entry { key: origin.clone(), node };
    let named = workflows
        .iter()
        .filter_map(|(name, json)| Some((name.clone(), entry(Node::from_json(json, &origin)?))));
    let workflows = Node::new(Value::Table(named.collect()), origin.clone());
    let root = [("workflows".to_owned(), entry(workflows))].into_iter().collect();
    FileLayer { root, profiles: Table::new() }
}

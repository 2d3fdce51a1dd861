//! Names that point to other sections must exist.

mod steps;

use indexmap::IndexMap;

use crate::error::{ConfigError, ConfigErrorKind};
use crate::path::KeyPath;
use crate::reader::{At, Reading};
use crate::sections::BUILT_IN_TOOLS;
use crate::suggest::nearest;
use crate::toml_text;
use crate::tree::{Entry, Node, Table, Value};
use crate::vendors;

/// Works on the tree, so that an entry with another fault still counts as there.
pub(crate) fn check(root: &Table, known: &Known, reading: &Reading) {
    let names = Names::of(root, known);
    let top = KeyPath::default();
    if let Some(entry) = root.get("default_agent") {
        names.check(&at(entry, top.key("default_agent"), reading), "agent", &names.agents, "[agents.NAME]");
    }
    for (name, entry) in section(root, "models") {
        if let Some(provider) = entry.node.as_table().and_then(|table| table.get("provider")) {
            let path = top.key("models").key(name).key("provider");
            names.check(&at(provider, path, reading), "provider", &names.providers, "[providers.NAME]");
        }
    }
    routes(root, &names, reading);
    for (name, entry) in section(root, "agents") {
        if let Some(table) = entry.node.as_table() {
            agent(table, &top.key("agents").key(name), &names, reading);
        }
    }
    for (name, entry) in section(root, "workflows") {
        if let Some(table) = entry.node.as_table() {
            steps::check(table, &top.key("workflows").key(name), &names, reading);
        }
    }
}

/// Names of what a program holds, and no file.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub agents: Vec<String>,
    pub tools: Vec<String>,
}

pub(crate) struct Names<'a> {
    agents: Vec<&'a str>,
    models: Vec<&'a str>,
    providers: Vec<&'a str>,
    tools: Vec<&'a str>,
    workflows: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn of(root: &'a Table, known: &'a Known) -> Self {
        let names = |name| section(root, name).map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        let mut models = names("models");
        models.extend(names("routes"));
        let mut tools = names("tools");
        for built_in in BUILT_IN_TOOLS {
            if !tools.contains(&built_in) {
                tools.push(built_in);
            }
        }
        tools.extend(known.tools.iter().map(String::as_str));
        let mut agents = names("agents");
        agents.extend(known.agents.iter().map(String::as_str));
        let workflows = names("workflows");
        Self { agents, models, providers: names("providers"), tools, workflows }
    }

    fn check(&self, at: &At<'_>, what: &str, known: &[&str], header: &str) {
        let Some(name) = at.node.as_text() else { return };
        if !known.contains(&name) {
            report(at, what, name, known, header);
        }
    }

    fn check_model(&self, at: &At<'_>) {
        let Some(name) = at.node.as_text().filter(|name| !self.models.contains(name)) else { return };
        match name.split_once(':') {
            Some((provider, "")) if self.providers.contains(&provider) => {
                at.report(at.invalid("it names a provider and no model").help("write \"PROVIDER:MODEL-ID\""));
            }
            Some((provider, _)) if self.providers.contains(&provider) => {}
            Some((provider, _)) => report(at, "provider", provider, &self.providers, "[providers.NAME]"),
            None => report(at, "model", name, &self.models, "[models.NAME]"),
        }
    }
}

fn report(at: &At<'_>, what: &str, name: &str, known: &[&str], header: &str) {
    let message = format!("`{}`: there is no {what} named {}", at.path, toml_text::string(name));
    let help = match what {
        "model" => format!("add {header} or [routes.NAME], or write \"PROVIDER:MODEL-ID\""),
        "provider" => match vendors::named(name) {
            Some(vendor) => {
                let header = toml_text::key(name);
                let known = match (vendor.base_url, vendor.key) {
                    (Some(_), Some(key)) => {
                        format!("; its address is known, and its key is looked for in {key}")
                    }
                    (Some(_), None) => "; its usual address is known".to_owned(),
                    (None, _) => " and your base_url".to_owned(),
                };
                format!("add [providers.{header}] with kind = \"openai\"{known}")
            }
            None => format!("add {header}"),
        },
        _ => format!("add {header}"),
    };
    at.report(
        at.error(ConfigErrorKind::UnknownReference, message)
            .suggestion(nearest(name, known.iter().copied()))
            .allowed(known.join(", "))
            .help(help),
    );
}

fn routes(root: &Table, names: &Names<'_>, reading: &Reading) {
    let path = KeyPath::default().key("routes");
    let models: Vec<&String> = section(root, "models").map(|(name, _)| name).collect();
    for (name, entry) in section(root, "routes") {
        if models.contains(&name) {
            let path = path.key(name);
            let message = format!("`{path}` has the name of a model: {}", toml_text::string(name));
            let error = ConfigError::new(ConfigErrorKind::Conflict, path, message, &entry.key);
            reading.report(error.help("give one of them another name"));
        }
        for (at, _) in uses(name, entry, &path, reading) {
            names.check_model(&at);
        }
    }
    circles(root, &path, reading);
}

/// What a route asks.
fn uses<'a>(name: &str, entry: &'a Entry, routes: &KeyPath, reading: &'a Reading) -> Vec<(At<'a>, &'a str)> {
    let uses = entry.node.as_table().and_then(|table| table.get("use"));
    texts(uses, &routes.key(name).key("use"), reading)
}

/// A route that leads back to itself would never ask a model.
fn circles(root: &Table, path: &KeyPath, reading: &Reading) {
    let leads: IndexMap<&str, Vec<(At<'_>, &str)>> = section(root, "routes")
        .map(|(name, entry)| (name.as_str(), uses(name, entry, path, reading)))
        .collect();
    let mut done: Vec<&str> = Vec::new();
    for start in leads.keys().copied() {
        if done.contains(&start) {
            continue;
        }
        // The routes on the way from the start, each with the next of its targets to look at.
        let mut way: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = way.last_mut() {
            let Some((at, target)) = leads.get(name).and_then(|targets| targets.get(*next)) else {
                done.push(name);
                way.pop();
                continue;
            };
            *next += 1;
            if let Some(from) = way.iter().position(|(name, _)| name == target) {
                let mut chain: Vec<&str> = way[from..].iter().map(|(name, _)| *name).collect();
                chain.push(target);
                let message =
                    format!("`{}` leads back to where it came from: {}", at.path, chain.join(" → "));
                at.report(at.error(ConfigErrorKind::Conflict, message).help("take one of them out of `use`"));
            } else if leads.contains_key(target) && !done.contains(target) {
                way.push((target, 0));
            }
        }
    }
}

fn agent(table: &Table, path: &KeyPath, names: &Names<'_>, reading: &Reading) {
    if let Some(entry) = table.get("model") {
        names.check_model(&at(entry, path.key("model"), reading));
    }
    if let Some(entry) = table.get("workflow") {
        let at = at(entry, path.key("workflow"), reading);
        names.check(&at, "workflow", &names.workflows, "[workflows.NAME]");
    }
    let context = table.get("context").and_then(|context| context.node.as_table());
    if let Some(entry) = context.and_then(|context| context.get("summarise_with")) {
        names.check_model(&at(entry, path.key("context").key("summarise_with"), reading));
    }
    let mut own: Vec<&str> = Vec::new();
    for (at, name) in texts(table.get("tools"), &path.key("tools"), reading) {
        names.check(&at, "tool", &names.tools, "[tools.NAME]");
        if own.contains(&name) {
            let message = format!("`{}` names {} a second time", at.path, toml_text::string(name));
            at.report(at.error(ConfigErrorKind::Conflict, message).help("remove it"));
        }
        if !own.contains(&name) {
            own.push(name);
        }
    }
    let stop = table.get("stop").and_then(|stop| stop.node.as_table()?.get("after_tools"));
    for (at, name) in texts(stop, &path.key("stop").key("after_tools"), reading) {
        own_tool(&at, name, &own, path);
    }
    let Some(choice) = table.get("tool_choice") else { return };
    if let Some(tool) = choice.node.as_table().and_then(|table| table.get("tool")) {
        let at = at(tool, path.key("tool_choice").key("tool"), reading);
        if let Some(name) = tool.node.as_text() {
            own_tool(&at, name, &own, path);
        }
    } else if choice.node.as_text() == Some("required") && own.is_empty() {
        let at = at(choice, path.key("tool_choice"), reading);
        let message = format!("`{}` is \"required\", but the agent has no tools", at.path);
        at.report(at.error(ConfigErrorKind::Conflict, message).help("give it tools, or remove tool_choice"));
    }
}

/// A name that must be among the tools of its agent.
fn own_tool(at: &At<'_>, name: &str, own: &[&str], agent: &KeyPath) {
    if own.contains(&name) {
        return;
    }
    let message = format!("`{}`: {} is not among the tools of `{agent}`", at.path, toml_text::string(name));
    at.report(
        at.error(ConfigErrorKind::UnknownReference, message)
            .suggestion(nearest(name, own.iter().copied()))
            .allowed(own.join(", "))
            .help(format!("add it to {}", agent.key("tools"))),
    );
}

fn section<'a>(root: &'a Table, name: &str) -> impl Iterator<Item = (&'a String, &'a Entry)> {
    root.get(name).and_then(|entry| entry.node.as_table()).into_iter().flatten()
}

fn at<'a>(entry: &'a Entry, path: KeyPath, reading: &'a Reading) -> At<'a> {
    At { node: &entry.node, key: &entry.key, path, reading }
}

fn texts<'a>(entry: Option<&'a Entry>, path: &KeyPath, reading: &'a Reading) -> Vec<(At<'a>, &'a str)> {
    let items: &[Node] = match entry.map(|entry| &entry.node.value) {
        Some(Value::Array(items)) => items,
        _ => &[],
    };
    let at = |(index, node): (usize, &'a Node)| {
        let at = At { node, key: &node.origin, path: path.index(index), reading };
        Some((at, node.as_text()?))
    };
    items.iter().enumerate().filter_map(at).collect()
}

//! Names in the steps of a workflow.

use super::{Names, at, texts};
use crate::error::ConfigErrorKind;
use crate::path::KeyPath;
use crate::reader::{At, Reading};
use crate::suggest::nearest;
use crate::toml_text;
use crate::tree::{Entry, Node, Table, Value};

/// Where a path ends.
const END: &str = "end";

pub(super) fn check(workflow: &Table, path: &KeyPath, names: &Names<'_>, reading: &Reading) {
    let path = path.key("steps");
    let items = list(workflow.get("steps"));
    let mut ids: Vec<&str> = Vec::new();
    for (index, step) in items.iter().enumerate() {
        let Some(entry) = step.as_table().and_then(|step| step.get("id")) else { continue };
        let Some(id) = entry.node.as_text() else { continue };
        let at = at(entry, path.index(index).key("id"), reading);
        if ids.contains(&id) {
            let message = format!("`{}`: there are two steps named {}", at.path, toml_text::string(id));
            at.report(at.error(ConfigErrorKind::Conflict, message).help("rename one"));
        } else if id == END {
            let message = format!("`{}` cannot be \"end\": that is where a path ends", at.path);
            at.report(at.error(ConfigErrorKind::Conflict, message).help("rename it"));
        }
        ids.push(id);
    }
    for (index, step) in items.iter().enumerate() {
        if let Some(step) = step.as_table() {
            Step { step, path: path.index(index), ids: &ids, names, reading }.check();
        }
    }
}

struct Step<'a> {
    step: &'a Table,
    path: KeyPath,
    ids: &'a [&'a str],
    names: &'a Names<'a>,
    reading: &'a Reading,
}

impl<'a> Step<'a> {
    fn check(&self) {
        let own = self.step.get("id").and_then(|entry| entry.node.as_text());
        let mut needs: Vec<&str> = Vec::new();
        for (at, name) in texts(self.step.get("needs"), &self.path.key("needs"), self.reading) {
            if Some(name) == own {
                let message = format!("`{}`: the step needs itself", at.path);
                at.report(
                    at.error(ConfigErrorKind::Conflict, message).help("remove it; `choose` makes loops"),
                );
            } else if needs.contains(&name) {
                let message = format!("`{}` names {} a second time", at.path, toml_text::string(name));
                at.report(at.error(ConfigErrorKind::Conflict, message).help("remove it"));
            } else {
                self.step_named(&at, name, &[]);
            }
            needs.push(name);
        }
        for (index, choice) in list(self.step.get("choose")).iter().enumerate() {
            let Some(go) = choice.as_table().and_then(|choice| choice.get("go")) else { continue };
            let at = at(go, self.path.key("choose").index(index).key("go"), self.reading);
            if let Some(name) = go.node.as_text() {
                self.step_named(&at, name, &[END]);
            }
        }
        self.named("agent", "agent", &self.names.agents, "[agents.NAME]");
        self.named("tool", "tool", &self.names.tools, "[tools.NAME]");
        self.named("flow", "workflow", &self.names.workflows, "[workflows.NAME]");
        self.parallel();
        self.merge();
    }

    fn named(&self, key: &str, what: &str, known: &[&str], header: &str) {
        if let Some(entry) = self.step.get(key) {
            self.names.check(&at(entry, self.path.key(key), self.reading), what, known, header);
        }
    }

    fn parallel(&self) {
        for (index, member) in list(self.step.get("parallel")).iter().enumerate() {
            let path = self.path.key("parallel").index(index);
            let agent = member.as_table().and_then(|member| member.get("agent"));
            let at = match agent {
                Some(entry) => at(entry, path.key("agent"), self.reading),
                None => At { node: member, key: &member.origin, path, reading: self.reading },
            };
            self.names.check(&at, "agent", &self.names.agents, "[agents.NAME]");
        }
    }

    /// Who judges and who writes is an agent or a model.
    fn merge(&self) {
        let Some(merge) = self.step.get("merge").and_then(|merge| merge.node.as_table()) else { return };
        let path = self.path.key("merge");
        let check = |at: At<'_>| {
            let is_agent = at.node.as_text().is_some_and(|name| self.names.agents.contains(&name));
            if !is_agent {
                self.names.check_model(&at);
            }
        };
        for key in ["judge", "model"] {
            let Some(entry) = merge.get(key) else { continue };
            check(at(entry, path.key(key), self.reading));
            for (at, _) in texts(Some(entry), &path.key(key), self.reading) {
                check(at);
            }
        }
    }

    fn step_named(&self, at: &At<'_>, name: &str, others: &[&str]) {
        if self.ids.contains(&name) || others.contains(&name) {
            return;
        }
        let message = format!("`{}`: there is no step named {}", at.path, toml_text::string(name));
        let known = || self.ids.iter().chain(others).copied();
        at.report(
            at.error(ConfigErrorKind::UnknownReference, message)
                .suggestion(nearest(name, known()))
                .allowed(known().collect::<Vec<_>>().join(", ")),
        );
    }
}

fn list(entry: Option<&Entry>) -> &[Node] {
    match entry.map(|entry| &entry.node.value) {
        Some(Value::Array(items)) => items,
        _ => &[],
    }
}

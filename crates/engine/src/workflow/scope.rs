//! What conditions and templates see of a graph's state: `input`, `steps`, `visits`, `errors`, and the element of a
//! list. Only what a text refers to is looked up and copied.

use std::collections::{BTreeMap, BTreeSet};

use ambidex_core::graph::State;
use serde_json::Value;

/// The field that failures are appended to.
pub(super) const ERRORS: &str = "errors";

/// The field of a step's result.
pub(super) fn result_field(step: &str) -> String {
    format!("steps.{step}")
}

/// The field that counts a step's starts.
pub(super) fn visits_field(step: &str) -> String {
    format!("visits.{step}")
}

/// The field of the list that a step runs over.
pub(super) fn each_field(step: &str) -> String {
    format!("each.{step}")
}

/// The field of the text, or the time, that a step is given.
pub(super) fn given_field(step: &str) -> String {
    format!("given.{step}")
}

/// Names with dots between that a text refers to, such as `steps.plan.text`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct References(pub BTreeSet<Vec<String>>);

impl References {
    pub(super) fn add(&mut self, path: impl IntoIterator<Item = impl Into<String>>) {
        self.0.insert(path.into_iter().map(Into::into).collect());
    }

    /// Steps whose starts are counted for it.
    pub(super) fn visits(&self) -> impl Iterator<Item = &str> {
        let of = |path: &Vec<String>| path.first().is_some_and(|first| first == "visits");
        self.0.iter().filter(move |path| of(path)).filter_map(|path| path.get(1)).map(String::as_str)
    }

    /// Whether it looks at all counters, by a name that is not known before.
    pub(super) fn all_visits(&self) -> bool {
        self.0.iter().any(|path| path.len() == 1 && path[0] == "visits")
    }
}

/// A value as a text sees it.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Plain(Value),
    Fields(BTreeMap<String, Seen>),
    Step(Result),
    /// Of a step that ran for each element.
    Results(Vec<Seen>),
}

/// A step's result: its fields, and its text.
#[derive(Clone, Debug)]
pub(super) struct Result {
    pub value: Value,
    pub error: Option<Value>,
}

impl Result {
    pub(super) fn text(&self) -> String {
        match &self.value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            Value::Object(fields) => match fields.get("text") {
                Some(Value::String(text)) => text.clone(),
                _ => self.value.to_string(),
            },
            other => other.to_string(),
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<Value> {
        let own = self.value.as_object().and_then(|fields| fields.get(name));
        match (own, name) {
            (Some(own), _) => Some(own.clone()),
            (None, "text") => Some(Value::String(self.text())),
            (None, "output") => Some(self.value.clone()),
            (None, "error") => self.error.clone(),
            (None, _) => None,
        }
    }

    /// Names of its fields.
    pub(super) fn names(&self) -> Vec<String> {
        let own = self.value.as_object().into_iter().flatten().map(|(name, _)| name.clone());
        let mut names: Vec<String> = own.collect();
        for name in ["text", "output"] {
            if !names.iter().any(|own| own == name) {
                names.push(name.to_owned());
            }
        }
        if self.error.is_some() {
            names.push("error".to_owned());
        }
        names
    }
}

/// The state, and the element of a list by the name that the step gives it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub state: &'a State,
    pub item: Option<(&'a str, &'a Value)>,
    /// Steps that run for each element of a list: their results are lists of results, which the list that a tool
    /// gave is not.
    pub lists: &'a Lists,
}

/// Names of steps.
pub(super) type Lists = BTreeSet<String>;

impl Scope<'_> {
    /// All that the references need, by the first of their names.
    pub(super) fn look_up(&self, references: &References) -> BTreeMap<String, Seen> {
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        let mut tables: BTreeMap<&str, BTreeMap<String, Seen>> = BTreeMap::new();
        for path in &references.0 {
            let Some(first) = path.first() else { continue };
            match (first.as_str(), path.get(1)) {
                ("steps", step) => {
                    let steps = tables.entry("steps").or_default();
                    match step {
                        Some(step) => steps.extend(self.step(step).map(|found| (step.clone(), found))),
                        None => steps.extend(
                            self.named("steps.").filter_map(|step| Some((step.to_owned(), self.step(step)?))),
                        ),
                    }
                }
                ("visits", step) => {
                    let visits = tables.entry("visits").or_default();
                    let count = |step: &str| {
                        let count = self.state.get(&visits_field(step)).cloned();
                        (step.to_owned(), Seen::Plain(count.unwrap_or(Value::from(0))))
                    };
                    match step {
                        Some(step) => visits.extend([count(step)]),
                        None => visits.extend(self.named("visits.").map(count)),
                    }
                }
                ("input", name) => {
                    let given = self.state.get("input").and_then(Value::as_object).into_iter().flatten();
                    let wanted = given.filter(|(given, _)| name.is_none_or(|name| name == *given));
                    let wanted = wanted.map(|(name, value)| (name.clone(), Seen::Plain(value.clone())));
                    tables.entry("input").or_default().extend(wanted);
                }
                (ERRORS, _) => {
                    let errors = self.state.get(ERRORS).cloned().unwrap_or_else(|| Value::Array(vec![]));
                    seen.insert(ERRORS.into(), Seen::Plain(errors));
                }
                (name, _) => {
                    if let Some((_, item)) = self.item.filter(|(item, _)| *item == name) {
                        seen.insert(name.to_owned(), Seen::Plain(item.clone()));
                    }
                }
            }
        }
        seen.extend(tables.into_iter().map(|(name, fields)| (name.to_owned(), Seen::Fields(fields))));
        seen
    }

    fn named(&self, prefix: &'static str) -> impl Iterator<Item = &str> {
        self.state.keys().filter_map(move |field| field.strip_prefix(prefix))
    }

    /// A step's result; nothing where it has not run.
    pub(super) fn step(&self, step: &str) -> Option<Seen> {
        let value = self.state.get(&result_field(step)).filter(|value| !value.is_null());
        let errors = self.state.get(ERRORS).and_then(Value::as_array);
        let failed = |item: usize| {
            let of = |error: &&Value| error["node"] == step && error["item"] == item;
            errors.into_iter().flatten().rev().find(of).cloned()
        };
        match value {
            Some(Value::Array(items)) if self.lists.contains(step) => {
                let one = |(at, value): (usize, &Value)| {
                    let error = if value.is_null() { failed(at) } else { None };
                    Seen::Step(Result { value: value.clone(), error })
                };
                Some(Seen::Results(items.iter().enumerate().map(one).collect()))
            }
            Some(value) => Some(Seen::Step(Result { value: value.clone(), error: None })),
            None => Some(Seen::Step(Result { value: Value::Null, error: Some(failed(0)?) })),
        }
    }
}

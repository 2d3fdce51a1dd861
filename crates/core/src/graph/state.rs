//! A graph's state: updates folded by reducers, in an order that time has no part in.
//!
//! Every update carries its depth (the longest chain of nodes before it), its node, the node's visit and its item.
//! Sorted by these, causes come before effects, and the order is the same in every execution.

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The state of a graph: a JSON object.
pub type State = Map<String, Value>;

/// How a field takes an update. Built in and pure: a user's own reducer is a node after the join, so that it is
/// an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reducer {
    /// The update takes the place of what was there.
    #[default]
    Last,
    /// The first update stays.
    First,
    /// A list gets one more element.
    Append,
    /// A list gets all elements of another.
    Extend,
    /// Numbers are added, texts joined.
    Add,
    /// An object gets the fields of another.
    Merge,
    Max,
    Min,
    /// A list gets those elements of another that it does not have.
    Union,
    /// Whether both are true.
    And,
    /// Whether one is true.
    Or,
}

/// Where an update stands in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub depth: u32,
    pub node: u32,
    pub visit: u32,
    pub item: u32,
}

/// In a node's place: a change from outside, which takes the place of what was there.
pub(crate) const PATCH: u32 = u32::MAX;

/// What a node, or an item of one, made of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Update {
    pub place: Place,
    /// The field that takes the value whole; without one the value is an object of fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Arc<str>>,
    pub value: Arc<Value>,
}

impl Update {
    /// The fields it changes, with what they take.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        let whole = self.field.as_deref().map(|field| (field, &*self.value));
        let fields = self.value.as_object().filter(|_| self.field.is_none());
        whole.into_iter().chain(fields.into_iter().flatten().map(|(field, value)| (field.as_str(), value)))
    }

    /// # Errors
    /// A reducer that cannot take the value: which, and why.
    pub(crate) fn apply(&self, state: &mut State, reducers: &HashMap<String, Reducer>) -> Result<(), String> {
        for (field, value) in self.fields() {
            let reducer = match self.place.node {
                PATCH => Reducer::Last,
                _ => reducers.get(field).copied().unwrap_or_default(),
            };
            reducer.apply(state, field, value)?;
        }
        Ok(())
    }
}

impl Reducer {
    /// Puts a value into a field.
    ///
    /// # Errors
    /// The reducer takes no value of this kind beside what is there.
    pub fn apply(self, state: &mut State, field: &str, value: &Value) -> Result<(), String> {
        let Some(old) = state.get_mut(field) else {
            let value = match self {
                Self::Append => Value::Array(vec![value.clone()]),
                Self::Extend | Self::Union if !value.is_array() => return Err(self.misfit(field, value)),
                Self::Merge if !value.is_object() => return Err(self.misfit(field, value)),
                _ => value.clone(),
            };
            state.insert(field.to_owned(), value);
            return Ok(());
        };
        match (self, old, value) {
            (Self::Last, old, value) => *old = value.clone(),
            (Self::First, Value::Null, _) => {
                state.insert(field.to_owned(), value.clone());
            }
            (Self::First, ..) => {}
            (Self::Append, Value::Array(list), value) => list.push(value.clone()),
            (Self::Append, old @ Value::Null, value) => *old = Value::Array(vec![value.clone()]),
            (Self::Extend, Value::Array(list), Value::Array(more)) => list.extend(more.iter().cloned()),
            (Self::Union, Value::Array(list), Value::Array(more)) => {
                for value in more {
                    if !list.contains(value) {
                        list.push(value.clone());
                    }
                }
            }
            (Self::Merge, Value::Object(fields), Value::Object(more)) => {
                fields.extend(more.iter().map(|(field, value)| (field.clone(), value.clone())));
            }
            (Self::Add, Value::String(text), Value::String(more)) => text.push_str(more),
            (Self::Add, old @ Value::Number(_), Value::Number(_)) => {
                *old = sum(old, value).ok_or_else(|| self.misfit(field, value))?;
            }
            (Self::Max | Self::Min, old @ Value::Number(_), Value::Number(_)) => {
                let is_greater = greater(value, old);
                if is_greater == Some(self == Self::Max) {
                    *old = value.clone();
                }
            }
            (Self::Max | Self::Min, Value::String(old), Value::String(new)) => {
                if (*new > *old) == (self == Self::Max) {
                    old.clone_from(new);
                }
            }
            (Self::And, Value::Bool(old), Value::Bool(new)) => *old &= new,
            (Self::Or, Value::Bool(old), Value::Bool(new)) => *old |= new,
            // Nothing yet: as if the field were not there.
            (_, Value::Null, value) => {
                state.shift_remove(field);
                return self.apply(state, field, &value.clone());
            }
            (_, _, Value::Null) => {}
            (_, _, value) => return Err(self.misfit(field, value)),
        }
        Ok(())
    }

    fn misfit(self, field: &str, value: &Value) -> String {
        let name = serde_json::to_value(self).ok();
        let name = name.as_ref().and_then(Value::as_str).unwrap_or_default();
        format!("the field `{field}` is folded by `{name}`, which cannot take {} there", kind(value))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn sum(a: &Value, b: &Value) -> Option<Value> {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64())
        && let Some(sum) = a.checked_add(b)
    {
        return Some(sum.into());
    }
    if let (Some(a), Some(b)) = (a.as_u64(), b.as_u64())
        && let Some(sum) = a.checked_add(b)
    {
        return Some(sum.into());
    }
    serde_json::Number::from_f64(a.as_f64()? + b.as_f64()?).map(Value::Number)
}

/// None where they are equal or cannot be compared.
fn greater(a: &Value, b: &Value) -> Option<bool> {
    let order = match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?)?,
    };
    (!order.is_eq()).then(|| order.is_gt())
}

/// A value by the name of its field, or by a path of names and numbers with dots between.
pub(crate) fn lookup<'a>(state: &'a State, path: &str) -> Option<&'a Value> {
    if let Some(value) = state.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.').try_fold(state.get(first)?, |value, name| match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

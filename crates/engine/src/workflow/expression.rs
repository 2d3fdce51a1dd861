//! Conditions and lists: expressions in CEL.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::common::ast::Expr;
use cel::extractors::This;
use cel::objects::{Key, Map as CelMap};
use cel::{Context, IdedExpr, Program, Value as CelValue};
use serde_json::{Map, Value};

use super::scope::{References, Scope, Seen};

/// An expression, ready to be evaluated.
#[derive(Debug)]
pub(super) struct Expression {
    program: Program,
    references: References,
}

impl Expression {
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("it is empty".into());
        }
        let program = Program::compile(text).map_err(|errors| {
            let first = errors.errors.first();
            let said = first.map_or_else(|| "it cannot be read".to_owned(), |error| error.msg.clone());
            let column = first.map(|error| error.pos.1).filter(|column| *column > 0);
            let said = plainly(said.trim().trim_start_matches("Syntax error: "));
            column.map_or(said.clone(), |column| format!("{said} (at character {column})"))
        })?;
        let mut references = References::default();
        refer(program.expression(), &mut vec![], &mut references);
        Ok(Self { program, references })
    }

    pub(super) fn references(&self) -> &References {
        &self.references
    }

    pub(super) fn syntax(&self) -> &IdedExpr {
        self.program.expression()
    }

    /// # Errors
    /// Why it has no value.
    pub(super) fn value(&self, scope: Scope<'_>) -> Result<Value, String> {
        let mut context = Context::default();
        // The name is none of CEL's own, so it is taken.
        let _ = context.add_function("lines", lines);
        for (name, seen) in scope.look_up(&self.references) {
            context.add_variable_from_value(name, cel_value(seen));
        }
        let value = self.program.execute(&context).map_err(|error| self.said(&error))?;
        json(&value)
    }

    fn said(&self, error: &cel::ExecutionError) -> String {
        use cel::ExecutionError as E;
        match error {
            E::NoSuchKey(key) => {
                let of = self.references.0.iter().find(|path| path.last().is_some_and(|last| *last == **key));
                match of {
                    Some(path) if path.len() > 1 => format!("`{}` is not there", path.join(".")),
                    _ => format!("`{key}` is not there"),
                }
            }
            E::UndeclaredReference(name) => format!("there is no `{name}`"),
            E::ValuesNotComparable(one, other) => {
                format!("{} cannot be compared with {}", cel_kind(one), cel_kind(other))
            }
            E::NoSuchOverload(error) => overload(error.function(), error.argument_types()),
            other => cut(&other.to_string()),
        }
    }
}

/// What the parser says, without the list of all that it would have taken.
fn plainly(said: &str) -> String {
    let unexpected = ["mismatched input ", "extraneous input ", "no viable alternative at input "];
    let Some(rest) = unexpected.iter().find_map(|start| said.strip_prefix(start)) else {
        return said.to_owned();
    };
    let token = rest.split(" expecting").next().unwrap_or(rest).trim_matches('\'');
    if token.ends_with("<EOF>") {
        "it ends too early".to_owned()
    } else {
        format!("`{token}` cannot stand there")
    }
}

/// An operator or a function that takes no values of these types.
fn overload(function: &str, types: &[String]) -> String {
    let words: Vec<&str> = types
        .iter()
        .map(|of| match of.as_str() {
            "string" => "a text",
            "int" | "uint" | "double" => "a number",
            "bool" => "true or false",
            "list" => "a list",
            "map" => "a table",
            "null_type" | "null" => "null",
            other => other,
        })
        .collect();
    let operator = function.trim_matches('_');
    match (operator, words.as_slice()) {
        ("<" | "<=" | ">" | ">=" | "==" | "!=", [one, other]) => {
            format!("{one} cannot be compared with {other}")
        }
        (operator, [one, other]) => format!("`{operator}` does not go with {one} and {other}"),
        (operator, words) => format!("`{operator}` does not go with {}", words.join(", ")),
    }
}

fn cut(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}

/// Names with dots that an expression reads. What a macro such as `map` calls its element is none.
fn refer(expr: &IdedExpr, bound: &mut Vec<String>, references: &mut References) {
    match &expr.expr {
        Expr::Ident(_) | Expr::Select(_) => {
            let mut path = Vec::new();
            let mut at = expr;
            loop {
                match &at.expr {
                    Expr::Select(select) => {
                        path.push(select.field.clone());
                        at = &select.operand;
                    }
                    Expr::Ident(name) => {
                        if !bound.contains(name) {
                            path.push(name.clone());
                            path.reverse();
                            references.add(path);
                        }
                        return;
                    }
                    _ => return refer(at, bound, references),
                }
            }
        }
        Expr::Call(call) => {
            call.target.iter().for_each(|target| refer(target, bound, references));
            call.args.iter().for_each(|arg| refer(arg, bound, references));
        }
        Expr::Comprehension(it) => {
            refer(&it.iter_range, bound, references);
            refer(&it.accu_init, bound, references);
            let before = bound.len();
            bound.extend([it.iter_var.clone(), it.accu_var.clone()]);
            bound.extend(it.iter_var2.clone());
            for inner in [&it.loop_cond, &it.loop_step, &it.result] {
                refer(inner, bound, references);
            }
            bound.truncate(before);
        }
        Expr::List(list) => list.elements.iter().for_each(|element| refer(element, bound, references)),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let cel::common::ast::EntryExpr::MapEntry(entry) = &entry.expr {
                    refer(&entry.key, bound, references);
                    refer(&entry.value, bound, references);
                }
            }
        }
        Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
    }
}

/// The lines of a text that are not empty: what a command says is a text, and `each` runs over a list.
fn lines(This(text): This<Arc<String>>) -> CelValue {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    CelValue::List(Arc::new(lines.map(|line| CelValue::String(Arc::new(line.to_owned()))).collect()))
}

fn cel_value(seen: Seen) -> CelValue {
    match seen {
        Seen::Plain(value) => of_json(value),
        Seen::Fields(fields) => map(fields.into_iter().map(|(name, seen)| (name, cel_value(seen)))),
        Seen::Step(step) => map(step.names().into_iter().filter_map(|name| {
            let value = of_json(step.field(&name)?);
            Some((name, value))
        })),
        Seen::Results(results) => CelValue::List(Arc::new(results.into_iter().map(cel_value).collect())),
    }
}

fn map(entries: impl Iterator<Item = (String, CelValue)>) -> CelValue {
    let entries: HashMap<Key, CelValue> = entries.map(|(name, value)| (Key::from(name), value)).collect();
    CelValue::Map(CelMap { map: Arc::new(entries) })
}

fn of_json(value: Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => CelValue::Int(number),
            (None, Some(number)) => CelValue::UInt(number),
            (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::String(Arc::new(text)),
        Value::Array(list) => CelValue::List(Arc::new(list.into_iter().map(of_json).collect())),
        Value::Object(fields) => map(fields.into_iter().map(|(name, value)| (name, of_json(value)))),
    }
}

fn json(value: &CelValue) -> Result<Value, String> {
    Ok(match value {
        CelValue::Null => Value::Null,
        CelValue::Bool(value) => (*value).into(),
        CelValue::Int(number) => (*number).into(),
        CelValue::UInt(number) => (*number).into(),
        CelValue::Float(number) => {
            let number = serde_json::Number::from_f64(*number);
            number.map(Value::Number).ok_or_else(|| "its value is no finite number".to_owned())?
        }
        CelValue::String(text) => Value::String((**text).clone()),
        CelValue::List(list) => Value::Array(list.iter().map(json).collect::<Result<_, _>>()?),
        CelValue::Map(map) => {
            let mut fields = BTreeMap::new();
            for (key, value) in map.map.iter() {
                let key = match key {
                    Key::String(key) => (**key).clone(),
                    Key::Int(key) => key.to_string(),
                    Key::Uint(key) => key.to_string(),
                    Key::Bool(key) => key.to_string(),
                };
                fields.insert(key, json(value)?);
            }
            Value::Object(Map::from_iter(fields))
        }
        other => return Err(format!("its value is {}, which no step can take", cel_kind(other))),
    })
}

fn cel_kind(value: &CelValue) -> String {
    match value {
        CelValue::Null => "null".into(),
        CelValue::Bool(_) => "true or false".into(),
        CelValue::Int(_) | CelValue::UInt(_) | CelValue::Float(_) => "a number".into(),
        CelValue::String(_) => "a text".into(),
        CelValue::List(_) => "a list".into(),
        CelValue::Map(_) => "a table".into(),
        other => format!("of type {}", other.type_of()),
    }
}

/// A value in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

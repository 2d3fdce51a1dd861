//! Types of expressions, as far as they are known.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue};

use super::names::{Names, Unknown, field};
use super::types::{Table, Type};

/// What the elements of lists are called within macros such as `map`.
type Bound = Vec<(String, Type)>;

/// The type of an expression; what is wrong in it goes to `found`.
pub(super) fn infer(names: &Names<'_>, expr: &IdedExpr, found: &mut Vec<Unknown>) -> Type {
    Inference { names, found }.of(expr, &mut vec![])
}

struct Inference<'a, 'b> {
    names: &'a Names<'a>,
    found: &'b mut Vec<Unknown>,
}

impl Inference<'_, '_> {
    fn of(&mut self, expr: &IdedExpr, bound: &mut Bound) -> Type {
        match &expr.expr {
            Expr::Ident(_) | Expr::Select(_) => self.name(expr, bound),
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Double(_) => Type::Number,
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Integer,
                LiteralValue::Null => Type::Null,
                LiteralValue::String(_) => Type::Text,
                LiteralValue::Bytes(_) => Type::Any,
            },
            Expr::Call(call) => self.call(call, bound),
            Expr::List(list) => {
                let mut kinds: Vec<Type> =
                    list.elements.iter().map(|element| self.of(element, bound)).collect();
                let first = kinds.pop().unwrap_or(Type::Any);
                let same = kinds.iter().all(|kind| *kind == first);
                Type::List(Box::new(if same { first } else { Type::Any }))
            }
            Expr::Map(map) => {
                let mut table = Table { fields: vec![], open: true };
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        let of = self.of(&entry.value, bound);
                        if let Expr::Literal(LiteralValue::String(name)) = &entry.key.expr {
                            table.add(name.inner(), of);
                        }
                    }
                }
                Type::Table(table)
            }
            Expr::Comprehension(it) => {
                let element = match self.of(&it.iter_range, bound) {
                    Type::List(of) => *of,
                    _ => Type::Any,
                };
                let accumulated = self.of(&it.accu_init, bound);
                let before = bound.len();
                bound.push((it.iter_var.clone(), element));
                bound.extend(it.iter_var2.iter().map(|name| (name.clone(), Type::Any)));
                let accumulated = match accumulated {
                    Type::Bool => Type::Bool,
                    Type::List(_) => Type::List(Box::new(Type::Any)),
                    _ => Type::Any,
                };
                bound.push((it.accu_var.clone(), accumulated.clone()));
                self.of(&it.loop_step, bound);
                let result = self.of(&it.result, bound);
                bound.truncate(before);
                if result == Type::Any { accumulated } else { result }
            }
            Expr::Struct(_) | Expr::Unspecified => Type::Any,
        }
    }

    /// A name with dots, or a field of something else.
    fn name(&mut self, expr: &IdedExpr, bound: &mut Bound) -> Type {
        let mut path: Vec<String> = Vec::new();
        let mut tests = false;
        let mut at = expr;
        loop {
            match &at.expr {
                Expr::Select(select) => {
                    tests |= select.test && path.is_empty();
                    path.push(select.field.clone());
                    at = &select.operand;
                }
                Expr::Ident(name) => {
                    path.push(name.clone());
                    break;
                }
                _ => {
                    path.reverse();
                    let mut of = self.of(at, bound);
                    for name in &path {
                        of = match &of {
                            Type::Table(table) => match table.field(name) {
                                Some(of) => of.clone(),
                                None if table.open || tests => Type::Any,
                                None => {
                                    let known = table.names().into_iter().map(str::to_owned).collect();
                                    self.found.push(Unknown {
                                        message: format!("there is no `{name}` here"),
                                        part: name.clone(),
                                        name: name.clone(),
                                        known,
                                        help: None,
                                    });
                                    return Type::Any;
                                }
                            },
                            _ => Type::Any,
                        };
                    }
                    return if tests { Type::Bool } else { of };
                }
            }
        }
        path.reverse();
        if let Some((_, of)) = bound.iter().rev().find(|(name, _)| *name == path[0]) {
            let mut of = of.clone();
            for at in 1..path.len() {
                match field(&of, &path[..at], &path[at]) {
                    Ok(found) => of = found,
                    Err(_) if tests => return Type::Bool,
                    Err(unknown) => {
                        self.found.push(unknown);
                        return Type::Any;
                    }
                }
            }
            return if tests { Type::Bool } else { of };
        }
        // `has(...)` asks whether the last of its names is there.
        let known = if tests { &path[..path.len() - 1] } else { &path[..] };
        match self.names.look_up(known) {
            Ok(_) if tests => Type::Bool,
            Ok(of) => of,
            Err(unknown) => {
                self.found.push(unknown);
                if tests { Type::Bool } else { Type::Any }
            }
        }
    }

    fn call(&mut self, call: &CallExpr, bound: &mut Bound) -> Type {
        let target = call.target.as_ref().map(|target| self.of(target, bound));
        let args: Vec<Type> = call.args.iter().map(|arg| self.of(arg, bound)).collect();
        match (call.func_name.as_str(), args.as_slice()) {
            ("_==_" | "_!=_", [one, other]) => {
                if !one.comparable(other) {
                    self.mismatch("compares", one, other);
                }
                Type::Bool
            }
            ("_<_" | "_<=_" | "_>_" | "_>=_", [one, other]) => {
                let ordered = |of: &Type| of.is_number() || matches!(of, Type::Text | Type::Any);
                let unfit = !ordered(one) || !ordered(other) || *one == Type::Null || *other == Type::Null;
                if unfit || !one.comparable(other) {
                    self.mismatch("compares", one, other);
                }
                Type::Bool
            }
            ("_&&_" | "_||_", [one, other]) => {
                for of in [one, other] {
                    if !matches!(of, Type::Bool | Type::Any) {
                        self.wrong(format!("it joins conditions, and one of them is {}", of.words()));
                    }
                }
                Type::Bool
            }
            ("!_", [of]) => {
                if !matches!(of, Type::Bool | Type::Any) {
                    self.wrong(format!("`!` stands before {}, and not before a condition", of.words()));
                }
                Type::Bool
            }
            ("@in" | "@not_strictly_false", _) => Type::Bool,
            ("_?_:_", [_, one, other]) => {
                if one == other {
                    one.clone()
                } else {
                    Type::Any
                }
            }
            ("_+_", [one, other]) => match (one, other) {
                (Type::Any, other) | (other, Type::Any) => match other {
                    Type::List(_) => Type::List(Box::new(Type::Any)),
                    _ => Type::Any,
                },
                (Type::Text, Type::Text) => Type::Text,
                (Type::List(a), Type::List(b)) if a == b => one.clone(),
                (Type::List(_), Type::List(_)) => Type::List(Box::new(Type::Any)),
                (one, other) if one.is_number() && other.is_number() => self.number(one, other),
                (one, other) => {
                    self.mismatch("adds", one, other);
                    Type::Any
                }
            },
            ("_-_" | "_*_" | "_/_" | "_%_", [one, other]) => {
                if one.comparable(other) && [one, other].iter().all(|of| of.is_number() || **of == Type::Any)
                {
                    self.number(one, other)
                } else {
                    self.mismatch("calculates with", one, other);
                    Type::Any
                }
            }
            ("_[_]", [Type::List(of), _]) => (**of).clone(),
            ("size" | "int", _) => Type::Integer,
            ("double", _) => Type::Number,
            ("string", _) => Type::Text,
            ("contains" | "startsWith" | "endsWith" | "matches", _) => {
                if let Some(of) = target.filter(|of| !matches!(of, Type::Text | Type::Any)) {
                    self.wrong(format!("`{}` is asked of {}, and not of a text", call.func_name, of.words()));
                }
                Type::Bool
            }
            _ => Type::Any,
        }
    }

    /// Whole numbers stay whole; CEL calculates with two of one kind only.
    fn number(&mut self, one: &Type, other: &Type) -> Type {
        if one == other { one.clone() } else { Type::Any }
    }

    fn mismatch(&mut self, does: &str, one: &Type, other: &Type) {
        let with = if does == "compares" { "with" } else { "and" };
        self.wrong(format!("it {does} {} {with} {}", one.words(), other.words()));
    }

    fn wrong(&mut self, message: String) {
        self.found.push(Unknown { message, ..Unknown::default() });
    }
}

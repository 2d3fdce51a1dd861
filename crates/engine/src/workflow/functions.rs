//! What the graph of a workflow calls. A function's name holds what it is to do, as a template's text does: so a run
//! goes on with the conditions that it began with, whatever the file says meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use ambidex_core::graph::{END, GraphDefinition, Next, NodeCall, NodeOutput, NodeWork, Source, State};
use ambidex_core::{BoxFuture, Context, Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::expression::{Expression, kind};
use super::input::Inputs;
use super::scope::{ERRORS, Lists, Scope, each_field, given_field, result_field, visits_field};
use super::template::{Arguments, Template};
use crate::graph::{GraphBuilder, NodeFunction, Templates};

/// The node at which all paths end.
pub(super) const OUTPUT_NODE: &str = "workflow output";
/// The field of the output.
pub(super) const OUTPUT: &str = "output";

/// What a function of a workflow does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Job {
    /// Comes before a step: counts it, leaves it out, gathers what it is given.
    Enter(Enter),
    /// Behind a step: where the path goes.
    Choose(Rules),
    /// Says what went wrong, for a person.
    Failed {
        step: String,
    },
    /// Does what he said.
    Recover {
        step: String,
        again: String,
        skip: Rules,
    },
    Output(Gives),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Enter {
    pub step: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub counts: bool,
    /// An earlier result goes, so that a failure is not taken for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resets: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Where the path goes on, and where when the step is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub go: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A template whose text the step is given; for each element its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The key that the text stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Arguments of a tool, filled in beforehand: whoever is asked about the call sees them as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Rules {
    pub step: String,
    /// Conditions and where they lead; the first that holds counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<(Option<String>, String)>,
    /// Where the path goes besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub besides: Vec<String>,
    /// Where it goes when nothing is chosen and nothing stands besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Gives {
    One(String),
    Fields(Vec<(String, String)>),
    /// The results of these steps; of one alone just that.
    Steps(Vec<String>),
}

/// What a node's input is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Given {
    pub step: String,
    /// The key, for messages.
    pub key: String,
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Text(String),
    /// Several texts, as a list in the field `prompts`; one that is not given as [`Self::Results`].
    Texts {
        texts: Vec<Option<String>>,
        needs: Vec<String>,
    },
    /// The results of these steps, or else the input.
    Results(Vec<String>),
    /// The input of a workflow, which declares this schema.
    Input {
        flow: String,
        schema: Value,
        value: Value,
    },
    /// One input of a workflow, as [`Self::Results`].
    Task {
        input: String,
        needs: Vec<String>,
    },
}

impl Job {
    pub(super) fn name(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Given {
    pub(super) fn source(&self) -> Source {
        Source::Template(serde_json::to_string(self).unwrap_or_default())
    }
}

/// Gives a graph its functions and templates, all from its definition.
///
/// # Errors
/// `config_invalid`: a condition or a template that cannot be read.
pub(super) fn supply(
    mut builder: GraphBuilder,
    definition: &GraphDefinition,
    place: &Arc<str>,
) -> Result<GraphBuilder, Error> {
    let each = definition.nodes.iter().filter(|node| node.each.is_some());
    let lists: Arc<Lists> = Arc::new(each.map(|node| node.name.clone()).collect());
    let mut names: Vec<&str> = Vec::new();
    let mut given = HashMap::new();
    for node in &definition.nodes {
        if let NodeWork::Code { function } = &node.work {
            names.push(function);
        }
        if let Next::Branch { function: Some(function), .. } = &node.next {
            names.push(function);
        }
        if let Source::Template(text) = &node.input {
            let parsed: Given = serde_json::from_str(text).map_err(|_| unknown(text))?;
            given.insert(text.clone(), Filling::new(parsed, place)?);
        }
    }
    names.sort_unstable();
    names.dedup();
    for name in names.into_iter().filter(|name| name.starts_with('{')) {
        let job: Job = serde_json::from_str(name).map_err(|_| unknown(name))?;
        let ready = Ready::new(job, place, &lists)?;
        builder = builder.function(name.to_owned(), ready);
    }
    Ok(builder.templates(Arc::new(Fillings { given, lists })))
}

fn unknown(text: &str) -> Error {
    let text: String = text.chars().take(80).collect();
    Error::new(ErrorKind::ConfigInvalid, format!("this version does not know what `{text}` is to do"))
}

/// Where a text stands, for messages.
#[derive(Clone, Debug)]
struct Spot {
    place: Arc<str>,
    step: String,
}

impl Spot {
    fn place(&self) -> String {
        format!("{}: step `{}`", self.place, self.step)
    }

    fn error(&self, key: &str, text: &str, why: &str) -> Error {
        let shown: String = text.chars().take(200).collect();
        let more = if shown.len() < text.len() { " …" } else { "" };
        let step = if self.step.is_empty() { String::new() } else { format!("step `{}`, ", self.step) };
        let text = format!("{}: {step}`{key}`: {why}; it reads: {shown}{more}", self.place);
        Error::new(ErrorKind::ExpressionFailed, text)
    }

    fn expression(&self, key: &str, text: &str) -> Result<Expression, Error> {
        Expression::parse(text).map_err(|why| self.invalid(key, text, &why))
    }

    fn template(&self, key: &str, text: &str) -> Result<Template, Error> {
        Template::parse(text).map_err(|why| self.invalid(key, text, &why))
    }

    fn invalid(&self, key: &str, text: &str, why: &str) -> Error {
        let error = self.error(key, text, why);
        Error::new(ErrorKind::ConfigInvalid, error.message())
    }
}

/// A job with its texts read.
struct Ready {
    job: Arc<Prepared>,
}

struct Prepared {
    job: Job,
    spot: Spot,
    lists: Arc<Lists>,
    /// By their texts.
    expressions: HashMap<String, Expression>,
    template: Option<Template>,
    arguments: Option<Arguments>,
}

impl Ready {
    fn new(job: Job, place: &Arc<str>, lists: &Arc<Lists>) -> Result<Self, Error> {
        let step = match &job {
            Job::Enter(Enter { step, .. }) | Job::Failed { step } | Job::Recover { step, .. } => step.clone(),
            Job::Choose(rules) => rules.step.clone(),
            Job::Output(_) => String::new(),
        };
        let spot = Spot { place: place.clone(), step };
        let mut expressions = HashMap::new();
        let mut add = |key: &str, text: &String| -> Result<(), Error> {
            expressions.insert(text.clone(), spot.expression(key, text)?);
            Ok(())
        };
        let (mut template, mut arguments) = (None, None);
        match &job {
            Job::Enter(enter) => {
                enter.when.iter().try_for_each(|text| add("when", text))?;
                enter.over.iter().try_for_each(|text| add("each.over", text))?;
                if let (Some(text), Some(key)) = (&enter.text, &enter.key) {
                    template = Some(spot.template(key, text)?);
                }
                if let Some(args) = &enter.args {
                    let parsed = Arguments::parse(args);
                    arguments = Some(parsed.map_err(|(text, why)| spot.invalid("args", &text, &why))?);
                }
            }
            Job::Choose(rules) | Job::Recover { skip: rules, .. } => {
                rules
                    .rules
                    .iter()
                    .filter_map(|(when, _)| when.as_ref())
                    .try_for_each(|it| add("choose", it))?;
            }
            Job::Output(Gives::One(text)) => add("output", text)?,
            Job::Output(Gives::Fields(fields)) => {
                fields.iter().try_for_each(|(name, text)| add(&format!("output.{name}"), text))?;
            }
            Job::Output(Gives::Steps(_)) | Job::Failed { .. } => {}
        }
        let lists = lists.clone();
        Ok(Self { job: Arc::new(Prepared { job, spot, lists, expressions, template, arguments }) })
    }
}

impl NodeFunction for Ready {
    fn call(&self, call: NodeCall, _: Context) -> BoxFuture<'static, Result<NodeOutput, Error>> {
        let job = self.job.clone();
        Box::pin(async move { job.carry_out(call.state()) })
    }
}

impl Prepared {
    fn carry_out(&self, state: &State) -> Result<NodeOutput, Error> {
        match &self.job {
            Job::Enter(enter) => self.enter(enter, state),
            Job::Choose(rules) => self.choose(rules, state),
            Job::Failed { step } => Ok(failed(step, state)),
            Job::Recover { step, again, skip } => self.recover(step, again, skip, state),
            Job::Output(gives) => self.output(gives, state).map(NodeOutput::from),
        }
    }

    fn value(&self, key: &str, text: &str, state: &State) -> Result<Value, Error> {
        let scope = Scope { state, item: None, lists: &self.lists };
        let Some(expression) = self.expressions.get(text) else {
            return Err(self.spot.error(key, text, "it was not read"));
        };
        expression.value(scope).map_err(|why| self.spot.error(key, text, &why))
    }

    fn holds(&self, key: &str, text: &str, state: &State) -> Result<bool, Error> {
        match self.value(key, text, state)? {
            Value::Bool(holds) => Ok(holds),
            other => {
                let why = format!("it is to be true or false, and is {}", kind(&other));
                Err(self.spot.error(key, text, &why))
            }
        }
    }

    fn enter(&self, enter: &Enter, state: &State) -> Result<NodeOutput, Error> {
        let step = &enter.step;
        let mut update = Map::new();
        let runs = match &enter.when {
            Some(when) => self.holds("when", when, state)?,
            None => true,
        };
        if runs {
            if enter.counts {
                update.insert(visits_field(step), 1.into());
            }
            if enter.resets {
                update.insert(result_field(step), Value::Null);
            }
            let mut list = None;
            if let Some(over) = &enter.over {
                let Value::Array(items) = self.value("each.over", over, state)? else {
                    let found = self.value("each.over", over, state)?;
                    let why = format!("it is to be a list, and is {}", kind(&found));
                    return Err(self.spot.error("each.over", over, &why));
                };
                list = Some(items);
            }
            if self.template.is_some() || self.arguments.is_some() {
                match &list {
                    Some(items) => {
                        let given = items.iter().map(|item| self.given(enter, state, Some(item)));
                        list = Some(given.collect::<Result<_, _>>()?);
                    }
                    None => {
                        update.insert(given_field(step), self.given(enter, state, None)?);
                    }
                }
            }
            if let Some(items) = list {
                update.insert(each_field(step), Value::Array(items));
            }
        }
        let mut output = NodeOutput::from(Value::Object(update));
        if enter.when.is_some() {
            output.go.clone_from(if runs { &enter.go } else { &enter.skip });
        }
        Ok(output)
    }

    /// What the step is given.
    fn given(&self, enter: &Enter, state: &State, item: Option<&Value>) -> Result<Value, Error> {
        let name = enter.name.as_deref().unwrap_or("item");
        let scope = Scope { state, item: item.map(|item| (name, item)), lists: &self.lists };
        match (&self.template, &self.arguments) {
            (Some(template), _) => {
                let (key, text) = (enter.key.as_deref(), enter.text.as_deref());
                let filled = template.fill(scope).map(Value::String);
                filled.map_err(|why| self.spot.error(key.unwrap_or_default(), text.unwrap_or_default(), &why))
            }
            (None, Some(arguments)) => {
                arguments.fill(scope).map_err(|(text, why)| self.spot.error("args", &text, &why))
            }
            (None, None) => Ok(Value::Null),
        }
    }

    fn choose(&self, rules: &Rules, state: &State) -> Result<NodeOutput, Error> {
        let mut go = rules.besides.clone();
        for (at, (when, target)) in rules.rules.iter().enumerate() {
            let holds = match when {
                Some(when) => self.holds(&format!("choose[{at}].when"), when, state)?,
                None => true,
            };
            if holds {
                if !go.contains(target) {
                    go.push(target.clone());
                }
                return Ok(NodeOutput::go(go));
            }
        }
        if go.is_empty() {
            go.push(rules.otherwise.clone().unwrap_or_else(|| END.to_owned()));
        }
        Ok(NodeOutput::go(go))
    }

    fn recover(&self, step: &str, again: &str, skip: &Rules, state: &State) -> Result<NodeOutput, Error> {
        let decision = state.get(&decision_field(step)).map(|answer| match answer {
            Value::Object(fields) => fields.get("decision").cloned().unwrap_or_default(),
            other => other.clone(),
        });
        match decision.as_ref().and_then(Value::as_str) {
            Some("retry") => Ok(NodeOutput::go([again])),
            Some("skip") => self.choose(skip, state),
            _ => Err(last_error(step, state)),
        }
    }

    fn output(&self, gives: &Gives, state: &State) -> Result<Value, Error> {
        match gives {
            Gives::One(text) => self.value("output", text, state),
            Gives::Fields(fields) => {
                let field = |(name, text): &(String, String)| {
                    Ok((name.clone(), self.value(&format!("output.{name}"), text, state)?))
                };
                fields.iter().map(field).collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
            Gives::Steps(steps) => {
                let found = |step: &String| {
                    let value = state.get(&result_field(step)).filter(|value| !value.is_null())?;
                    Some((step.clone(), value.clone()))
                };
                let mut ran: Vec<(String, Value)> = steps.iter().filter_map(found).collect();
                if ran.len() < 2 {
                    return Ok(ran.pop().map_or(Value::Null, |(_, value)| value));
                }
                Ok(Value::Object(ran.into_iter().collect()))
            }
        }
    }
}

/// The field of what a person decided about a failed step.
pub(super) fn decision_field(step: &str) -> String {
    format!("decision.{step}")
}

fn last_failure<'a>(step: &str, state: &'a State) -> Option<&'a Value> {
    let errors = state.get(ERRORS)?.as_array()?;
    errors.iter().rev().find(|error| error["node"] == step)
}

fn failed(step: &str, state: &State) -> NodeOutput {
    let message =
        last_failure(step, state).and_then(|error| error["message"].as_str()).unwrap_or("it failed");
    let text = format!("The step `{step}` failed: {message}. Try it again, leave it out, or fail?");
    NodeOutput::from(json!({ given_field(step): text }))
}

fn last_error(step: &str, state: &State) -> Error {
    let failure = last_failure(step, state);
    let of = |field: &str| failure.and_then(|error| error[field].as_str());
    let kind = of("code").and_then(|code| serde_json::from_value(code.into()).ok());
    let message = of("message").unwrap_or("it failed, and a person said to end the run");
    Error::new(kind.unwrap_or(ErrorKind::Internal), format!("the step `{step}`: {message}"))
}

/// Of all nodes, by their texts.
struct Fillings {
    given: HashMap<String, Filling>,
    lists: Arc<Lists>,
}

struct Filling {
    given: Given,
    spot: Spot,
    texts: Vec<Option<Template>>,
    arguments: Option<Arguments>,
    inputs: Option<Inputs>,
}

impl Filling {
    fn new(given: Given, place: &Arc<str>) -> Result<Self, Error> {
        let spot = Spot { place: place.clone(), step: given.step.clone() };
        let (mut texts, mut arguments) = (vec![], None);
        match &given.what {
            What::Text(text) => texts.push(Some(spot.template(&given.key, text)?)),
            What::Texts { texts: several, .. } => {
                for text in several {
                    texts.push(text.as_ref().map(|text| spot.template(&given.key, text)).transpose()?);
                }
            }
            What::Results(_) | What::Task { .. } => {}
            What::Input { value, .. } => {
                let parsed = Arguments::parse(value);
                arguments = Some(parsed.map_err(|(text, why)| spot.invalid(&given.key, &text, &why))?);
            }
        }
        let inputs = match &given.what {
            What::Input { flow, schema, .. } => Some(Inputs::new(flow, schema)?),
            _ => None,
        };
        Ok(Self { given, spot, texts, arguments, inputs })
    }

    fn fill(&self, scope: Scope<'_>, needs: &dyn Fn() -> String) -> Result<Value, Error> {
        let text = |template: &Template, text: &str| {
            template.fill(scope).map_err(|why| self.spot.error(&self.given.key, text, &why))
        };
        let arguments = || match &self.arguments {
            Some(arguments) => {
                let filled = arguments.fill(scope);
                filled.map_err(|(text, why)| self.spot.error(&self.given.key, &text, &why))
            }
            None => Ok(Value::Null),
        };
        Ok(match &self.given.what {
            What::Text(source) => match self.texts.first() {
                Some(Some(template)) => text(template, source)?.into(),
                _ => Value::Null,
            },
            What::Texts { texts: sources, .. } => {
                let one = |(source, template): (&Option<String>, &Option<Template>)| match (source, template)
                {
                    (Some(source), Some(template)) => text(template, source).map(Value::String),
                    _ => Ok(Value::String(needs())),
                };
                let prompts = sources.iter().zip(&self.texts).map(one).collect::<Result<Vec<_>, _>>()?;
                json!({ "prompts": prompts })
            }
            What::Results(_) => needs().into(),
            What::Input { .. } => {
                let given = arguments()?;
                let taken = self.inputs.as_ref().map_or(Ok(given.clone()), |inputs| inputs.take(given));
                json!({ "input": taken.map_err(|error| error.context(self.spot.place()))? })
            }
            What::Task { input, .. } => json!({ "input": { input.as_str(): needs() } }),
        })
    }
}

impl Templates for Fillings {
    fn fill(&self, template: &str, state: &State, item: Option<&Value>) -> Result<Value, Error> {
        let Some(filling) = self.given.get(template) else { return Err(unknown(template)) };
        let name = filling.given.name.as_deref();
        let item = name.zip(item);
        let scope = Scope { state, item, lists: &self.lists };
        let steps: &[String] = match &filling.given.what {
            What::Results(steps) | What::Texts { needs: steps, .. } | What::Task { needs: steps, .. } => {
                steps
            }
            _ => &[],
        };
        filling.fill(scope, &|| results(scope, steps))
    }
}

/// What an agent without a prompt is given: its element, the results of the steps it needs, or the input.
fn results(scope: Scope<'_>, steps: &[String]) -> String {
    use super::scope::Seen;
    if let Some((_, item)) = scope.item {
        return plain(item);
    }
    let text = |seen: Seen| match seen {
        Seen::Step(result) => result.text(),
        Seen::Results(results) => {
            let texts = results.into_iter().filter_map(|seen| match seen {
                Seen::Step(result) => Some(result.text()).filter(|text| !text.is_empty()),
                _ => None,
            });
            texts.collect::<Vec<_>>().join("\n\n")
        }
        Seen::Plain(value) => plain(&value),
        Seen::Fields(_) => String::new(),
    };
    let found: Vec<(&String, String)> =
        steps.iter().filter_map(|step| Some((step, text(scope.step(step)?)))).collect();
    match found.as_slice() {
        [] => match scope.state.get("input").and_then(Value::as_object) {
            Some(input) if input.len() == 1 => input.values().map(plain).collect(),
            Some(input) => {
                let lines = input.iter().map(|(name, value)| format!("{name}: {}", plain(value)));
                lines.collect::<Vec<_>>().join("\n")
            }
            None => String::new(),
        },
        [(_, only)] => only.clone(),
        several => {
            let parts = several.iter().map(|(step, text)| format!("## {step}\n\n{text}"));
            parts.collect::<Vec<_>>().join("\n\n")
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

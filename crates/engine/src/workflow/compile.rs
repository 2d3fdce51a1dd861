//! From steps to the nodes of a graph.
//!
//! A step is a node of its name. Where something has to happen before it (it is counted, may be left out, runs over a
//! list, has arguments to fill in), a node `ID enter` stands in front; where a person decides about its failures, `ID error` and `ID failed`
//! stand beside it. All paths end at [`OUTPUT_NODE`].

use std::collections::{BTreeMap, BTreeSet};

use ambidex_config::{Step, StepOnError, Wait, Workflow, WorkflowOutput};
use ambidex_core::definition::Approval;
use ambidex_core::graph::{GraphDefinition, Next, NodeDefinition, NodeWork, OnError, Reducer, Retry, Source};
use ambidex_core::tool::EffectClass;
use serde_json::{Map, Value, json};

use super::expression::Expression;
use super::functions::{Enter, Given, Gives, Job, OUTPUT, OUTPUT_NODE, Rules, What, decision_field};
use super::order::Order;
use super::scope::{ERRORS, References, each_field, given_field, result_field, visits_field};
use super::template::Template;
use crate::clock::millis;

/// What a graph must know of the things that steps name.
pub(super) struct Known<'a> {
    /// The workflow that an agent follows, where it follows one, and the input that takes its task.
    pub follows: &'a dyn Fn(&str) -> Option<(String, String)>,
    pub tool: &'a dyn Fn(&str) -> ToolFacts,
    /// The input that a workflow declares.
    pub input: &'a dyn Fn(&str) -> Option<Value>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct ToolFacts {
    pub effect: EffectClass,
    pub approval: Approval,
    pub exclusive: bool,
}

/// The name of the graph that a step with `parallel` runs.
pub(super) fn parallel_name(workflow: &str, step: &str) -> String {
    format!("{workflow}/{step}")
}

pub(super) fn compile(name: &str, workflow: &Workflow, known: &Known<'_>) -> GraphDefinition {
    let order = Order::new(workflow);
    let counted = counted(workflow);
    let compiler = Compiler { name, workflow, order: &order, known, counted: &counted };
    let mut nodes = Vec::new();
    for at in 0..workflow.steps.len() {
        compiler.step(at, &mut nodes);
    }
    nodes.push(output_node(&gives(workflow, &order)));
    let start = order.starts.iter().map(|at| compiler.entry(*at)).collect();
    graph(name, workflow, nodes, start, &counted)
}

/// One step alone, whose result is the output.
pub(super) fn compile_stage(
    name: &str,
    workflow: &Workflow,
    at: usize,
    known: &Known<'_>,
) -> GraphDefinition {
    let mut alone = workflow.clone();
    let mut step = alone.steps.swap_remove(at);
    let needs = std::mem::take(&mut step.needs);
    step.choose.clear();
    step.when = None;
    alone.steps = vec![step];
    let order = Order::new(&alone);
    let counted = counted(&alone);
    let compiler = Compiler { name, workflow: &alone, order: &order, known, counted: &counted };
    let mut nodes = Vec::new();
    compiler.step_with_needs(0, &needs, &mut nodes);
    let id = alone.steps[0].id.clone();
    nodes.push(output_node(&Gives::Steps(vec![id])));
    let start = vec![compiler.entry(0)];
    graph(name, &alone, nodes, start, &counted)
}

fn graph(
    name: &str,
    workflow: &Workflow,
    nodes: Vec<NodeDefinition>,
    start: Vec<String>,
    counted: &BTreeSet<String>,
) -> GraphDefinition {
    let counters = counted.iter().map(|step| (visits_field(step), Reducer::Add));
    GraphDefinition {
        start,
        fields: counters.collect::<BTreeMap<_, _>>(),
        output: Some(OUTPUT.to_owned()),
        max_steps: workflow.max_steps,
        concurrency: workflow.concurrency,
        ..GraphDefinition::new(name, nodes)
    }
}

fn output_node(gives: &Gives) -> NodeDefinition {
    let work = NodeWork::Code { function: Job::Output(gives.clone()).name() };
    NodeDefinition {
        output: Some(OUTPUT.to_owned()),
        effect: EffectClass::Read,
        ..NodeDefinition::new(OUTPUT_NODE, work)
    }
}

fn gives(workflow: &Workflow, order: &Order) -> Gives {
    match &workflow.output {
        Some(WorkflowOutput::One(text)) => Gives::One(text.clone()),
        Some(WorkflowOutput::Fields(fields)) => {
            Gives::Fields(fields.iter().map(|(name, text)| (name.clone(), text.clone())).collect())
        }
        None => Gives::Steps(last_steps(workflow, order)),
    }
}

/// Steps with a result that no step with a result follows but by leading back.
pub(super) fn last_steps(workflow: &Workflow, order: &Order) -> Vec<String> {
    let has_result = |at: usize| matches!(workflow.steps[at].kind(), Some(kind) if kind != "wait");
    let is_last = |at: usize| {
        let leads_back = |to: usize| order.before[at].contains(&to) || to == at;
        !order.reaches[at]
            .iter()
            .any(|to| has_result(*to) && !leads_back(*to) && !order.before[at].contains(to))
    };
    let steps = (0..workflow.steps.len()).filter(|at| has_result(*at) && is_last(*at));
    steps.map(|at| workflow.steps[at].id.clone()).collect()
}

/// Steps whose starts some text asks for.
fn counted(workflow: &Workflow) -> BTreeSet<String> {
    let mut counted = BTreeSet::new();
    let mut take = |references: &References| {
        counted.extend(references.visits().map(str::to_owned));
        if references.all_visits() {
            counted.extend(workflow.steps.iter().map(|step| step.id.clone()));
        }
    };
    for_each_text(workflow, &mut |_, text| match text {
        Text::Expression(text) => {
            if let Ok(expression) = Expression::parse(text) {
                take(expression.references());
            }
        }
        Text::Template(text) => {
            if let Ok(template) = Template::parse(text) {
                take(template.references());
            }
        }
    });
    let ids: BTreeSet<String> = workflow.steps.iter().map(|step| step.id.clone()).collect();
    counted.intersection(&ids).cloned().collect()
}

pub(super) enum Text<'a> {
    Expression(&'a str),
    Template(&'a str),
}

/// All texts of a workflow that are evaluated, with the place of their step.
fn for_each_text(workflow: &Workflow, found: &mut dyn FnMut(Option<usize>, Text<'_>)) {
    for (at, step) in workflow.steps.iter().enumerate() {
        let at = Some(at);
        let expressions = step.when.iter().chain(step.each.as_ref().map(|each| &each.over));
        let choices = step.choose.iter().filter_map(|choice| choice.when.as_ref());
        expressions.chain(choices).for_each(|text| found(at, Text::Expression(text)));
        let prompts = step.prompt.iter().chain(step.parallel.iter().filter_map(|it| it.prompt.as_ref()));
        let questions = step.human.iter().map(|human| &human.question);
        let until = step.wait.iter().filter_map(|wait| match wait {
            Wait::Until { until } => Some(until),
            Wait::For(_) => None,
        });
        prompts.chain(questions).chain(until).for_each(|text| found(at, Text::Template(text)));
        let arguments = step.args.iter().chain(&step.input).flat_map(|fields| fields.values());
        arguments.for_each(|value| in_arguments(value, &mut |text| found(at, Text::Template(text))));
    }
    match &workflow.output {
        Some(WorkflowOutput::One(text)) => found(None, Text::Expression(text)),
        Some(WorkflowOutput::Fields(fields)) => {
            fields.values().for_each(|text| found(None, Text::Expression(text)));
        }
        None => {}
    }
}

fn in_arguments(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(list) => list.iter().for_each(|item| in_arguments(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| in_arguments(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

struct Compiler<'a> {
    name: &'a str,
    workflow: &'a Workflow,
    order: &'a Order,
    known: &'a Known<'a>,
    counted: &'a BTreeSet<String>,
}

impl Compiler<'_> {
    fn id(&self, at: usize) -> &str {
        &self.workflow.steps[at].id
    }

    /// The node that a path to a step comes to first.
    fn entry(&self, at: usize) -> String {
        let id = self.id(at);
        if self.enter(at).is_some() { format!("{id} enter") } else { id.to_owned() }
    }

    fn followers(&self, at: usize) -> Vec<String> {
        self.order.follows[at].iter().map(|follower| self.entry(*follower)).collect()
    }

    /// Followers, or the end.
    fn onwards(&self, at: usize) -> Vec<String> {
        let followers = self.followers(at);
        if followers.is_empty() { vec![OUTPUT_NODE.to_owned()] } else { followers }
    }

    /// The list, where the state has it as it is.
    fn plain_list(&self, step: &Step) -> Option<String> {
        let over = step.each.as_ref()?.over.trim();
        let name = over.strip_prefix("input.")?;
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| over.to_owned())
    }

    /// A question or a time that has to be filled in, with its key.
    fn given(&self, step: &Step) -> Option<(&'static str, String)> {
        if let Some(human) = &step.human {
            let needs_filling = human.question.contains('{') || step.each.is_some();
            return needs_filling.then(|| ("human.question", human.question.clone()));
        }
        match &step.wait {
            Some(Wait::Until { until }) => Some(("wait.until", until.clone())),
            _ => None,
        }
    }

    /// What happens before a step, where anything does.
    fn enter(&self, at: usize) -> Option<Enter> {
        let step = &self.workflow.steps[at];
        let counts = self.counted.contains(&step.id);
        let resets = step.on_error != StepOnError::Fail && self.order.reaches[at].contains(&at);
        let given = self.given(step);
        let each = step.each.as_ref();
        let args = filled_args(step);
        let is_given = given.is_some() || args.is_some();
        let gathers = each.is_some() && (self.plain_list(step).is_none() || is_given);
        if !counts && !resets && step.when.is_none() && !gathers && !is_given {
            return None;
        }
        let (key, text) = given.map(|(key, text)| (key.to_owned(), text)).unzip();
        Some(Enter {
            step: step.id.clone(),
            counts,
            resets,
            when: step.when.clone(),
            go: if step.when.is_some() { vec![step.id.clone()] } else { vec![] },
            skip: if step.when.is_some() { self.onwards(at) } else { vec![] },
            over: each.filter(|_| gathers).map(|each| each.over.clone()),
            name: each.map(|each| each.name.clone()),
            text,
            key,
            args,
        })
    }

    fn step(&self, at: usize, nodes: &mut Vec<NodeDefinition>) {
        self.step_with_needs(at, &self.workflow.steps[at].needs, nodes);
    }

    fn step_with_needs(&self, at: usize, needs: &[String], nodes: &mut Vec<NodeDefinition>) {
        let step = &self.workflow.steps[at];
        if let Some(enter) = self.enter(at) {
            nodes.push(enter_node(&enter));
        }
        let (work, input) = self.work(step, needs);
        let tool = step.tool.as_deref().map(self.known.tool).unwrap_or_default();
        let asks = step.on_error == StepOnError::Ask;
        nodes.push(NodeDefinition {
            input,
            output: step.kind().is_some().then(|| result_field(&step.id)),
            effect: tool.effect,
            approval: tool.approval,
            each: step.each.as_ref().map(|_| match self.plain_list(step) {
                Some(list) if self.given(step).is_none() && filled_args(step).is_none() => list,
                _ => each_field(&step.id),
            }),
            concurrency: step.each.as_ref().and_then(|each| each.concurrency),
            next: self.next(at),
            max_visits: step.max_visits,
            retry: retry(step),
            timeout_ms: step.timeout.map(|timeout| millis(timeout.get())),
            on_error: match step.on_error {
                StepOnError::Fail => OnError::Fail,
                StepOnError::Continue => OnError::Continue,
                StepOnError::Ask => OnError::Go(format!("{} error", step.id)),
            },
            error_field: (step.on_error != StepOnError::Fail).then(|| ERRORS.to_owned()),
            cache: step.cache,
            ..NodeDefinition::new(step.id.clone(), work)
        });
        if asks {
            nodes.extend(self.recovery(at));
        }
    }

    fn work(&self, step: &Step, needs: &[String]) -> (NodeWork, Source) {
        let given = |key: &str, what: What| {
            let name = step.each.as_ref().map(|each| each.name.clone());
            Given { step: step.id.clone(), key: key.to_owned(), name, what }.source()
        };
        let results = || needs.to_vec();
        if let Some(agent) = &step.agent {
            let prompt = match &step.prompt {
                Some(prompt) => What::Text(prompt.clone()),
                None => What::Results(results()),
            };
            if let Some((graph, input)) = (self.known.follows)(agent) {
                let what = match &step.prompt {
                    Some(prompt) => self.input_of(&graph, json!({ input: prompt })),
                    None => What::Task { input, needs: results() },
                };
                return (NodeWork::Graph { graph, pinned: None }, given("prompt", what));
            }
            let work = NodeWork::Agent { agent: agent.clone(), pinned: None };
            return (work, given("prompt", prompt));
        }
        if let Some(tool) = &step.tool {
            let exclusive = (self.known.tool)(tool).exclusive;
            let work = NodeWork::Tool { tool: tool.clone(), exclusive };
            let input = match (filled_args(step), &step.each) {
                (None, _) => Source::Value(Value::Object(step.args.clone().unwrap_or_default())),
                (Some(_), Some(_)) => Source::State,
                (Some(_), None) => Source::Field(given_field(&step.id)),
            };
            return (work, input);
        }
        if !step.parallel.is_empty() {
            let texts =
                step.parallel.iter().map(|member| member.prompt.clone().or_else(|| step.prompt.clone()));
            let what = What::Texts { texts: texts.collect(), needs: results() };
            let graph = parallel_name(self.name, &step.id);
            return (NodeWork::Graph { graph, pinned: None }, given("prompt", what));
        }
        if let Some(human) = &step.human {
            let input = match (&step.each, self.given(step)) {
                (Some(_), _) => Source::State,
                (None, Some(_)) => Source::Field(given_field(&step.id)),
                (None, None) => Source::Value(human.question.clone().into()),
            };
            let expire_ms = human.expire.map(|expire| millis(expire.get()));
            return (NodeWork::Ask { form: human.form.clone(), expire_ms }, input);
        }
        if let Some(flow) = &step.flow {
            let input = step.input.clone().unwrap_or_else(|| self.same_names(flow));
            let what = self.input_of(flow, Value::Object(input));
            return (NodeWork::Graph { graph: flow.clone(), pinned: None }, given("input", what));
        }
        match &step.wait {
            Some(Wait::For(time)) => (NodeWork::Wait { ms: Some(millis(time.get())) }, Source::State),
            Some(Wait::Until { .. }) => (NodeWork::Wait { ms: None }, Source::Field(given_field(&step.id))),
            None => (NodeWork::Pass, Source::State),
        }
    }

    fn input_of(&self, flow: &str, value: Value) -> What {
        let schema = (self.known.input)(flow).unwrap_or_else(|| json!({ "type": "object" }));
        What::Input { flow: flow.to_owned(), schema, value }
    }

    /// The inputs that both workflows declare.
    fn same_names(&self, flow: &str) -> Map<String, Value> {
        let theirs = (self.known.input)(flow).unwrap_or_default();
        let ours = self.workflow.input["properties"].as_object().into_iter().flatten();
        let both = ours.filter(|(name, _)| theirs["properties"].get(name.as_str()).is_some());
        both.map(|(name, _)| (name.clone(), format!("{{{{ input.{name} }}}}").into())).collect()
    }

    fn rules(&self, at: usize) -> Rules {
        let step = &self.workflow.steps[at];
        let target = |go: &str| match self.order.index.get(go) {
            Some(target) => self.entry(*target),
            None => OUTPUT_NODE.to_owned(),
        };
        Rules {
            step: step.id.clone(),
            rules: step.choose.iter().map(|choice| (choice.when.clone(), target(&choice.go))).collect(),
            besides: self.followers(at),
            otherwise: Some(OUTPUT_NODE.to_owned()),
        }
    }

    fn next(&self, at: usize) -> Next {
        if self.workflow.steps[at].choose.is_empty() {
            return Next::To(self.onwards(at));
        }
        let rules = self.rules(at);
        Next::Branch { targets: targets(&rules), function: Some(Job::Choose(rules).name()) }
    }

    /// What a person is asked about a failure, and what becomes of his answer.
    fn recovery(&self, at: usize) -> [NodeDefinition; 2] {
        let id = self.id(at);
        let (error, failed) = (format!("{id} error"), format!("{id} failed"));
        let tells = NodeDefinition {
            next: Next::To(vec![failed.clone()]),
            effect: EffectClass::Read,
            ..NodeDefinition::new(
                error,
                NodeWork::Code { function: Job::Failed { step: id.to_owned() }.name() },
            )
        };
        let mut skip = self.rules(at);
        if skip.rules.is_empty() {
            skip.besides = self.onwards(at);
        }
        let again = self.entry(at);
        let mut targets = targets(&skip);
        if !targets.contains(&again) {
            targets.push(again.clone());
        }
        let recover = Job::Recover { step: id.to_owned(), again, skip };
        let form = json!({
            "type": "object",
            "properties": { "decision": { "type": "string", "enum": ["retry", "skip", "fail"] } },
            "required": ["decision"],
            "additionalProperties": false,
        });
        let asks = NodeDefinition {
            input: Source::Field(given_field(id)),
            output: Some(decision_field(id)),
            next: Next::Branch { function: Some(recover.name()), targets },
            ..NodeDefinition::new(failed, NodeWork::Ask { form: Some(form), expire_ms: None })
        };
        [tells, asks]
    }
}

/// The arguments of a tool, where there is something to fill in.
fn filled_args(step: &Step) -> Option<Value> {
    let args = Value::Object(step.tool.as_ref().and(step.args.clone())?);
    let mut has_template = false;
    in_arguments(&args, &mut |text| has_template |= text.contains('{'));
    has_template.then_some(args)
}

fn enter_node(enter: &Enter) -> NodeDefinition {
    let name = format!("{} enter", enter.step);
    let next = if enter.when.is_some() {
        let mut targets = enter.go.clone();
        targets.extend(enter.skip.iter().filter(|target| !enter.go.contains(target)).cloned());
        Next::Branch { function: None, targets }
    } else {
        Next::To(vec![enter.step.clone()])
    };
    let work = NodeWork::Code { function: Job::Enter(enter.clone()).name() };
    NodeDefinition { next, effect: EffectClass::Read, ..NodeDefinition::new(name, work) }
}

fn targets(rules: &Rules) -> Vec<String> {
    let mut targets = rules.besides.clone();
    for target in rules.rules.iter().map(|(_, target)| target).chain(&rules.otherwise) {
        if !targets.contains(target) {
            targets.push(target.clone());
        }
    }
    targets
}

fn retry(step: &Step) -> Retry {
    step.retry.as_ref().map_or_else(Retry::default, |retry| Retry {
        attempts: retry.attempts,
        base_ms: Some(millis(retry.base.get())),
        cap_ms: Some(millis(retry.cap.get())),
    })
}

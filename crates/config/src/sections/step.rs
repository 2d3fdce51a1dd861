//! A step of a workflow, as it is written.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::retry::{Retry, TIMEOUTS};
use super::workflow::name;
use crate::duration::Duration;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::input;
use crate::reader::{At, Choice as OneOf, Fields, FromNode};

/// The keys of which a step has one, or `choose` alone.
pub const STEP_KINDS: [&str; 6] = ["agent", "tool", "parallel", "human", "flow", "wait"];

/// Waits of people and timers.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3650 * 86_400);

/// One of `agent`, `tool`, `parallel`, `human`, `flow` and `wait`, or `choose` alone. `choose` may follow any.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Letters, digits and `_`.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub id: String,
    /// Steps that must be done first. Without any, it starts with the workflow, or when it is chosen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// An expression (CEL); where it is false the step is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Runs once for each element of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<Each>,

    /// An agent's run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// A template (MiniJinja): the task of the agent, or of the agents of `parallel`. Default: the results of the
    /// steps it needs, else the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// A tool's call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The arguments of the tool. Texts in it are templates; one that is a single `{{ }}` keeps its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Map<String, Json>>,
    /// Agents that run side by side; their results are merged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<MemberSchema>")]
    pub parallel: Vec<Member>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// A question to a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub human: Option<Human>,
    /// Another workflow, as a run of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// The input of the other workflow; texts in it are templates. Default: the inputs of the same names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Map<String, Json>>,
    /// Lets time pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,

    /// Attempts where a failure says that another may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Of one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The same input gives the result it gave before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cache: bool,
    #[serde(skip_serializing_if = "StepOnError::is_fail")]
    pub on_error: StepOnError,
    /// Starts of the step in a run; one more fails it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_visits: Option<u32>,
    /// Where the path goes on: the first whose condition is true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choose: Vec<Choose>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Each {
    /// An expression (CEL) that gives a list.
    pub over: String,
    /// What prompts call the element.
    #[serde(rename = "as", default = "item")]
    pub name: String,
    /// Elements at once; as many as the workflow allows where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choose {
    /// An expression (CEL); without one it is always chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The id of a step, or `end`.
    pub go: String,
}

/// An agent among others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub agent: String,
    /// Its own task, in place of the step's `prompt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// What becomes of several results.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    pub how: MergeHow,
    /// Of `vote`: the field of each result that is voted on, or a path with dots; the whole result without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Of `vote`: how votes become one. Default: `median` where all are numbers, else `majority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce: Option<MergeReduce>,
    /// Of `concat`: stands between the texts; an empty line where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Of `fuse` and `integrate`: the model or agent that writes. Without it the judge does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Of `best_of` and `integrate`: the models or agents that judge, a name or a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMore")]
    pub judge: Vec<String>,
    /// Opinions that are asked for; their median counts. 3 where neither this nor several judges are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 15))]
    pub judges: Option<u32>,
    /// What judges look at, a text or a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMore")]
    pub rubric: Vec<String>,
    /// Members that must have given something; 1 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub at_least: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeHow {
    /// All results, one after another.
    #[default]
    Concat,
    /// What most say, or what numbers come to.
    Vote,
    /// The one that a judge likes best.
    BestOf,
    /// One that a judge writes from all.
    Fuse,
    /// Assets, quality, deployment and actions of all.
    Integrate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeReduce {
    /// What most say.
    Majority,
    Median,
    Mean,
    Min,
    Max,
    Sum,
    /// Whether all say `true`.
    All,
    /// Whether one says `true`.
    Any,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Human {
    /// A template.
    pub question: String,
    /// What an answer holds: names and types, or a JSON Schema of an object. Without it any answer is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Json>,
    /// Until the question expires, which is an error of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Wait {
    For(Duration),
    /// A template that gives a time, such as 2026-01-31T09:00:00Z.
    Until {
        until: String,
    },
}

/// What becomes of a failure that no retry helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepOnError {
    /// The run fails.
    #[default]
    Fail,
    /// The path goes on; the step's result holds the error.
    Continue,
    /// A person is asked: try again, leave it out, or fail.
    Ask,
}

#[derive(JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
enum MemberSchema {
    Name(String),
    Member(Member),
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn item() -> String {
    "item".to_owned()
}

impl StepOnError {
    fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}

impl OneOf for StepOnError {
    const ALL: &'static [(&'static str, Self)] =
        &[("fail", Self::Fail), ("continue", Self::Continue), ("ask", Self::Ask)];
}

impl OneOf for MergeHow {
    const ALL: &'static [(&'static str, Self)] = &[
        ("concat", Self::Concat),
        ("vote", Self::Vote),
        ("best_of", Self::BestOf),
        ("fuse", Self::Fuse),
        ("integrate", Self::Integrate),
    ];
}

impl OneOf for MergeReduce {
    const ALL: &'static [(&'static str, Self)] = &[
        ("majority", Self::Majority),
        ("median", Self::Median),
        ("mean", Self::Mean),
        ("min", Self::Min),
        ("max", Self::Max),
        ("sum", Self::Sum),
        ("all", Self::All),
        ("any", Self::Any),
    ];
}

impl Step {
    /// Its kind, by the key that says it; nothing for `choose` alone.
    pub fn kind(&self) -> Option<&'static str> {
        let given = [
            self.agent.is_some(),
            self.tool.is_some(),
            !self.parallel.is_empty(),
            self.human.is_some(),
            self.flow.is_some(),
            self.wait.is_some(),
        ];
        STEP_KINDS.into_iter().zip(given).find(|(_, given)| *given).map(|(kind, _)| kind)
    }
}

impl FromNode for Step {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[
            ("name", "id"),
            ("depends_on", "needs"),
            ("after", "needs"),
            ("if", "when"),
            ("for_each", "each"),
            ("arguments", "args"),
            ("with", "args"),
            ("task", "prompt"),
            ("workflow", "flow"),
            ("sleep", "wait"),
            ("ask", "human"),
            ("switch", "choose"),
            ("next", "choose"),
        ]);
        let id = match fields.at("id") {
            Some(at) => name(&at),
            None => {
                fields.missing("id", "\"plan\"");
                None
            }
        };
        let step = Self {
            id: id.unwrap_or_default(),
            needs: fields.optional("needs").unwrap_or_default(),
            when: fields.optional("when"),
            each: fields.optional("each"),
            agent: fields.optional("agent"),
            prompt: fields.optional("prompt"),
            tool: fields.optional("tool"),
            args: fields.at("args").and_then(|at| table(&at)),
            parallel: fields.at("parallel").and_then(|at| members(&at)).unwrap_or_default(),
            merge: fields.optional("merge"),
            human: fields.optional("human"),
            flow: fields.optional("flow"),
            input: fields.at("input").and_then(|at| table(&at)),
            wait: fields.optional("wait"),
            retry: fields.optional("retry"),
            timeout: fields.duration("timeout", TIMEOUTS),
            cache: fields.optional("cache").unwrap_or_default(),
            on_error: fields.optional("on_error").unwrap_or_default(),
            max_visits: fields.integer("max_visits", 1..=1_000_000),
            choose: fields.at("choose").and_then(|at| choices(&at)).unwrap_or_default(),
        };
        one_kind(&mut fields);
        fields.finish();
        Some(step)
    }
}

/// One of the kinds, and only keys that it knows.
fn one_kind(fields: &mut Fields<'_>) {
    let given: Vec<&str> = STEP_KINDS.into_iter().filter(|kind| fields.has(kind)).collect();
    let here = fields.here().clone();
    if given.is_empty() && !fields.has("choose") {
        let message = format!("`{}` does nothing", here.path);
        let error = ConfigError::new(ConfigErrorKind::Missing, &here.path, message, here.key);
        here.report(error.help(format!("give it one of {}, or choose", STEP_KINDS.join(", "))));
    }
    if let [first, second, ..] = given.as_slice() {
        let message = format!("`{}` is both `{first}` and `{second}`; a step is one of them", here.path);
        let place = STEP_KINDS.into_iter().find(|kind| kind == second).and_then(|kind| fields.at(kind));
        let origin = place.as_ref().map_or(here.key, |at| at.key);
        let error = ConfigError::new(ConfigErrorKind::Conflict, here.path.key(second), message, origin);
        here.report(error.help("make it two steps, one of which needs the other"));
    }
    const OF: [(&str, &[&str]); 4] = [
        ("prompt", &["agent", "parallel"]),
        ("args", &["tool"]),
        ("merge", &["parallel"]),
        ("input", &["flow"]),
    ];
    for (key, kinds) in OF {
        if given.len() < 2
            && !kinds.iter().any(|kind| fields.has(kind))
            && let Some(at) = fields.at(key)
        {
            let what =
                given.first().map_or("a step that only chooses".to_owned(), |kind| format!("`{kind}`"));
            let message = format!("`{}` does not go with {what}", at.path);
            let error = ConfigError::new(ConfigErrorKind::Conflict, &at.path, message, at.key);
            at.report(error.help(format!("it belongs to {}", kinds.join(" and "))));
        }
    }
    // What only makes sense where something is done.
    for key in ["each", "retry", "timeout", "cache", "on_error"] {
        let wrong = match given.first() {
            None => fields.has("choose"),
            Some(&"wait") => true,
            Some(&"human") => matches!(key, "retry" | "timeout" | "cache"),
            Some(_) => false,
        };
        if wrong && let Some(at) = fields.at(key) {
            let what =
                given.first().map_or("a step that only chooses".to_owned(), |kind| format!("`{kind}`"));
            let message = format!("`{}` does not go with {what}", at.path);
            let error = ConfigError::new(ConfigErrorKind::Conflict, &at.path, message, at.key);
            at.report(error.help("remove it"));
        }
    }
}

fn table(at: &At<'_>) -> Option<Map<String, Json>> {
    match at.node.to_json() {
        Json::Object(table) => Some(table),
        _ => {
            at.report(at.wrong_type("a table"));
            None
        }
    }
}

fn members(at: &At<'_>) -> Option<Vec<Member>> {
    let items = at.items("agents")?;
    if items.is_empty() {
        at.report(at.invalid("nothing would run").help("name at least one agent"));
    }
    Some(items.iter().filter_map(Member::from_node).collect())
}

fn choices(at: &At<'_>) -> Option<Vec<Choose>> {
    let items = at.items("choices")?;
    if items.is_empty() {
        at.report(at.invalid("nothing could be chosen").help("write [{ go = \"STEP\" }]"));
    }
    let choices: Vec<Choose> = items.iter().filter_map(Choose::from_node).collect();
    let always = choices.iter().position(|choice| choice.when.is_none());
    if let Some(first) = always
        && choices.len() == items.len()
        && let Some(item) = items.get(first + 1)
    {
        let message = format!("`{}` is never looked at: the choice before it has no `when`", item.path);
        let error = ConfigError::new(ConfigErrorKind::Conflict, &item.path, message, item.key);
        item.report(error.help("put the choice without `when` last"));
    }
    Some(choices)
}

impl FromNode for Each {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[("in", "over"), ("list", "over"), ("name", "as")]);
        let over = fields.required("over", "\"input.LIST\"");
        let each = Self {
            over: String::new(),
            name: fields.at("as").map_or_else(|| Some(item()), |at| name(&at)).unwrap_or_default(),
            concurrency: fields.integer("concurrency", 1..=1000),
        };
        if let Some(at) = fields.at("as")
            && ["input", "steps", "visits", "errors", "each"].contains(&each.name.as_str())
        {
            let message = format!("`{}` cannot be {}", at.path, crate::toml_text::string(&each.name));
            let error = at.error(ConfigErrorKind::Conflict, message);
            at.report(error.help("expressions use this name for something else; choose another"));
        }
        fields.finish();
        Some(Self { over: over?, ..each })
    }
}

impl FromNode for Choose {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[("if", "when"), ("to", "go"), ("then", "go")]);
        let when = fields.optional("when");
        let go = fields.required("go", "\"end\"");
        fields.finish();
        Some(Self { when, go: go? })
    }
}

impl FromNode for Member {
    fn from_node(at: &At<'_>) -> Option<Self> {
        if at.node.as_table().is_none() {
            let Some(name) = at.node.as_text() else {
                at.report(at.wrong_type("the name of an agent, or a table with `agent`"));
                return None;
            };
            return Some(Self { agent: name.to_owned(), prompt: None });
        }
        let mut fields = Fields::of(at)?;
        let agent = fields.required("agent", "\"NAME\"");
        let prompt = fields.optional("prompt");
        fields.finish();
        Some(Self { agent: agent?, prompt })
    }
}

/// A text, or a list of texts.
fn one_or_more(at: &At<'_>) -> Option<Vec<String>> {
    match at.node.as_text() {
        Some(text) => Some(vec![text.to_owned()]),
        None => Vec::from_node(at),
    }
}

impl FromNode for Merge {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?;
        let how: Option<MergeHow> = fields.required("how", "\"concat\"");
        let merge = Self {
            how: MergeHow::Concat,
            field: fields.optional("field"),
            reduce: fields.optional("reduce"),
            separator: fields.optional("separator"),
            model: fields.optional("model"),
            judge: fields.at("judge").and_then(|at| one_or_more(&at)).unwrap_or_default(),
            judges: fields.integer("judges", 1..=15),
            rubric: fields.at("rubric").and_then(|at| one_or_more(&at)).unwrap_or_default(),
            at_least: fields.integer("at_least", 1..=1000),
        };
        if let Some(how) = how {
            keys_of(how, &mut fields);
            let asks = matches!(how, MergeHow::BestOf | MergeHow::Fuse | MergeHow::Integrate);
            if asks && !fields.has("judge") && !fields.has("model") {
                let key = if how == MergeHow::Fuse { "model" } else { "judge" };
                fields.missing(key, "\"AGENT\"");
            }
        }
        fields.finish();
        Some(Self { how: how?, ..merge })
    }
}

/// Keys that only some ways to merge take.
fn keys_of(how: MergeHow, fields: &mut Fields<'_>) {
    let votes = how == MergeHow::Vote;
    let asks = matches!(how, MergeHow::BestOf | MergeHow::Fuse | MergeHow::Integrate);
    let judges = asks && how != MergeHow::Fuse;
    let takers = [
        ("field", votes, "vote"),
        ("reduce", votes, "vote"),
        ("separator", how == MergeHow::Concat, "concat"),
        ("model", asks, "best_of, fuse and integrate"),
        ("judge", asks, "best_of, fuse and integrate"),
        ("judges", judges, "best_of and integrate"),
        ("rubric", asks, "best_of, fuse and integrate"),
    ];
    for (key, fits, by) in takers {
        if !fits && let Some(at) = fields.at(key) {
            let message = format!("`{}` is for {by}", at.path);
            let error = ConfigError::new(ConfigErrorKind::Conflict, &at.path, message, at.key);
            at.report(error.help("remove it, or set another `how`"));
        }
    }
}

impl FromNode for Human {
    fn from_node(at: &At<'_>) -> Option<Self> {
        if at.node.as_table().is_none()
            && let Some(question) = at.node.as_text()
        {
            let fault = at.wrong_type("a table");
            let text = crate::toml_text::string(question);
            at.report(fault.help(format!("write human = {{ question = {text} }}")));
            return None;
        }
        let mut fields =
            Fields::of(at)?.aliases(&[("expires", "expire"), ("timeout", "expire"), ("fields", "form")]);
        let question = fields.required("question", "\"Publish?\"");
        let human = Self {
            question: String::new(),
            form: fields.at("form").and_then(|at| input::read(&at)),
            expire: fields.duration("expire", WAITS),
        };
        fields.finish();
        Some(Self { question: question?, ..human })
    }
}

impl FromNode for Wait {
    fn from_node(at: &At<'_>) -> Option<Self> {
        if at.node.as_table().is_none() {
            return at.duration(WAITS).map(Self::For);
        }
        let mut fields = Fields::of(at)?;
        let until = fields.required("until", "\"2026-01-31T09:00:00Z\"");
        fields.finish();
        Some(Self::Until { until: until? })
    }
}

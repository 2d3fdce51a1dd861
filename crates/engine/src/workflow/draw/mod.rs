//! Drawings of workflows: text for a terminal, Mermaid for documents, SVG for pages.

mod layers;
mod mermaid;
mod svg;
mod text;

use ambidex_config::{Step, Wait, Workflow};

use super::order::Order;

/// How a workflow is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Mermaid,
    Svg,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "text" => Ok(Self::Text),
            "mermaid" => Ok(Self::Mermaid),
            "svg" => Ok(Self::Svg),
            other => Err(format!("`{other}` is no format; there are text, mermaid, svg")),
        }
    }
}

pub(super) fn draw(name: &str, workflow: &Workflow, format: Format) -> String {
    let sketch = Sketch::new(name, workflow);
    match format {
        Format::Text => text::draw(&sketch),
        Format::Mermaid => mermaid::draw(&sketch),
        Format::Svg => svg::draw(&sketch),
    }
}

/// What all drawings show.
struct Sketch {
    title: String,
    inputs: Vec<String>,
    boxes: Vec<Box>,
    starts: Vec<usize>,
    edges: Vec<Edge>,
}

struct Box {
    id: String,
    /// What it does, in words.
    does: String,
    /// Whatever else is to be known: `each`, `when`, `retry`.
    notes: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Agent,
    Tool,
    Parallel,
    Human,
    Flow,
    Wait,
    Choose,
}

struct Edge {
    from: usize,
    /// The end where there is none.
    to: Option<usize>,
    /// The condition of a choice.
    label: Option<String>,
    chosen: bool,
    /// It leads to what was there before.
    back: bool,
}

impl Sketch {
    fn new(name: &str, workflow: &Workflow) -> Self {
        let order = Order::new(workflow);
        let mut edges = Vec::new();
        for (at, step) in workflow.steps.iter().enumerate() {
            let back = |to: usize| to == at || order.before[at].contains(&to);
            for to in &order.follows[at] {
                edges.push(Edge { from: at, to: Some(*to), label: None, chosen: false, back: back(*to) });
            }
            let several = step.choose.len() > 1;
            for choice in &step.choose {
                let to = order.index.get(&choice.go).copied();
                let otherwise = several.then(|| "else".to_owned());
                edges.push(Edge {
                    from: at,
                    to,
                    label: choice.when.clone().or(otherwise),
                    chosen: true,
                    back: to.is_some_and(back),
                });
            }
        }
        for at in 0..workflow.steps.len() {
            if !edges.iter().any(|edge| edge.from == at) {
                edges.push(Edge { from: at, to: None, label: None, chosen: false, back: false });
            }
        }
        let schema = &workflow.input;
        let inputs = schema["properties"].as_object().into_iter().flatten();
        let inputs = inputs.map(|(name, schema)| format!("{name}: {}", super::input::type_of(schema)));
        Self {
            title: name.to_owned(),
            inputs: inputs.collect(),
            boxes: workflow.steps.iter().map(Box::new).collect(),
            starts: order.starts.clone(),
            edges,
        }
    }

    fn out(&self, from: usize) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == from)
    }
}

impl Box {
    fn new(step: &Step) -> Self {
        let (kind, does) = if let Some(agent) = &step.agent {
            (Kind::Agent, format!("agent {agent}"))
        } else if let Some(tool) = &step.tool {
            (Kind::Tool, format!("tool {tool}"))
        } else if !step.parallel.is_empty() {
            let mut names: Vec<(String, usize)> = Vec::new();
            for member in &step.parallel {
                match names.iter_mut().find(|(name, _)| *name == member.agent) {
                    Some((_, count)) => *count += 1,
                    None => names.push((member.agent.clone(), 1)),
                }
            }
            let names = names.into_iter().map(|(name, count)| match count {
                1 => name,
                count => format!("{count} × {name}"),
            });
            let how = step.merge.as_ref().and_then(|merge| serde_json::to_value(merge.how).ok());
            let how = how.and_then(|how| how.as_str().map(str::to_owned)).unwrap_or_else(|| "concat".into());
            (Kind::Parallel, format!("{} → {how}", names.collect::<Vec<_>>().join(", ")))
        } else if let Some(human) = &step.human {
            (Kind::Human, format!("asks: {}", short(&human.question, 48)))
        } else if let Some(flow) = &step.flow {
            (Kind::Flow, format!("workflow {flow}"))
        } else {
            match &step.wait {
                Some(Wait::For(time)) => (Kind::Wait, format!("waits {time}")),
                Some(Wait::Until { until }) => (Kind::Wait, format!("waits until {}", short(until, 40))),
                None => (Kind::Choose, "chooses".to_owned()),
            }
        };
        let mut notes = Vec::new();
        if let Some(each) = &step.each {
            let at_once = each.concurrency.map_or_else(String::new, |many| format!(", {many} at once"));
            notes.push(format!("each {} in {}{at_once}", each.name, short(&each.over, 40)));
        }
        if let Some(when) = &step.when {
            notes.push(format!("when {}", short(when, 48)));
        }
        if let Some(retry) = &step.retry {
            notes.push(format!("up to {} attempts", retry.attempts));
        }
        if let Some(timeout) = &step.timeout {
            notes.push(format!("within {timeout}"));
        }
        if step.cache {
            notes.push("cached".into());
        }
        match step.on_error {
            ambidex_config::StepOnError::Fail => {}
            ambidex_config::StepOnError::Continue => notes.push("goes on after a failure".into()),
            ambidex_config::StepOnError::Ask => notes.push("asks after a failure".into()),
        }
        if let Some(expire) = step.human.as_ref().and_then(|human| human.expire) {
            notes.push(format!("for {expire}"));
        }
        Self { id: step.id.clone(), does, notes, kind }
    }
}

/// The first line, cut where it is long.
fn short(text: &str, longest: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim();
    let more = line.chars().count() > longest || text.trim().lines().nth(1).is_some();
    let cut: String = line.chars().take(longest).collect();
    if more { format!("{}…", cut.trim_end()) } else { cut }
}

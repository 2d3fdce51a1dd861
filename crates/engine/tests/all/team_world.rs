//! Models that answer by what they are told, and count.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::message::Role;
use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::{BoxStream, Context, Error, Usage};
use ambidex_engine::{Agent, Engine};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::Gauge;

type Answer = Arc<dyn Fn(&str, usize) -> Result<String, Error> + Send + Sync>;

/// Answers the last thing a person said.
#[derive(Clone)]
pub struct Says {
    info: ModelInfo,
    answer: Answer,
    delay: Duration,
    pub seen: Arc<Seen>,
}

#[derive(Default)]
pub struct Seen {
    pub calls: AtomicUsize,
    pub prompts: Mutex<Vec<String>>,
    pub gauge: Gauge,
}

impl Says {
    /// `answer` is given the prompt, and how many calls there were before.
    pub fn new(answer: impl Fn(&str, usize) -> Result<String, Error> + Send + Sync + 'static) -> Self {
        let info = ModelInfo::new("says", "test");
        Self { info, answer: Arc::new(answer), delay: Duration::from_millis(5), seen: Arc::default() }
    }

    pub fn text(text: &str) -> Self {
        let text = text.to_owned();
        Self::new(move |_, _| Ok(text.clone()))
    }

    pub fn json(value: Value) -> Self {
        Self::text(&value.to_string())
    }

    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub fn calls(&self) -> usize {
        self.seen.calls.load(SeqCst)
    }

    pub fn prompts(&self) -> Vec<String> {
        self.seen.prompts.lock().unwrap().clone()
    }

    pub fn prompt(&self, at: usize) -> String {
        self.prompts()[at].clone()
    }
}

impl Model for Says {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, request: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let said = request.history.iter().rfind(|message| message.role == Role::User);
        let prompt = said.map(|message| message.text()).unwrap_or_default();
        let this = self.clone();
        futures_util::stream::once(async move {
            let before = this.seen.calls.fetch_add(1, SeqCst);
            this.seen.prompts.lock().unwrap().push(prompt.clone());
            let _inside = this.seen.gauge.enter();
            tokio::time::sleep(this.delay).await;
            let usage = Chunk::Usage(Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() });
            let chunks = match (this.answer)(&prompt, before) {
                Ok(text) => {
                    vec![Ok(Chunk::Text { part: 0, text }), Ok(usage), Ok(Chunk::End(Finish::Stop))]
                }
                Err(error) => vec![Ok(usage), Err(error)],
            };
            futures_util::stream::iter(chunks)
        })
        .flatten()
        .boxed()
    }
}

pub fn agent(engine: &Engine, name: &str, model: &Says) -> Agent {
    let about = format!("You are {name}.");
    Agent::builder().engine(engine).name(name).instructions(about).model(model.clone()).build().unwrap()
}

/// The candidates of a judge's prompt: letter and text, in their order.
pub fn candidates(prompt: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    for block in prompt.split("\n<candidate ").skip(1) {
        let (head, rest) = block.split_once(">\n").unwrap();
        let letter = head.split(' ').next().unwrap();
        let text = rest.split("\n</candidate ").next().unwrap();
        found.push((letter.to_owned(), text.to_owned()));
    }
    found
}

/// A judge that scores candidates by what they say.
pub fn judge(score: impl Fn(&str) -> f64 + Send + Sync + 'static) -> Says {
    Says::new(move |prompt, _| {
        if prompt.ends_with("Give deployment and actions.") {
            return Ok(plan_of_deployment());
        }
        let verdicts: Vec<_> = candidates(prompt)
            .iter()
            .map(|(letter, text)| {
                let first = text.lines().last().unwrap_or_default();
                json!({"candidate": letter, "score": score(text), "reason": format!("about `{first}`")})
            })
            .collect();
        let scores: Vec<f64> = verdicts.iter().filter_map(|verdict| verdict["score"].as_f64()).collect();
        let overall = scores.iter().sum::<f64>() / scores.len() as f64;
        Ok(verdict_of(prompt, &verdicts, overall))
    })
}

/// In the shape that the prompt asks for.
pub fn verdict_of(prompt: &str, verdicts: &[Value], overall: f64) -> String {
    match prompt.contains("and then the whole") {
        true => {
            json!({"verdicts": verdicts, "overall": overall, "remarks": "Together it works."}).to_string()
        }
        false => json!({ "verdicts": verdicts }).to_string(),
    }
}

pub fn plan_of_deployment() -> String {
    json!({
        "deployment": {"steps": ["copy it"], "checks": ["start it"], "risks": ["none seen"]},
        "actions": [{"what": "read it", "who": "ann", "priority": "high"}],
    })
    .to_string()
}

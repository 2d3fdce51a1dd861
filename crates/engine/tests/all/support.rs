//! A model whose words follow from what it heard, and a world in which tools leave traces.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::message::{Message, Part, Role};
use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxStream, Context, Error, ErrorKind, ToolOutput, Usage};
use ambidex_tools::FunctionTool;
use futures_util::StreamExt;
use serde_json::{Value, json};

pub type Call = (String, Value);

pub fn call(name: &str, arguments: Value) -> Call {
    (name.to_owned(), arguments)
}

/// Asks for the calls of its plan turn by turn, then says all it has heard.
pub struct Planned {
    info: ModelInfo,
    turns: Vec<Vec<Call>>,
    delay: Duration,
}

impl Planned {
    pub fn new(turns: Vec<Vec<Call>>) -> Self {
        Self { info: ModelInfo::new("planned", "test"), turns, delay: Duration::from_millis(5) }
    }
}

impl Model for Planned {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, request: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let turn = request.history.iter().filter(|message| message.role == Role::Assistant).count();
        let mut chunks = Vec::new();
        match self.turns.get(turn) {
            Some(calls) => {
                for (part, (name, arguments)) in (0..).zip(calls) {
                    chunks.push(Chunk::ToolCall { part, id: format!("c{turn}.{part}"), name: name.clone() });
                    chunks.push(Chunk::Arguments { part, text: arguments.to_string() });
                }
                chunks.push(Chunk::Usage(Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() }));
                chunks.push(Chunk::End(Finish::ToolCalls));
            }
            None => {
                let text = heard(&request.history).join(" | ");
                chunks.push(Chunk::Text { part: 0, text });
                chunks.push(Chunk::End(Finish::Stop));
            }
        }
        let delay = self.delay;
        futures_util::stream::once(async move {
            tokio::time::sleep(delay).await;
            futures_util::stream::iter(chunks.into_iter().map(Ok))
        })
        .flatten()
        .boxed()
    }
}

/// History as lines.
pub fn heard(history: &[Arc<Message>]) -> Vec<String> {
    let line = |message: &Arc<Message>| {
        let parts = message.parts.iter().map(|part| match part {
            Part::ToolCall(call) => format!("[{} {}]", call.id, call.name),
            Part::ToolResult(result) => {
                format!("{}{}: {}", result.call_id, if result.failed { " failed" } else { "" }, result.text)
            }
            Part::Text { text } => text.clone(),
            other => format!("{other:?}"),
        });
        format!("{:?} {}", message.role, parts.collect::<String>())
    };
    history.iter().map(line).collect()
}

/// Right behind a reply stand the answers to its calls, each once, in order: providers want it so.
pub fn assert_answered(history: &[Arc<Message>]) {
    let mut due: Vec<String> = vec![];
    for message in history {
        let mut results = message.parts.iter().filter_map(|part| match part {
            Part::ToolResult(result) => Some(result.call_id.clone()),
            _ => None,
        });
        if message.role == Role::Tool {
            let id = results.next().unwrap();
            assert!(!due.is_empty() && due.remove(0) == id, "{:#?}", heard(history));
        } else {
            assert!(due.is_empty(), "calls {due:?} have no answer: {:#?}", heard(history));
        }
        due.extend(message.tool_calls().map(|call| call.id.clone()));
    }
    assert!(due.is_empty(), "calls {due:?} have no answer: {:#?}", heard(history));
}

/// What the tools did, by idempotency key.
#[derive(Clone, Default)]
pub struct World {
    pub shared: Arc<Traces>,
}

#[derive(Default)]
pub struct Traces {
    /// Calls begun, with their arguments.
    pub begun: Mutex<BTreeMap<String, Vec<Value>>>,
    /// Results of calls that came to their end.
    pub done: Mutex<BTreeMap<String, String>>,
    pub gauge: Gauge,
}

impl World {
    pub fn begun(&self, key: &str) -> usize {
        self.shared.begun.lock().unwrap().get(key).map_or(0, Vec::len)
    }

    pub fn keys(&self) -> BTreeMap<String, Value> {
        let begun = self.shared.begun.lock().unwrap();
        begun.iter().map(|(key, calls)| (key.clone(), calls[0].clone())).collect()
    }

    /// A tool that takes `ms`, and fails where its arguments say so: always, or (`flaky`) the first time.
    pub fn tool(&self, name: &str, effect: EffectClass) -> FunctionTool {
        let world = self.clone();
        let label = name.to_owned();
        let spec = ToolSpec { input: json!({"type": "object"}), ..ToolSpec::new(name, "for tests") };
        FunctionTool::dynamic(spec, move |arguments, context: Context| {
            let (world, label) = (world.clone(), label.clone());
            async move {
                let key = context.idempotency_key();
                let times = {
                    let mut begun = world.shared.begun.lock().unwrap();
                    let calls = begun.entry(key.clone()).or_default();
                    calls.push(arguments.clone());
                    calls.len()
                };
                let _inside = world.shared.gauge.enter();
                tokio::time::sleep(Duration::from_millis(arguments["ms"].as_u64().unwrap_or(1))).await;
                match arguments["fail"].as_str() {
                    Some("always") => {
                        return Err(Error::new(ErrorKind::ToolFailed, format!("{label} broke")));
                    }
                    Some("flaky") if effect.repeatable() && times == 1 => {
                        return Err(Error::new(ErrorKind::ToolFailed, "hiccup").retryable(true));
                    }
                    _ => {}
                }
                let text = format!("{label} did {arguments}");
                world.shared.done.lock().unwrap().insert(key, text.clone());
                Ok(ToolOutput::Text(text))
            }
        })
        .effect(effect)
    }
}

/// How many are inside, and the most that ever were.
#[derive(Default)]
pub struct Gauge {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Gauge {
    pub fn enter(&self) -> Inside<'_> {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.peak.fetch_max(now, SeqCst);
        Inside { gauge: self, now }
    }

    pub fn peak(&self) -> usize {
        self.peak.load(SeqCst)
    }

    pub fn now(&self) -> usize {
        self.now.load(SeqCst)
    }
}

pub struct Inside<'a> {
    gauge: &'a Gauge,
    /// How many there were with this one.
    pub now: usize,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gauge.now.fetch_sub(1, SeqCst);
    }
}

pub async fn ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Waits for something that other threads do; a test that waits too long fails.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        ms(1).await;
    }
    panic!("it did not come to this: {what}");
}

//! Long conversations: the model is given a summary, the result tells all.

use std::sync::{Arc, Mutex};

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::definition::Compaction;
use ambidex_core::event::{EventKind, StepKind};
use ambidex_core::message::{Message, Part, Role};
use ambidex_core::model::{Model, ModelInfo, Request, Settings};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxFuture, BoxStream, Context, Error, ErrorKind, ToolOutput, Usage};
use ambidex_engine::{Agent, AgentBuilder, Hook, RunOptions};
use ambidex_models::scripted::ScriptedModel;
use ambidex_tools::FunctionTool;
use futures_util::StreamExt;
use serde_json::json;

use crate::support::{assert_answered, heard};

const ROUNDS: usize = 8;
/// Bytes of a result of the tool.
const RESULT: usize = 2000;

/// Reads eight pages one by one and takes in so many bytes at once. It summarises too.
struct Small {
    info: ModelInfo,
    limit: usize,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Small {
    fn new(window: Option<u64>, limit: usize) -> (Self, Arc<Mutex<Vec<Request>>>) {
        let log = Arc::<Mutex<Vec<Request>>>::default();
        let info = ModelInfo { context: window, ..ModelInfo::new("small", "test") };
        (Self { info, limit, log: log.clone() }, log)
    }
}

impl Model for Small {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        self.log.lock().unwrap().push(request.clone());
        let bytes = heard(&request.history).concat().len();
        let mut chunks = vec![];
        if bytes > self.limit {
            let error = Error::new(ErrorKind::ContextTooLong, "the prompt is too long");
            return futures_util::stream::iter([Err(error)]).boxed();
        }
        let usage = Usage { input_tokens: bytes as u64 / 4, output_tokens: 1, ..Usage::default() };
        chunks.push(Ok(Chunk::Usage(usage)));
        let turn: usize =
            context.effect().trim_start_matches(['m', 'c']).split('.').next().unwrap().parse().unwrap();
        if is_summary(&request) {
            chunks.push(Ok(Chunk::Text { part: 0, text: format!("{turn} pages were read") }));
            chunks.push(Ok(Chunk::End(Finish::Stop)));
        } else if turn < ROUNDS {
            chunks.push(Ok(Chunk::ToolCall { part: 0, id: format!("c{turn}"), name: "page".into() }));
            chunks.push(Ok(Chunk::Arguments { part: 0, text: json!({"n": turn}).to_string() }));
            chunks.push(Ok(Chunk::End(Finish::ToolCalls)));
        } else {
            chunks.push(Ok(Chunk::Text { part: 0, text: "all is read".into() }));
            chunks.push(Ok(Chunk::End(Finish::Stop)));
        }
        futures_util::stream::iter(chunks).boxed()
    }
}

fn is_summary(request: &Request) -> bool {
    request.instructions.as_deref().is_some_and(|text| text.starts_with("Summarise the conversation"))
}

fn page() -> FunctionTool {
    let mut spec = ToolSpec { effect: EffectClass::Read, ..ToolSpec::new("page", "Gives a page.") };
    spec.input = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    FunctionTool::dynamic(spec, |arguments, _| async move {
        Ok(ToolOutput::Text(format!("page {} {}", arguments["n"], "x".repeat(RESULT))))
    })
}

fn reading(model: Small) -> AgentBuilder {
    let context = Compaction { keep_last: 4, ..Compaction::default() };
    Agent::builder().model(model).tool(page()).instructions("Read it all.").context(context)
}

fn check_views(log: &[Request]) {
    for request in log {
        assert_answered(&request.history);
        if is_summary(request) {
            assert!(request.tools.is_empty() && request.history.len() == 1);
            let text = request.history[0].text();
            assert!(text.contains("User: read the book") || text.contains("Summary of"), "{text}");
        } else {
            assert_eq!(request.history[0].text(), "read the book", "the task stays");
        }
    }
}

#[tokio::test]
async fn near_the_limit_the_conversation_is_summarised_and_goes_on() {
    let (model, log) = Small::new(Some(2000), 8000);
    let agent = reading(model).build().unwrap();
    let mut handle = agent.start("read the book", RunOptions::default()).unwrap();
    let mut events = handle.take_events();
    let (mut steps, mut shown) = (vec![], String::new());
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::StepStarted { kind } => steps.push(kind),
            EventKind::ModelDelta { text } => shown.push_str(&text),
            EventKind::Error { code, .. } => panic!("{code}"),
            _ => {}
        }
    }
    let result = handle.outcome().await.unwrap();
    assert_eq!(
        (result.text.as_str(), result.task_completed, result.iterations_used),
        ("all is read", true, 9)
    );
    assert_eq!(shown, "all is read", "nobody watches a summary being written");
    assert_eq!(result.messages.len(), 2 + 2 * ROUNDS, "all of it");
    assert_answered(&result.messages);
    let log = log.lock().unwrap();
    check_views(&log);
    let summaries = log.iter().filter(|request| is_summary(request)).count();
    assert_eq!(steps.iter().filter(|kind| **kind == StepKind::Summarise).count(), summaries);
    assert!((2..=4).contains(&summaries), "{summaries}");
    let bytes = |request: &Request| heard(&request.history).concat().len() as u64 / 4;
    assert_eq!(result.usage.input_tokens, log.iter().map(bytes).sum::<u64>(), "summaries count");
    let last = log.last().unwrap();
    assert!(last.history[1].text().contains("pages were read"), "{:?}", heard(&last.history));
}

#[tokio::test]
async fn a_prompt_that_was_too_long_is_sent_again_with_a_summary() {
    let (model, log) = Small::new(None, 12_500);
    let result = reading(model).build().unwrap().run("read the book").await.unwrap();
    assert_eq!((result.text.as_str(), result.iterations_used), ("all is read", 9));
    assert_eq!(result.messages.len(), 2 + 2 * ROUNDS);
    let log = log.lock().unwrap().clone();
    check_views(&log);
    assert_eq!(log.iter().filter(|request| is_summary(request)).count(), 1);
    assert_eq!(log.len(), 11, "nine turns, one of them twice, and the summary");

    let (model, _) = Small::new(None, 12_500);
    let plain = Agent::builder().model(model).tool(page()).build().unwrap();
    let failed = plain.run("read the book").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::ContextTooLong, "nobody wanted summaries");
}

/// Hides a word from every model.
struct Censor;

impl Hook for Censor {
    fn before_model<'a>(
        &'a self,
        _: &'a Context,
        mut request: Request,
    ) -> BoxFuture<'a, Result<Request, Error>> {
        let hide = |message: &Arc<Message>| match message.parts.first() {
            Some(Part::Text { text }) => {
                Message::new(message.role, vec![Part::text(text.replace("secret", "***"))])
            }
            _ => message.clone(),
        };
        request.history = Arc::new(request.history.iter().map(hide).collect());
        Box::pin(std::future::ready(Ok(request)))
    }

    fn wants_finish(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn another_model_summarises_behind_the_same_hooks() {
    let (summariser, told) = Small::new(None, usize::MAX);
    let (model, asked) = Small::new(Some(300), usize::MAX);
    let settings = Settings { max_tokens: Some(77), stop_sequences: vec!["x".into()], ..Settings::default() };
    let context = Compaction { keep_last: 1, ..Compaction::default() };
    let builder = Agent::builder().model(model).context(context);
    let agent =
        builder.summarise_with(Arc::new(summariser), settings).hook(Censor).tool(page()).build().unwrap();
    let definition = agent.definition().context.clone().unwrap();
    assert_eq!((definition.window, definition.summarise_with.as_deref()), (Some(300), Some("small")));
    let before = vec![
        Message::user(format!("the secret is {}", "a".repeat(800))),
        Message::assistant("b".repeat(800)),
        Message::user("read the book"),
    ];
    agent.run_with(before, RunOptions::default()).await.unwrap();
    let first = &told.lock().unwrap()[0];
    assert_eq!((first.settings.max_tokens, first.settings.stop_sequences.len()), (Some(77), 0));
    let text = first.history[0].text();
    assert!(text.contains("the *** is aaa") && text.contains("Assistant: bbb"), "{text}");
    let asked = asked.lock().unwrap();
    assert!(!asked.iter().any(is_summary));
    assert_eq!(asked[0].history.len(), 2, "{:?}", heard(&asked[0].history));
    assert!(asked[0].history.iter().all(|message| message.role == Role::User));
}

#[test]
fn a_builder_refuses_limits_that_mean_nothing() {
    let refused = |context: Compaction| {
        let error = Agent::builder().model(ScriptedModel::new(["x"])).context(context).build().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        error.message().to_owned()
    };
    for compact_at in [0.0, -1.0, 1.01, f64::NAN] {
        let text = refused(Compaction { compact_at, ..Compaction::default() });
        assert!(text.contains("compact_at is") && text.contains("above 0 and up to 1"), "{text}");
    }
    assert!(refused(Compaction { keep_last: 0, ..Compaction::default() }).contains("keep_last is 0"));
}

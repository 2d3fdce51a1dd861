//! Shared by the tests of scripted models: a conversation that goes on.

use std::sync::Arc;

use ambidex_core::context::{Context, RunScope};
use ambidex_core::message::Message;
use ambidex_core::model::{Model, OutputSchema, Request};
use ambidex_core::reply::{Reply, ReplyBuilder};
use ambidex_core::tool::ToolSpec;
use ambidex_core::{Chunk, Error};
use ambidex_models::scripted::ScriptedModel;
use futures_util::StreamExt;
use serde_json::{Value, json};

/// All chunks, and the error that ended them.
pub async fn chunks(
    model: &ScriptedModel,
    request: Request,
    context: Context,
) -> (Vec<Chunk>, Option<Error>) {
    let mut stream = model.stream(request, context);
    let mut chunks = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(chunk) => chunks.push(chunk),
            Err(error) => {
                assert!(stream.next().await.is_none(), "something came behind an error");
                return (chunks, Some(error));
            }
        }
    }
    (chunks, None)
}

pub async fn answer(model: &ScriptedModel, request: Request, context: Context) -> Result<Reply, Error> {
    let (chunks, error) = chunks(model, request, context).await;
    match error {
        Some(error) => Err(error),
        None => {
            let mut builder = ReplyBuilder::new();
            for chunk in chunks {
                builder.push(chunk)?;
            }
            builder.finish()
        }
    }
}

/// A context of a run of this name.
pub fn in_run(run: &str) -> Context {
    let scope = RunScope { run: run.into(), ..RunScope::default() };
    Context::new(Arc::new(scope), "call".into(), 1, Context::detached().token().clone(), None)
}

/// A conversation with a model, its tool results given by hand.
pub struct Talk {
    model: ScriptedModel,
    history: Vec<Arc<Message>>,
    tools: Vec<Arc<ToolSpec>>,
    output: Option<Arc<OutputSchema>>,
}

impl Talk {
    pub fn new(model: ScriptedModel) -> Self {
        Self { model, history: vec![], tools: vec![], output: None }
    }

    pub fn tools(mut self, names: &[&str]) -> Self {
        self.tools = names.iter().map(|name| Arc::new(ToolSpec::new(*name, "a tool"))).collect();
        self
    }

    pub fn output(mut self, schema: Value) -> Self {
        self.output = Some(Arc::new(OutputSchema { name: "out".into(), schema }));
        self
    }

    pub fn request(&self) -> Request {
        Request {
            history: Arc::new(self.history.clone()),
            tools: self.tools.clone().into(),
            output: self.output.clone(),
            ..Request::default()
        }
    }

    pub async fn try_answer(&mut self) -> Result<Reply, Error> {
        let reply = answer(&self.model, self.request(), Context::detached()).await?;
        self.history.push(reply.message.clone());
        Ok(reply)
    }

    pub async fn answer(&mut self) -> Reply {
        self.try_answer().await.unwrap()
    }

    pub fn push_user(&mut self, text: &str) {
        self.history.push(Message::user(text));
    }

    pub async fn say(&mut self, text: &str) -> Reply {
        self.push_user(text);
        self.answer().await
    }

    /// Answers the last reply's calls, in their order, and lets the model go on.
    pub async fn results(&mut self, results: &[(&str, bool)]) -> Reply {
        self.push_results(results);
        self.answer().await
    }

    pub fn push_results(&mut self, results: &[(&str, bool)]) {
        let calls: Vec<_> = self.history.last().unwrap().tool_calls().cloned().collect();
        assert_eq!(calls.len(), results.len());
        for (call, (text, failed)) in calls.iter().zip(results) {
            self.history.push(Message::tool_result(call, *text, *failed));
        }
    }
}

/// Name and arguments of a reply's calls.
pub fn calls(reply: &Reply) -> Vec<(String, Value)> {
    let arguments = |call: &ambidex_core::message::ToolCall| match &call.arguments {
        ambidex_core::message::Arguments::Json(value) => value.clone(),
        ambidex_core::message::Arguments::Invalid { raw, .. } => json!({ "raw": raw }),
    };
    reply.message.tool_calls().map(|call| (call.name.clone(), arguments(call))).collect()
}

//! The loop a competent engineer writes without a framework. It is the same over hyper and reqwest;
//! only the [`Transport`] differs.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;

use crate::contender::{Contender, Setup};
use crate::toolbox::{SYSTEM, TASK, Toolbox};
use crate::wire::{Message, Reply, Request, StreamOptions, ToolCall, ToolSpec, tool_specs};
use crate::{Result, sse};

/// How a request gets out and its reply's bytes come in.
pub trait Transport: Send + Sync + 'static {
    type Body: Send;

    /// Sends a request to the chat completions endpoint; an answer but 200 is an error.
    fn post(&self, body: Vec<u8>) -> impl Future<Output = Result<Self::Body>> + Send;

    /// The next bytes of the reply, `None` at its end.
    fn next(body: &mut Self::Body) -> impl Future<Output = Result<Option<Bytes>>> + Send;
}

pub struct ChatLoop<T> {
    transport: T,
    model: String,
    tools: Vec<ToolSpec>,
    toolbox: Arc<Toolbox>,
}

impl<T: Transport> ChatLoop<T> {
    pub fn new(transport: T, setup: &Setup) -> Result<Self> {
        let toolbox = Arc::clone(&setup.toolbox);
        Ok(ChatLoop { transport, model: setup.model.clone(), tools: tool_specs()?, toolbox })
    }

    pub fn into_transport(self) -> T {
        self.transport
    }

    async fn call(&self, tools: &[ToolSpec], messages: &[Message]) -> Result<Reply> {
        let stream_options = StreamOptions { include_usage: true };
        let request = Request { model: &self.model, stream: true, stream_options, tools, messages };
        let mut body = self.transport.post(serde_json::to_vec(&request)?).await?;
        let mut buffer = BytesMut::new();
        let mut reply = Reply::default();
        while let Some(bytes) = T::next(&mut body).await? {
            buffer.extend_from_slice(&bytes);
            sse::drain(&mut buffer, |data| reply.add(data))?;
        }
        reply.whole()
    }
}

impl<T: Transport> Contender for ChatLoop<T> {
    async fn chat(&self) -> Result<usize> {
        let reply = self.call(&[], &opening()).await?;
        Ok(reply.text.len())
    }

    async fn agent(&self) -> Result<usize> {
        let mut messages = opening();
        loop {
            let reply = self.call(&self.tools, &messages).await?;
            if reply.tool_calls.is_empty() {
                return Ok(reply.text.len());
            }
            let results =
                try_join_all(reply.tool_calls.iter().map(|call| perform(&self.toolbox, call))).await?;
            let content = (!reply.text.is_empty()).then_some(reply.text);
            messages.push(Message::Assistant { content, tool_calls: reply.tool_calls });
            messages.extend(results);
        }
    }
}

fn opening() -> Vec<Message> {
    vec![Message::System { content: Cow::Borrowed(SYSTEM) }, Message::User { content: Cow::Borrowed(TASK) }]
}

async fn perform(toolbox: &Toolbox, call: &ToolCall) -> Result<Message> {
    let arguments = &call.function.arguments;
    let content = match call.function.name.as_str() {
        "read_file" => toolbox.read_file(serde_json::from_str(arguments)?).await?,
        "search_files" => toolbox.search_files(serde_json::from_str(arguments)?).await?,
        other => return Err(format!("the model called `{other}`, which is no tool").into()),
    };
    Ok(Message::Tool { tool_call_id: call.id.clone(), content })
}

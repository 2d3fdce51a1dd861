//! The calls of models in a recording, as a model would be asked and would answer.

use std::sync::Arc;

use ambidex_core::chunk::Chunk;
use ambidex_core::effect::{EffectId, Work};
use ambidex_core::message::{Arguments, Part};
use ambidex_core::model::Request;
use ambidex_core::record::{Output, RecordKind};
use ambidex_core::reply::Reply;
use ambidex_core::run::Run;
use ambidex_core::{Error, ErrorKind};

use super::Recording;
use crate::pinned::Told;
use crate::run_file::RunFile;

/// One call of an agent's model. Summaries of a conversation are none.
#[derive(Clone, Debug)]
pub struct RecordedCall {
    /// What was asked, before hooks looked at it.
    pub request: Request,
    /// What the run took from it, after hooks had looked at it.
    pub answer: Result<Reply, Error>,
}

impl Recording {
    /// The name of the model of the run, or of the first of its nodes' runs that has one.
    pub fn model(&self) -> Option<&str> {
        let files = std::iter::once(self.run()).chain(self.children());
        files
            .filter_map(|file| file.stored.definition.definition.agent())
            .map(|agent| agent.model.as_str())
            .next()
    }

    /// All calls of models that ended, of the run and of its nodes' runs.
    ///
    /// # Errors
    /// `store_failed`: the records make no run.
    pub fn calls(&self) -> Result<Vec<RecordedCall>, Error> {
        let mut calls = Vec::new();
        for file in std::iter::once(self.run()).chain(self.children()) {
            calls_of(file, &mut calls)?;
        }
        Ok(calls)
    }
}

fn calls_of(file: &RunFile, calls: &mut Vec<RecordedCall>) -> Result<(), Error> {
    let Some(agent) = file.stored.definition.definition.agent() else { return Ok(()) };
    let told = Told::of(agent);
    let settings = Arc::new(agent.settings.clone());
    let mut run = Run::new(file.run.as_str(), file.stored.definition.clone());
    let mut open: Vec<(EffectId, Request)> = Vec::new();
    for record in &file.stored.records {
        let applied = run.apply(record);
        applied.map_err(|refused| Error::new(ErrorKind::StoreFailed, refused.to_string()))?;
        match &record.kind {
            RecordKind::Intent(intent) => {
                let effect = run.open(&intent.id).and_then(|open| run.effect(open));
                if let Some(Work::Model { history, .. }) = effect.map(|effect| effect.work) {
                    let request = Request {
                        instructions: told.instructions.clone(),
                        history,
                        tools: told.specs.clone(),
                        tool_choice: agent.tool_choice.clone(),
                        output: told.native_output.clone(),
                        settings: settings.clone(),
                    };
                    open.push((intent.id.clone(), request));
                }
            }
            RecordKind::Result { effect, result, .. } => {
                let Some(at) = open.iter().position(|(id, _)| id == effect) else { continue };
                let (_, request) = open.swap_remove(at);
                let answer = match result {
                    Ok(Output::Reply(reply)) => Ok((**reply).clone()),
                    Ok(_) => continue,
                    Err(error) => Err(error.clone()),
                };
                calls.push(RecordedCall { request, answer });
            }
            _ => {}
        }
    }
    Ok(())
}

impl RecordedCall {
    /// The reply as a stream would bring it; of a call that failed, nothing.
    pub fn chunks(&self) -> Vec<Chunk> {
        let Ok(reply) = &self.answer else { return Vec::new() };
        let (request_id, model) = (reply.request_id.clone(), reply.model.clone());
        let mut chunks = vec![Chunk::Start { request_id, model }];
        for (part, content) in (0..).zip(&reply.message.parts) {
            let state = match content {
                Part::Text { text } => {
                    chunks.push(Chunk::Text { part, text: text.clone() });
                    None
                }
                Part::Refusal { text } => {
                    chunks.push(Chunk::Refusal { part, text: text.clone() });
                    None
                }
                Part::Reasoning { text, state } => {
                    chunks.push(Chunk::Reasoning { part, text: text.clone() });
                    state.as_ref()
                }
                Part::ToolCall(call) => {
                    chunks.push(Chunk::ToolCall { part, id: call.id.clone(), name: call.name.clone() });
                    let text = match &call.arguments {
                        Arguments::Json(arguments) => arguments.to_string(),
                        Arguments::Invalid { raw, .. } => raw.clone(),
                    };
                    chunks.push(Chunk::Arguments { part, text });
                    call.state.as_ref()
                }
                Part::Opaque { state } => Some(state),
                Part::Image(_) | Part::ToolResult(_) => None,
            };
            chunks.extend(state.map(|state| Chunk::State { part, state: state.clone() }));
        }
        chunks.push(Chunk::Usage(reply.usage));
        chunks.push(Chunk::End(reply.finish));
        chunks
    }
}

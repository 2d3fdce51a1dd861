//! Puts streamed tool calls together by their identity, never by what came last alone.

use ambidex_core::message::ProviderState;
use ambidex_core::{Chunk, Error};

use super::FORMAT;
use super::event::CallDelta;
use crate::adapter::malformed;

/// The calls of one reply.
///
/// A piece with an index belongs to the call of that index, unless it brings another id and a name:
/// some servers number every call 0. A piece without an index that has a name is a call of its own;
/// without a name it goes to the call of its id, or to the last.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

struct Call {
    part: u32,
    index: Option<u32>,
    id: String,
    /// Pieces wait here until the name is known.
    waiting: Option<String>,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one piece. `reply` is the reply's id, for calls to which the server gave none.
    pub(super) fn push(
        &mut self,
        piece: CallDelta<'_>,
        reply: &str,
        next_part: &mut u32,
        out: &mut Vec<Chunk>,
    ) -> Result<(), Error> {
        let function = piece.function.unwrap_or_default();
        let id = piece.id.as_ref().map_or("", |id| &*id.0);
        let name = function.name.as_ref().map_or("", |name| &*name.0);
        let at = match self.find(piece.index, id, name) {
            Some(at) => at,
            None if id.is_empty() && name.is_empty() => {
                return Err(malformed("a piece of a tool call that never began"));
            }
            None => {
                let number = self.0.len();
                let id = if id.is_empty() { format!("call_{reply}_{number}") } else { id.to_owned() };
                let part = *next_part;
                *next_part += 1;
                self.0.push(Call { part, index: piece.index, id, waiting: Some(String::new()) });
                number
            }
        };
        let Some(call) = self.0.get_mut(at) else { return Ok(()) };
        let part = call.part;
        if !name.is_empty()
            && let Some(waiting) = call.waiting.take()
        {
            out.push(Chunk::ToolCall { part, id: call.id.clone(), name: name.to_owned() });
            if !waiting.is_empty() {
                out.push(Chunk::Arguments { part, text: waiting });
            }
        }
        if let Some(text) = function.arguments.filter(|text| !text.0.is_empty() && text.0 != "null") {
            match &mut call.waiting {
                Some(waiting) => waiting.push_str(&text.0),
                None => out.push(Chunk::Arguments { part, text: text.0.into_owned() }),
            }
        }
        if let Some(state) = piece.extra_content.filter(|_| call.waiting.is_none()) {
            let state = ProviderState { format: FORMAT.to_owned(), json: state.get().to_owned() };
            out.push(Chunk::State { part, state });
        }
        Ok(())
    }

    fn find(&self, index: Option<u32>, id: &str, name: &str) -> Option<usize> {
        let last_of = |holds: &dyn Fn(&Call) -> bool| self.0.iter().rposition(holds);
        match index {
            Some(_) => {
                let at = last_of(&|call| call.index == index)?;
                let another =
                    !id.is_empty() && !name.is_empty() && self.0.get(at).is_some_and(|call| call.id != id);
                (!another).then_some(at)
            }
            // An id whose name is still awaited is not a new call.
            None if !name.is_empty() => last_of(&|call| {
                call.waiting.is_some() && call.index.is_none() && (id.is_empty() || call.id == id)
            }),
            None if !id.is_empty() => last_of(&|call| call.id == id),
            None => self.0.len().checked_sub(1),
        }
    }

    /// Ends the parts. Fails when a call never got a name.
    pub(super) fn finish(&self, out: &mut Vec<Chunk>) -> Result<(), Error> {
        for call in &self.0 {
            if call.waiting.is_some() {
                return Err(malformed(&format!("the tool call `{}` has no name", call.id)));
            }
            out.push(Chunk::PartEnd { part: call.part });
        }
        Ok(())
    }
}

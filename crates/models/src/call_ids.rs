//! Tool calls that share one wire id: equal ones are one call, unequal ones a malformed reply.

use std::ops::Range;

use ambidex_core::message::Arguments;
use ambidex_core::{Chunk, Error};

use crate::adapter::malformed;

/// The calls of one reply. Looked at here, and not only where the reply is put together, so that a retry
/// can still help.
#[derive(Default)]
pub(crate) struct CallIds {
    calls: Vec<Call>,
    /// All ids, names and arguments as they came, one after another.
    text: String,
    arguments: Vec<(u32, Range<usize>)>,
}

struct Call {
    part: u32,
    id: Range<usize>,
    name: Range<usize>,
}

impl CallIds {
    /// Takes the next chunk of the reply.
    ///
    /// # Errors
    /// `bad_upstream` at the reply's end, where two different calls have one id.
    pub(crate) fn take(&mut self, chunk: &Chunk) -> Result<(), Error> {
        match chunk {
            Chunk::ToolCall { part, id, name } => {
                let (id, name) = (self.keep(id), self.keep(name));
                self.calls.push(Call { part: *part, id, name });
            }
            Chunk::Arguments { part, text } => {
                let text = self.keep(text);
                match self.arguments.last_mut() {
                    Some((last, before)) if last == part && before.end == text.start => before.end = text.end,
                    _ => self.arguments.push((*part, text)),
                }
            }
            Chunk::End(_) => return self.check(),
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    fn text(&self, at: &Range<usize>) -> &str {
        self.text.get(at.clone()).unwrap_or_default()
    }

    fn check(&self) -> Result<(), Error> {
        for (at, call) in self.calls.iter().enumerate() {
            let id = self.text(&call.id);
            let first = self.calls.iter().take(at).find(|first| self.text(&first.id) == id);
            if first.is_some_and(|first| !self.are_equal(first, call)) {
                return Err(malformed(&format!("two different tool calls with the id `{id}`")));
            }
        }
        Ok(())
    }

    fn are_equal(&self, a: &Call, b: &Call) -> bool {
        let arguments = |call: &Call| -> String {
            let pieces = self.arguments.iter().filter(|(part, _)| *part == call.part);
            pieces.map(|(_, at)| self.text(at)).collect()
        };
        let (first, second) = (arguments(a), arguments(b));
        self.text(&a.name) == self.text(&b.name)
            && (first == second || Arguments::parse(&first) == Arguments::parse(&second))
    }
}

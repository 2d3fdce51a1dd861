//! Tool calls that share one wire id: equal ones are one call, unequal ones a malformed reply.

use ambidex_core::message::Arguments;
use ambidex_core::{Chunk, Error};

use crate::adapter::malformed;

/// The calls of one reply. Looked at here, and not only where the reply is put together, so that a retry
/// can still help.
#[derive(Default)]
pub(crate) struct CallIds(Vec<Call>);

struct Call {
    part: u32,
    id: String,
    name: String,
    arguments: String,
}

impl CallIds {
    /// Takes the next chunk of the reply.
    ///
    /// # Errors
    /// `bad_upstream` at the reply's end, where two different calls have one id.
    pub(crate) fn take(&mut self, chunk: &Chunk) -> Result<(), Error> {
        match chunk {
            Chunk::ToolCall { part, id, name } => {
                let (id, name) = (id.clone(), name.clone());
                self.0.push(Call { part: *part, id, name, arguments: String::new() });
            }
            Chunk::Arguments { part, text } => {
                if let Some(call) = self.0.iter_mut().rev().find(|call| call.part == *part) {
                    call.arguments.push_str(text);
                }
            }
            Chunk::End(_) => return self.check(),
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        for (at, call) in self.0.iter().enumerate() {
            let Some(first) = self.0.iter().take(at).find(|first| first.id == call.id) else { continue };
            if !call.equals(first) {
                return Err(malformed(&format!("two different tool calls with the id `{}`", call.id)));
            }
        }
        Ok(())
    }
}

impl Call {
    fn equals(&self, other: &Self) -> bool {
        let same = || Arguments::parse(&self.arguments) == Arguments::parse(&other.arguments);
        self.name == other.name && (self.arguments == other.arguments || same())
    }
}

//! What makes two requests equal.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use ambidex_core::message::{Message, Part, Role};
use ambidex_core::model::ModelInfo;
use ambidex_core::{Context, Error, ErrorKind, Request};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::provider::same_frame;

/// SHA-256 of everything that decides the answer.
pub(super) type Key = [u8; 32];

/// Keys of one model.
pub(super) struct Frames {
    model: [u8; 32],
    /// Agents that share one model keep a digest each, up to [`FRAMES`].
    known: Mutex<Vec<(Request, [u8; 32])>>,
}

const FRAMES: usize = 16;
/// Where the digest of a history is kept beside its run.
const FORMAT: &str = "exact-cache";

impl Frames {
    pub fn new(info: &ModelInfo) -> Self {
        let mut model = Sha256::new();
        text(&mut model, &info.provider);
        text(&mut model, &info.name);
        Self { model: model.finalize().into(), known: Mutex::default() }
    }

    /// Each message is hashed once in its run, and what stands around the history once for all its calls.
    ///
    /// # Errors
    /// `internal` when something cannot be written as JSON.
    pub fn key(&self, request: &Request, context: &Context) -> Result<Key, Error> {
        let mut key = Sha256::new_with_prefix(self.model);
        key.update(self.frame(request)?);
        key.update(context.wire().digest(FORMAT, &request.history, message)?);
        Ok(key.finalize().into())
    }

    fn frame(&self, request: &Request) -> Result<[u8; 32], Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, digest)) = known.iter().rfind(|(known, _)| same_frame(known, request)) {
            return Ok(*digest);
        }
        let digest = frame(request)?;
        if known.len() >= FRAMES {
            known.remove(0);
        }
        // It holds what its pointers point to, so no other value can take their place.
        known.push((Request { history: Arc::default(), ..request.clone() }, digest));
        Ok(digest)
    }
}

fn frame(request: &Request) -> Result<[u8; 32], Error> {
    let Request { instructions, history: _, tools, tool_choice, output, settings } = request;
    let mut digest = Sha256::new();
    json(Hashes(&mut digest), &instructions.as_deref())?;
    digest.update((tools.len() as u64).to_le_bytes());
    for tool in tools.iter() {
        json(Hashes(&mut digest), &(&tool.name, &tool.description, &tool.input, &tool.output))?;
    }
    json(Hashes(&mut digest), tool_choice)?;
    json(Hashes(&mut digest), &output.as_deref())?;
    json(Hashes(&mut digest), &**settings)?;
    Ok(digest.finalize().into())
}

fn text(digest: &mut Sha256, text: &str) {
    digest.update((text.len() as u64).to_le_bytes());
    digest.update(text);
}

/// Each part tells where it ends, so no two messages are written the same.
fn message(message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    out.push(match message.role {
        Role::System => b's',
        Role::User => b'u',
        Role::Assistant => b'a',
        Role::Tool => b't',
    });
    for part in &message.parts {
        match part {
            // Most of a history. As it is, it is written several times as fast as JSON.
            Part::Text { text } => {
                out.push(b't');
                out.extend_from_slice(&(text.len() as u64).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            part => {
                out.push(b'j');
                json(&mut *out, part)?;
            }
        }
    }
    Ok(())
}

/// JSON ends where it ends, so values written one after another cannot be mistaken for others.
fn json(mut out: impl Write, value: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer(&mut out, value)
        .map_err(io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .map_err(|error| {
            Error::new(ErrorKind::Internal, format!("a request cannot be looked up in the cache: {error}"))
        })
}

/// Takes what is written.
struct Hashes<'a>(&'a mut Sha256);

impl Write for Hashes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

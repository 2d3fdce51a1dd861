//! What makes two requests equal.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

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
/// Where the digests of messages are kept beside a run.
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
        let messages = context.wire().encode(FORMAT, &request.history, |_, message, out| {
            let mut digest = Sha256::new();
            json(&mut digest, message)?;
            out.extend_from_slice(&digest.finalize());
            Ok(())
        })?;
        let mut key = Sha256::new_with_prefix(self.model);
        key.update(self.frame(request)?);
        messages.iter().for_each(|digests| key.update(digests));
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
    json(&mut digest, &instructions.as_deref())?;
    digest.update((tools.len() as u64).to_le_bytes());
    for tool in tools.iter() {
        json(&mut digest, &(&tool.name, &tool.description, &tool.input, &tool.output))?;
    }
    json(&mut digest, tool_choice)?;
    json(&mut digest, &output.as_deref())?;
    json(&mut digest, &**settings)?;
    Ok(digest.finalize().into())
}

fn text(digest: &mut Sha256, text: &str) {
    digest.update((text.len() as u64).to_le_bytes());
    digest.update(text);
}

/// JSON ends where it ends, so values written one after another cannot be mistaken for others.
fn json(digest: &mut Sha256, value: &impl Serialize) -> Result<(), Error> {
    struct Into<'a>(&'a mut Sha256);
    impl io::Write for Into<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Into(digest), value).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("a request cannot be looked up in the cache: {error}"))
    })?;
    digest.update(b"\n");
    Ok(())
}

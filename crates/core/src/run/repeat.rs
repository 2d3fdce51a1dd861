//! Notices a model that makes the same call again and again.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::message::{Arguments, ToolCall};

/// Counts calls that are equal in name, arguments and result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Repeats {
    counts: HashMap<u64, u32>,
}

/// What the count says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeated {
    No,
    /// Often enough that the model is told.
    Tell,
    /// Too often: the run ends.
    Stop,
}

impl Repeats {
    pub(super) const TELL: u32 = 3;
    pub(super) const STOP: u32 = 5;

    pub(super) fn count(&mut self, call: &ToolCall, result: &str) -> Repeated {
        let count = self.counts.entry(fingerprint(call, result)).or_default();
        *count += 1;
        match *count {
            n if n >= Self::STOP => Repeated::Stop,
            n if n >= Self::TELL => Repeated::Tell,
            _ => Repeated::No,
        }
    }
}

fn fingerprint(call: &ToolCall, result: &str) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.text(&call.name);
    match &call.arguments {
        // Written to the hash, which cannot fail, instead of into a text.
        Arguments::Json(arguments) => drop(serde_json::to_writer(&mut hash, arguments)),
        Arguments::Invalid { raw, .. } => hash.bytes(raw.as_bytes()),
    }
    hash.text("");
    hash.text(result);
    hash.0
}

/// FNV-1a, 64 bits: the same in every build, as everything must be that is folded from records.
struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.0 = bytes.iter().fold(self.0, step);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(&[0xff]); // in no UTF-8: where one text ends and the next begins
    }
}

impl std::io::Write for Fnv {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

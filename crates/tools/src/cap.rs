//! Bounds on what tools give back: what is kept, and what is collected while a source still writes.

use std::collections::VecDeque;

use ambidex_core::ToolOutput;
use ambidex_core::cap::{KEPT, head_and_tail};

/// What is kept of a tool's result. A JSON result over the limit becomes text, its head and tail.
pub fn keep(output: ToolOutput) -> ToolOutput {
    match output {
        ToolOutput::Text(text) => ToolOutput::Text(head_and_tail(text, KEPT)),
        ToolOutput::Json(value) => {
            let text = value.to_string();
            if text.len() <= KEPT {
                ToolOutput::Json(value)
            } else {
                ToolOutput::Text(head_and_tail(text, KEPT))
            }
        }
    }
}

/// Takes bytes without end and keeps the first and the last of them.
#[derive(Debug)]
pub struct HeadAndTail {
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl HeadAndTail {
    /// Keeps up to `limit` bytes, half of them from the end.
    pub fn new(limit: usize) -> Self {
        Self { half: limit.div_ceil(2), head: Vec::new(), tail: VecDeque::new(), total: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (head, rest) = bytes.split_at(bytes.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.tail.drain(..surplus);
        self.tail.extend(rest);
    }

    /// Bytes seen.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes seen and not kept.
    pub fn left_out(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// What was kept as text; bytes that are not UTF-8 become replacement characters.
    pub fn into_text(self) -> String {
        let left_out = self.left_out();
        if left_out == 0 {
            let mut bytes = self.head;
            bytes.extend(self.tail);
            return match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            };
        }
        let tail: Vec<u8> = self.tail.into();
        format!(
            "{}\n[... {left_out} bytes left out ...]\n{}",
            String::from_utf8_lossy(whole_characters_at_end(&self.head)),
            String::from_utf8_lossy(whole_characters_at_start(&tail)),
        )
    }
}

/// Without a character that the cut left unfinished.
fn whole_characters_at_end(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

/// Without the rest of a character that began before the cut.
fn whole_characters_at_start(bytes: &[u8]) -> &[u8] {
    let rest = bytes.iter().take(3).take_while(|byte| **byte & 0xC0 == 0x80).count();
    &bytes[rest..]
}

//! Messages in a wire format, each encoded once, and the digest of a history, each message hashed once. Lives
//! beside the run: it can always be made again, and it is no state.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::message::{History, Message};

/// Encoded histories by wire format. Encoding turn n costs what turn n added. Clones share what they hold: so runs
/// that come one after another on one thread do.
#[derive(Clone, Default)]
pub struct WireCache {
    formats: Arc<Mutex<Vec<(String, Encoded)>>>,
    digests: Arc<Mutex<Vec<(String, Hashed)>>>,
}

#[derive(Default)]
struct Encoded {
    messages: Vec<Arc<Message>>,
    /// Neighbours are joined when the younger has grown as large as the elder, so there are about
    /// log2(n) of them and each byte is copied about log2(n) times.
    segments: Vec<Bytes>,
    total: u64,
}

impl WireCache {
    /// The history in the given format as a chain of segments. `encode` appends one message, given the
    /// one before it; it is called only for messages that were not encoded before.
    pub fn encode(
        &self,
        format: &str,
        history: &History,
        mut encode: impl FnMut(Option<&Message>, &Message, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Vec<Bytes>, Error> {
        let mut formats = self.formats.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match formats.iter().position(|(name, _)| name == format) {
            Some(index) => index,
            None => {
                formats.push((format.to_owned(), Encoded::default()));
                formats.len() - 1
            }
        };
        let Some((_, encoded)) = formats.get_mut(index) else {
            return Err(Error::new(crate::ErrorKind::Internal, "the wire cache lost a format"));
        };
        if !is_prefix(&encoded.messages, history) {
            *encoded = Encoded { total: encoded.total, ..Encoded::default() };
        }
        if history.len() > encoded.messages.len() {
            let mut fresh = Vec::with_capacity(256);
            let known = encoded.messages.len();
            let mut before = known.checked_sub(1).and_then(|last| history.get(last));
            for message in history.iter().skip(known) {
                encode(before.map(|message| &**message), message, &mut fresh)?;
                encoded.total += 1;
                before = Some(message);
            }
            encoded.messages.extend(history.iter().skip(known).cloned());
            encoded.push(Bytes::from(fresh));
        }
        Ok(encoded.segments.clone())
    }

    /// SHA-256 of the history, each message as `write` writes it. The same however many messages came at a
    /// time; `write` is called only for messages that were not hashed before.
    pub fn digest(
        &self,
        format: &str,
        history: &History,
        mut write: impl FnMut(&Message, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<[u8; 32], Error> {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let place = digests.iter().position(|(name, _)| name == format).unwrap_or_else(|| {
            digests.push((format.to_owned(), Hashed::default()));
            digests.len() - 1
        });
        let Some((_, hashed)) = digests.get_mut(place) else {
            return Err(Error::new(crate::ErrorKind::Internal, "the wire cache lost a digest"));
        };
        if !is_prefix(&hashed.messages, history) {
            *hashed = Hashed { total: hashed.total, ..Hashed::default() };
        }
        let known = hashed.messages.len();
        if hashed.value.is_none() || history.len() > known {
            let mut state = hashed.state.clone();
            let mut fresh = Vec::with_capacity(256);
            for message in history.iter().skip(known) {
                fresh.clear();
                write(message, &mut fresh)?;
                hashed.total += 1;
                // So that no two histories are written the same.
                state.update((fresh.len() as u64).to_le_bytes());
                state.update(&fresh);
            }
            hashed.messages.extend(history.iter().skip(known).cloned());
            hashed.value = Some(state.clone().finalize().into());
            hashed.state = state;
        }
        Ok(hashed.value.unwrap_or_default())
    }

    /// Messages encoded and hashed so far, over all formats.
    pub fn encoded(&self) -> u64 {
        let formats = self.formats.lock().unwrap_or_else(PoisonError::into_inner);
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let encoded = formats.iter().map(|(_, encoded)| encoded.total);
        encoded.chain(digests.iter().map(|(_, hashed)| hashed.total)).sum()
    }
}

/// A history's digest, which can be gone on with.
#[derive(Default)]
struct Hashed {
    messages: Vec<Arc<Message>>,
    state: Sha256,
    /// What `state` comes to.
    value: Option<[u8; 32]>,
    total: u64,
}

/// A run only appends, but a hook may have put another message anywhere. Pointers are compared, no text.
fn is_prefix(known: &[Arc<Message>], history: &History) -> bool {
    let same = |(ours, theirs)| Arc::ptr_eq(ours, theirs);
    known.len() <= history.len() && known.iter().zip(history.iter()).all(same)
}

impl Encoded {
    fn push(&mut self, fresh: Bytes) {
        let mut fresh = fresh;
        while let Some(elder) = self.segments.last() {
            if elder.len() > fresh.len() {
                break;
            }
            let mut joined = Vec::with_capacity(elder.len() + fresh.len());
            joined.extend_from_slice(elder);
            joined.extend_from_slice(&fresh);
            self.segments.pop();
            fresh = Bytes::from(joined);
        }
        self.segments.push(fresh);
    }
}

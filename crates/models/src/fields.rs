//! Writes a JSON object field by field, without a value tree.

use ambidex_core::{Error, ErrorKind};
use serde::Serialize;
use serde_json::{Map, Value};

/// An object under way. Fields that the user sets himself (`extra`) win over ours.
pub(crate) struct Fields<'a> {
    out: Vec<u8>,
    extra: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(extra: &'a Map<String, Value>) -> Self {
        let mut out = Vec::with_capacity(512);
        out.push(b'{');
        Self { out, extra }
    }

    pub(crate) fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        if !self.extra.contains_key(name) {
            self.write(name, value)?;
        }
        Ok(())
    }

    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Serialize>) -> Result<(), Error> {
        value.map_or(Ok(()), |value| self.field(name, &value))
    }

    /// Writes the user's fields and gives the bytes, without the closing brace.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Error> {
        // What is always ours: the caller appends it.
        for (name, value) in
            self.extra.iter().filter(|(name, _)| !["messages", "contents", "stream"].contains(&name.as_str()))
        {
            self.write(name, value)?;
        }
        Ok(self.out)
    }

    fn write(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        json(&mut self.out, name)?;
        self.out.push(b':');
        json(&mut self.out, value)
    }
}

/// Appends a value as JSON.
pub(crate) fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    serde_json::to_writer(out, value).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("a request cannot be written as JSON: {error}"))
    })
}

/// Appends text as it is.
pub(crate) fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// An id that every provider accepts in place of another's. Two ids that differ stay different.
pub(crate) fn short_id(id: &str) -> String {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("call_{hash:016x}")
}

//! Notices a model that makes the same call again and again.

use std::collections::HashMap;

/// Counts calls that are equal in name, arguments and result.
#[derive(Clone, Debug, Default, PartialEq)]
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

    pub(super) fn count(&mut self, name: &str, arguments: &str, result: &str) -> Repeated {
        let count = self.counts.entry(fingerprint([name, arguments, result])).or_default();
        *count += 1;
        match *count {
            n if n >= Self::STOP => Repeated::Stop,
            n if n >= Self::TELL => Repeated::Tell,
            _ => Repeated::No,
        }
    }
}

/// FNV-1a, 64 bits: the same in every build, as everything must be that is folded from records.
fn fingerprint(texts: [&str; 3]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

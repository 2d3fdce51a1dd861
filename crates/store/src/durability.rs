//! When a commit is acknowledged.

use std::fmt;
use std::str::FromStr;

/// What an acknowledged commit is worth when the machine loses its power. A process that dies, by `kill -9` too,
/// loses nothing that was acknowledged under any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On disk before it is acknowledged.
    #[default]
    Sync,
    /// Acknowledged when it is written; a sync begins at most 50 ms later. What was written before the last
    /// sync is safe, and what is lost is lost from the end: never a commit without those before it.
    Batch,
    /// Written when the system likes to, and in whatever order: after a power cut the file may be damaged.
    None,
}

impl Durability {
    /// The promise in a sentence, for people.
    pub fn promise(self) -> &'static str {
        match self {
            Self::Sync => "every step is on disk before the next one starts",
            Self::Batch => {
                "a power cut may lose the last moments (a sync begins at most 50 ms after a write)"
            }
            Self::None => "a power cut may lose or damage what was stored lately",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Batch => "batch",
            Self::None => "none",
        })
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sync" => Ok(Self::Sync),
            "batch" => Ok(Self::Batch),
            "none" => Ok(Self::None),
            _ => Err(format!("`{text}` is no durability; use sync, batch or none")),
        }
    }
}

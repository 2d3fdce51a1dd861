use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::error::ConfigErrorKind;
use crate::reader::{At, Choice, Fields, FromNode};

/// `[store]`: where runs, threads and questions are kept, by every local command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite:PATH` or `memory:`. Default: `.ambidex/state.db` beside `ambidex.toml`, without one the
    /// user's data folder.
    pub url: StoreUrl,
    pub durability: Durability,
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema)]
#[schemars(with = "String")]
pub enum StoreUrl {
    /// Gone with the process.
    #[default]
    Memory,
    /// A file; the path is absolute once loaded.
    Sqlite(PathBuf),
}

/// What an acknowledged commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// A power cut: on disk before the next effect.
    #[default]
    Sync,
    /// A crash of the process; synced at most 50 ms after the write.
    Batch,
    /// Nothing.
    None,
}

impl Choice for Durability {
    const ALL: &'static [(&'static str, Self)] =
        &[("sync", Self::Sync), ("batch", Self::Batch), ("none", Self::None)];
}

impl FromNode for Store {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?;
        // The default URL depends on the files found and is laid under them as a value.
        let url = fields.optional("url").unwrap_or_default();
        let durability = fields.or("durability", Durability::default());
        fields.finish();
        Some(Self { url, durability })
    }
}

impl FromNode for StoreUrl {
    fn from_node(at: &At<'_>) -> Option<Self> {
        const ALLOWED: &str = "\"sqlite:PATH\", \"memory:\"";
        if at.node.as_table().is_some() {
            at.report(at.not_supported(format_args!("`{}` as a secret", at.path)).allowed(ALLOWED));
            return None;
        }
        match at.text()?.split_once(':') {
            Some(("memory", "")) => Some(Self::Memory),
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() || path == ":memory:" {
                    at.report(
                        at.invalid("it names no file").allowed(ALLOWED).help("for memory write \"memory:\""),
                    );
                    return None;
                }
                Some(Self::Sqlite(at.resolve(path)))
            }
            Some(("postgres" | "postgresql", _)) => {
                at.report(at.not_supported("a Postgres store").allowed(ALLOWED));
                None
            }
            _ => {
                let message = format!("`{}` must be the URL of a store, found {}", at.path, at.found());
                at.report(at.error(ConfigErrorKind::InvalidValue, message).allowed(ALLOWED));
                None
            }
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

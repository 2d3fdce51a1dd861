use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ConfigErrorKind;
use crate::reader::{At, Fields, FromNode};

/// `[store]`: where runs, threads and questions are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    pub url: StoreUrl,
}

/// Where the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub enum StoreUrl {
    /// Gone with the process; a run that waits is kept in a file of its own.
    #[default]
    #[serde(rename = "memory:")]
    Memory,
}

impl FromNode for Store {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?;
        fields.later(&["durability"]);
        let url = fields.or("url", StoreUrl::default());
        fields.finish();
        Some(Self { url })
    }
}

impl FromNode for StoreUrl {
    fn from_node(at: &At<'_>) -> Option<Self> {
        const ALLOWED: &str = "\"memory:\"";
        if at.node.as_table().is_some() {
            at.report(at.not_supported(format_args!("`{}` as a secret", at.path)).allowed(ALLOWED));
            return None;
        }
        // The URL is not repeated: one of a database may hold a password.
        let later = match at.text()?.split_once(':') {
            Some(("memory", "")) => return Some(Self::Memory),
            Some(("sqlite", _)) => Some("a SQLite store"),
            Some(("postgres" | "postgresql", _)) => Some("a Postgres store"),
            _ => None,
        };
        at.report(match later {
            Some(store) => at.not_supported(format_args!("`{}`: {store}", at.path)).allowed(ALLOWED),
            None => {
                let message = format!("`{}` is not the URL of a store", at.path);
                at.error(ConfigErrorKind::InvalidValue, message).allowed(ALLOWED)
            }
        });
        None
    }
}

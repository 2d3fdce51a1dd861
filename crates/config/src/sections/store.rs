use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::duration::Duration;
use crate::error::ConfigErrorKind;
use crate::reader::{At, Choice, Fields, FromNode};
use crate::secret::{Secret, report_plain};

/// `[store]`: where runs, threads and questions are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `memory:` is gone with the process; a run that waits is kept in a file of its own. `sqlite:PATH`, relative to the
    /// folder of the file that names it, or `postgres://USER@HOST/DATABASE`; one with a password only as a secret.
    pub url: StoreUrl,
    /// When a step counts as stored: `sync` when it is on disk, `batch` at most 50 ms before, `none` leaves it to the
    /// system.
    pub durability: StoreDurability,
    /// How long runs are kept after they have ended, such as `30d`; for ever when it is not given. Threads keep what was
    /// said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Duration>,
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoreUrl {
    /// Gone with the process.
    #[default]
    Memory,
    /// A SQLite file. The path is absolute once loaded.
    Sqlite(PathBuf),
    /// A database, by a URL without a password.
    Postgres(String),
    /// Any of them, by a URL that is kept elsewhere.
    Secret(Secret),
}

/// What a power cut may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreDurability {
    #[default]
    Sync,
    Batch,
    None,
}

impl StoreUrl {
    /// Reads one that came from elsewhere, such as a secret; paths are relative to `folder`. Passwords are let through.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: &str, folder: &std::path::Path) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", "")) => Err("it names no file".into()),
            Some(("sqlite", path)) => Ok(Self::Sqlite(folder.join(path).components().collect())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            _ => Err("it is not the URL of a store".into()),
        }
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Memory => serializer.serialize_str("memory:"),
            Self::Sqlite(path) => serializer.serialize_str(&format!("sqlite:{}", path.display())),
            Self::Postgres(url) => serializer.serialize_str(url),
            Self::Secret(secret) => secret.serialize(serializer),
        }
    }
}

impl JsonSchema for StoreUrl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StoreUrl".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<Secret>();
        json_schema!({
            "description": "Where the store is.",
            "anyOf": [
                {"type": "string", "pattern": "^(memory:$|sqlite:.|postgres(ql)?://)"},
                secret,
            ],
        })
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const CENTURY: Duration = Duration::from_secs(36_500 * 86_400);

const URLS: &str = "\"memory:\", \"sqlite:PATH\", \"postgres://USER@HOST/DATABASE\"";

impl FromNode for Store {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?;
        let url = fields.or("url", StoreUrl::default());
        let durability = fields.or("durability", StoreDurability::default());
        let keep = fields.duration("keep", MINUTE..=CENTURY);
        fields.finish();
        Some(Self { url, durability, keep })
    }
}

impl Choice for StoreDurability {
    const ALL: &'static [(&'static str, Self)] =
        &[("sync", Self::Sync), ("batch", Self::Batch), ("none", Self::None)];
}

impl FromNode for StoreUrl {
    fn from_node(at: &At<'_>) -> Option<Self> {
        if at.node.as_table().is_some() {
            return Secret::from_node(at).map(Self::Secret);
        }
        // The URL is not repeated: one of a database may hold a password.
        let text = at.text()?;
        match Self::parse(text, at.folder()) {
            Ok(_) if has_password(text) => {
                report_plain(at);
                None
            }
            Ok(url) => Some(url),
            Err(why) if text == "sqlite:" => {
                let help = "write sqlite:PATH, such as \"sqlite:.ambidex/state.db\"";
                at.report(at.invalid(why).help(help));
                None
            }
            Err(_) => {
                let message = format!("`{}` is not the URL of a store", at.path);
                at.report(at.error(ConfigErrorKind::InvalidValue, message).allowed(URLS));
                None
            }
        }
    }
}

/// Before the host, or among the parameters. What stands before the first `@` is taken for user and password, whatever
/// it holds.
fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    rest.split_once('@').is_some_and(|(user, _)| user.contains(':')) || url.contains("password=")
}

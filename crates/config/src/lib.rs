//! The configuration of Ambidex: `ambidex.toml`, its layers, and errors that say where and what to do.
//!
//! ```
//! use ambidex_config::{LoadOptions, load};
//!
//! let mut options = LoadOptions::in_directory("/tmp");
//! options.text = Some("[agents.writer]\nmodel = \"demo\"\n".into());
//! options.overrides = vec!["agents.writer.max_iterations=3".into()];
//! let loaded = load(&options)?;
//! let (name, agent) = loaded.config.default_agent().ok_or("the only agent is the default")?;
//! assert_eq!((name, agent.max_iterations), ("writer", 3));
//!
//! options.text = Some("[agents.writer]\nmodle = \"demo\"\n".into());
//! let errors = load(&options).err().ok_or("a wrong key is refused")?;
//! assert!(errors.to_string().contains("ambidex.toml:2:1: unknown key `modle`"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A value is looked for in `-c` flags, `AMBIDEX__A__B` variables, the profile, the project's file, the user's
//! file, and the built-in defaults, in this order. Each layer is parsed into a tree whose values know where they
//! were written; the trees are merged, and one reading turns the result into a [`Config`] and notes every fault.

mod duration;
mod environment;
mod error;
mod fault;
mod flow_file;
mod header;
mod input;
mod layers;
mod load;
mod path;
mod placeholders;
mod reader;
mod redact;
mod references;
mod render;
mod schema;
mod secret;
mod sections;
mod show;
mod size;
mod source;
mod starter;
mod suggest;
mod template;
mod toml_text;
mod tree;
mod url;
mod vendors;

pub use duration::{Duration, InvalidDuration};
pub use environment::Environment;
pub use error::{ConfigError, ConfigErrorKind, ConfigErrors};
pub use fault::{Fault, quoted};
pub use header::{Headers, PrefixedSecret, TextOrSecret};
pub use input::{InvalidInput, input_schema};
pub use load::{Check, FILE_NAME, LoadOptions, Loaded, load, load_with};
pub use references::Known;
pub use render::Style;
pub use secret::{Secret, SecretError, SecretSource};
pub use sections::*;
pub use show::Setting;
pub use size::{InvalidSize, Size};
pub use source::{Origin, Source, SourceKind};
pub use starter::STARTER;
pub use template::{InvalidTemplate, Template, TemplatePart};
pub use vendors::{VENDORS, Vendor};

//! Tools of a configuration.

use std::sync::Arc;

use ambidex_config::{BUILT_IN_TOOLS, Body, Effect, Method, TextOrSecret, Tool as Configured, ToolAction};
use ambidex_core::tool::{EffectClass, Tool};
use ambidex_core::{Error, ErrorKind};
use ambidex_tools::files::{self, Root};
use ambidex_tools::{CommandSpec, CommandTool, HttpSpec, HttpTool, Registered, registry};
use secrecy::ExposeSecret;

use super::Project;

impl Project {
    /// The names an agent's `tools` may hold: those of the configuration, then the built-in ones that it
    /// does not replace.
    pub fn tool_names(&self) -> impl Iterator<Item = &str> {
        let configured = &self.config().tools;
        let built_in = BUILT_IN_TOOLS.into_iter().filter(|name| !configured.contains_key(*name));
        configured.keys().map(String::as_str).chain(built_in)
    }

    /// A tool of the configuration, else a built-in one over the project's folder.
    ///
    /// # Errors
    /// `unknown_tool`: there is no such tool; `config_invalid`: it cannot be built.
    pub fn tool(&mut self, name: &str) -> Result<Arc<Registered>, Error> {
        if let Some(tool) = self.tools.get(name) {
            return Ok(tool.clone());
        }
        let tool = match self.config().tools.get(name).cloned() {
            Some(configured) => self.build_tool(name, configured),
            None if BUILT_IN_TOOLS.contains(&name) => self.file_tool(name),
            None => return Err(registry::unknown_tool(name, self.tool_names())),
        };
        let tool = tool.and_then(|tool| Registered::new(tool).map(Arc::new));
        let tool = tool.map_err(|error| error.context(format!("tool `{name}`")))?;
        self.tools.insert(name.to_owned(), tool.clone());
        Ok(tool)
    }

    fn file_tool(&self, name: &str) -> Result<Arc<dyn Tool>, Error> {
        let root = Root::new(&self.loaded().folder)?;
        match files::all(&root).into_iter().find(|tool| tool.spec().name == name) {
            Some(tool) => Ok(Arc::new(tool)),
            None => Err(registry::unknown_tool(name, self.tool_names())),
        }
    }

    fn build_tool(&self, name: &str, tool: Configured) -> Result<Arc<dyn Tool>, Error> {
        let effect = tool.known_effect().map(class);
        let retry = tool.retry.as_ref();
        let attempts = retry.map(|retry| retry.attempts);
        let (retry_base, retry_cap) = (retry.map(|it| it.base.get()), retry.map(|it| it.cap.get()));
        let description = tool.description.unwrap_or_default();
        let max_output = usize::try_from(tool.max_output.bytes()).unwrap_or(usize::MAX);
        match tool.action {
            ToolAction::Http { method, url, headers, query, body, allow_private } => {
                let mut spec = HttpSpec::new(word(method), url.as_str());
                for (name, value) in &headers {
                    spec.headers.insert(name.clone(), self.text(value)?);
                }
                spec.query =
                    query.iter().map(|(name, value)| (name.clone(), value.as_str().to_owned())).collect();
                spec.body = body.map(|body| match body {
                    Body::Text(text) => text.as_str().into(),
                    Body::Json(json) => json,
                });
                spec.description = description;
                spec.input = tool.input;
                spec.effect = effect;
                spec.allow_private = allow_private;
                spec.timeout = Some(tool.timeout.get());
                spec.max_output = Some(max_output);
                spec.exclusive = !tool.parallel;
                spec.attempts = attempts;
                spec.retry_base = retry_base;
                spec.retry_cap = retry_cap;
                spec.concurrency = Some(tool.concurrency);
                Ok(Arc::new(HttpTool::new(name, spec)?))
            }
            ToolAction::Command { command, cwd, env, stdin, pass_env, allow_dash, ok_exit_codes, json } => {
                let mut spec = CommandSpec::new(command.iter().map(|part| part.as_str().to_owned()));
                for (name, value) in &env {
                    spec.env.insert(name.clone(), self.text(value)?);
                }
                spec.stdin = stdin.map(|stdin| stdin.as_str().to_owned());
                spec.pass_env = pass_env;
                spec.allow_dash = allow_dash;
                spec.ok_exit_codes = ok_exit_codes.into_iter().map(i32::from).collect();
                spec.json = json;
                spec.description = description;
                spec.cwd = Some(cwd);
                spec.input = tool.input;
                spec.effect = effect.unwrap_or_default();
                spec.timeout = Some(tool.timeout.get());
                spec.max_output = Some(max_output);
                spec.exclusive = !tool.parallel;
                spec.attempts = attempts;
                spec.retry_base = retry_base;
                spec.retry_cap = retry_cap;
                spec.concurrency = Some(tool.concurrency);
                Ok(Arc::new(CommandTool::new(name, spec)?))
            }
        }
    }

    fn text(&self, value: &TextOrSecret) -> Result<String, Error> {
        match value {
            TextOrSecret::Text(text) => Ok(text.clone()),
            TextOrSecret::Secret(secret) => {
                let found = secret.secret.resolve(&self.environment);
                let found = found.map_err(|error| Error::new(ErrorKind::ConfigInvalid, error.to_string()))?;
                Ok(format!("{}{}", secret.prefix, found.expose_secret()))
            }
        }
    }
}

fn class(effect: Effect) -> EffectClass {
    match effect {
        Effect::Read => EffectClass::Read,
        Effect::Idempotent => EffectClass::Idempotent,
        Effect::Once => EffectClass::Once,
    }
}

fn word(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}

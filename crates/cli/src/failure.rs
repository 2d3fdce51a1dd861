//! Why a command could not do what was asked: what was tried, what was found, what to do.

use std::fmt::Display;
use std::io;

use ambidex_config::{ConfigErrors, Style};
use ambidex_core::{Error, ErrorKind};

use crate::console::Console;
use crate::exit::Exit;
use crate::hint::hint;

pub enum Failure {
    Said {
        exit: Exit,
        message: String,
        help: Option<String>,
    },
    Config(ConfigErrors),
    /// There is nobody to tell: the reader of stdout is gone, or wants it to end at once.
    Closed(Exit),
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Said { exit, message: message.into(), help: None }
    }

    /// Whether a signal came before there was anything to end.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Said { exit: Exit::Cancelled, .. })
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn help(self, text: impl Into<String>) -> Self {
        match self {
            Self::Said { exit, message, .. } => Self::Said { exit, message, help: Some(text.into()) },
            other => other,
        }
    }

    /// With the place it is about in front.
    pub fn at(self, place: &str) -> Self {
        match self {
            Self::Said { exit, message, help } => {
                Self::Said { exit, message: format!("{place}: {message}"), help }
            }
            other => other,
        }
    }

    /// Something of the configuration could not be built.
    pub fn building(error: &Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::ConfigInvalid | ErrorKind::Unauthorized | ErrorKind::UnknownTool => {
                Exit::ConfigInvalid
            }
            _ => Exit::of_error(error),
        };
        let help = hint(error).map(str::to_owned);
        Self::Said { exit, message: error.message().to_owned(), help }
    }

    pub fn internal(error: impl Display) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }

    pub fn from_stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed(Exit::Done),
            _ => Self::new(Exit::Failed, format!("cannot write to stdout: {error}")),
        }
    }

    /// Says it on stderr.
    pub fn report(self, console: &mut Console) -> Exit {
        match self {
            Self::Said { exit, message, help } => {
                console.error(&message, help.as_deref());
                exit
            }
            Self::Config(errors) => {
                let style = if console.stderr_paint().is_on() { Style::Color } else { Style::Plain };
                console.complain(errors.render(style).trim_end());
                Exit::ConfigInvalid
            }
            Self::Closed(exit) => {
                console.wipe();
                exit
            }
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

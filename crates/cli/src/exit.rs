//! How a command ends.

use std::process::ExitCode;

use ambidex_core::event::Status;
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::{RunError, RunResult};

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    /// Waits for a person.
    Waiting = 3,
    /// A budget or `max_iterations` was reached; the run can go on.
    Paused = 4,
    Cancelled = 5,
    ConfigInvalid = 6,
    NoServer = 7,
    Timeout = 8,
}

impl Exit {
    /// Every code with a line of what it means.
    pub const ALL: &'static [(Exit, &'static str)] = &[
        (Self::Done, "done"),
        (Self::Failed, "the run, or what was tried, failed"),
        (Self::Usage, "the command line is wrong"),
        (Self::Waiting, "the run waits for a person"),
        (Self::Paused, "the run is paused: a budget or max_iterations was reached"),
        (Self::Cancelled, "cancelled"),
        (Self::ConfigInvalid, "the configuration is invalid, or a key it names cannot be had"),
        (Self::NoServer, "no server is running"),
        (Self::Timeout, "a time limit passed"),
    ];

    pub fn code(self) -> u8 {
        self as u8
    }

    /// Of an error that ended a run or kept it from starting.
    pub fn of_error(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::Cancelled => Self::Cancelled,
            _ => Self::Failed,
        }
    }

    pub fn of_run(ended: &Result<RunResult, RunError>) -> Self {
        match ended {
            Err(error) => Self::of_error(&error.error),
            Ok(result) if !result.questions.is_empty() => Self::Waiting,
            Ok(result) => match result.status {
                Status::Succeeded => Self::Done,
                Status::Waiting => Self::Waiting,
                Status::Paused => Self::Paused,
                Status::Cancelled => Self::Cancelled,
                Status::Failed | Status::Queued | Status::Running => Self::Failed,
            },
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

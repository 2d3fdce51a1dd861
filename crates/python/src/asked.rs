//! Who asked for a run, and what its tools, hooks and models share while it is under way.

use std::sync::{Arc, Mutex, PoisonError};

use ambidex_core::context::Caller as CoreCaller;
use ambidex_core::{Context, Error, ErrorKind};
use ambidex_engine::{RunError, RunOptions, RunResult};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Caller, Failure};
use crate::held::Held;
use crate::resting;

/// Exceptions that are kept for the failure they may turn out to be the cause of.
const CAUSES: usize = 8;

/// One run as its Python code sees it. Travels as the run's caller.
pub(crate) struct Asked {
    caller: Arc<Caller>,
    token: CancellationToken,
    state: Mutex<Option<Held>>,
    causes: Mutex<Vec<(String, PyErr)>>,
    raised: Mutex<Option<PyErr>>,
}

impl Asked {
    pub(crate) fn new(caller: &Arc<Caller>) -> Arc<Self> {
        Self::within(caller, caller.token())
    }

    /// Ends with this token.
    pub(crate) fn within(caller: &Arc<Caller>, token: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            caller: caller.clone(),
            token: token.child_token(),
            state: Mutex::default(),
            causes: Mutex::default(),
            raised: Mutex::default(),
        })
    }

    /// Of the run this context belongs to.
    ///
    /// # Errors
    /// It was not begun from Python.
    pub(crate) fn of(context: &Context) -> Result<Arc<Self>, Error> {
        context.caller::<Self>().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "something written in Python was called by a run that was not")
        })
    }

    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Ends this run alone.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(crate) fn as_core(self: &Arc<Self>) -> CoreCaller {
        CoreCaller::new(self.clone())
    }

    /// The options of a run that was asked for so.
    pub(crate) fn options(self: &Arc<Self>, options: RunOptions) -> RunOptions {
        RunOptions {
            token: Some(self.token.clone()),
            caller: Some(self.as_core()),
            parent: self.caller.parent().cloned(),
            ..options
        }
    }

    /// What the tools of the run share, a `dict`.
    pub(crate) fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let known = || self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = &*known() {
            return state.bind(py);
        }
        // Made outside of the lock: making it may run the collector, and that any code.
        let new = Held::new(PyDict::new(py).into_any().unbind());
        known().get_or_insert(new).bind(py)
    }

    /// Keeps an exception that was told as this error, in case the run fails with it.
    pub(crate) fn caused(&self, error: &Error, exception: PyErr) {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = (causes.len() >= CAUSES).then(|| causes.remove(0));
        causes.push((error.message().to_owned(), exception));
        drop(causes);
        drop(oldest);
    }

    /// Ends the run; whoever waits for it gets this exception.
    pub(crate) fn raise(&self, exception: PyErr) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let late = if raised.is_none() { raised.replace(exception) } else { Some(exception) };
        drop(raised);
        drop(late);
        self.token.cancel();
    }

    /// An exception of user code as an error of the core. What is no `Exception` passes through to whoever waits.
    pub(crate) fn failed(&self, py: Python<'_>, kind: ErrorKind, exception: PyErr) -> Error {
        if passes_through(py, &exception) {
            self.raise(exception);
            return Error::cancelled();
        }
        let error = described(py, kind, &exception);
        self.caused(&error, exception);
        error
    }

    /// How the run came to rest for whoever waits for it.
    pub(crate) fn settle_run(&self, ended: Result<RunResult, RunError>) -> Result<RunResult, Failure> {
        if let Ok(result) = &ended {
            resting::heard(result);
        }
        self.settle(ended)
    }

    pub(crate) fn settle<T>(&self, ended: Result<T, RunError>) -> Result<T, Failure> {
        if let Some(raised) = self.raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Failure::Python(raised));
        }
        ended.map_err(|failed| {
            if let Some(cause) = self.cause_of(&failed.error) {
                self.caller.caused(cause);
            }
            Failure::Run(failed)
        })
    }

    /// The same for a call of a model outside of runs.
    pub(crate) fn settle_call<T>(&self, ended: Result<T, Error>) -> Result<T, Failure> {
        self.settle(ended.map_err(RunError::from)).map_err(|failure| match failure {
            Failure::Run(failed) => Failure::Core(failed.error),
            other => other,
        })
    }

    /// The exception that was told as this error.
    pub(crate) fn cause_of(&self, error: &Error) -> Option<PyErr> {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        let found = causes.iter().rposition(|(text, _)| error.message().contains(text.as_str()));
        found.map(|at| causes.remove(at).1)
    }
}

/// `SystemExit`, `KeyboardInterrupt` and `GeneratorExit` are no failures of what raised them; a cancelled coroutine is
/// one.
fn passes_through(py: Python<'_>, exception: &PyErr) -> bool {
    let ordinary = exception.is_instance_of::<PyException>(py);
    let cancelled = || exception.get_type(py).name().is_ok_and(|name| name == "CancelledError");
    !ordinary && !cancelled()
}

/// An exception as its type and text, and as it says itself where it is one of this package.
fn described(py: Python<'_>, kind: ErrorKind, exception: &PyErr) -> Error {
    let value = exception.value(py);
    let name = exception.get_type(py).name().map_or_else(|_| "Exception".to_owned(), |it| it.to_string());
    let text = value.str().map_or_else(|_| String::new(), |it| it.to_string_lossy().into_owned());
    let ours = value.getattr(pyo3::intern!(py, "retryable")).and_then(|it| it.extract::<bool>());
    let code = value.getattr(pyo3::intern!(py, "code")).and_then(|it| it.extract::<String>());
    let kind = match (&ours, code) {
        (Ok(_), Ok(code)) => ErrorKind::ALL.iter().find(|it| it.0.code() == code).map_or(kind, |it| it.0),
        _ => kind,
    };
    match (ours, text.is_empty()) {
        (Ok(retryable), false) => Error::new(kind, text).retryable(retryable),
        (_, true) => Error::new(kind, name).retryable(false),
        (Err(_), false) => Error::new(kind, format!("{name}: {text}")).retryable(false),
    }
}

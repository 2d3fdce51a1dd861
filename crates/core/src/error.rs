//! One error type for everything a model, a tool or a run can end with, and the table of its codes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// What went wrong. The wire name of each kind is its *code*; see [`ErrorKind::ALL`] for the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    // the way to the provider
    ConnectFailed,
    BadUpstream,
    StreamTruncated,
    IdleTimeout,
    Timeout,
    // what the provider said
    RateLimited,
    Overloaded,
    ProviderError,
    BreakerOpen,
    QuotaExhausted,
    Unauthorized,
    Forbidden,
    NotFound,
    InvalidRequest,
    ContextTooLong,
    ContentFilter,
    Refused,
    EmptyReply,
    ReplyTruncated,
    OutputInvalid,
    // tools
    UnknownTool,
    InvalidArguments,
    ToolFailed,
    ToolTimeout,
    Denied,
    InDoubt,
    RepeatedCalls,
    // the run
    Cancelled,
    BudgetReached,
    UnknownEdge,
    LoopLimit,
    ExpressionFailed,
    Busy,
    Conflict,
    StoreFailed,
    ConfigInvalid,
    Unsupported,
    HookFailed,
    Internal,
}

impl ErrorKind {
    /// Every kind with a line of what it means and whether trying the same again may help.
    pub const ALL: &'static [(ErrorKind, &'static str, bool)] = &[
        (Self::ConnectFailed, "the provider could not be reached (name, address, port, TLS or proxy)", true),
        (Self::BadUpstream, "the provider's answer is not what its interface says", true),
        (Self::StreamTruncated, "the answer ended before its terminal event", true),
        (Self::IdleTimeout, "the answer stood still longer than the idle limit", true),
        (Self::Timeout, "a time limit passed: of the call, or the run's deadline", true),
        (Self::RateLimited, "the provider limits the rate of requests (429)", true),
        (Self::Overloaded, "the provider is overloaded (503, 529)", true),
        (Self::ProviderError, "the provider failed (5xx or an error inside the stream)", true),
        (Self::BreakerOpen, "this target failed too often and is left alone for a while", true),
        (Self::QuotaExhausted, "the account has no credit or quota left", false),
        (Self::Unauthorized, "the key is missing or wrong (401)", false),
        (Self::Forbidden, "the key may not do this (403)", false),
        (Self::NotFound, "no such model, address, thread or session (404)", false),
        (Self::InvalidRequest, "the provider refused the request (400, 413, 422)", false),
        (Self::ContextTooLong, "the prompt is longer than the model's context", false),
        (Self::ContentFilter, "the provider's content filter stopped the answer", false),
        (Self::Refused, "the model refused", false),
        (Self::EmptyReply, "the model answered with nothing, twice", true),
        (Self::ReplyTruncated, "the reply was cut by the token limit", false),
        (Self::OutputInvalid, "the reply does not match the output schema, also after one repair", false),
        (Self::UnknownTool, "the model called a tool that does not exist", false),
        (
            Self::InvalidArguments,
            "the arguments of a tool call are not JSON or do not match the schema",
            false,
        ),
        (Self::ToolFailed, "the tool failed", false),
        (Self::ToolTimeout, "the tool ran longer than its limit", false),
        (Self::Denied, "the call was not allowed, by policy or by a person", false),
        (Self::InDoubt, "a call that must not be repeated may have happened", false),
        (Self::RepeatedCalls, "the same call gave the same result too often", false),
        (Self::Cancelled, "cancelled", false),
        (Self::BudgetReached, "a budget is used up", false),
        (Self::UnknownEdge, "a node or a branch of a graph named a target that it does not have", false),
        (Self::LoopLimit, "a node of a graph was reached more often than it may be", false),
        (
            Self::ExpressionFailed,
            "a condition, a prompt or an argument of a workflow could not be evaluated",
            false,
        ),
        (Self::Busy, "a queue is full, or another run has the thread", true),
        (Self::Conflict, "it is there already, or was changed meanwhile; load it again", false),
        (Self::StoreFailed, "the store could not be read or written", true),
        (Self::ConfigInvalid, "the configuration is wrong", false),
        (Self::Unsupported, "this model or version cannot do that", false),
        (Self::HookFailed, "a hook failed", false),
        (Self::Internal, "a defect in Ambidex; please report it", false),
    ];

    /// The code: the kind's name on the wire, such as `stream_truncated`.
    pub fn code(self) -> &'static str {
        match self {
            Self::ConnectFailed => "connect_failed",
            Self::BadUpstream => "bad_upstream",
            Self::StreamTruncated => "stream_truncated",
            Self::IdleTimeout => "idle_timeout",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::ProviderError => "provider_error",
            Self::BreakerOpen => "breaker_open",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::InvalidRequest => "invalid_request",
            Self::ContextTooLong => "context_too_long",
            Self::ContentFilter => "content_filter",
            Self::Refused => "refused",
            Self::EmptyReply => "empty_reply",
            Self::ReplyTruncated => "reply_truncated",
            Self::OutputInvalid => "output_invalid",
            Self::UnknownTool => "unknown_tool",
            Self::InvalidArguments => "invalid_arguments",
            Self::ToolFailed => "tool_failed",
            Self::ToolTimeout => "tool_timeout",
            Self::Denied => "denied",
            Self::InDoubt => "in_doubt",
            Self::RepeatedCalls => "repeated_calls",
            Self::Cancelled => "cancelled",
            Self::BudgetReached => "budget_reached",
            Self::UnknownEdge => "unknown_edge",
            Self::LoopLimit => "loop_limit",
            Self::ExpressionFailed => "expression_failed",
            Self::Busy => "busy",
            Self::Conflict => "conflict",
            Self::StoreFailed => "store_failed",
            Self::ConfigInvalid => "config_invalid",
            Self::Unsupported => "unsupported",
            Self::HookFailed => "hook_failed",
            Self::Internal => "internal",
        }
    }

    /// Whether trying the same again may help, unless the error itself says otherwise.
    pub fn retryable(self) -> bool {
        Self::ALL.iter().any(|(kind, _, retryable)| *kind == self && *retryable)
    }
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

/// A failure with its code, a message safe to show, and whether and when a retry helps.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Error(Box<Details>);

#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Details {
    code: ErrorKind,
    message: String,
    retryable: bool,
    /// Milliseconds the other side asked us to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// Characters of an answer that watchers had seen when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<u64>,
    /// What the failed model call used, all its attempts together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

impl Error {
    /// An error of this kind. The message names the place, the problem and the remedy, and no secret.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            code: kind,
            message: message.into(),
            retryable: kind.retryable(),
            retry_after_ms: None,
            provider: None,
            status: None,
            request_id: None,
            shown: None,
            usage: None,
        }))
    }

    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    #[must_use]
    pub fn with_provider(mut self, provider: impl Into<String>) -> Self {
        self.0.provider = Some(provider.into());
        self
    }

    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    #[must_use]
    pub fn with_request_id(mut self, id: Option<String>) -> Self {
        self.0.request_id = id;
        self
    }

    /// Says what the failed model call used.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.0.usage = (usage != Usage::default()).then_some(usage);
        self
    }

    /// Says that so many characters of the answer had been shown, and that it does not begin again.
    #[must_use]
    pub fn after_shown(mut self, characters: u64) -> Self {
        if self.0.shown.is_none() {
            self.0.shown = Some(characters);
            let after = "after this much of the answer was shown, for `after_first_token` is `fail`";
            self.0.message = format!("{}; not tried again {after}: {characters} characters", self.0.message);
        }
        self
    }

    /// The same error with words put before its message.
    #[must_use]
    pub fn context(mut self, before: impl std::fmt::Display) -> Self {
        self.0.message = format!("{before}: {}", self.0.message);
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.code
    }

    pub fn code(&self) -> &'static str {
        self.0.code.code()
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after_ms.map(Duration::from_millis)
    }

    pub fn provider(&self) -> Option<&str> {
        self.0.provider.as_deref()
    }

    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Characters of the answer that had been shown, where it failed for that.
    pub fn shown(&self) -> Option<u64> {
        self.0.shown
    }

    /// What the failed model call used. It is part of the run's usage.
    pub fn usage(&self) -> Option<&Usage> {
        self.0.usage.as_ref()
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)?;
        if let Some(id) = &self.0.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

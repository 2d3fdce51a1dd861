//! Which failures another target may help with.

use ambidex_core::{Error, ErrorKind};

/// Whether a route goes on to another target after this failure.
///
/// | failure | next | why |
/// |---|---|---|
/// | `connect_failed` `bad_upstream` `stream_truncated` `idle_timeout` `timeout` | yes | this target's way or time |
/// | `rate_limited` `overloaded` `provider_error` `breaker_open` `busy` `store_failed` | yes | this target's load |
/// | `unauthorized` `forbidden` `not_found` `quota_exhausted` `config_invalid` | yes | another target has its own key, account and address |
/// | `context_too_long` | yes | only to a target with a larger known context |
/// | `unsupported` | yes | another target may be able to |
/// | `invalid_request` before it was sent, or 413 | yes | this wire format cannot say it, or this provider takes less |
/// | `invalid_request` 400, 422 | no | most likely the request's own fault, which every target would refuse |
/// | `empty_reply` `output_invalid` `invalid_arguments` `unknown_tool` `reply_truncated` | yes | another model may do better |
/// | `content_filter` `refused` `denied` | no | that is an answer; a route does not look for a more willing model |
/// | `internal` | yes | the work goes on; the switch names the defect |
/// | `cancelled` `budget_reached` `tool_failed` `tool_timeout` `in_doubt` `repeated_calls` `hook_failed` `unknown_edge` `loop_limit` `expression_failed` `conflict` | no | not about the target |
pub fn another_target_may_help(error: &Error) -> bool {
    use ErrorKind::*;
    match error.kind() {
        ConnectFailed | BadUpstream | StreamTruncated | IdleTimeout | Timeout | RateLimited | Overloaded
        | ProviderError | BreakerOpen | Busy | StoreFailed | Unauthorized | Forbidden | NotFound
        | QuotaExhausted | ConfigInvalid | ContextTooLong | Unsupported | EmptyReply | OutputInvalid
        | InvalidArguments | UnknownTool | ReplyTruncated | Internal => true,
        InvalidRequest => !matches!(error.status(), Some(400 | 422)),
        ContentFilter | Refused | Denied | Cancelled | BudgetReached | ToolFailed | ToolTimeout | InDoubt
        | RepeatedCalls | HookFailed | UnknownEdge | LoopLimit | ExpressionFailed | Conflict => false,
    }
}

//! Every way the provider can misbehave, as one table.

use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// A fault and the attempts it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// When.
    #[serde(default)]
    pub when: When,
}

/// Which attempts a fault strikes. Attempts are counted per run and per length of the conversation: the
/// same request sent again is the next attempt, the next turn begins at 1. A run of several turns that is
/// to be struck once in all takes [`When::Once`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Every attempt.
    #[default]
    Always,
    /// The first request of each run.
    Once,
    /// The first attempt of each turn.
    First,
    /// Only this attempt of each turn, counted from 1.
    Attempt(u32),
}

impl When {
    /// Whether it strikes attempt `attempt` of a turn, in request `request` of a run; both from 1.
    pub fn strikes(self, attempt: u32, request: u32) -> bool {
        match self {
            When::Always => true,
            When::Once => request == 1,
            When::First => attempt == 1,
            When::Attempt(wanted) => attempt == wanted,
        }
    }
}

/// What a correct client makes of one struck attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// The answer is complete and is delivered unharmed.
    Whole,
    /// There is no answer. Trying again is allowed; in the end a typed failure.
    Unusable,
    /// There is no answer and trying the same again cannot help: a typed failure at once.
    Final,
    /// The answer is well formed, but its tool call must not run.
    Withhold,
}

macro_rules! faults {
    ($($variant:ident $name:literal $wires:ident $mode:ident $demand:ident $summary:literal;)*) => {
        /// One way to misbehave. Its name is stable; see [`Fault::all`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Fault {
            $(#[doc = $summary] #[serde(rename = $name)] $variant,)*
        }

        const TABLE: &[Fault] = &[$(Fault::$variant,)*];

        impl Fault {
            /// The stable name, in kebab case.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$variant => $name,)* }
            }

            /// One line on what happens.
            pub fn summary(self) -> &'static str {
                match self { $(Fault::$variant => $summary,)* }
            }

            /// What a correct client makes of it.
            pub fn demand(self) -> Demand {
                match self { $(Fault::$variant => Demand::$demand,)* }
            }

            /// The wire formats it exists in.
            pub fn wires(self) -> &'static [Wire] {
                match self { $(Fault::$variant => faults!(@$wires),)* }
            }

            /// Whether it can strike only a streamed reply.
            pub fn stream_only(self) -> bool {
                match self { $(Fault::$variant => faults!(@$mode),)* }
            }
        }
    };
    (@all) => { &Wire::ALL };
    // Formats of server-sent events.
    (@events) => { &[Wire::OpenAi, Wire::Responses, Wire::Anthropic, Wire::Gemini] };
    // Vendors, not a server of one's own.
    (@vendors) => { &[Wire::OpenAi, Wire::Responses, Wire::Anthropic, Wire::Gemini] };
    // Arguments are a string, or fragments of one.
    (@strings) => { &[Wire::OpenAi, Wire::Responses, Wire::Anthropic] };
    (@refusing) => { &[Wire::OpenAi, Wire::Responses, Wire::Anthropic] };
    // Formats that get new kinds of items and parts.
    (@items) => { &[Wire::Responses, Wire::Gemini] };
    (@openai) => { &[Wire::OpenAi] };
    (@responses) => { &[Wire::Responses] };
    (@anthropic) => { &[Wire::Anthropic] };
    (@gemini) => { &[Wire::Gemini] };
    (@stream) => { true };
    (@any) => { false };
}

faults! {
    // The body stops.
    TruncateClean "truncate-clean" all any Unusable "half of the body, then a correct end of the chunked body";
    TruncateFin "truncate-fin" all any Unusable "half of the body, then the connection closes without the last chunk";
    TruncateReset "truncate-reset" all any Unusable "half of the body, then the connection is reset";
    TruncateMidEvent "truncate-mid-event" all stream Unusable "an event breaks off inside its JSON, then a correct end";
    TruncateMidEventFin "truncate-mid-event-fin" all stream Unusable "an event breaks off inside its JSON, then the connection closes";
    TruncateUntilClose "truncate-until-close" all any Unusable "half of a body that has neither length nor chunks, so its end looks clean";
    ShortBody "short-body" all any Unusable "Content-Length promises more than comes before the connection closes";
    MissingFinish "missing-finish" all stream Unusable "all content and a clean end, but no finish reason and no terminal event";
    MissingMessageStop "missing-message-stop" anthropic stream Unusable "a stop reason, then a clean end without message_stop";
    DoneWithoutFinish "done-without-finish" openai stream Unusable "`[DONE]` without any finish reason before it";
    // The connection breaks.
    CloseBeforeResponse "close-before-response" all any Unusable "the connection closes before the first byte";
    ResetBeforeResponse "reset-before-response" all any Unusable "the connection is reset before the first byte";
    TruncateHead "truncate-head" all any Unusable "the connection closes inside the response head";
    ResetAfterHead "reset-after-head" all any Unusable "a complete head with status 200, then a reset";
    GarbageChunkSize "garbage-chunk-size" all any Unusable "a chunk whose size is not a number";
    // Silence.
    StallBeforeHead "stall-before-head" all any Unusable "the request is read and never answered";
    StallAfterHead "stall-after-head" all any Unusable "a head with status 200, then silence";
    StallSilent "stall-silent" all stream Unusable "content begins, then silence on an open connection";
    StallPings "stall-pings" all stream Unusable "content begins, then keep-alive pings for ever";
    StallPingsFirst "stall-pings-first" all stream Unusable "keep-alive pings for ever and never any content";
    StallAtEnd "stall-at-end" all stream Unusable "all content, then silence instead of the finish reason";
    // Odd bytes that are still a correct stream.
    SplitUtf8 "split-utf8" all stream Whole "chunks end inside UTF-8 characters";
    ByteByByte "byte-by-byte" all stream Whole "every byte is a chunk of its own";
    OneChunk "one-chunk" all stream Whole "the whole stream in a single chunk";
    Crlf "crlf" all stream Whole "lines end with CRLF";
    CrlfSplit "crlf-split" all stream Whole "lines end with CRLF, and every CR and LF are in different chunks";
    Comments "comments" events stream Whole "comment lines, empty events, id and retry fields between the events";
    NoSpaceAfterColon "no-space-after-colon" events stream Whole "fields are written without the space after the colon";
    ByteOrderMark "byte-order-mark" events stream Whole "the stream begins with a UTF-8 byte order mark";
    MissingLastBlankLine "missing-last-blank-line" all stream Whole "the last event is not followed by its blank line";
    MissingDone "missing-done" openai stream Whole "a finish reason and a clean end without `[DONE]`";
    GarbageLine "garbage-line" events stream Whole "lines of binary garbage without a field name between the events";
    UnknownEvent "unknown-event" events stream Whole "well-formed events of a type nobody has heard of";
    UnknownItem "unknown-item" items any Whole "an output item or part of a kind nobody has heard of";
    // Bytes that are no stream.
    GarbageData "garbage-data" all stream Unusable "a data line of bytes that are neither UTF-8 nor JSON";
    Html200 "html-200" all any Unusable "status 200 with an HTML page";
    HtmlEventStream "html-event-stream" all stream Unusable "status 200, the content type of a stream, and an HTML page as the body";
    Empty200 "empty-200" all any Unusable "status 200 with an empty body";
    JsonNotReply "json-not-reply" all any Unusable "status 200 with JSON that is no reply at all";
    // Redirects.
    Redirect301 "redirect-301" all any Final "301 to another path of this provider";
    Redirect302 "redirect-302" all any Final "302 to another path of this provider";
    Redirect307 "redirect-307" all any Final "307 to another path of this provider";
    // Rate limits.
    RateLimitSeconds "rate-limit-seconds" all any Unusable "429 with Retry-After: 1";
    RateLimitFraction "rate-limit-fraction" all any Unusable "429 with Retry-After: 0.2";
    RateLimitDate "rate-limit-date" all any Unusable "429 with Retry-After as an HTTP date one to two seconds ahead";
    RateLimitPastDate "rate-limit-past-date" all any Unusable "429 with Retry-After as an HTTP date in the past";
    RateLimitMillis "rate-limit-millis" all any Unusable "429 with retry-after-ms: 200";
    RateLimitHuge "rate-limit-huge" all any Final "429 with Retry-After: 86400";
    RateLimitMissing "rate-limit-missing" all any Unusable "429 without Retry-After";
    RateLimitInBody "rate-limit-in-body" gemini any Unusable "429 whose body asks for 1.2 s (RetryInfo), without Retry-After";
    RateLimitInBodyHuge "rate-limit-in-body-huge" gemini any Final "429 whose body asks for a day (RetryInfo), without Retry-After";
    RateLimitInStream "rate-limit-in-stream" responses stream Unusable "status 200, then response.failed: rate_limit_exceeded, try again in 1.2 s";
    RateLimitInvalid "rate-limit-invalid" all any Unusable "429 with Retry-After: soon";
    RateLimitNegative "rate-limit-negative" all any Unusable "429 with Retry-After: -5";
    QuotaExhausted "quota-exhausted" vendors any Final "the account is out of credit: 429 insufficient_quota, 400 credit balance, a quota per day";
    // Statuses.
    Status400 "status-400" all any Final "400 invalid request";
    Status401 "status-401" all any Final "401 invalid key";
    Status403 "status-403" all any Final "403 not permitted";
    Status404 "status-404" all any Final "404 no such model";
    Status408 "status-408" all any Unusable "408 request timeout";
    Status413 "status-413" all any Final "413 request too large";
    Status422 "status-422" all any Final "422 unprocessable";
    Status500 "status-500" all any Unusable "500 in the vendor's JSON shape";
    Status502 "status-502" all any Unusable "502 with a proxy's HTML page";
    Status503 "status-503" all any Unusable "503 with Retry-After: 1";
    Status504 "status-504" all any Unusable "504 with an empty body";
    Status529 "status-529" anthropic any Unusable "529 overloaded_error";
    // Errors inside a 200.
    ErrorEventFirst "error-event-first" all stream Unusable "status 200, and the first event is an error";
    ErrorEventMid "error-event-mid" all stream Unusable "status 200, content, then an error event and a clean end";
    ResponseFailed "response-failed" responses stream Unusable "status 200, content, then response.failed with server_error";
    ErrorEventTyped "error-event-typed" all stream Final "status 200, and the first event is an error no retry can help";
    ErrorBody200 "error-body-200" all any Unusable "status 200 with the JSON body of an error";
    // Too much.
    HugeEvent "huge-event" all stream Unusable "one event of 5 MiB";
    HugeAnswer "huge-answer" all any Unusable "an answer of 17 MiB";
    DeepJson "deep-json" all any Unusable "JSON nested 10,000 deep in an unknown field";
    DeepArguments "deep-arguments" strings any Withhold "tool arguments nested 10,000 deep";
    // Tool calls that must not run.
    ArgumentsCut "arguments-cut" all any Withhold "tool arguments cut, and the finish reason says so: length, max_tokens";
    ArgumentsCutUnsaid "arguments-cut-unsaid" all stream Withhold "tool arguments cut, finish reason tool_calls or tool_use";
    ArgumentsNotJson "arguments-not-json" all any Withhold "tool arguments that are not JSON";
    ArgumentsNotObject "arguments-not-object" all any Withhold "tool arguments that are JSON but not an object";
    ArgumentsEmpty "arguments-empty" all any Whole "an empty argument string, which means an empty object";
    DuplicateIdEqual "duplicate-id-equal" all any Whole "one tool call twice under one id: it is one call";
    DuplicateIdUnequal "duplicate-id-unequal" all any Unusable "two different tool calls under one id";
    UnknownTool "unknown-tool" all any Withhold "a call of a tool that was not offered";
    // Endings that are no success.
    FinishLength "finish-length" all any Final "the text is cut at half by the token limit and says so";
    ContentFilter "content-filter" vendors any Final "half of the text, then the content filter (Anthropic: stop reason refusal, Gemini: SAFETY)";
    PromptBlocked "prompt-blocked" gemini any Final "no candidate at all: the prompt is blocked, and promptFeedback says so";
    MalformedCall "malformed-call" gemini any Unusable "finish reason MALFORMED_FUNCTION_CALL and no content";
    Refusal "refusal" refusing any Final "the model refuses";
}

impl Fault {
    /// All faults, in the order of the table.
    pub fn all() -> &'static [Fault] {
        TABLE
    }

    /// The fault of this name.
    pub fn by_name(name: &str) -> Option<Fault> {
        TABLE.iter().copied().find(|fault| fault.name() == name)
    }

    /// Whether it can strike a reply of this format, streamed or not. Where it cannot, the provider answers
    /// as if there were no fault.
    pub fn applies_to(self, wire: Wire, stream: bool) -> bool {
        self.wires().contains(&wire) && (stream || !self.stream_only())
    }
}

//! A strict fake LLM provider for tests.
//!
//! It speaks OpenAI Chat Completions and Responses, Anthropic Messages, Gemini and Ollama over plain HTTP/1.1 on
//! loopback, refuses what the vendors refuse, answers by a [`Script`], breaks its answers byte by byte when told
//! to ([`Fault`]), and records what its clients do: requests, connections, hang-ups.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use ambidex_fake_provider::{FakeProvider, Fault, Script, Turn, When};
//!
//! let provider = FakeProvider::start(
//!     Script::new([
//!         Turn::call("read", serde_json::json!({"path": "README.md"})),
//!         Turn::text("It is a readme.").chunks(4),
//!     ])
//!     .with_fault(Fault::TruncateReset, When::First),
//! )
//! .await?;
//! println!("{} {}", provider.base_url_openai(), provider.base_url_anthropic());
//! // ... run a client against it ...
//! for request in provider.requests() {
//!     println!("{} attempt {} got {}", request.path, request.attempt, request.status);
//! }
//! provider.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! **Turns.** The n-th turn without a `when` answers a conversation with n assistant messages; a turn with a
//! `when` answers whatever it matches. A conversation no turn is written for gets status 400, code
//! `script_exhausted`.
//!
//! **Runs and attempts.** A fault strikes always, once in a run, on the first attempt of each turn, or on
//! attempt n of each turn ([`When`]). Attempts are counted per run and per length of the conversation. A run is named by the header [`RUN_HEADER`] or by a marker
//! `[run:NAME]` in its first user message, so many runs at once do not disturb each other.
//!
//! **Strictness.** A request is judged before any fault strikes. Refusals have the vendor's status and JSON
//! shape and name the place and the fault; the words follow errors quoted in public issues.
//! [`RecordedRequest::refusal`] keeps them.
//!
//! **Thinking** goes out signed and must come back verbatim, in order, in front of the calls it led to: signed
//! blocks (Anthropic), reasoning items with encrypted content or kept by id (Responses), the thought signature of
//! the first call of a reply (Gemini).
//!
//! **Redirects** lead to `/redirected/...` on the same server, which answers without a fault: a client that
//! follows them is seen in [`FakeProvider::requests`].
//!
//! **Hang-ups.** A client that closes or resets its connection before the last byte of its response was handed
//! to the kernel is a [`Hangup`], with a monotonic time. An answer that was sent whole cannot be hung up on, so
//! give a test's turn a pace or a stall.
//!
//! **From another process**, with the binary `fake-provider`: `GET /fake/census`, `/fake/requests` and
//! `/fake/hangups` show what the provider saw (times in milliseconds since it started; the asking connection
//! counts in the census), `PUT /fake/script` changes the script. None of these are recorded.
//!
//! It takes time from tokio's clock for pauses. Its sockets are real, so a test with a paused clock jumps over
//! them while it waits for bytes.

mod access;
mod anthropic;
mod control;
mod conversation;
mod fault;
mod gemini;
mod http;
mod listing;
mod memory;
mod observation;
mod ollama;
mod openai;
mod plan;
mod refusal;
mod reply;
mod respond;
mod responses;
mod schema_rules;
mod script;
mod server;
mod signature;
mod status;
mod wire;

pub use conversation::RUN_HEADER;
pub use fault::{Demand, Fault, FaultRule, When};
pub use observation::{Census, Hangup, RecordedRequest};
pub use script::{Finish, Match, Part, Script, Turn, Usage};
pub use server::FakeProvider;
pub use wire::Wire;

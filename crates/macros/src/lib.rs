//! The attribute `#[tool]`: a function becomes a tool.

mod expand;
#[cfg(test)]
mod expand_tests;
mod options;

use proc_macro::TokenStream;

/// Makes a tool of a `fn` or an `async fn`.
///
/// The function's name becomes a value that is a tool. Its doc comment is what the model reads, its
/// parameters are the arguments; a parameter of type `Context` may stand anywhere and is no argument. An
/// `async fn` runs where its caller runs, a `fn` on a thread for work that blocks.
///
/// ```ignore
/// use ambidex::{Context, tool};
///
/// /// Counts the words of a text.
/// #[tool(effect = "read")]
/// fn word_count(/** The text. */ text: String) -> usize {
///     text.split_whitespace().count()
/// }
///
/// /// Sends a message.
/// #[tool(effect = "once", timeout = "10s", exclusive)]
/// async fn send(to: String, #[arg(default = 3)] tries: u32, context: Context) -> Result<String, std::io::Error> {
///     Ok(format!("sent to {to} under {}", context.idempotency_key()))
/// }
///
/// let agent = agent.tool(word_count).tool(send);
/// assert_eq!(word_count::function("two words".to_owned()), 2);
/// ```
///
/// # Options
/// `name = "..."`, `description = "..."`, `effect = "read" | "idempotent" | "once"`, `timeout = "10s"`,
/// `attempts = 3`, `concurrency = 4`, `exclusive`. On a parameter: `#[arg(description = "...")]`,
/// `#[arg(name = "...")]`, `#[arg(default)]`, `#[arg(default = value)]`.
///
/// # What may be returned
/// Anything that serializes, or a `Result` of it whose error can be displayed. Text stays text, anything
/// else becomes JSON.
#[proc_macro_attribute]
pub fn tool(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::tool(options.into(), function.into()).unwrap_or_else(|error| error.into_compile_error()).into()
}

//! What to do about an error, by its code.

use ambidex_core::{Error, ErrorKind};

pub fn hint(error: &Error) -> Option<&'static str> {
    match error.kind() {
        // The message names what to check.
        ErrorKind::ConnectFailed => Some("`ambidex doctor` tries each provider"),
        ErrorKind::Unauthorized => Some(
            "set the variable that the provider's `key` names, such as OPENAI_API_KEY or ANTHROPIC_API_KEY, \
             or change `key` in ambidex.toml",
        ),
        ErrorKind::Forbidden => Some("ask the provider's console what this key may do, or use another model"),
        ErrorKind::NotFound => {
            Some("check the model's name and the provider's base_url; `ambidex models list` shows both")
        }
        ErrorKind::QuotaExhausted => Some("add credit at the provider, or use another model with -m"),
        ErrorKind::RateLimited | ErrorKind::Overloaded => {
            Some("try again later, raise `retry` of the model, or use another model with -m")
        }
        ErrorKind::ContextTooLong => Some("give it less, or a model with a longer context"),
        ErrorKind::ReplyTruncated => Some("raise `max_tokens` of the model"),
        ErrorKind::Timeout => Some("give it more time with --timeout, or `timeout` of the agent or model"),
        ErrorKind::IdleTimeout => Some("raise `timeout.idle` of the model if it is slow by nature"),
        ErrorKind::OutputInvalid => {
            Some("make the schema simpler, or try `output_method = \"tool\"` for this model")
        }
        ErrorKind::BadUpstream => {
            Some("is `base_url` the address of an API of this `kind`? `ambidex doctor` tries it")
        }
        ErrorKind::Internal => Some("this is a defect; please report it with the command you ran"),
        _ => None,
    }
}

//! What a server and the way to it say, in words that help.

use ambidex_core::store::{FailureKind, StoreError};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::rows::{Reading, damaged, newer};

/// Whether an error ends the connection, or there is none.
pub(super) fn is_of_the_connection(error: &Error) -> bool {
    match error.code() {
        // Class 57P: the server is going down, or coming up. 25P03: it did not wait for the rest of a transaction.
        Some(state) => {
            let code = state.code();
            code.starts_with("57P") || code.starts_with("08") || code == "25P03"
        }
        None => true,
    }
}

/// Whether the same would work when it is tried again at once: two processes were in each other's way.
pub(super) fn is_a_collision(error: &Error) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED | &SqlState::T_R_SERIALIZATION_FAILURE))
}

/// Whether it only says that another statement has failed before.
pub(super) fn is_an_echo(error: &Error) -> bool {
    error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
}

pub(super) fn of_postgres(reading: &Reading, error: &Error) -> StoreError {
    let said = error.as_db_error().map_or_else(|| chain(error), |said| said.message().to_owned());
    let Some(state) = error.code().map(SqlState::code) else {
        return unreachable(reading, said);
    };
    let (kind, problem, remedy) = match (&state[..2], state) {
        ("08", _) | (_, "25P03" | "57P01" | "57P02" | "57P03") => return unreachable(reading, said),
        (_, "53100") => {
            let remedy = "Nothing of it was stored. Make room there; the store goes on by itself then";
            (FailureKind::Full, format!("the server's disk is full ({said})"), remedy.into())
        }
        (_, "53300") => {
            let remedy = "Let the server take more, or open fewer; trying again may help";
            (FailureKind::Busy, format!("the server takes no more connections ({said})"), remedy.into())
        }
        (_, "25006" | "42501") => {
            let remedy =
                "Nothing of it was stored. Connect to the primary, as a user that may write in the schema";
            (FailureKind::ReadOnly, format!("it cannot be written to ({said})"), remedy.into())
        }
        ("28" | "3D" | "3F", _) => {
            let remedy = "See to the user, the password and the name of the database in the store's URL";
            (FailureKind::CannotOpen, format!("the server refused us ({said})"), remedy.into())
        }
        ("40" | "55" | "57", _) => {
            (FailureKind::Busy, format!("others were in the way ({said})"), "Trying again may help".into())
        }
        ("XX", _) => (FailureKind::Corrupt, format!("the database is damaged ({said})"), damaged()),
        ("42", _) => {
            let problem = format!("its schema is not as this build made it ({said})");
            (FailureKind::Newer, problem, newer())
        }
        _ => {
            let remedy = "Nothing of it was stored. The same again would fail again";
            (FailureKind::Other, format!("{said} ({state})"), remedy.into())
        }
    };
    reading.failure(kind, problem, remedy)
}

pub(super) fn unreachable(reading: &Reading, why: String) -> StoreError {
    let problem = format!("the server cannot be reached ({why})");
    let remedy = "See that it runs and can be reached from here; the store connects again by itself";
    reading.failure(FailureKind::Unreachable, problem, remedy.into())
}

/// Its outer error says little.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

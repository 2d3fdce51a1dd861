//! What the provider saw, as JSON for a test in another process.

use std::time::Instant;

use serde_json::{Value, json};

use crate::observation::Book;

/// One view of the record; none when there is no such view. Times are milliseconds since `started`.
pub(crate) fn view(book: &Book, started: Instant, name: &str) -> Option<Value> {
    let millis = |at: Instant| at.saturating_duration_since(started).as_secs_f64() * 1000.0;
    match name {
        "census" => {
            let census = book.census;
            Some(json!({
                "open": census.open, "peak_open": census.peak_open, "accepted": census.accepted,
                "in_flight": census.in_flight, "peak_in_flight": census.peak_in_flight,
                "requests": book.requests.len(), "hangups": book.hangups.len(),
            }))
        }
        "requests" => Some(
            book.requests
                .iter()
                .map(|seen| {
                    json!({
                        "number": seen.number, "connection": seen.connection, "at_ms": millis(seen.at),
                        "method": seen.method, "path": seen.path, "headers": seen.headers, "body": seen.body,
                        "bytes": seen.bytes, "wire": seen.wire, "run": seen.run, "attempt": seen.attempt,
                        "fault": seen.fault, "status": seen.status, "refusal": seen.refusal,
                    })
                })
                .collect(),
        ),
        "hangups" => Some(
            book.hangups
                .iter()
                .map(|seen| {
                    json!({
                        "request": seen.request, "connection": seen.connection, "run": seen.run,
                        "at_ms": millis(seen.at), "bytes_sent": seen.bytes_sent, "reset": seen.reset,
                    })
                })
                .collect(),
        ),
        _ => None,
    }
}

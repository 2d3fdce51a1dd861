//! The limits of time of a row.

use std::time::Duration;

use ambidex::models::Timeouts;
use ambidex_fake_provider::Fault;

/// To connect, in every row.
pub const CONNECT: Duration = Duration::from_secs(1);
/// To the head of an answer and from there to its first content, where silence is the fault.
pub const FIRST_TOKEN: Duration = Duration::from_secs(1);
/// Without content, where silence is the fault.
pub const IDLE: Duration = Duration::from_millis(500);
/// What pings alone extend the idle limit to: five times the limit.
pub const PINGS: Duration = Duration::from_millis(2500);
/// What a stall may take beyond its limit.
pub const GRACE: Duration = Duration::from_secs(1);
/// Where silence is not the fault nothing depends on the speed of the machine.
const PATIENT: Duration = Duration::from_secs(120);
/// When a row counts as hung.
pub const ROW: Duration = Duration::from_secs(300);
/// How long sockets and answers have to close after the run.
pub const CLOSING: Duration = Duration::from_secs(5);

/// The limit that ends this silence; none for a fault that is no silence.
pub fn of_silence(fault: Fault) -> Option<Duration> {
    Some(match fault {
        Fault::StallBeforeHead | Fault::StallAfterHead => FIRST_TOKEN,
        Fault::StallSilent | Fault::StallAtEnd => IDLE,
        Fault::StallPings | Fault::StallPingsFirst => PINGS,
        _ => return None,
    })
}

/// The settings of the model that meets this fault.
pub fn timeouts(fault: Fault) -> Timeouts {
    let (first_token, idle) = match of_silence(fault) {
        Some(_) => (FIRST_TOKEN, IDLE),
        None => (PATIENT, PATIENT),
    };
    Timeouts { connect: CONNECT, first_token: Some(first_token), idle, total: ROW }
}

//! What hyper, h2 and the socket report, told as an [`HttpError`].

use std::{error::Error as StdError, io};

use crate::error::{HttpError, HttpErrorKind};

/// A failure before the response's headers.
pub(crate) fn before_response(error: hyper::Error) -> HttpError {
    use HttpErrorKind as Kind;
    if let Some(h2) = find::<h2::Error>(&error)
        && !h2.is_io()
    {
        // A refused stream was not processed (RFC 9113, 8.7).
        let refused = h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        return stream_failure(h2).sent(!refused).because(error);
    }
    // hyper tells this apart only in servers; its text is pinned by a test.
    if error.is_parse() && error.to_string().contains("too large") {
        return HttpError::new(Kind::TooLarge, "the response's headers are over the limit").because(error);
    }
    if error.is_parse() {
        let message = "the answer is not HTTP; check the port and whether it expects https";
        return HttpError::new(Kind::Protocol, message).because(error);
    }
    if error.is_timeout() {
        return HttpError::new(Kind::Reset, "the connection no longer answers").because(error);
    }
    if error.is_user() {
        return HttpError::new(Kind::Protocol, format!("the request cannot be sent: {error}"))
            .sent(false)
            .because(error);
    }
    let message = match io_cause(&error) {
        Some(cause) => format!("the connection ended before the response ({})", plain(cause)),
        None => "the connection was closed before the response".to_owned(),
    };
    HttpError::new(Kind::Closed, message).because(error)
}

/// A failure within the body.
pub(crate) fn in_body(error: hyper::Error, received: u64) -> HttpError {
    use HttpErrorKind as Kind;
    if let Some(h2) = find::<h2::Error>(&error)
        && !h2.is_io()
    {
        return stream_failure(h2).because(error);
    }
    let cut = |how: &str| {
        HttpError::new(Kind::Truncated, format!("the body ended early, after {received} bytes ({how})"))
    };
    if error.is_timeout() {
        return HttpError::new(Kind::Reset, "the connection no longer answers").because(error);
    }
    if error.is_incomplete_message() {
        return cut("connection closed").because(error);
    }
    if let Some(cause) = io_cause(&error) {
        return match cause.kind() {
            io::ErrorKind::UnexpectedEof => cut("connection closed"),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                HttpError::new(Kind::Protocol, "the body is not framed as HTTP demands").retry(true)
            }
            _ => HttpError::new(
                Kind::Reset,
                format!("the connection broke after {received} bytes of body ({})", plain(cause)),
            ),
        }
        .because(error);
    }
    if error.is_canceled() || error.is_closed() {
        return cut("connection closed").because(error);
    }
    HttpError::new(Kind::Protocol, "the body is not framed as HTTP demands").retry(true).because(error)
}

fn stream_failure(error: &h2::Error) -> HttpError {
    let reason = error.reason().map_or_else(|| "unknown reason".to_owned(), |reason| reason.to_string());
    if error.is_remote() {
        let what = if error.is_go_away() { "the connection" } else { "the stream" };
        HttpError::new(HttpErrorKind::Reset, format!("the server reset {what}: {reason}"))
    } else {
        HttpError::new(HttpErrorKind::Protocol, format!("the server broke HTTP/2: {reason}")).retry(true)
    }
}

/// The I/O error behind a failure; h2 keeps its own out of the chain of sources.
fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    find::<h2::Error>(error).and_then(h2::Error::get_io).or_else(|| find::<io::Error>(error))
}

/// The text of an I/O error without what a library may have wrapped into it.
pub(crate) fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code).to_string(),
        None => error.kind().to_string(),
    }
}

/// The first cause of type `T`, looking into I/O errors, whose `source` skips what they wrap.
pub(crate) fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

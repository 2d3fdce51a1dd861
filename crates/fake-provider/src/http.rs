//! Reads HTTP/1.1 requests from a socket.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest request body read, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// The largest request head read, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// Why there is no further request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the client closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("not HTTP/1.1: {0}")]
    Malformed(String),
}

impl Request {
    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the client wants the connection closed afterwards.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Reads the next request. `buffer` holds what was read too far, for the request after it.
pub(crate) async fn read(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<Request, ReadError> {
    let mut request = loop {
        if let Some((length, request)) = parse(buffer)? {
            buffer.advance(length);
            break request;
        }
        if buffer.len() > MAX_HEAD {
            return Err(ReadError::Malformed(format!("the head is longer than {MAX_HEAD} bytes")));
        }
        fill(stream, buffer).await?;
    };
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let chunked =
        request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    request.body = if chunked {
        read_chunks(stream, buffer).await?
    } else {
        let length = match request.header("content-length") {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|_| ReadError::Malformed(format!("content-length: {text:?} is no number")))?,
        };
        read_exactly(stream, buffer, length).await?
    };
    Ok(request)
}

fn parse(buffer: &[u8]) -> Result<Option<(usize, Request)>, ReadError> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut headers);
    let status = parsed.parse(buffer).map_err(|error| ReadError::Malformed(error.to_string()))?;
    let httparse::Status::Complete(length) = status else { return Ok(None) };
    let headers = parsed
        .headers
        .iter()
        .map(|header| {
            (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).trim().to_owned())
        })
        .collect();
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        headers,
        body: Bytes::new(),
    };
    Ok(Some((length, request)))
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<Bytes, ReadError> {
    let mut body = BytesMut::new();
    loop {
        let line = read_line(stream, buffer).await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| ReadError::Malformed(format!("chunk size {size:?} is no hexadecimal number")))?;
        if size == 0 {
            while !read_line(stream, buffer).await?.is_empty() {}
            return Ok(body.freeze());
        }
        body.extend_from_slice(&read_exactly(stream, buffer, size).await?);
        if body.len() > MAX_BODY || !read_line(stream, buffer).await?.is_empty() {
            return Err(ReadError::Malformed("a chunk is longer than it said or too long".to_owned()));
        }
    }
}

async fn read_line(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<String, ReadError> {
    loop {
        if let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            let line = buffer.split_to(end);
            buffer.advance(2);
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        if buffer.len() > MAX_HEAD {
            return Err(ReadError::Malformed("a chunk's size line does not end".to_owned()));
        }
        fill(stream, buffer).await?;
    }
}

async fn read_exactly(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    length: usize,
) -> Result<Bytes, ReadError> {
    if length > MAX_BODY {
        return Err(ReadError::Malformed(format!("the body is longer than {MAX_BODY} bytes")));
    }
    while buffer.len() < length {
        fill(stream, buffer).await?;
    }
    Ok(buffer.split_to(length).freeze())
}

async fn fill(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<(), ReadError> {
    match stream.read_buf(buffer).await? {
        0 => Err(ReadError::Closed),
        _ => Ok(()),
    }
}

//! The model's side: OpenAI Chat Completions over plain HTTP/1.1, in a process of its own so that
//! its CPU is not the client's. Replies are prepared once and written event by event, as a real
//! server flushes them; a request that asks for no stream gets the same in one JSON body. It ends when its standard input does, and then tells what it saw.

mod reply;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use self::reply::{Book, Reply};
use crate::sample::Seen;
use crate::{Result, machine};

/// Connections that may wait to be accepted; the kernel cuts it to its own limit.
const BACKLOG: u32 = 16_384;
/// How long the end of connections is waited for once all is over.
const LINGER: Duration = Duration::from_secs(2);
const LARGEST_HEAD: usize = 16 * 1024;
const LARGEST_BODY: usize = 64 * 1024 * 1024;

#[derive(clap::Args)]
pub struct Options {
    /// Events written at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    events_per_write: u16,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    streamed: AtomicU64,
    body_bytes: AtomicU64,
    largest_body: AtomicU64,
    connections: AtomicU64,
    waiting: AtomicU64,
    waiting_at_once: AtomicU64,
    hung_up: AtomicU64,
}

impl Counters {
    fn seen(&self) -> Seen {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            requests: read(&self.requests),
            streamed: read(&self.streamed),
            body_bytes: read(&self.body_bytes),
            largest_body: read(&self.largest_body),
            connections: read(&self.connections),
            waiting_at_once: read(&self.waiting_at_once),
            hung_up: read(&self.hung_up),
        }
    }

    fn request(&self, body: &[u8], streamed: bool) {
        let length = body.len() as u64;
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.streamed.fetch_add(u64::from(streamed), Ordering::Relaxed);
        self.body_bytes.fetch_add(length, Ordering::Relaxed);
        self.largest_body.fetch_max(length, Ordering::Relaxed);
    }
}

#[tokio::main(worker_threads = 2)]
pub async fn serve(options: &Options) -> Result<()> {
    machine::raise_open_files()?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;

    let counters = Arc::new(Counters::default());
    let mut connections = JoinSet::new();
    tokio::select! {
        failure = accept(listener, options.events_per_write, &counters, &mut connections) => failure?,
        ended = parent_gone() => ended?,
    }
    // The client ended before; what it did last is still to be read.
    let ends = async { while connections.join_next().await.is_some() {} };
    let _late = tokio::time::timeout(LINGER, ends).await;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&counters.seen())?)?;
    Ok(())
}

async fn parent_gone() -> Result<()> {
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 64];
    while input.read(&mut ignored).await? > 0 {}
    Ok(())
}

async fn accept(
    listener: TcpListener,
    events_per_write: u16,
    counters: &Arc<Counters>,
    connections: &mut JoinSet<()>,
) -> Result<()> {
    let book = Arc::new(Book::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        counters.connections.fetch_add(1, Ordering::Relaxed);
        let connection = Connection {
            stream,
            buffer: BytesMut::with_capacity(8 * 1024),
            book: Arc::clone(&book),
            counters: Arc::clone(counters),
            events_per_write: events_per_write.into(),
        };
        connections.spawn(async move {
            if let Err(error) = connection.serve().await {
                eprintln!("upstream: {error}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    book: Arc<Book>,
    counters: Arc<Counters>,
    events_per_write: usize,
}

impl Connection {
    /// Answers requests until the client hangs up.
    async fn serve(mut self) -> Result<()> {
        while let Some(length) = self.read_head().await? {
            while self.buffer.len() < length {
                self.buffer.reserve(length - self.buffer.len());
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err("the client hung up within a body".into());
                }
            }
            let body = self.buffer.get(..length).unwrap_or_default();
            let streamed = reply::wants_stream(body);
            self.counters.request(body, streamed);
            let reply = self.book.reply(body, streamed);
            self.buffer.advance(length);
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) => {
                    self.stream.write_all(&reply::refusal(&error)).await?;
                    return Err(error);
                }
            };
            if !self.wait(reply.wait).await {
                return Ok(());
            }
            self.write(&reply).await?;
        }
        Ok(())
    }

    /// Reads a request's head and gives the length of its body, or `None` when the client is gone.
    async fn read_head(&mut self) -> Result<Option<usize>> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                return content_length(&head).map(Some);
            }
            if self.buffer.len() > LARGEST_HEAD {
                return Err("a request's head is too long".into());
            }
            self.buffer.reserve(4 * 1024);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                // A client process that has its figures ends without ceremony.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the client was there to the end of it.
    async fn wait(&mut self, time: Duration) -> bool {
        if time.is_zero() {
            return true;
        }
        let waiting = self.counters.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        self.counters.waiting_at_once.fetch_max(waiting, Ordering::Relaxed);
        let stayed = tokio::select! {
            biased;
            () = hang_up(&mut self.stream, &mut self.buffer) => false,
            () = tokio::time::sleep(time) => true,
        };
        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
        self.counters.hung_up.fetch_add(u64::from(!stayed), Ordering::Relaxed);
        stayed
    }

    async fn write(&mut self, reply: &Reply) -> Result<()> {
        for piece in reply.pieces(self.events_per_write) {
            self.stream.write_all(piece).await?;
        }
        Ok(())
    }
}

/// Waits until the client closes its side; what it says before is kept for later.
async fn hang_up(stream: &mut TcpStream, buffer: &mut BytesMut) {
    while matches!(stream.read_buf(buffer).await, Ok(1..)) {}
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    let length = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        })
        .ok_or("a request without Content-Length; send the body's length")??;
    if length > LARGEST_BODY {
        return Err(format!("a request's body of {length} bytes is too large").into());
    }
    Ok(length)
}

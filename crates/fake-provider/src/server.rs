//! The provider itself: a listener on loopback and one task per connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::control;
use crate::http::{self, ReadError, Request};
use crate::observation::{Census, Hangup, Observation, RecordedRequest};
use crate::plan::{Plan, Step};
use crate::refusal::Refusal;
use crate::respond::{self, Prepared};
use crate::script::Script;
use crate::wire::Wire;

/// How long a connection that the provider closed waits for the client to close too.
const LINGER: Duration = Duration::from_secs(1);

/// A running provider. Dropping it ends every connection.
pub struct FakeProvider {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    addr: SocketAddr,
    started: Instant,
    settings: Mutex<Settings>,
    observation: Observation,
}

#[derive(Clone)]
struct Settings {
    script: Arc<Script>,
    keep_bodies: bool,
}

impl FakeProvider {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(script: Script) -> std::io::Result<FakeProvider> {
        FakeProvider::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// Listens on this address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_on(addr: SocketAddr, script: Script) -> std::io::Result<FakeProvider> {
        let listener = TcpListener::bind(addr).await?;
        let shared = Arc::new(Shared {
            addr: listener.local_addr()?,
            started: Instant::now(),
            settings: Mutex::new(Settings { script: Arc::new(script), keep_bodies: true }),
            observation: Observation::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Ok(FakeProvider { shared, tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// `http://127.0.0.1:PORT/v1`, to which an OpenAI client adds `/chat/completions` or `/responses`.
    pub fn base_url_openai(&self) -> String {
        format!("http://{}/v1", self.shared.addr)
    }

    /// `http://127.0.0.1:PORT`, to which an Anthropic client adds `/v1/messages`.
    pub fn base_url_anthropic(&self) -> String {
        format!("http://{}", self.shared.addr)
    }

    /// `http://127.0.0.1:PORT/v1beta`, to which a Gemini client adds `/models/MODEL:streamGenerateContent?alt=sse`.
    pub fn base_url_gemini(&self) -> String {
        format!("http://{}/v1beta", self.shared.addr)
    }

    /// `http://127.0.0.1:PORT`, to which an Ollama client adds `/api/chat`.
    pub fn base_url_ollama(&self) -> String {
        format!("http://{}", self.shared.addr)
    }

    /// Answers by another script from the next request on. Attempts are counted anew.
    pub fn set_script(&self, script: Script) {
        self.shared.set_script(script);
    }

    /// Whether recorded requests keep their JSON body (they do at first); without it many long requests
    /// cost little memory.
    pub fn keep_bodies(&self, keep: bool) {
        self.shared.set(|settings| settings.keep_bodies = keep);
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.observation.read(|book| book.requests.clone())
    }

    /// The number of requests so far.
    pub fn request_count(&self) -> usize {
        self.shared.observation.read(|book| book.requests.len())
    }

    /// Forgets the requests and hang-ups so far. Attempts, numbers and the census go on.
    pub fn forget(&self) {
        self.shared.observation.write(|book| {
            book.requests.clear();
            book.hangups.clear();
        });
    }

    /// Connections and responses in flight.
    pub fn census(&self) -> Census {
        self.shared.observation.read(|book| book.census)
    }

    /// Sockets open now.
    pub fn open_connections(&self) -> usize {
        self.census().open
    }

    /// The most sockets that were open at once.
    pub fn peak_connections(&self) -> usize {
        self.census().peak_open
    }

    /// Every hang-up so far, in order.
    pub fn hangups(&self) -> Vec<Hangup> {
        self.shared.observation.read(|book| book.hangups.clone())
    }

    /// Waits for the first hang-up; returns at once when there was one.
    pub async fn wait_for_hangup(&self) -> Hangup {
        self.shared.observation.wait(|book| book.hangups.first().cloned()).await
    }

    /// Waits for the hang-up of this run; returns at once when there was one.
    pub async fn wait_for_hangup_of(&self, run: &str) -> Hangup {
        self.shared.observation.wait(|book| book.hangups.iter().find(|seen| seen.run == run).cloned()).await
    }

    /// Waits until there are at least `count` hang-ups.
    pub async fn wait_for_hangups(&self, count: usize) -> Vec<Hangup> {
        let enough = |seen: &Vec<Hangup>| (seen.len() >= count).then(|| seen.clone());
        self.shared.observation.wait(|book| enough(&book.hangups)).await
    }

    /// Waits until there are at least `count` requests.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<RecordedRequest> {
        let enough = |seen: &Vec<RecordedRequest>| (seen.len() >= count).then(|| seen.clone());
        self.shared.observation.wait(|book| enough(&book.requests)).await
    }

    /// Waits until at most `count` sockets are open.
    pub async fn wait_for_open_connections(&self, count: usize) -> Census {
        self.shared.observation.wait(|book| (book.census.open <= count).then_some(book.census)).await
    }

    /// Waits until no response is in flight.
    pub async fn wait_until_idle(&self) -> Census {
        self.shared.observation.wait(|book| (book.census.in_flight == 0).then_some(book.census)).await
    }

    /// Ends every connection and frees the port.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Shared {
    fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_script(&self, script: Script) {
        self.set(|settings| settings.script = Arc::new(script));
        self.observation.write(|book| {
            book.attempts.clear();
            book.runs.clear();
        });
    }

    fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // The client left before it was accepted, or there are no descriptors left: then one
                    // has to be given back first.
                    connections.join_next().await;
                    continue;
                };
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Counts a connection for as long as it lives.
struct Connection {
    shared: Arc<Shared>,
    number: u64,
}

impl Connection {
    fn open(shared: Arc<Shared>) -> Self {
        let number = shared.observation.write(|book| {
            let census = &mut book.census;
            census.accepted += 1;
            census.open += 1;
            census.peak_open = census.peak_open.max(census.open);
            census.accepted
        });
        Connection { shared, number }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.observation.write(|book| book.census.open -= 1);
    }
}

/// Counts a response for as long as it is in flight.
struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.observation.write(|book| {
            let census = &mut book.census;
            census.in_flight += 1;
            census.peak_in_flight = census.peak_in_flight.max(census.in_flight);
        });
        InFlight(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.observation.write(|book| book.census.in_flight -= 1);
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Declared before the stream is used, so that the socket is closed before the census says so.
    let connection = Connection::open(Arc::clone(&shared));
    converse(stream, &connection).await;
}

async fn converse(mut stream: TcpStream, connection: &Connection) {
    let shared = &connection.shared;
    // Small writes are the point of many faults.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut buffer = BytesMut::new();
    let origin = format!("http://{}", shared.addr);
    loop {
        let request = match http::read(&mut stream, &mut buffer).await {
            Ok(request) => request,
            Err(ReadError::Malformed(why)) => {
                let refusal = Refusal::invalid(format!("The request is not HTTP/1.1: {why}"));
                let body = refusal.body(Wire::OpenAi, "").to_string();
                play(&Plan::json(Wire::OpenAi, 400, "req_malformed", &body), &mut stream, &mut buffer).await;
                return close(stream).await;
            }
            Err(ReadError::Closed | ReadError::Io(_)) => return,
        };
        if let Some(plan) = control(shared, &request) {
            match play(&plan, &mut stream, &mut buffer).await {
                Ended::Sent if !request.closes() => continue,
                _ => return close(stream).await,
            }
        }
        let settings = shared.settings();
        let Prepared { number, run, plan } = respond::prepare(
            &shared.observation,
            &settings.script,
            settings.keep_bodies,
            connection.number,
            &origin,
            &request,
        );
        let in_flight = InFlight::begin(shared);
        let ended = play(&plan, &mut stream, &mut buffer).await;
        if let Ended::Gone { bytes_sent, reset, at } = ended {
            let hangup =
                Hangup { request: number, connection: connection.number, run, at, bytes_sent, reset };
            shared.observation.write(|book| book.hangups.push(hangup));
            return;
        }
        // Not before a hang-up is noted: whoever waits until nothing is in flight looks for it then.
        drop(in_flight);
        match ended {
            Ended::Sent if request.closes() => return close(stream).await,
            Ended::Sent => {}
            Ended::Close => return close(stream).await,
            Ended::Reset => {
                // Dropping a socket that lingers for no time sends a reset.
                let _unsupported = stream.set_zero_linger();
                return;
            }
            Ended::Gone { .. } => return,
        }
    }
}

/// Answers the paths through which a test in another process looks in and changes the script.
fn control(shared: &Shared, request: &Request) -> Option<Plan> {
    let path = request.path.strip_prefix("/fake/")?;
    let answer = match (request.method.as_str(), path) {
        ("PUT", "script") => match serde_json::from_slice(&request.body) {
            Ok(script) => {
                shared.set_script(script);
                Ok(serde_json::Value::Null)
            }
            Err(error) => Err(Refusal::invalid(format!("The script is not valid: {error}"))),
        },
        ("GET", view) => {
            let found = shared.observation.read(|book| control::view(book, shared.started, view));
            found.ok_or_else(|| Refusal::new(404, "not_found_error", format!("There is no /fake/{view}")))
        }
        (method, _) => Err(Refusal::new(405, "invalid_request_error", format!("/fake/ takes no {method}"))),
    };
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err(refusal) => (refusal.status, refusal.body(Wire::OpenAi, "")),
    };
    Some(Plan::json(Wire::OpenAi, status, "control", &body.to_string()))
}

/// How a response came to its end.
enum Ended {
    Sent,
    Close,
    Reset,
    Gone { bytes_sent: usize, reset: bool, at: Instant },
}

/// Sends a response while watching whether the client is still there.
async fn play(plan: &Plan, stream: &mut TcpStream, buffer: &mut BytesMut) -> Ended {
    let (mut reader, mut writer) = stream.split();
    let mut sent = 0;
    let write = async {
        for step in &plan.steps {
            match step {
                Step::Write(bytes) => {
                    writer.write_all(bytes).await?;
                    sent += bytes.len();
                    // The watcher gets its turn, and each piece has a chance to be read alone.
                    tokio::task::yield_now().await;
                }
                Step::Pause(time) => tokio::time::sleep(*time).await,
                Step::Stall => std::future::pending().await,
                Step::Ping(bytes, every) => loop {
                    writer.write_all(bytes).await?;
                    sent += bytes.len();
                    tokio::time::sleep(*every).await;
                },
                Step::Reset => return Ok(Ended::Reset),
                Step::Close => return Ok(Ended::Close),
            }
        }
        Ok::<Ended, std::io::Error>(Ended::Sent)
    };
    let watch = async {
        loop {
            // What comes now belongs to the next request.
            match reader.read_buf(buffer).await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(_) => return true,
            }
        }
    };
    let gone = tokio::select! {
        biased;
        ended = write => match ended {
            Ok(ended) => return ended,
            Err(_) => true,
        },
        reset = watch => reset,
    };
    let total: usize = plan.steps.iter().map(Step::len).sum();
    if sent == total && matches!(plan.steps.last(), Some(Step::Write(_))) {
        // The client had its whole answer and was quicker than we were to notice.
        return Ended::Sent;
    }
    Ended::Gone { bytes_sent: sent, reset: gone, at: Instant::now() }
}

/// Closes in an orderly way: what was sent arrives before the end is seen.
async fn close(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {}
    };
    // Whoever does not close in time is dropped.
    let _elapsed = tokio::time::timeout(LINGER, drain).await;
}

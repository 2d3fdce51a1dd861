//! A person in a model's place.
//!
//! He is asked through [`Questions`], so whoever has the question may answer it, also when the process that
//! asked is gone: the question's id comes from the run, its effect and the model's name, so the process that
//! goes on with the run asks the same question and finds the answer.
//!
//! His time is his own: neither the run's deadline nor a route's limits count it. When it is over
//! (24 h where nothing else is said), the call fails with `timeout`, and a route asks its next target.

mod call;
mod check;
mod request;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ambidex_core::effect::EffectId;
use ambidex_core::model::ModelInfo;
use ambidex_core::question::{Question, Questions, Why};
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request};
use serde_json::Value;
use tokio::time::Instant;

use call::{Call, CallStream};

pub use check::check;

/// How long a person has, where nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Wall time in milliseconds since 1970.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A model that a person answers for. Cheap to clone. Its calls cost nothing and count no tokens.
#[derive(Clone)]
pub struct HumanModel {
    info: Arc<ModelInfo>,
    queue: Arc<str>,
    timeout: Duration,
    questions: Arc<dyn Questions>,
    wall: WallClock,
}

impl HumanModel {
    /// Asks through these questions, under a name that is also the queue's.
    pub fn new(name: impl Into<String>, questions: Arc<dyn Questions>) -> Self {
        let name = name.into();
        let (start, wall) =
            (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        Self {
            queue: name.as_str().into(),
            info: Arc::new(ModelInfo::new(name, "human")),
            timeout: TIMEOUT,
            questions,
            wall: Arc::new(move || millis(wall + start.elapsed())),
        }
    }

    /// Who is asked.
    #[must_use]
    pub fn queue(mut self, queue: &str) -> Self {
        self.queue = queue.into();
        self
    }

    /// How long a person has from when he is asked, also over the end of the asking process.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Takes wall time from elsewhere.
    #[must_use]
    pub fn clock(mut self, wall: WallClock) -> Self {
        self.wall = wall;
        self
    }

    fn question(&self, request: &Request, context: &Context) -> Question {
        let name = &self.info.name;
        let id = match context.is_detached() {
            // Each call is its own.
            true => {
                format!("{}/relay:{:016x}:{name}", context.run(), RandomState::new().build_hasher().finish())
            }
            false => format!("{}/relay:{}:{name}", context.run(), context.effect()),
        };
        Question {
            id,
            run: context.run().to_owned(),
            about: EffectId::new(context.effect()),
            why: Why::Reply,
            tool: String::new(),
            args: Value::Null,
            due: Some((self.wall)().saturating_add(millis(self.timeout))),
            relay: Some(Box::new(request::of(name, &self.queue, request))),
        }
    }
}

impl Model for HumanModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(CallStream::new(Call::new(self.clone(), request, context)))
    }
}

impl fmt::Debug for HumanModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("HumanModel");
        out.field("name", &self.info.name)
            .field("queue", &self.queue)
            .field("timeout", &self.timeout)
            .finish()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! A reply that is answered from the cache: the call of a model, without a run around it.

use std::sync::Arc;
use std::time::Duration;

use ambidex::models::{Cached, ReplyCache};
use ambidex::{Context, Message, Model, Request};

use crate::canned::{Canned, text_bytes};
use crate::measure::{Job, expect};
use crate::sample::Sample;
use crate::toolbox::{SYSTEM, TASK};
use crate::{Result, beside};

const TTL: Duration = Duration::from_secs(3_600);

/// The plain way is a later call of its run, which has looked its messages up before; the other is the first
/// call of a run, which knows none of them.
#[tokio::main(flavor = "current_thread")]
pub async fn measure(job: &Job) -> Result<Sample> {
    let model = Canned::new();
    let cached = Cached::new(model.clone(), Arc::new(ReplyCache::new(TTL, 1_000)));
    let request = request(job.concurrency);
    let answer = job.script().answer_bytes();
    let ask = async |context: Context| {
        expect("bytes of text", answer, text_bytes(cached.stream(request.clone(), context)).await?)
    };
    ask(Context::detached()).await?;
    let run = Context::detached();
    let pairs = beside::turns(
        job.operations,
        1,
        async |operations| {
            for _ in 0..operations {
                ask(run.clone()).await?;
            }
            Ok(())
        },
        async |operations| {
            for _ in 0..operations {
                ask(Context::detached()).await?;
            }
            Ok(())
        },
    )
    .await?;
    expect("calls of the model", 1, model.calls())?;
    Ok(Sample { operations: job.operations, pairs, ..Sample::default() })
}

fn request(messages: u32) -> Request {
    let history = (0..messages).map(|number| Message::user(format!("{TASK} Part {number}."))).collect();
    Request { instructions: Some(SYSTEM.into()), history: Arc::new(history), ..Request::default() }
}

//! Two ways of doing the same that take turns in one process, a block of each, so that both meet the same
//! state of the machine and of the pool.

use crate::sample::Pair;
use crate::{Result, machine};

/// Blocks of each way. A busy machine makes one pair differ from the next by a third of what is compared, so a
/// median takes many.
const MOST: u32 = 60;
/// In a shorter block few would be at work at once.
const ROUNDS: u32 = 2;

/// How many blocks `operations` are done in.
fn blocks(operations: u32, at_once: u32) -> u32 {
    (operations / (at_once * ROUNDS).max(1)).clamp(1, MOST)
}

/// How many of each way are done for `operations`, warm-up included.
pub fn done(operations: u32, at_once: u32) -> u32 {
    let blocks = blocks(operations, at_once);
    operations.div_ceil(blocks) * (blocks + 1)
}

/// Does `operations` of both ways, `at_once` at a time, and gives the CPU of each block by operation. Which way begins changes
/// from block to block.
pub async fn turns(
    operations: u32,
    at_once: u32,
    plain: impl AsyncFn(u32) -> Result<()>,
    other: impl AsyncFn(u32) -> Result<()>,
) -> Result<Vec<Pair>> {
    let blocks = blocks(operations, at_once);
    let each = operations.div_ceil(blocks);
    plain(each).await?;
    other(each).await?;
    let mut pairs = Vec::new();
    for block in 0..blocks {
        pairs.push(if block % 2 == 0 {
            let plain = cost(each, &plain).await?;
            Pair { plain, other: cost(each, &other).await? }
        } else {
            let other = cost(each, &other).await?;
            Pair { plain: cost(each, &plain).await?, other }
        });
    }
    Ok(pairs)
}

/// Microseconds of CPU per operation.
async fn cost(operations: u32, way: &impl AsyncFn(u32) -> Result<()>) -> Result<f64> {
    let start = machine::cpu_nanoseconds()?;
    way(operations).await?;
    let spent = machine::cpu_nanoseconds()?.saturating_sub(start);
    Ok(spent as f64 / 1_000.0 / f64::from(operations))
}

//! When a run is worth another snapshot.

use std::io::{self, Write};

use ambidex_core::record::Record;
use ambidex_core::run::Run;
use ambidex_core::store::Snapshot;

/// Bytes of records below which none is.
const FLOOR: u64 = 4 * 1024;

/// Records since the last snapshot. When they outweigh it they are worth another: so a load reads no more than twice
/// what a run is, and no more is written for snapshots than for records.
#[derive(Default)]
pub(crate) struct SinceSnapshot {
    records: u64,
    snapshot: u64,
}

impl SinceSnapshot {
    /// The snapshot that a batch with these records is to carry. Of a graph only: that of an agent is its conversation,
    /// which its records hold already.
    pub(crate) fn due(&mut self, records: &[Record], run: &Run) -> Option<Snapshot> {
        if run.agent().is_some() {
            return None;
        }
        self.records += records.iter().map(size).sum::<u64>();
        if self.records < self.snapshot.max(FLOOR) {
            return None;
        }
        // A run whose state has no form as JSON has no records either.
        let snapshot = run.snapshot().to_stored().ok()?;
        *self = Self { records: 0, snapshot: snapshot.state.len() as u64 };
        Some(snapshot)
    }
}

fn size(record: &Record) -> u64 {
    let mut counted = Counted(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut counted, &record.kind);
    counted.0
}

struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Which target is next.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::balance::Pick;
use super::few::Few;
use super::target::Target;

/// Every so many calls look at a target that was not asked for long.
const EXPLORE: u64 = 10;

pub(super) struct Balancer {
    pick: Pick,
    picks: AtomicU64,
    /// For smooth weights: how far each target is behind its share.
    behind: Mutex<Vec<i64>>,
}

impl Balancer {
    pub(super) fn new(pick: Pick) -> Self {
        Self { pick, picks: AtomicU64::new(0), behind: Mutex::default() }
    }

    /// Whether it goes by how soon first tokens come.
    pub(super) fn measures(&self) -> bool {
        self.pick == Pick::LowestLatency
    }

    /// A target that is not in `tried`.
    pub(super) fn next(&self, targets: &[Arc<Target>], tried: &Few<usize>) -> Option<usize> {
        let count = targets.len();
        if tried.len() >= count {
            return None;
        }
        let number =
            if tried.is_empty() { self.picks.fetch_add(1, Relaxed) } else { self.picks.load(Relaxed) };
        let turn = usize::try_from(number % count.max(1) as u64).unwrap_or_default();
        // Beginning with a different one each time, so that equals take turns.
        let begin = tried.last().map_or(turn, |last| last + 1);
        let free = || (0..count).map(|step| (begin + step) % count).filter(|index| !tried.contains(index));
        let found = match &self.pick {
            Pick::RoundRobin => free().next(),
            Pick::Weighted(weights) => self.by_weight(weights, count, tried),
            Pick::LeastBusy => free().min_by_key(|index| busy(targets, *index)),
            Pick::LowestLatency if tried.is_empty() && number % EXPLORE == EXPLORE - 1 => {
                free().min_by_key(|index| picked(targets, *index))
            }
            // What was never measured comes first.
            Pick::LowestLatency => {
                free().min_by(|a, b| average(targets, *a).total_cmp(&average(targets, *b)))
            }
        };
        if let Some(target) = found.and_then(|index| targets.get(index)) {
            target.picked.store(number + 1, Relaxed);
        }
        found
    }

    /// Smooth weighted round robin: each gains its weight, the one furthest behind is taken and pays for all.
    fn by_weight(&self, weights: &[u32], count: usize, tried: &Few<usize>) -> Option<usize> {
        let weight = |index: usize| i64::from(weights.get(index).copied().unwrap_or(1));
        let free = || (0..count).filter(|index| !tried.contains(index));
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.resize(count, 0);
        let total: i64 = free().map(weight).sum();
        if total == 0 {
            return free().next();
        }
        let mut best: Option<(usize, i64)> = None;
        for index in free().filter(|index| weight(*index) > 0) {
            if let Some(it) = behind.get_mut(index) {
                *it += weight(index);
                if best.is_none_or(|(_, most)| *it > most) {
                    best = Some((index, *it));
                }
            }
        }
        let (index, _) = best?;
        if let Some(it) = behind.get_mut(index) {
            *it -= total;
        }
        Some(index)
    }
}

fn busy(targets: &[Arc<Target>], index: usize) -> usize {
    targets.get(index).map_or(usize::MAX, |target| target.busy.load(Relaxed))
}

fn picked(targets: &[Arc<Target>], index: usize) -> u64 {
    targets.get(index).map_or(u64::MAX, |target| target.picked.load(Relaxed))
}

fn average(targets: &[Arc<Target>], index: usize) -> f64 {
    targets.get(index).and_then(|target| target.latency.average()).unwrap_or(-1.0)
}

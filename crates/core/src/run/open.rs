//! The effects that stand open.

use serde::{Deserialize, Serialize};

use crate::effect::{EffectId, Intent, Task};
use crate::question::Question;

/// An effect whose intent is recorded and whose result is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    pub intent: Intent,
    pub attempt: u32,
    /// May have happened, and may not simply be repeated.
    pub doubt: bool,
    /// Wall time of the intent, in milliseconds.
    pub since: u64,
    /// Questions that the effect itself has asked and waits with.
    pub asked: Vec<AskedByEffect>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedByEffect {
    pub question: Question,
    /// Others work on the effect meanwhile.
    pub beside: bool,
}

impl Open {
    /// A person's time is not the run's time.
    pub fn waits_for_a_person(&self) -> bool {
        self.intent.waits_for_a_person() || self.asked.iter().any(|asked| !asked.beside)
    }

    /// Nor is the time that a graph is told to let pass.
    pub fn stands_still(&self) -> bool {
        let waits = matches!(self.intent.task, Task::Ask { .. } | Task::Question { .. } | Task::Wait { .. });
        waits || self.asked.iter().any(|asked| !asked.beside)
    }
}

/// Open effects in the order of their ids, whatever order they were opened in. A list: most runs in flight have
/// exactly one, few have more than a handful.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct OpenEffects(Vec<Open>);

/// So many are looked through sooner than searched.
const FEW: usize = 8;

impl OpenEffects {
    #[inline]
    pub(super) fn get(&self, id: &EffectId) -> Option<&Open> {
        self.find(id).map(|at| &self.0[at])
    }

    #[inline]
    fn find(&self, id: &EffectId) -> Option<usize> {
        if self.0.len() <= FEW {
            self.0.iter().position(|open| open.intent.id == *id)
        } else {
            self.place(id).ok()
        }
    }

    fn place(&self, id: &EffectId) -> Result<usize, usize> {
        self.0.binary_search_by(|known| known.intent.id.cmp(id))
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: &EffectId) -> Option<&mut Open> {
        self.find(id).map(|at| &mut self.0[at])
    }

    #[inline]
    pub(super) fn contains(&self, id: &EffectId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn insert(&mut self, open: Open) {
        if self.0.capacity() == 0 {
            self.0.reserve_exact(1);
        }
        match self.place(&open.intent.id) {
            Ok(at) => self.0[at] = open,
            Err(at) => self.0.insert(at, open),
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, id: &EffectId) -> Option<Open> {
        self.find(id).map(|at| self.0.remove(at))
    }

    /// Whether each effect is there once, where it is looked for. What was stored may be damaged.
    pub(super) fn is_in_order(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].intent.id < pair[1].intent.id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Open> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Open> {
        self.0.iter_mut()
    }
}

//! A list that mostly has one entry, which then needs no memory of its own.

/// In the order they were pushed.
#[derive(Debug)]
pub(super) struct Few<T> {
    /// None only where there is nothing at all.
    first: Option<T>,
    more: Vec<T>,
}

impl<T> Few<T> {
    pub(super) fn new() -> Self {
        Self { first: None, more: Vec::new() }
    }

    pub(super) fn push(&mut self, entry: T) {
        match &self.first {
            None => self.first = Some(entry),
            Some(_) => self.more.push(entry),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    pub(super) fn first_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.more.last().or(self.first.as_ref())
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.more.last_mut().or(self.first.as_mut())
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        match place.checked_sub(1) {
            None => self.first.as_mut(),
            Some(place) => self.more.get_mut(place),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.more)
    }

    pub(super) fn contains(&self, entry: &T) -> bool
    where
        T: PartialEq,
    {
        self.first.as_ref() == Some(entry) || self.more.contains(entry)
    }

    pub(super) fn clear(&mut self) {
        self.first = None;
        self.more.clear();
    }

    /// Takes the first.
    pub(super) fn pop(&mut self) -> Option<T> {
        let first = self.first.take();
        if !self.more.is_empty() {
            self.first = Some(self.more.remove(0));
        }
        first
    }

    pub(super) fn remove(&mut self, place: usize) -> Option<T> {
        match place.checked_sub(1) {
            None => self.pop(),
            Some(place) => (place < self.more.len()).then(|| self.more.remove(place)),
        }
    }

    /// Puts an entry before the one at this place.
    pub(super) fn insert(&mut self, place: usize, entry: T) {
        match place.checked_sub(1) {
            Some(place) => self.more.insert(place.min(self.more.len()), entry),
            None => {
                if let Some(before) = self.first.replace(entry) {
                    self.more.insert(0, before);
                }
            }
        }
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.more))
    }

    /// Keeps the one at this place alone, and gives the others.
    pub(super) fn keep(&mut self, place: usize) -> Vec<T> {
        let kept = if place == 0 { None } else { self.remove(place) };
        let mut others = std::mem::take(&mut self.more);
        if let Some(kept) = kept
            && let Some(first) = self.first.replace(kept)
        {
            others.insert(0, first);
        }
        others
    }
}

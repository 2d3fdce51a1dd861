//! Sets of nodes.

/// A set of small numbers, of a size that is given once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bits(Vec<u64>);

fn place(at: u32) -> (usize, u64) {
    (at as usize / 64, 1 << (at % 64))
}

impl Bits {
    pub(crate) fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    pub(crate) fn insert(&mut self, at: u32) {
        let (word, bit) = place(at);
        self.0[word] |= bit;
    }

    pub(crate) fn remove(&mut self, at: u32) {
        let (word, bit) = place(at);
        self.0[word] &= !bit;
    }

    pub(crate) fn contains(&self, at: u32) -> bool {
        let (word, bit) = place(at);
        self.0.get(word).is_some_and(|found| found & bit != 0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// What is in both.
    pub(crate) fn both<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        let words = self.0.iter().zip(&other.0).map(|(a, b)| a & b);
        (0u32..).zip(words).flat_map(|(at, word)| Ones(word).map(move |bit| at * 64 + bit))
    }
}

/// The numbers of the bits that are set.
struct Ones(u64);

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

//! "Did you mean": the nearest of the known names.

/// Letters of an unknown name that are looked at: it may come from a model, and be of any length.
const LONGEST: usize = 128;

/// The known name that differs in the fewest letters, case aside, if these are no more than one
/// and a quarter of its own.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let unknown: Vec<char> = unknown.chars().take(LONGEST).flat_map(char::to_lowercase).collect();
    known
        .into_iter()
        .map(|name| (distance(&unknown, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Letters to change, insert or remove to get from one to the other.
fn distance(one: &[char], other: &str) -> usize {
    let mut row: Vec<usize> = (0..=one.len()).collect();
    for (above, letter) in other.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (at, mine) in one.iter().enumerate() {
            let changed = diagonal + usize::from(*mine != letter);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[one.len()]
}

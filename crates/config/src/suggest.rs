//! "Did you mean": the nearest of the known names.

/// The nearest name, if one is near: a third of the letters may differ.
pub(crate) fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(found);
    known
        .into_iter()
        .filter_map(|name| {
            let name_folded = fold(name);
            let distance = distance(&folded, &name_folded);
            let longer = folded.len().max(name_folded.len());
            let starts = folded.len() >= 3 && name_folded.starts_with(&folded);
            let near = distance <= (longer / 3).max(1) && distance < longer;
            // Of two as near, the one of the same length: letters are swapped or mistaken more often than lost.
            let rank = (distance, folded.len().abs_diff(name_folded.len()));
            (near || starts).then_some((rank, name))
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, name)| name)
}

/// Case and the choice of `-` or `_` do not count.
fn fold(name: &str) -> Vec<char> {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut current = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            current[j] = substituted.min(previous[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                current[j] = current[j].min(before[j - 2] + 1);
            }
        }
        before = previous;
        previous = current;
    }
    previous[b.len()]
}

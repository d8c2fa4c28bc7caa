//! Names that were meant where another was written.

/// Up to three of `names` that differ from `name` by little: a few typed letters, or a part of it.
pub fn near_names<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let bound = (name.len() / 3).clamp(1, 4);
    let mut near: Vec<(usize, &str)> = names
        .filter_map(|other| {
            let distance = edit_distance(name, other);
            let part = name.len() >= 3 && (other.contains(name) || name.contains(other));
            (distance <= bound || part).then_some((distance, other))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(3).map(|(_, other)| other).collect()
}

/// Asks whether one of [`near_names`] was meant, where there are any.
pub fn did_you_mean<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = near_names(name, names);
    (!near.is_empty()).then(|| format!("did you mean {}?", near.join(" or ")))
}

/// Levenshtein's distance over bytes; names are ASCII and short.
fn edit_distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_those_a_person_meant() {
        let names = ["model_calls", "model_calls_quarantine", "tickets", "events"];
        assert_eq!(near_names("model_call", names.into_iter())[0], "model_calls");
        assert_eq!(near_names("tikcets", names.into_iter()), ["tickets"]);
        assert!(near_names("zzz", names.into_iter()).is_empty());
    }
}

//! Finds what somebody meant who mistyped a word.

/// The word of `known` that is nearest to `word`, if any is near enough to be meant.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = word.chars().count();
    if length > WORD_CHARS_MAX {
        return None;
    }
    // One slip in three letters is a typing error, more is another word.
    let limit = (length / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Longer words are not compared: the cost is the product of the lengths.
const WORD_CHARS_MAX: usize = 64;

/// Letters to insert, remove, replace, or swap with their neighbour, to make `b` of `a`
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognized() {
        let known = ["mode", "routes", "private_key"];

        assert_eq!(nearest("moed", known), Some("mode"));
        assert_eq!(nearest("route", known), Some("routes"));
        assert_eq!(nearest("privat_kye", known), Some("private_key"));
    }

    #[test]
    fn another_word_is_not_guessed() {
        assert_eq!(nearest("colour", ["mode", "routes"]), None);
        assert_eq!(nearest("", ["mode"]), None);
    }
}

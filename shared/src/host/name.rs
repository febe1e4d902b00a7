//! Names that are safe as a file name and as the name of an nft table.

/// Longest name: with prefix and suffix it stays a readable file and table name.
pub const NAME_MAX: usize = 32;

/// Whether `name` may name a running tunnel.
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_folder_or_end_a_line_of_nft() {
        for good in ["office", "a", "site-7", "x.y_z", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "../x", "a/b", ".hidden", "a b", "a;b", "a\nb", "ä", &"x".repeat(33)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}

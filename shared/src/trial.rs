//! Rules of the engine changed for an experiment, as a configuration says it.

use engine::{Ablation, Trial};

use crate::config::{Table, Wrong, nearest, text};

/// Reads the table `[trial]`: the list `rules` of names of [`Ablation`]s and of windows set by hand,
/// such as `"window-0=312500"`. Nothing is changed when it is absent.
pub fn read(table: &mut Table<'_>) -> Trial {
    let read = table.table("trial", |table| {
        let rules = table.list("rules", |value| {
            let word = text(value)?;
            Trial::default().with_word(&word).map(|_| word.clone()).ok_or_else(|| unknown(&word))
        });
        let rules = rules.into_iter().map(|rule| rule.into_inner());
        Some(rules.fold(Trial::default(), |trial, word| trial.with_word(&word).unwrap_or(trial)))
    });
    read.unwrap_or_default()
}

fn unknown(word: &str) -> Wrong {
    let shown: String = word.chars().take(40).collect();
    let names = Ablation::ALL.map(Ablation::name);
    let right = match nearest(word, names) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write window-SLOT=BYTES or one of {}", names.join(", ")),
    };
    Wrong::new(format!("\"{shown}\" is no rule that can be changed")).right(right)
}

#[cfg(test)]
mod tests {
    use engine::PathId;

    use super::{read as trial, *};
    use crate::{config::Document, exit::Error};

    #[test]
    fn rules_are_changed_by_their_names_and_an_unknown_one_is_refused() {
        let read = |text: &str| -> Result<Trial, Error> {
            Document::from_text("x.toml", text).read(|table| Some(trial(table)))
        };
        let changed = Trial::default().with(Ablation::NoHold).with_window(PathId(1), 5000);

        assert_eq!(read("").unwrap(), Trial::default());
        let text = "[trial]\nrules = [\"no-hold\", \"window-1=5000\"]\n";
        assert_eq!(read(text).unwrap(), changed);
        let wrong = read("[trial]\nrules = [\"no-holt\"]\n").unwrap_err().to_string();
        assert!(wrong.contains("did you mean \"no-hold\"?"), "{wrong}");
    }
}

//! Reads the text exposition format 0.0.4 as strictly as the strictest scraper, for tests, and what
//! we have promised beside it.

use std::collections::{BTreeMap, BTreeSet};

/// The value of each series: `name{label="value",…}`, with the labels in the order of the text.
pub(crate) type Series = BTreeMap<String, f64>;

/// Names and values.
type Labels = Vec<(String, String)>;

/// All series of a text.
///
/// # Errors
/// Names the line that is wrong.
pub(crate) fn parse(text: &str) -> Result<Series, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut reader = Reader::default();
    for (line, number) in text.split_terminator('\n').zip(1..) {
        reader.line(line).map_err(|wrong| format!("line {number}: {wrong}: {line}"))?;
    }
    reader.finish()?;
    Ok(reader.series)
}

#[derive(Default)]
struct Reader {
    families: BTreeSet<String>,
    /// The family whose lines are read: its name, its type once that is known, its samples so far.
    open: Option<(String, Option<String>, usize)>,
    /// The labels of each series without their order.
    seen: BTreeSet<String>,
    series: Series,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            return self.help(rest);
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            return self.kind(rest);
        }
        if line.starts_with('#') || line.is_empty() {
            return Err("neither HELP nor TYPE nor a sample".to_owned());
        }
        self.sample(line)
    }

    fn help(&mut self, rest: &str) -> Result<(), String> {
        self.finish()?;
        let (name, help) = rest.split_once(' ').ok_or("no help")?;
        judge_name(name)?;
        if help.trim().is_empty() || help.contains('\\') {
            return Err("the help is empty, or has an escape".to_owned());
        }
        if !self.families.insert(name.to_owned()) {
            return Err("the family is there already".to_owned());
        }
        self.open = Some((name.to_owned(), None, 0));
        Ok(())
    }

    fn kind(&mut self, rest: &str) -> Result<(), String> {
        let (name, kind) = rest.split_once(' ').ok_or("no type")?;
        let open = self.open.as_mut().filter(|open| open.0 == name && open.1.is_none());
        let open = open.ok_or("a type without its help before it")?;
        match (kind, name.ends_with("_total")) {
            ("counter", true) | ("gauge", false) => open.1 = Some(kind.to_owned()),
            _ => {
                return Err("counters end in _total, gauges don't, and there is no more".to_owned());
            }
        }
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let name_len = line.find(['{', ' ']).ok_or("no value")?;
        let (name, rest) = line.split_at(name_len);
        let open = self.open.as_mut().filter(|open| open.0 == name);
        let Some((_, Some(kind), samples)) = open else {
            return Err("a sample that is not below its own type".to_owned());
        };
        *samples += 1;
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
        let number: f64 = value.parse().map_err(|_| "the value is no number")?;
        if !number.is_finite() || value.contains(' ') || (kind == "counter" && number < 0.0) {
            return Err("no finite value alone, or a count below zero".to_owned());
        }
        let mut sorted = labels.clone();
        sorted.sort();
        let names: BTreeSet<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        if names.len() < labels.len() || !self.seen.insert(format!("{name}{sorted:?}")) {
            return Err("a label or a series that is there already".to_owned());
        }
        self.series.insert(line[..line.len() - value.len() - 1].to_owned(), number);
        Ok(())
    }

    /// Ends the family that is read.
    fn finish(&mut self) -> Result<(), String> {
        match self.open.take() {
            Some((name, _, 0)) => Err(format!("{name} has no sample")),
            _ => Ok(()),
        }
    }
}

/// The labels after `{`, and what follows `}`.
fn labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let legal = |c: char| c.is_ascii_lowercase() || c == '_';
        if name.is_empty() || name.starts_with('_') || !name.chars().all(legal) {
            return Err(format!("\"{name}\" names no label"));
        }
        let (value, after) = quoted(after)?;
        labels.push((name.to_owned(), value));
        match after.split_at_checked(1) {
            Some((",", after)) => rest = after,
            Some(("}", after)) => return Ok((labels, after)),
            _ => return Err("neither , nor } after a label".to_owned()),
        }
    }
}

/// The value up to the closing quotation mark, and what follows that.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, plain @ ('\\' | '"'))) => value.push(plain),
                _ => return Err("an unknown escape".to_owned()),
            },
            _ => value.push(letter),
        }
    }
    Err("a label's value has no end".to_owned())
}

fn judge_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let base = ["ms", "milliseconds", "days", "bits", "bit", "percent", "kilobytes"];
    let ours = name.starts_with("hawser_") && name.chars().all(legal);
    if ours && name.split('_').all(|word| !word.is_empty() && !base.contains(&word)) {
        return Ok(());
    }
    Err(format!("{name} is no name in base units that begins with hawser_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_scraper_should_see_is_refused() {
        let family = "# HELP hawser_a Help.\n# TYPE hawser_a gauge\n";
        let good = format!("{family}hawser_a{{x=\"1\"}} 1\nhawser_a{{x=\"\\n\"}} 2.5e-3\n");
        assert_eq!(parse(&good).unwrap()["hawser_a{x=\"\\n\"}"], 0.0025);

        for bad in [
            "hawser_a 1",
            &family.replace("gauge", "unknown"),
            &family.replace("hawser_a", "hawser_a_total"),
            &family.replace("hawser_a", "hawser_a_days"),
            &family.replace("hawser_a", "Hawser"),
            &format!("{family}hawser_b 1"),
            &format!("{family}hawser_a 1\n# EOF"),
            &format!("{family}hawser_a 1\n\nhawser_a{{x=\"1\"}} 1"),
            &format!("{family}hawser_a 1\nhawser_a 2"),
            &format!("{family}hawser_a{{x=\"1\",y=\"\"}} 1\nhawser_a{{y=\"\",x=\"1\"}} 1"),
            &format!("{family}hawser_a{{x=\"1\",x=\"2\"}} 1"),
            &format!("{family}hawser_a{{x=\"\\t\"}} 1"),
            &format!("{family}hawser_a{{X=\"\"}} 1"),
            &format!("{family}hawser_a{{}} 1"),
            &format!("{family}hawser_a NaN"),
            &format!("{family}hawser_a 1 1764319382"),
            &format!("{family}hawser_a 1\n{family}hawser_a{{x=\"1\"}} 1"),
            family.trim_end(),
        ] {
            assert!(parse(&format!("{bad}\n")).is_err(), "{bad}");
        }
        assert!(parse(good.trim_end()).is_err(), "no end of the last line");
    }
}

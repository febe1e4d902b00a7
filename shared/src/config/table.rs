//! A table of a configuration, asked key by key.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    nearest::nearest,
    problem::{Problems, Wrong},
};

/// A value and its place in the document.
pub type Placed<T> = Spanned<T>;

/// One table: ask for every key that exists, then [`finish`](Self::finish).
#[derive(Debug)]
pub struct Table<'d> {
    entries: &'d DeTable<'d>,
    /// Where a missing key is reported: the table's head.
    span: Range<usize>,
    known: Vec<&'static str>,
    problems: &'d Problems,
}

impl<'d> Table<'d> {
    pub(super) fn top(value: &'d DeValue<'d>, problems: &'d Problems) -> Self {
        let DeValue::Table(entries) = value else {
            unreachable!("a TOML document is a table");
        };
        Self { entries, span: 0..0, known: Vec::new(), problems }
    }

    /// The value of `key`, or `None` when it is absent or wrong (which is noted).
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Placed<T>> {
        self.known.push(key);
        let value = self.entries.get(key)?;
        self.judge(value, &read)
    }

    /// The value of `key`; its absence is noted as a problem.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Placed<T>> {
        if !self.entries.contains_key(key) {
            self.missing(key);
        }
        self.optional(key, read)
    }

    /// The members of the array `key`; nothing when it is absent. Wrong members are noted.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Vec<Placed<T>> {
        self.known.push(key);
        let Some(value) = self.entries.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(members) = value.get_ref() else {
            let kind = kind(value.get_ref());
            let wrong = Wrong::new(format!("`{key}` is {kind}, not a list"));
            self.problems
                .note(value.span(), wrong.right(format!("write `{key} = [\"…\", \"…\"]`")));
            return Vec::new();
        };
        members.iter().filter_map(|member| self.judge(member, &read)).collect()
    }

    /// The members of the array `key`, or its only member written without brackets.
    pub fn one_or_list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Vec<Placed<T>> {
        match self.entries.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(_)) | None => self.list(key, read),
            Some(_) => self.optional(key, read).into_iter().collect(),
        }
    }

    /// Builds a value from the table `[key]`; `None` when it is absent or wrong.
    pub fn table<T>(
        &mut self,
        key: &'static str,
        build: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let (head, value) = self.entries.get_key_value(key)?;
        self.enter(key, head.span(), value, build)
    }

    /// Builds values from the tables `[[key]]`.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        build: impl Fn(&mut Self) -> Option<T>,
    ) -> Vec<Placed<T>> {
        self.known.push(key);
        let Some((head, value)) = self.entries.get_key_value(key) else {
            return Vec::new();
        };
        let DeValue::Array(members) = value.get_ref() else {
            let wrong =
                Wrong::new(format!("`{key}` is {}, not a list of tables", kind(value.get_ref())));
            self.problems
                .note(head.span(), wrong.right(format!("write `[[{key}]]` above its keys")));
            return Vec::new();
        };
        members
            .iter()
            .filter_map(|member| {
                let span = member.span();
                let built = self.enter(key, span.clone(), member, &build)?;
                Some(Spanned::new(span, built))
            })
            .collect()
    }

    /// Whether the file has `key` at all.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether the value of `key` is a list.
    pub fn is_list(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| value.get_ref().is_array())
    }

    /// Whether the value of `key` is a list without members.
    pub fn is_empty_list(&self, key: &str) -> bool {
        let list = self.entries.get(key).and_then(|value| value.get_ref().as_array());
        list.is_some_and(|members| members.is_empty())
    }

    /// Notes that `key` has more members than `most`.
    pub fn limit(&self, key: &str, members: usize, most: usize) {
        if members > most {
            let wrong = Wrong::new(format!("`{key}` has {members} members"));
            self.note_at(key, wrong.right(format!("{most} are possible")));
        }
    }

    /// Notes a problem with the value of `key`.
    pub fn note_at(&self, key: &str, wrong: Wrong) {
        let span = self.entries.get(key).map_or(self.span(), Spanned::span);
        self.problems.note(span, wrong);
    }

    /// Notes that `key` is absent and must not be.
    pub fn missing(&self, key: &str) {
        let wrong = Wrong::new(format!("the key `{key}` is missing"));
        self.problems.note(self.span.clone(), wrong.right(format!("add `{key} = …`")));
    }

    /// Notes a problem that shows only when values are seen together.
    pub fn note(&self, span: Range<usize>, wrong: Wrong) {
        self.problems.note(span, wrong);
    }

    /// Where the table begins: the place for what concerns all of it.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(&self) {
        for key in self.entries.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let right = match nearest(name, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the keys here are {}", listed(&self.known)),
            };
            let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
            let wrong = Wrong::new(format!("unknown key `{}`", shown.escape_debug()));
            self.problems.note(key.span(), wrong.right(right));
        }
    }

    fn judge<T>(
        &self,
        value: &Spanned<DeValue<'_>>,
        read: &impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Placed<T>> {
        match read(value.get_ref()) {
            Ok(read) => Some(Spanned::new(value.span(), read)),
            Err(wrong) => {
                self.problems.note(value.span(), wrong);
                None
            }
        }
    }

    fn enter<T>(
        &self,
        key: &str,
        span: Range<usize>,
        value: &'d Spanned<DeValue<'d>>,
        build: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let DeValue::Table(entries) = value.get_ref() else {
            let wrong = Wrong::new(format!("`{key}` is {}, not a table", kind(value.get_ref())));
            self.problems
                .note(value.span(), wrong.right(format!("write `[{key}]` above its keys")));
            return None;
        };
        let mut table = Self { entries, span, known: Vec::new(), problems: self.problems };
        let built = build(&mut table);
        table.finish();
        built
    }
}

/// A longer key is shortened in an error.
const NAME_CHARS_MAX: usize = 40;

/// What a value is, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

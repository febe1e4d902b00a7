//! Rules about the source that its text can show.

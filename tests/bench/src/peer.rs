//! Other systems over the same links.

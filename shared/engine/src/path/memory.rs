//! What is known of a path when its session is replaced by another over the same links.

/// A path's capacity, for the session that comes after. Its delay is not worth remembering: the next session
/// has another clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PathMemory {
    /// Bytes a second that the path carried.
    pub(crate) capacity: f64,
    /// Bytes that were on their way then.
    pub(crate) window: f64,
}

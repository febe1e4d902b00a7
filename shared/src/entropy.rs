//! The only place that asks the operating system for randomness.

/// Fills `bytes` with randomness fit for keys.
///
/// # Panics
/// When the operating system has no randomness to give: no key may be made then.
pub fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system gives randomness");
}

/// A fresh seed for one session or one simulation.
pub fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    fill(&mut seed);
    seed
}

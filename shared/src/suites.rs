//! The ciphers that may be used: those that are named, or those that this machine's processor computes fast.

use crate::{
    config::{Placed, Table, Wrong, one_of},
    control::Suite,
};

/// Reads the key `ciphers`: those that may be used, the one that is liked best first. All that there are,
/// the fastest first, when it is absent.
pub fn read(table: &mut Table<'_>) -> Vec<Suite> {
    let mut suites = Vec::new();
    let named = table.list(CIPHERS, one_of("a cipher", &NAMES));
    for suite in named.into_iter().map(Placed::into_inner) {
        if !suites.contains(&suite) {
            suites.push(suite);
        }
    }
    if table.is_empty_list(CIPHERS) {
        let right = "name at least one, or leave `ciphers` out for all of them";
        table.note_at(CIPHERS, Wrong::new("no cipher is left").right(right));
    }
    if suites.is_empty() { preferred() } else { suites }
}

const CIPHERS: &str = "ciphers";

/// As the control plane names them.
const NAMES: [(&str, Suite); 2] =
    [("aes-256-gcm", Suite::Aes256Gcm), ("chacha20-poly1305", Suite::ChaCha20Poly1305)];

/// All suites, the one that is fastest here first: AES-GCM where the processor has instructions for
/// it, as it is then about half again as fast as ChaCha20-Poly1305.
pub fn preferred() -> Vec<Suite> {
    if has_aes() {
        vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305]
    } else {
        vec![Suite::ChaCha20Poly1305, Suite::Aes256Gcm]
    }
}

/// The engine's name for a suite of the control plane.
pub fn engine_suite(suite: Suite) -> engine::aead::Suite {
    match suite {
        Suite::Aes256Gcm => engine::aead::Suite::Aes256Gcm,
        Suite::ChaCha20Poly1305 => engine::aead::Suite::ChaCha20Poly1305,
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
fn has_aes() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::{read as ciphers, *};
    use crate::{config::Document, exit::Error};

    #[test]
    fn ciphers_are_taken_in_the_order_in_which_they_are_named() {
        let read = |text: &str| -> Result<Vec<Suite>, Error> {
            Document::from_text("x.toml", text).read(|table| Some(ciphers(table)))
        };
        let chacha = Suite::ChaCha20Poly1305;

        assert_eq!(read("").unwrap(), preferred());
        assert_eq!(read(r#"ciphers = ["chacha20-poly1305"]"#).unwrap(), [chacha]);
        let both = r#"ciphers = ["chacha20-poly1305", "aes-256-gcm", "chacha20-poly1305"]"#;
        assert_eq!(read(both).unwrap(), [chacha, Suite::Aes256Gcm]);
        for text in ["ciphers = []", r#"ciphers = ["aes-128-cbc"]"#, r#"ciphers = "aes-256-gcm""#] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_those_of_the_control_plane() {
        assert!(NAMES.iter().all(|(name, suite)| suite.name() == *name));
        assert!(preferred().iter().all(|suite| NAMES.iter().any(|(_, named)| named == suite)));
    }
}

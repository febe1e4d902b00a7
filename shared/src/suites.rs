//! The ciphers that this machine's processor computes fast.

use crate::control::Suite;

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

//! The engine spends no more instructions on a packet than it did.

use std::path::Path;

use bench::instructions::{compare, count, kept};

// The ciphers' code is another on other processors.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_packet_costs_no_more_instructions_than_it_did() {
    let counts = count(Path::new(env!("CARGO_BIN_EXE_bench"))).expect("counted");
    let words = compare(&counts, &kept().expect("kept")).expect("no more than before");
    println!("{words}");
}

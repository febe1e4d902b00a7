//! Whether the table is still there: another program may empty it while nothing of ours changes.

use std::io;

use super::super::nfnetlink::{Messages, Netfilter};
use super::Table;
use super::quick::{NFPROTO_INET, NFTABLES, terminated};

impl Table {
    /// Whether the chain that all packets pass has rules.
    ///
    /// # Errors
    /// When the kernel doesn't say.
    pub(in super::super) fn is_in_place(&self, netfilter: &mut Netfilter) -> io::Result<bool> {
        let mut question = Messages::default();
        question.begin(NFTABLES << 8 | GET_CHAIN, 0, NFPROTO_INET, 0, 0);
        question.attribute(CHAIN_TABLE, &terminated(&self.name));
        question.attribute(CHAIN_NAME, &terminated("from-tunnel"));
        question.end();
        match netfilter.ask(&question, CHAIN_USE) {
            Ok(count) => Ok(count.iter().any(|byte| *byte != 0)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, _NAME and _USE: how many rules a base chain has.
const GET_CHAIN: u16 = 4;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_USE: u16 = 6;

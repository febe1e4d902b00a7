//! Questions to name servers.

use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, TYPE};

use crate::entropy;

/// A question for the records of a name, and its number. `None` if the name can't be one.
pub fn question(name: &str, kind: TYPE) -> Option<(u16, Vec<u8>)> {
    let mut id = [0; 2];
    entropy::fill(&mut id);
    let id = u16::from_ne_bytes(id);
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name.trim_end_matches('.')).ok()?;
    let question = Question::new(name, QTYPE::TYPE(kind), CLASS::IN.into(), false);
    packet.questions.push(question);
    Some((id, packet.build_bytes_vec().ok()?))
}

/// Whether it is an answer, rather than a question.
pub fn is_answer(packet: &Packet<'_>) -> bool {
    packet.has_flags(PacketFlag::RESPONSE)
}

/// Without EDNS an answer is no longer than 512 bytes (RFC 1035, section 2.3.4); some are.
pub const ANSWER_MAX: usize = 1500;

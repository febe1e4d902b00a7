//! A conversation with netfilter (linux/netfilter/nfnetlink.h), for what must be quick.
//!
//! Whoever closes a socket that has changed a table waits until the kernel has freed what was
//! replaced, some ten milliseconds; so does the program `nft` each time. This one stays open.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Messages in the order in which they are sent, each with its attributes.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// Where the last message begins, and its flags.
    last: usize,
    flags: u16,
    sequence: u32,
}

/// A socket to netfilter.
#[derive(Debug)]
pub(super) struct Netfilter(Socket);

impl Netfilter {
    /// # Errors
    /// When the kernel has no netfilter, or no socket left.
    pub(super) fn open() -> io::Result<Self> {
        let kind = Type::RAW.cloexec();
        let protocol = Protocol::from(libc::NETLINK_NETFILTER);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), kind, Some(protocol))?;
        // The kernel answers while the request is being sent; the bound is for a kernel that doesn't.
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self(socket))
    }

    /// Sends messages at once, and waits for the answer to the one that asks for it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn send(&mut self, messages: &Messages) -> io::Result<()> {
        verdict(&self.exchange(messages)?)
    }

    /// Asks for one thing, and gives its attribute of a kind.
    ///
    /// # Errors
    /// What the kernel says, and when there is no such attribute.
    pub(super) fn ask(&mut self, question: &Messages, kind: u16) -> io::Result<Vec<u8>> {
        let answer = self.exchange(question)?;
        if is_verdict(&answer) {
            verdict(&answer)?;
        }
        let value = attribute(&answer, kind).ok_or_else(unexpected)?;
        Ok(value.to_vec())
    }

    fn exchange(&mut self, messages: &Messages) -> io::Result<Vec<u8>> {
        self.drain()?;
        let length = messages.bytes.len();
        // Some hundred kilobytes, where many buckets change.
        rustix::net::sockopt::set_socket_send_buffer_size_force(&self.0, length * 2)
            .or_else(|_| self.0.set_send_buffer_size(length * 2))?;
        // A netlink socket without an address talks to the kernel.
        self.0.write_all(&messages.bytes)?;
        let mut answer = vec![0; 4096];
        let length = self.0.read(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    }

    /// Passes over what was said about earlier messages, beyond the first complaint.
    fn drain(&mut self) -> io::Result<()> {
        self.0.set_nonblocking(true)?;
        let mut old = [0; 4096];
        while self.0.read(&mut old).is_ok_and(|length| length > 0) {}
        self.0.set_nonblocking(false)
    }
}

/// A place where an attribute begins, whose length is written when it ends.
#[derive(Debug)]
pub(super) struct Open(usize);

impl Messages {
    /// Begins a message: its type and flags, and the family, version and resource of nfgenmsg.
    pub(super) fn begin(&mut self, kind: u16, flags: i32, family: u8, version: u8, resource: u16) {
        self.last = self.bytes.len();
        self.sequence += 1;
        self.bytes.extend([0; 4]); // length: written by `end`
        self.bytes.extend(kind.to_ne_bytes());
        self.flags = (libc::NLM_F_REQUEST | flags) as u16;
        self.bytes.extend(self.flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]); // port
        self.bytes.extend([family, version]);
        self.bytes.extend(resource.to_be_bytes());
    }

    /// Adds an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let open = self.open(kind);
        self.bytes.extend(value);
        self.close(open);
    }

    /// Begins an attribute that holds others.
    pub(super) fn nest(&mut self, kind: u16) -> Open {
        self.open(kind | libc::NLA_F_NESTED as u16)
    }

    /// Ends an attribute.
    pub(super) fn close(&mut self, Open(at): Open) {
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Ends the message.
    pub(super) fn end(&mut self) {
        let length = (self.bytes.len() - self.last) as u32;
        self.bytes[self.last..self.last + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Lets the kernel answer the last message, whatever becomes of it.
    pub(super) fn ask_for_answer(&mut self) {
        let flags = self.flags | libc::NLM_F_ACK as u16;
        self.bytes[self.last + 6..self.last + 8].copy_from_slice(&flags.to_ne_bytes());
    }

    fn open(&mut self, kind: u16) -> Open {
        let at = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        Open(at)
    }
}

/// The number in an NLMSG_ERROR message: zero is consent.
fn verdict(answer: &[u8]) -> io::Result<()> {
    if !is_verdict(answer) {
        return Err(unexpected());
    }
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(unexpected()),
    }
}

fn is_verdict(answer: &[u8]) -> bool {
    half(answer, 4) == Some(NLMSG_ERROR)
}

/// The value of the first attribute of a kind in a message.
fn attribute(message: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = message.get(HEADERS..)?;
    loop {
        let length = usize::from(half(rest, 0)?);
        let value = rest.get(4..length)?;
        if half(rest, 2)? == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes)
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unexpected answer of netfilter")
}

/// Those of netlink and of netfilter before the attributes.
const HEADERS: usize = 20;
const NLMSG_ERROR: u16 = 2;
const ANSWER_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_consent_is_success() {
        let answer = |kind: u16, code: i32| {
            let mut bytes = vec![0; 4];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(code.to_ne_bytes());
            bytes
        };

        assert!(verdict(&answer(NLMSG_ERROR, 0)).is_ok());
        let refused = verdict(&answer(NLMSG_ERROR, -libc::EPERM)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(verdict(&answer(NLMSG_ERROR, i32::MIN)).is_err());
        assert!(verdict(&answer(NLMSG_ERROR, 7)).is_err());
        assert!(verdict(&answer(1, 0)).is_err());
        assert!(verdict(&[]).is_err());
        assert!(verdict(&answer(NLMSG_ERROR, 0)[..18]).is_err());
    }

    #[test]
    fn attributes_are_padded_and_messages_know_their_length() {
        let mut messages = Messages::default();
        messages.begin(0x0102, 0, 2, 0, 10);
        let nest = messages.nest(3);
        messages.attribute(1, b"abc\0");
        messages.attribute(2, &[7]);
        messages.close(nest);
        messages.end();

        assert_eq!(messages.bytes.len(), 20 + 4 + 8 + 8);
        assert_eq!(messages.bytes[..4], 40_u32.to_ne_bytes());
        assert_eq!(messages.bytes[20..22], 20_u16.to_ne_bytes(), "the nest");
        assert_eq!(attribute(&messages.bytes, 3 | libc::NLA_F_NESTED as u16).unwrap().len(), 16);
        for cut in 0..messages.bytes.len() {
            assert_eq!(attribute(&messages.bytes[..cut], 9), None);
        }
        assert_eq!(messages.bytes[32..34], 5_u16.to_ne_bytes(), "one byte and its head");
    }
}

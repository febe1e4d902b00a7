//! Messages on a QUIC stream.

use quinn::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};

use super::message::{LENGTH_LEN, MESSAGE_MAX, Message, MessageError};

/// Reads the next message; `None` when the peer has finished the stream. Not to be cancelled.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Option<Message>, MessageError> {
    let mut len = [0; LENGTH_LEN];
    match stream.read_exact(&mut len).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let len = u32::from_be_bytes(len) as usize;
    if len > MESSAGE_MAX {
        return Err(MessageError::TooLong(len));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.map_err(failed)?;
    Message::parse(&bytes).map(Some)
}

/// Writes a message. Not to be cancelled.
pub(crate) async fn write(stream: &mut SendStream, message: &Message) -> Result<(), MessageError> {
    let bytes = message.emit()?;
    stream.write_all(&bytes).await.map_err(|error| match error {
        WriteError::ConnectionLost(error) => MessageError::Connection(error),
        WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            MessageError::Truncated
        }
    })
}

fn failed(error: ReadExactError) -> MessageError {
    match error {
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => {
            MessageError::Connection(error)
        }
        ReadExactError::ReadError(_) | ReadExactError::FinishedEarly(_) => MessageError::Truncated,
    }
}

//! What a message says of itself in its first bytes: enough to know how long it may be, before the
//! rest is taken in.
//!
//! Every member encodes the fields of a message in the order of their numbers, and so the short ones
//! first. A message that does otherwise is taken for one of the kinds that are short.

use bytes::Buf as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use quoin_api::raftpb::MessageType;

use crate::peer::limits;

/// Bytes that hold the fields before the first long one: at most six numbers with their keys.
pub const HEAD_BYTES: usize = 66;

const TYPE: u32 = 1;
const FROM: u32 = 3;

/// The kind and the sender of a message, as far as its first bytes have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    kind: u64,
    /// The sender, or 0.
    pub from: u64,
}

impl Head {
    /// Reads the first bytes of a message: [`HEAD_BYTES`] or all.
    pub fn of(mut bytes: &[u8]) -> Self {
        let mut head = Self::default();
        while bytes.has_remaining() {
            let Ok((tag, WireType::Varint)) = decode_key(&mut bytes) else { break };
            let Ok(number) = decode_varint(&mut bytes) else { break };
            match tag {
                TYPE => head.kind = number,
                FROM => head.from = number,
                _ => {}
            }
        }
        head
    }

    /// Bytes that such a message may have, other than as the head of a database: a snapshot without
    /// one is of no use.
    pub fn limit(self) -> u64 {
        let kind = i32::try_from(self.kind).ok().and_then(|kind| MessageType::try_from(kind).ok());
        match kind {
            Some(MessageType::MsgApp) => limits::MESSAGE_BYTES,
            Some(MessageType::MsgProp) => limits::PROPOSAL_MESSAGE_BYTES,
            _ => limits::SHORT_MESSAGE_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use quoin_api::raftpb::{Entry, Message, MessageType};

    use super::*;

    /// A heartbeat could be half a gigabyte long, and was taken in whole from whoever sent it.
    #[test]
    fn the_first_bytes_say_how_long_a_message_may_be() {
        let limits = [
            (MessageType::MsgApp, limits::MESSAGE_BYTES),
            (MessageType::MsgProp, limits::PROPOSAL_MESSAGE_BYTES),
            (MessageType::MsgSnap, limits::SHORT_MESSAGE_BYTES),
            (MessageType::MsgHeartbeat, limits::SHORT_MESSAGE_BYTES),
            (MessageType::MsgVote, limits::SHORT_MESSAGE_BYTES),
            (MessageType::MsgHup, limits::SHORT_MESSAGE_BYTES),
        ];
        for (kind, limit) in limits {
            let most = u64::MAX;
            let message = Message {
                r#type: kind.into(),
                to: most,
                from: most - 1,
                term: most,
                log_term: most,
                index: most,
                entries: vec![Entry::default(); 40],
                context: vec![0; 500].into(),
                ..Message::default()
            };
            let bytes = message.encode_to_vec();
            let head = Head::of(&bytes[..HEAD_BYTES]);
            assert_eq!((head.from, head.limit()), (most - 1, limit), "{kind:?}");
            let cuts = (0..HEAD_BYTES).filter(|cut| Head::of(&bytes[..*cut]).from != 0);
            assert!(cuts.count() > 0, "a part is read as far as it goes");
        }
        assert_eq!(Head::of(&[0xff; HEAD_BYTES]).limit(), limits::SHORT_MESSAGE_BYTES);
    }
}
